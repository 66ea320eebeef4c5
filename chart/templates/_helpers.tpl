{{- /* The labels by which the Services and the StatefulSet find the pod. They never change. */ -}}
{{- define "sublet.selector" -}}
{{- include "sublet.selectorOf" (dict "root" . "component" "control-plane") -}}
{{- end -}}

{{- /* The same for one workload of the control plane: a dict of root and component. */ -}}
{{- define "sublet.selectorOf" -}}
app.kubernetes.io/name: sublet
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- /* A selector of all pods that run the server. */ -}}
{{- define "sublet.serverPods" -}}
{{- if .Values.controlPlane.advanced.split.enabled -}}
matchLabels:
  app.kubernetes.io/name: sublet
  app.kubernetes.io/instance: {{ .Release.Name | quote }}
matchExpressions:
  - {key: app.kubernetes.io/component, operator: In, values: [control-plane, controllers]}
{{- else -}}
matchLabels:
  {{- include "sublet.selector" . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- /* The number of replicas of the control plane, unless the load decides it. */ -}}
{{- define "sublet.replicas" -}}
{{- with .Values.controlPlane.statefulSet.highAvailability -}}
{{ ternary (int .replicas) 1 .enabled }}
{{- end -}}
{{- end -}}

{{- /* Whether there are several replicas, or may be. Empty means no. */ -}}
{{- define "sublet.hasReplicas" -}}
{{ if or .Values.controlPlane.statefulSet.autoscaling.enabled (gt (include "sublet.replicas" . | int) 1) }}true{{ end }}
{{- end -}}

{{- /*
The field replicas of the workload. If the load decides the number, an upgrade keeps it as it is.
Without the field, Kubernetes would reset it to 1 after a release that had it. An installation
starts with 1.
*/ -}}
{{- define "sublet.replicasField" -}}
{{- if .Values.controlPlane.statefulSet.autoscaling.enabled -}}
{{- $live := lookup "apps/v1" "StatefulSet" .Release.Namespace .Release.Name -}}
{{- if $live -}}
{{ int $live.spec.replicas }}
{{- end -}}
{{- else -}}
{{ include "sublet.replicas" . }}
{{- end -}}
{{- end -}}

{{- /* Whether the replicas are members of an embedded etcd. Empty means no. */ -}}
{{- define "sublet.hasMembers" -}}
{{- $store := .Values.controlPlane.backingStore -}}
{{- $others := list (dig "etcd" "external" "enabled" false $store) (dig "database" "embedded" "enabled" false $store) (dig "database" "external" "enabled" false $store) -}}
{{- if not (has true $others) -}}true{{- end -}}
{{- end -}}

{{- /*
The pods behind the Services. Without replicas, it is the first pod, ready or not: another pod would
have a store of its own. With several replicas, it is each ready pod.
*/ -}}
{{- define "sublet.serving" -}}
{{- if not (include "sublet.hasReplicas" .) -}}
publishNotReadyAddresses: true
{{ end -}}
selector:
  {{- include "sublet.selector" . | nindent 2 }}
  {{- if not (include "sublet.hasReplicas" .) }}
  statefulset.kubernetes.io/pod-name: {{ .Release.Name }}-0
  {{- end }}
{{- end -}}

