{{- /* Whether there are ResourceQuotas. Empty means no. */ -}}
{{- define "sublet.hasResourceQuota" -}}
{{- if ne (toString .Values.policies.resourceQuota.enabled) "false" }}true{{ end -}}
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
