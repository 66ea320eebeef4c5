{{- /*
Refuses an upgrade that changes the claims of the control plane. The host would refuse the StatefulSet
alone, after all else has changed. Sizes are compared as numbers: the host writes 5120Mi as 5Gi.
*/ -}}
{{- define "sublet.keepClaims" -}}
{{- $live := lookup "apps/v1" "StatefulSet" .Release.Namespace .Release.Name -}}
{{- if and .Release.IsUpgrade $live -}}
{{- $claim := .Values.controlPlane.statefulSet.persistence.volumeClaim -}}
{{- $current := dict "enabled" false -}}
{{- range (dig "spec" "volumeClaimTemplates" list $live) -}}
{{- $size := dig "spec" "resources" "requests" "storage" "0" . -}}
{{- $current = dict "enabled" true "size" $size "storageClass" (dig "spec" "storageClassName" "" .) "accessModes" (dig "spec" "accessModes" list .) -}}
{{- end -}}
{{- $problems := list -}}
{{- if ne $claim.enabled $current.enabled -}}
{{- $problems = append $problems (printf "enabled: Invalid value: %t: the release has %t" $claim.enabled $current.enabled) -}}
{{- else if $claim.enabled -}}
{{- if ne (include "sublet.quantity" $claim.size) (include "sublet.quantity" $current.size) -}}
{{- $problems = append $problems (printf "size: Invalid value: %q: the release has %s" (toString $claim.size) $current.size) -}}
{{- end -}}
{{- if ne $claim.storageClass $current.storageClass -}}
{{- $problems = append $problems (printf "storageClass: Invalid value: %q: the release has %q" $claim.storageClass $current.storageClass) -}}
{{- end -}}
{{- if ne (toJson $claim.accessModes) (toJson $current.accessModes) -}}
{{- $problems = append $problems (printf "accessModes: Invalid value: %s: the release has %s" (toJson $claim.accessModes) (toJson $current.accessModes)) -}}
{{- end -}}
{{- end -}}
{{- with $problems -}}
{{- $way := printf "An upgrade cannot change claims. Set it back, or see docs/how-to/scale.md#a-larger-volume: it ends with kubectl -n %s delete statefulset %s --cascade=orphan, before the upgrade" $.Release.Namespace $.Release.Name -}}
{{- fail (printf "%d %s in the values:\n  controlPlane.statefulSet.persistence.volumeClaim.%s\n%s" (len .) (ternary "problem" "problems" (eq (len .) 1)) (join "\n  controlPlane.statefulSet.persistence.volumeClaim." .) $way) -}}
{{- end -}}
{{- end -}}
{{- end -}}
