{{- /* Whether there are ResourceQuotas. Empty means no. */ -}}
{{- define "sublet.hasResourceQuota" -}}
{{- if ne (toString .Values.policies.resourceQuota.enabled) "false" }}true{{ end -}}
{{- end -}}

{{- /* The name of the quota of pods, with its further scopes. Helm replaces it if they change, as the host refuses that. */ -}}
{{- define "sublet.podQuota" -}}
{{ .Release.Name }}-pods{{ range .Values.policies.resourceQuota.scopes | default list | sortAlpha }}-{{ lower . }}{{ end }}
{{- end -}}

{{- /* Whether the quota counts more of pods than their number. Empty means no. */ -}}
{{- define "sublet.quotaComputes" -}}
{{- $keys := without (splitList " " (include "sublet.podQuotaKeys" .)) "pods" -}}
{{- range $key, $_ := .Values.policies.resourceQuota.quota -}}
{{- if has $key $keys }}true{{ end -}}
{{- end -}}
{{- end -}}

{{- /* Whether there is a LimitRange. Empty means no. */ -}}
{{- define "sublet.hasLimitRange" -}}
{{- $enabled := toString .Values.policies.limitRange.enabled -}}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") (include "sublet.hasResourceQuota" .)) }}true{{ end -}}
{{- end -}}

{{- /* Whether the quota refuses a pod without requests or limits. Empty means no. */ -}}
{{- define "sublet.quotaNeedsDefaults" -}}
{{- range $key, $_ := .Values.policies.resourceQuota.quota -}}
{{- if regexMatch "^(cpu|memory|limits\\..*|requests\\.(cpu|memory|ephemeral-storage))$" $key }}true{{ end -}}
{{- end -}}
{{- end -}}

{{- /*
Keys of a quota that count pods and may have a scope. With the scope Terminating they
leave out the pod of the control plane, which has no deadline. All pods of the tenant have
one, of 68 years if the tenant sets none.
*/ -}}
{{- define "sublet.podQuotaKeys" -}}
pods cpu memory requests.cpu requests.memory limits.cpu limits.memory
{{- end -}}

{{- /*
Not empty if one map of resources has more of a resource than the other: a list of the resource and both maps. A
fourth item is a map with resources that are not compared.
*/ -}}
{{- define "sublet.hasMore" -}}
{{- $name := index . 0 -}}
{{- $amount := get (index . 1 | default dict) $name | toString -}}
{{- $other := get (index . 2 | default dict) $name | toString -}}
{{- $skip := "" -}}
{{- if gt (len .) 3 }}{{ $skip = get (index . 3 | default dict) $name | toString }}{{ end -}}
{{- if and (ne $amount "") (ne $other "") (eq $skip "") -}}
{{- if gt (include "sublet.quantity" $amount | float64) (include "sublet.quantity" $other | float64) }}yes{{ end -}}
{{- end -}}
{{- end -}}
