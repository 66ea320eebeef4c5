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

{{- /* Rules of a NetworkPolicy: nameservers of networking.advanced.dns.forward on other ports than those of DNS. */ -}}
{{- define "sublet.forwardEgress" -}}
{{- $servers := list -}}
{{- range $_, $server := .Values.networking.advanced.dns.forward | default dict -}}
{{- $six := hasPrefix "[" $server -}}
{{- $port := regexFind "[0-9]+$" $server -}}
{{- if and (or $six (eq (len (splitList ":" $server)) 2)) (not (has (int $port) (list 53 5353))) -}}
{{- $address := regexReplaceAll ":[0-9]+$" $server "" | trimAll "[]" -}}
{{- $servers = append $servers (list (printf "%s/%d" $address (ternary 128 32 $six)) (int $port) | toJson) -}}
{{- end -}}
{{- end -}}
{{- range $servers | uniq }}
{{- $server := fromJsonArray . }}
# A nameserver of networking.advanced.dns.forward.
- to:
    - ipBlock:
        cidr: {{ index $server 0 | quote }}
  ports:
    - {port: {{ index $server 1 }}, protocol: UDP}
    - {port: {{ index $server 1 }}, protocol: TCP}
{{- end -}}
{{- end -}}
