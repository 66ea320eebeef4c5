{{- /* The Secret of the store to move from, empty if there is none. */ -}}
{{- define "sublet.moveSecret" -}}
{{- $etcd := .Values.controlPlane.backingStore.moveFrom.etcd.external -}}
{{- if $etcd.enabled }}{{ $etcd.tls.secret }}{{ end -}}
{{- end -}}

{{- /* The ports of the store to move from, as a JSON list. */ -}}
{{- define "sublet.movePorts" -}}
{{- $ports := list -}}
{{- $etcd := .Values.controlPlane.backingStore.moveFrom.etcd.external -}}
{{- if $etcd.enabled -}}
{{- range splitList "," $etcd.endpoint -}}
{{- $ports = append $ports (regexFind "[0-9]+$" . | int) -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}