{{- /* The recommended labels of Kubernetes, without the component. */ -}}
{{- define "sublet.labels" -}}
app.kubernetes.io/name: sublet
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: sublet
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /*
Metadata that users may add to: a dict of root, component, labels and
annotations. The labels of the chart win over those of users.
*/ -}}
{{- define "sublet.metadata" -}}
{{- $own := fromYaml (include "sublet.labels" .root) -}}
{{- with .component }}{{ $_ := set $own "app.kubernetes.io/component" . }}{{ end -}}
labels:
  {{- merge $own (deepCopy (.labels | default dict)) | toYaml | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "sublet.image" -}}
{{- with .Values.controlPlane.statefulSet.image -}}
{{ .registry }}/{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* The names of the control plane's image in CEL, as runtimes complete them. */ -}}
{{- define "sublet.imageNames" -}}
{{- with .Values.controlPlane.statefulSet.image -}}
{{- $names := list (printf "%s/%s" .registry .repository) -}}
{{- if has .registry (list "docker.io" "index.docker.io") -}}
{{- $short := trimPrefix "library/" .repository -}}
{{- $names = list -}}
{{- range $registry := list "" "docker.io/" "index.docker.io/" -}}
{{- $names = append (append $names (print $registry $short)) (print $registry "library/" $short) -}}
{{- end -}}
{{- end -}}
{{ include "sublet.celList" $names }}
{{- end -}}
{{- end -}}

{{- /*
The values that the server reads: all except for the key of Helm. Helm takes an entry out of
a map that somebody sets to null. The server gets the null back, or it would use its default.
*/ -}}
{{- define "sublet.config" -}}
{{- $values := deepCopy (omit .Values "global") -}}
{{- range $path, $keys := fromJson (include "sublet.mapDefaults" .) -}}
{{- $node := $values -}}
{{- range $key := splitList "." $path -}}
{{- if not (hasKey $node $key) }}{{ $_ := set $node $key dict }}{{ end -}}
{{- $node = get $node $key -}}
{{- end -}}
{{- range $key := $keys -}}
{{- if not (hasKey $node $key) }}{{ $_ := set $node $key nil }}{{ end -}}
{{- end -}}
{{- end -}}
{{- toYaml $values -}}
{{- end -}}

{{- /*
The values whose change restarts the replicas. The server reads the number of replicas from the
StatefulSet: a restart of one while others leave would cost the store its majority.
*/ -}}
{{- define "sublet.rolledConfig" -}}
{{- $values := deepCopy (omit .Values "global") -}}
{{- $_ := unset $values.controlPlane.statefulSet.highAvailability "replicas" -}}
{{- $_ := unset $values.controlPlane.statefulSet.highAvailability "enabled" -}}
{{- $_ := unset $values.controlPlane.backingStore.etcd.embedded "forceNewCluster" -}}
{{- /* Replicas read it from the file when it changes. */ -}}
{{- $_ := unset $values.controlPlane.advanced "authentication" -}}
{{- $_ := unset $values.controlPlane.advanced.split "replicas" -}}
{{- /* A HorizontalPodAutoscaler concerns the host alone. */ -}}
{{- if not $values.controlPlane.statefulSet.autoscaling.targetRequestsPerSecond -}}
{{- $_ := unset $values.controlPlane.statefulSet "autoscaling" -}}
{{- end -}}
{{- include "sublet.config" (dict "Values" $values) -}}
{{- end -}}

{{- /* Not empty if one of items has one of names: a dict of items and names. */ -}}
{{- define "sublet.namesOneOf" -}}
{{- $names := .names -}}
{{- range .items -}}
{{- if has .name $names }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{- /* Containers of the settings, with the security context of the control plane: a dict of root and containers. */ -}}
{{- define "sublet.furtherContainers" -}}
{{- $context := dict "securityContext" (include "sublet.containerSecurityContext" .root | fromYaml) -}}
{{- $containers := list -}}
{{- range .containers -}}
{{- $containers = append $containers (merge (deepCopy .) (ternary (dict) $context (hasKey . "securityContext"))) -}}
{{- end -}}
{{- with $containers }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- /* The names of the items of a list, for messages that must not repeat values. */ -}}
{{- define "sublet.namesOf" -}}
{{- $names := list -}}
{{- range . -}}
{{- $names = append $names (.name | default (dig "release" "name" "" .)) -}}
{{- end -}}
{{- $names | toJson -}}
{{- end -}}

{{- /* Not empty if a further container has no image, or no name of its own. */ -}}
{{- define "sublet.badContainers" -}}
{{- $seen := list "sublet" "" -}}
{{- range . -}}
{{- $name := .name | default "" -}}
{{- if or (has $name $seen) (not .image) }}yes{{ end -}}
{{- $seen = append $seen $name -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if a mapping gives all objects of a namespace one name. */ -}}
{{- define "sublet.mapsToOne" -}}
{{- range $from, $to := . -}}
{{- if and (hasSuffix "/*" $from) (not (hasSuffix "/*" (toString $to))) }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if a rule of networking.resolveDNS has not one name and one answer. */ -}}
{{- define "sublet.badDNSRules" -}}
{{- range . -}}
{{- $target := .target | default dict -}}
{{- $names := compact (list (.hostname | default "") (.service | default "")) -}}
{{- $answers := compact (list ($target.hostname | default "") ($target.ip | default "") ($target.vClusterService | default "")) -}}
{{- if or (ne (len $names) 1) (ne (len $answers) 1) }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if two entries of replicated Services have the same from, or the same to. */ -}}
{{- define "sublet.repeats" -}}
{{- $from := list -}}
{{- $to := list -}}
{{- range . -}}
{{- $from = append $from .from -}}
{{- $to = append $to .to -}}
{{- end -}}
{{- if or (lt (len (uniq $from)) (len $from)) (lt (len (uniq $to)) (len $to)) }}yes{{ end -}}
{{- end -}}

{{- /* Keeps out nodes that run no containers: simulated ones, and those of a virtual-kubelet. */ -}}
{{- define "sublet.realNodes" -}}
- key: kwok.x-k8s.io/node
  operator: DoesNotExist
- key: type
  operator: NotIn
  values: [kwok, virtual-kubelet]
{{- end -}}

