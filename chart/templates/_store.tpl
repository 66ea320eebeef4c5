{{- /* The Secret with which the control plane connects to a store outside of it, empty if there is none. */ -}}
{{- define "sublet.storeSecret" -}}
{{- $etcd := .Values.controlPlane.backingStore.etcd.external -}}
{{- if $etcd.enabled }}{{ $etcd.tls.secret }}{{ end -}}
{{- end -}}

{{- /* The ports of a store outside of the control plane, as a JSON list. */ -}}
{{- define "sublet.storePorts" -}}
{{- $ports := list -}}
{{- $etcd := .Values.controlPlane.backingStore.etcd.external -}}
{{- if $etcd.enabled -}}
{{- range splitList "," $etcd.endpoint -}}
{{- $ports = append $ports (regexFind "[0-9]+$" . | int) -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}
