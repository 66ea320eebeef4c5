{{- /* The labels by which the Service and the Deployment find the DNS pods. They never change. */ -}}
{{- define "sublet.dnsSelector" -}}
app.kubernetes.io/name: sublet
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: dns
{{- end -}}

{{- /* Whether DNS runs in pods of its own. Empty means that the control plane answers. */ -}}
{{- define "sublet.dnsPods" -}}
{{ if gt (int .Values.controlPlane.coredns.replicas) 0 }}true{{ end }}
{{- end -}}

{{- /* A rule of a NetworkPolicy: DNS, from the tenant's pods. */ -}}
{{- define "sublet.dnsIngress" -}}
# DNS, from the tenant's pods.
- ports:
    - {port: 1053, protocol: UDP}
    - {port: 1053, protocol: TCP}
  from:
    - podSelector:
        matchLabels:
          sublet.dev/release: {{ .Release.Name | quote }}
    {{- range .Values.networking.advanced.dns.allowedCIDRs }}
    - ipBlock:
        cidr: {{ . }}
    {{- end }}
{{- end -}}
