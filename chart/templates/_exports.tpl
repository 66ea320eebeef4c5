{{- /*
The Secrets with kubeconfigs in addition to RELEASE-kubeconfig, as a JSON list of namespace and name.
*/ -}}
{{- define "sublet.exports" -}}
{{- $all := list -}}
{{- $export := .Values.exportKubeConfig -}}
{{- range concat (ternary (list $export.secret) list (ne $export.secret.name "")) ($export.additionalSecrets | default list) -}}
{{- $all = append $all (dict "namespace" (.namespace | default $.Release.Namespace) "name" (.name | default "")) -}}
{{- end -}}
{{- if .Values.integrations.argoCD.enabled -}}
{{- $all = append $all (dict "namespace" .Values.integrations.argoCD.namespace "name" (include "sublet.exportsName" .)) -}}
{{- end -}}
{{- $all | toJson -}}
{{- end -}}

{{- /* The name of the Roles of these Secrets, and of that of Argo CD. Neither part has a dot. */ -}}
{{- define "sublet.exportsName" -}}
sublet.{{ .Release.Namespace }}.{{ .Release.Name }}
{{- end -}}

{{- /* Not empty if two of them are one, or have no name. */ -}}
{{- define "sublet.exportedTwice" -}}
{{- $seen := dict -}}
{{- range include "sublet.exports" . | fromJsonArray -}}
{{- $key := printf "%s/%s" .namespace .name -}}
{{- if or (not .name) (hasKey $seen $key) }}yes{{ end -}}
{{- $_ := set $seen $key true -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if an initial chart has no bundle, or a repository. */ -}}
{{- define "sublet.chartOfRepository" -}}
{{- range .Values.experimental.deploy.vcluster.helm -}}
{{- if or (not .bundle) (.chart | default dict).repo }}yes{{ end -}}
{{- end -}}
{{- end -}}
