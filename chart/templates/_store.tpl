{{- /* The volume with which the control plane connects to a store outside of it, empty if it needs none. The context is the settings of the store, or of the store to move from. */ -}}
{{- define "sublet.storeVolume" -}}
{{- $etcd := .etcd.external -}}
{{- $database := .database.external -}}
{{- if and $etcd.enabled $etcd.tls.secret }}
secret:
  secretName: {{ $etcd.tls.secret | quote }}
{{- else if and $database.enabled (or $database.dataSourceSecret.name $database.tlsSecret) }}
projected:
  sources:
    {{- with $database.tlsSecret }}
    - secret:
        name: {{ . | quote }}
    {{- end }}
    {{- if $database.dataSourceSecret.name }}
    - secret:
        name: {{ $database.dataSourceSecret.name | quote }}
        items:
          - key: {{ $database.dataSourceSecret.key | quote }}
            path: dataSource
    {{- end }}
{{- end -}}
{{- end -}}

{{- /* The ports of a store outside of the control plane, as a JSON list. The context is as above. */ -}}
{{- define "sublet.storePorts" -}}
{{- $ports := list -}}
{{- $etcd := .etcd.external -}}
{{- $database := .database.external -}}
{{- if $etcd.enabled -}}
{{- range splitList "," $etcd.endpoint -}}
{{- $ports = append $ports (regexFind "[0-9]+$" . | int) -}}
{{- end -}}
{{- else if and $database.enabled $database.port -}}
{{- $ports = list (int $database.port) -}}
{{- else if $database.enabled -}}
{{- /* The last port, as a password before the host may look like one. */ -}}
{{- $found := regexFindAll ":[0-9]+([)/?]|$)" $database.dataSource -1 | default list -}}
{{- if $found -}}
{{- $ports = list (last $found | regexFind "[0-9]+" | int) -}}
{{- else -}}
{{- if not (hasPrefix "postgres" $database.dataSource) -}}
{{- $ports = append $ports 3306 -}}
{{- end -}}
{{- if not (hasPrefix "mysql" $database.dataSource) -}}
{{- $ports = append $ports 5432 -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}
