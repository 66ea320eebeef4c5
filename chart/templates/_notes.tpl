{{- /* The settings that let a tenant do more on the host than the defaults do, a line each. */ -}}
{{- define "sublet.weakened" -}}
{{- $policies := .Values.policies -}}
{{- $standard := $policies.podSecurityStandard -}}
{{- $pods := $policies.pods -}}
{{- if eq $standard "privileged" }}
- policies.podSecurityStandard is privileged: a pod can become root on its node.
{{- end }}
{{- range $pods.volumeTypes }}
{{- if has . (list "hostPath" "nfs" "iscsi" "rbd" "cephfs" "fc" "flexVolume") }}
- policies.pods.volumeTypes has {{ . }}: a pod reaches storage of the host without a claim.
{{- end }}
{{- end }}
{{- with $pods.csiDrivers }}
- policies.pods.csiDrivers has {{ join ", " . }}: their volumes may name objects of the host.
{{- end }}
{{- with $pods.hostPorts }}
- policies.pods.hostPorts has {{ join ", " . }}: a pod can take these ports of its node.
{{- end }}
{{- if has "*" $pods.tolerations }}
- policies.pods.tolerations has *: pods run on nodes that are cordoned, or kept for a control plane or for others.
{{- end }}
{{- if not .Values.sync.fromHost.nodes.hideControlPlane }}
- sync.fromHost.nodes.hideControlPlane is false: the tenant sees nodes of the host's control plane.
{{- end }}
{{- if not $policies.networkPolicy.enabled }}
- policies.networkPolicy.enabled is false: pods reach other tenants, nodes and the API of the host.
{{- end }}
{{- end -}}
