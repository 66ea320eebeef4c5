{{- /* Whether there is a fence. Empty means no. */ -}}
{{- define "sublet.hasFence" -}}
{{- $enabled := toString .Values.policies.fence.enabled -}}
{{- $known := semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version -}}
{{- $rules := list (include "sublet.clusterRules" . | trim) (include "sublet.customClusterRules" . | trim) | join "" -}}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") $known $rules) }}true{{ end -}}
{{- end -}}

{{- /* The name of the policy and of its binding. Neither part has a dot. */ -}}
{{- define "sublet.fence" -}}
{{ .Release.Name }}.{{ .Release.Namespace }}.sublet.dev
{{- end -}}

{{- /* A list of strings in CEL. */ -}}
{{- define "sublet.celList" -}}
[{{ range $i, $text := . }}{{ if $i }}, {{ end }}{{ $text | squote }}{{ end }}]
{{- end -}}

{{- /* A pattern of the names of labels and taints that no tenant writes on the host, as the server knows them too. */ -}}
{{- define "sublet.protectedName" -}}
^([^/]*[.])?(kubernetes[.]io|k8s[.]io|sublet[.]dev)/
{{- end -}}

{{- /* The labels of nodes that the account may change, as a list in JSON. */ -}}
{{- define "sublet.fenceLabels" -}}
{{- $nodes := .Values.sync.fromHost.nodes -}}
{{- $labels := list -}}
{{- if has "labels" $nodes.syncBackFields -}}
{{- range $nodes.syncBackLabels -}}
{{- if not (or (hasKey ($nodes.selector.labels | default dict) .) (regexMatch (include "sublet.protectedName" $) .)) -}}
{{- $labels = append $labels . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $labels | toJson -}}
{{- end -}}

{{- /* An expression: an update keeps fields. A list of the name of the object above them and of their names. */ -}}
{{- define "sublet.sameFields" -}}
{{- $above := index . 0 -}}
{{- range $i, $field := index . 1 }}{{ if $i }} &&
{{ end }}(has(object.{{ $above }}.{{ $field }}) ? [object.{{ $above }}.{{ $field }}] : []) ==
(has(oldObject.{{ $above }}.{{ $field }}) ? [oldObject.{{ $above }}.{{ $field }}] : []){{ end }}
{{- end -}}

{{- /* An expression: an update keeps owners and finalizers. */ -}}
{{- define "sublet.sameOwners" -}}
(has(object.metadata.ownerReferences) ? object.metadata.ownerReferences : []) ==
(has(oldObject.metadata.ownerReferences) ? oldObject.metadata.ownerReferences : []) &&
(has(object.metadata.finalizers) ? object.metadata.finalizers : []) ==
(has(oldObject.metadata.finalizers) ? oldObject.metadata.finalizers : [])
{{- end -}}

{{- /* What keeps owners and finalizers of a cluster-scoped object. The garbage collector deletes one whose owner does not exist. */ -}}
{{- define "sublet.fenceOwners" -}}
- expression: >-
    {{- include "sublet.sameOwners" . | nindent 4 }}
  message: owners and finalizers are the host's
{{- end -}}
