{{- /* What is wrong with the form of patches, one line each. The server compiles the expressions. */ -}}
{{- define "sublet.patches" -}}
{{- $problems := list -}}
{{- range $side, $kinds := .Values.sync -}}
{{- range $name, $settings := $kinds -}}
{{- if eq $name "customResources" -}}
{{- range $key, $custom := $settings -}}
{{- $path := printf "sync.%s.customResources[%s]" $side $key -}}
{{- $problems = concat $problems (include "sublet.patchesOf" (dict "side" $side "path" $path "patches" $custom.patches) | fromJsonArray) -}}
{{- end -}}
{{- else if kindIs "map" $settings -}}
{{- $path := printf "sync.%s.%s" $side $name -}}
{{- $problems = concat $problems (include "sublet.patchesOf" (dict "side" $side "path" $path "patches" $settings.patches) | fromJsonArray) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join "\n" $problems -}}
{{- end -}}

{{- /* What is wrong with the patches of one kind, as a list. The messages are those of the server. */ -}}
{{- define "sublet.patchesOf" -}}
{{- $problems := list -}}
{{- range $i, $patch := .patches -}}
{{- $path := $patch.path | default "" -}}
{{- $isStatus := regexMatch "^status([.\\[]|$)" $path -}}
{{- $key := regexReplaceAll "^metadata\\.(labels|annotations)\\[\"([^\"]+)\"\\]$" $path "${2}" -}}
{{- $isOwn := regexMatch "^([^/]+\\.)?sublet\\.dev(/|$)" $key -}}
{{- $isIdentity := or (regexMatch "^(apiVersion|kind)([.\\[]|$)" $path) (and (regexMatch "^metadata([.\\[]|$)" $path) (or (eq $key $path) $isOwn)) -}}
{{- $detail := "" -}}
{{- if not $path -}}
{{- $detail = "has no path; name the field to change" -}}
{{- else if eq (empty $patch.expression) (empty $patch.reverse) -}}
{{- $detail = "must have either expression, for the copy, or reverse, for the status that comes back" -}}
{{- else if $isIdentity -}}
{{- $detail = "is Sublet's own field; patch labels and annotations as metadata.labels[\"key\"], with a key outside of sublet.dev, and no other metadata" -}}
{{- else if and (eq $.side "fromHost") $patch.reverse -}}
{{- $detail = "goes up from the host, and nothing of it comes back; set expression instead of reverse" -}}
{{- else if and (eq $.side "toHost") $patch.expression $isStatus -}}
{{- $detail = "is a status, which the host writes; set reverse to change what the tenant sees of it" -}}
{{- else if and $patch.reverse (not $isStatus) -}}
{{- $detail = "is not below status, and nothing else comes back from the host; set expression instead" -}}
{{- end -}}
{{- if $detail -}}
{{- $problems = append $problems (printf "%s.patches[%d]: Invalid value: %q: %s" $.path $i $path $detail) -}}
{{- end -}}
{{- end -}}
{{- toJson $problems -}}
{{- end -}}
