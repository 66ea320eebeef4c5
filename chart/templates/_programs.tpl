{{- /*
A pod of a hook that runs the server's program once: a dict of root, name, component, hook,
restartPolicy and args. It may have labels, further annotations, seconds for its deadline, and
config, the name of a Secret with the configuration. It has the labels and annotations of the control
plane's pod, because the host may ask for them. Those that keep a mesh out are needed, or it would not end.
*/ -}}
{{- define "sublet.program" -}}
{{- $root := .root -}}
{{- $set := $root.Values.controlPlane.statefulSet -}}
{{- $hook := dict "helm.sh/hook" .hook "helm.sh/hook-delete-policy" "before-hook-creation,hook-succeeded" -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ $root.Release.Name }}-{{ .name }}
  namespace: {{ $root.Release.Namespace | quote }}
  {{- $annotations := merge $hook (.annotations | default dict) (deepCopy ($set.pods.annotations | default dict)) }}
  {{- $labels := merge (.labels | default dict) (deepCopy ($set.pods.labels | default dict)) }}
  {{- include "sublet.metadata" (dict "root" $root "component" .component "annotations" $annotations "labels" $labels) | nindent 2 }}
spec:
  restartPolicy: {{ .restartPolicy }}
  {{- with .seconds }}
  activeDeadlineSeconds: {{ . }}
  {{- end }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $set.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $set.scheduling.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  affinity:
    nodeAffinity:
      requiredDuringSchedulingIgnoredDuringExecution:
        nodeSelectorTerms:
          - matchExpressions:
              {{- include "sublet.realNodes" $root | nindent 14 }}
  {{- with $set.scheduling.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $set.scheduling.priorityClassName }}
  priorityClassName: {{ . | quote }}
  {{- end }}
  securityContext:
    {{- include "sublet.podSecurityContext" $root | nindent 4 }}
  containers:
    - name: {{ .name | quote }}
      image: {{ include "sublet.image" $root | quote }}
      imagePullPolicy: {{ $set.image.pullPolicy }}
      args:
        {{- toYaml .args | nindent 8 }}
      {{- if .config }}
      volumeMounts:
        - name: config
          mountPath: /etc/sublet
          readOnly: true
      {{- end }}
      {{- with $root.Values.controlPlane.advanced.hooks.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- include "sublet.containerSecurityContext" $root | nindent 8 }}
  {{- with .config }}
  volumes:
    - name: config
      secret:
        secretName: {{ . | quote }}
  {{- end }}
{{- end -}}

{{- /*
Whether the values have what only the server can compile. These are patches, selectors, rules of issuers
and of an audit log, and the configuration of a scheduler. Empty means no.
*/ -}}
{{- define "sublet.needsCheck" -}}
{{- $advanced := .Values.controlPlane.advanced -}}
{{- if or $advanced.authentication.jwt (and $advanced.virtualScheduler.enabled $advanced.virtualScheduler.config) -}}
true
{{- end -}}
{{- $rules := list (dict "level" "Metadata") -}}
{{- if and $advanced.audit.enabled (ne (toJson $advanced.audit.policy.rules) (toJson $rules)) -}}
true
{{- end -}}
{{- range $kinds := .Values.sync -}}
{{- range $name, $settings := $kinds -}}
{{- if eq $name "customResources" -}}
{{- range $custom := $settings -}}
{{- if or $custom.patches $custom.selector }}true{{ end -}}
{{- end -}}
{{- else if kindIs "map" $settings -}}
{{- /* The selector of nodes is a map of labels, whose form the schema knows. */ -}}
{{- if or $settings.patches (and $settings.selector (ne $name "nodes")) }}true{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
