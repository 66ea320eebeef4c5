{{- /*
Refuses an upgrade that leaves one of several members of the embedded etcd, and restarts that one. The
StatefulSet does both at once. If it comes back later than the others have left, two members are needed
and only one is there. status.replicas has pods that still leave. Without the StatefulSet, which is deleted to
enlarge the claims, the pod of the second member counts.
*/ -}}
{{- define "sublet.keepMajority" -}}
{{- $live := lookup "apps/v1" "StatefulSet" .Release.Namespace .Release.Name -}}
{{- if and .Release.IsUpgrade (include "sublet.hasMembers" .) (eq (include "sublet.replicas" . | trim) "1") -}}
{{- if $live -}}
{{- $before := max (dig "spec" "replicas" 1 $live | int) (dig "status" "replicas" 0 $live | int) -}}
{{- $template := $live.spec.template -}}
{{- $image := (first $template.spec.containers).image -}}
{{- $chart := dig "metadata" "labels" "helm.sh/chart" "" $template -}}
{{- $checksum := dig "metadata" "annotations" "checksum/config" "" $template -}}
{{- $isSame := and (eq $image (include "sublet.image" .)) (eq $chart (get (include "sublet.labels" . | fromYaml) "helm.sh/chart")) (eq $checksum (include "sublet.rolledConfig" . | sha256sum)) -}}
{{- if and (gt $before 1) (not $isSame) -}}
{{- $detail := printf "the release has %d replicas, and this upgrade would restart the one that stays while the others leave, which can cost the store its majority" $before -}}
{{- $way := printf "set %d, or first run kubectl -n %s scale statefulset %s --replicas=1 and wait until one pod is left" $before .Release.Namespace .Release.Name -}}
{{- fail (printf "1 problem in the values:\n  controlPlane.statefulSet.highAvailability.replicas: Invalid value: 1: %s; %s" $detail $way) -}}
{{- end -}}
{{- else if lookup "v1" "Pod" .Release.Namespace (printf "%s-1" .Release.Name) -}}
{{- $detail := printf "pod %s-1 runs, and this upgrade would restart the one that stays while the others leave, which can cost the store its majority" .Release.Name -}}
{{- fail (printf "1 problem in the values:\n  controlPlane.statefulSet.highAvailability.replicas: Invalid value: 1: %s; set the number of pods that run" $detail) -}}
{{- end -}}
{{- end -}}
{{- end -}}
