{{- /* Not empty if clients outside of the host cluster reach the virtual API. */ -}}
{{- define "sublet.exposed" -}}
{{- with .Values.controlPlane -}}
{{- if or (ne .service.spec.type "ClusterIP") .ingress.enabled .tlsRoute.enabled }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{- /* The URL in exported kubeconfigs, empty for the Service in the host cluster. */ -}}
{{- define "sublet.exportedServer" -}}
{{- $plane := .Values.controlPlane -}}
{{- if .Values.exportKubeConfig.server }}{{ .Values.exportKubeConfig.server }}
{{- else if $plane.ingress.enabled }}https://{{ $plane.ingress.host }}
{{- else if $plane.tlsRoute.enabled }}https://{{ $plane.tlsRoute.host }}
{{- end -}}
{{- end -}}