{{- /*
The affinity of users, with the expressions above in every required node term. Terms are
alternatives, so each must keep those nodes out. Replicas prefer different nodes, unless users have
set an anti-affinity. The context is a dict of root and component.
*/ -}}
{{- define "sublet.affinity" -}}
{{- $affinity := deepCopy (.root.Values.controlPlane.statefulSet.scheduling.affinity | default dict) -}}
{{- $node := $affinity.nodeAffinity | default dict -}}
{{- $required := $node.requiredDuringSchedulingIgnoredDuringExecution | default dict -}}
{{- $terms := list -}}
{{- range $term := $required.nodeSelectorTerms | default (list dict) -}}
{{- $expressions := concat ($term.matchExpressions | default list) (fromYamlArray (include "sublet.realNodes" $)) -}}
{{- $terms = append $terms (set $term "matchExpressions" $expressions) -}}
{{- end -}}
{{- $_ := set $node "requiredDuringSchedulingIgnoredDuringExecution" (set $required "nodeSelectorTerms" $terms) -}}
{{- if not $affinity.podAntiAffinity -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" (fromYaml (include "sublet.selectorOf" .))) -}}
{{- $preferred := list (dict "weight" 100 "podAffinityTerm" $term) -}}
{{- $_ := set $affinity "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" $preferred) -}}
{{- end -}}
{{- set $affinity "nodeAffinity" $node | toYaml -}}
{{- end -}}

{{- /* The security contexts. Their defaults fit a namespace that enforces "restricted". */ -}}
{{- define "sublet.containerSecurityContext" -}}
{{- toYaml .Values.controlPlane.statefulSet.security.containerSecurityContext -}}
{{- end -}}

{{- define "sublet.podSecurityContext" -}}
{{- toYaml .Values.controlPlane.statefulSet.security.podSecurityContext -}}
{{- end -}}

{{- /* A probe of the operator port, which needs no TLS handshake: a dict of path and probe. */ -}}
{{- define "sublet.probe" -}}
httpGet:
  path: {{ .path }}
  port: operator
  scheme: HTTP
periodSeconds: {{ .probe.periodSeconds }}
timeoutSeconds: {{ .probe.timeoutSeconds }}
failureThreshold: {{ .probe.failureThreshold }}
{{- end -}}

{{- /*
Refuses values that the schema cannot refuse, all at once. It also refuses a release name that is no name
of a Service. One is too long if no label can have it with what a StatefulSet adds. Every template calls it, as any
may be the first. The values are those of all templates, so the later calls find the mark of these very values.
*/ -}}
{{- define "sublet.validate" -}}
{{- if ne (dig "validated" "" (.Values.global | default dict)) (include "sublet.digest" .) -}}
{{- include "sublet.validateOnce" . -}}
{{- $_ := set .Values "global" (merge (dict "validated" (include "sublet.digest" .)) (.Values.global | default dict)) -}}
{{- end -}}
{{- end -}}

{{- /* Which Services of the tenant would have the names of the release's own. */ -}}
{{- define "sublet.ownServices" -}}
{{- $problems := list -}}
{{- range .Values.networking.replicateServices.toHost -}}
{{- if regexMatch (printf "^%s(-dns|-operator|-controllers|-peer-[0-9]+)?$" $.Release.Name) .to -}}
{{- $problems = append $problems (printf "networking.replicateServices.toHost: Invalid value: %s: is the name of a Service of the release; choose another one" (toJson .to)) -}}
{{- end -}}
{{- end -}}
{{- join "\n" $problems -}}
{{- end -}}

{{- define "sublet.digest" -}}
{{- omit .Values "global" | toJson | sha256sum -}}
{{- end -}}

{{- define "sublet.validateOnce" -}}
{{- if or (gt (len .Release.Name) 52) (not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" .Release.Name)) -}}
{{- fail (printf "the name of the release is %q: it must be at most 52 lower case letters, digits and -, beginning with a letter, such as shop" .Release.Name) -}}
{{- end -}}
{{- $problems := include "sublet.missing" . -}}
{{- $way := "" -}}
{{- if and $problems .Release.IsUpgrade -}}
{{- $way = "\nWith --reuse-values, Helm leaves out the settings that an earlier chart did not have. Use --reset-then-reuse-values instead" -}}
{{- end -}}
{{- if not $problems -}}
{{- include "sublet.addPresets" . -}}
{{- $problems = list (include "sublet.combinations" .) (include "sublet.patches" .) (include "sublet.ranges" .) (include "sublet.ownServices" .) | compact | join "\n" -}}
{{- if and .Values.controlPlane.advanced.split.enabled (gt (len .Release.Name) 40) -}}
{{- fail (printf "the name of the release is %q: with controlPlane.advanced.split.enabled it must have at most 40 characters" .Release.Name) -}}
{{- end -}}
{{- end -}}
{{- with $problems -}}
{{- $count := splitList "\n" . | len -}}
{{- fail (printf "%d %s in the values:\n  %s%s" $count (ternary "problem" "problems" (eq $count 1)) (replace "\n" "\n  " .) $way) -}}
{{- end -}}
{{- end -}}
