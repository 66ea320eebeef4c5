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

{{- /*
Refuses a change of the claim of backups that the host would refuse in the middle of an upgrade. A claim that an earlier
release has left counts too. Without a class in the values, it has the default class or a former one. A claim without
any class may get one. Since 1.32, hosts allow to lower a size to which a claim has not grown yet.
*/ -}}
{{- define "sublet.keepBackupClaim" -}}
{{- $live := lookup "v1" "PersistentVolumeClaim" .Release.Namespace (printf "%s-backup" .Release.Name) -}}
{{- if $live -}}
{{- $claim := .Values.controlPlane.backingStore.backup.volumeClaim -}}
{{- $problems := list -}}
{{- $size := dig "spec" "resources" "requests" "storage" "0" $live -}}
{{- $wanted := include "sublet.quantity" $claim.size | float64 -}}
{{- $present := include "sublet.quantity" $size | float64 -}}
{{- $isBound := eq (dig "status" "phase" "" $live) "Bound" -}}
{{- $capacity := include "sublet.quantity" (dig "status" "capacity" "storage" $size $live) | float64 -}}
{{- $recovers := and $isBound (gt $wanted $capacity) (semverCompare ">=1.32-0" $.Capabilities.KubeVersion.Version) -}}
{{- if and (gt $wanted $present) (not $isBound) -}}
{{- $problems = append $problems (printf "size: Invalid value: %q: the claim has %s, and cannot grow before it is bound" (toString $claim.size) $size) -}}
{{- else if and (lt $wanted $present) (not $recovers) -}}
{{- $problems = append $problems (printf "size: Invalid value: %q: the claim has %s, and cannot shrink" (toString $claim.size) $size) -}}
{{- end -}}
{{- $class := dig "spec" "storageClassName" "" $live -}}
{{- if and $claim.storageClass (hasKey $live.spec "storageClassName") (ne $claim.storageClass $class) -}}
{{- $problems = append $problems (printf "storageClass: Invalid value: %q: the claim has %q" $claim.storageClass $class) -}}
{{- end -}}
{{- $modes := dig "spec" "accessModes" list $live -}}
{{- if ne (toJson $claim.accessModes) (toJson $modes) -}}
{{- $problems = append $problems (printf "accessModes: Invalid value: %s: the claim has %s" (toJson $claim.accessModes) (toJson $modes)) -}}
{{- end -}}
{{- with $problems -}}
{{- $way := printf "The host cannot change this claim. Set it back. Or copy the backups, and delete the claim and the pods that use it: kubectl -n %s delete pvc %s-backup" $.Release.Namespace $.Release.Name -}}
{{- fail (printf "%d %s in the values:\n  controlPlane.backingStore.backup.volumeClaim.%s\n%s" (len .) (ternary "problem" "problems" (eq (len .) 1)) (join "\n  controlPlane.backingStore.backup.volumeClaim." .) $way) -}}
{{- end -}}
{{- end -}}
{{- end -}}
