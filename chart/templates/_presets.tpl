{{- /*
Adds the kinds of the presets that are on to the settings of custom resources, and takes their
switches out: the server reads just kinds. The values are those of all templates, so that a second
call finds nothing to do. Patches of pods are added too, unless the operator patches the field. A key of an operator's entry replaces that of the preset. An entry for
the same definition in the other direction, or with a version, replaces the whole of it.
*/ -}}
{{- define "sublet.addPresets" -}}
{{- $taken := dict -}}
{{- range $side := list "toHost" "fromHost" -}}
{{- $settings := get $.Values.sync $side -}}
{{- if not $settings.customResources }}{{ $_ := set $settings "customResources" dict }}{{ end -}}
{{- range $key, $_ := $settings.customResources -}}
{{- $_ := set $taken (first (splitList "/" $key)) (print $side "/" $key) -}}
{{- end -}}
{{- end -}}
{{- range $path, $_ := .Files.Glob "presets/*.yaml" -}}
{{- $name := base $path | trimSuffix ".yaml" -}}
{{- if dig $name "enabled" false $.Values.integrations -}}
{{- $preset := $.Files.Get $path | fromYaml -}}
{{- range $patch := dig "toHost" "pods" "patches" list $preset.sync -}}
{{- $pods := $.Values.sync.toHost.pods -}}
{{- $patched := false -}}
{{- range $pods.patches }}{{ if eq (.path | default "") $patch.path }}{{ $patched = true }}{{ end }}{{ end -}}
{{- if not $patched }}{{ $_ := set $pods "patches" (append ($pods.patches | default list) $patch) }}{{ end -}}
{{- end -}}
{{- range $side, $settings := $preset.sync -}}
{{- $all := (get $.Values.sync $side).customResources -}}
{{- range $key, $entry := $settings.customResources -}}
{{- $own := get $taken (first (splitList "/" $key)) -}}
{{- if or (not $own) (eq $own (print $side "/" $key)) -}}
{{- range $option, $value := get $all $key | default dict }}{{ $_ := set $entry $option $value }}{{ end -}}
{{- $_ := set $all $key $entry -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $_ := unset $.Values.integrations $name -}}
{{- end -}}
{{- end -}}
