{{- /* Permissions for custom resources of the tenant, in the namespace of the release. */ -}}
{{- define "sublet.customRules" -}}
{{- $produced := false -}}
{{- range $key, $settings := .Values.sync.toHost.customResources -}}
{{- if $settings.enabled -}}
{{- $parts := splitn "." 2 (first (splitList "/" $key)) }}
# {{ $key }}
- apiGroups: [{{ quote $parts._1 }}]
  resources: [{{ quote $parts._0 }}]
  verbs: ["create", "delete", "get", "list", "patch", "watch"]
{{- range $settings.references -}}
{{- if .produced }}{{ $produced = true }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $produced (not .Values.sync.toHost.secrets.enabled) }}
# Secrets that controllers of the host write
- apiGroups: [""]
  resources: ["secrets"]
  verbs: ["get", "list", "watch"]
{{- end -}}
{{- end -}}

{{- /* Permissions in the whole host: custom resources of the host without a namespace, and all definitions that are copied. */ -}}
{{- define "sublet.customClusterRules" -}}
{{- $definitions := list -}}
{{- range $key, $settings := .Values.sync.toHost.customResources -}}
{{- if $settings.enabled -}}{{- $definitions = append $definitions (first (splitList "/" $key)) -}}{{- end -}}
{{- end -}}
{{- range $key, $settings := .Values.sync.fromHost.customResources -}}
{{- if $settings.enabled -}}
{{- $definitions = append $definitions (first (splitList "/" $key)) -}}
{{- if eq ($settings.scope | default "Cluster") "Cluster" -}}
{{- $parts := splitn "." 2 (first (splitList "/" $key)) }}
# {{ $key }}
- apiGroups: [{{ quote $parts._1 }}]
  resources: [{{ quote $parts._0 }}]
  verbs: ["get", "list", "watch"]
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $definitions }}
# the definitions of custom resources
- apiGroups: ["apiextensions.k8s.io"]
  resources: ["customresourcedefinitions"]
  resourceNames: {{ $definitions | sortAlpha | toJson }}
  verbs: ["get", "list", "watch"]
{{- end -}}
{{- end -}}

{{- /* Not empty if a definition is on twice. */ -}}
{{- define "sublet.customTwice" -}}
{{- $seen := dict -}}
{{- range $entries := list .toHost.customResources .fromHost.customResources -}}
{{- range $key, $settings := $entries -}}
{{- if $settings.enabled -}}
{{- $definition := first (splitList "/" $key) -}}
{{- if hasKey $seen $definition }}yes{{ end -}}
{{- $_ := set $seen $definition true -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if a kind of snapshots of volumes is on as a custom resource. */ -}}
{{- define "sublet.customSnapshots" -}}
{{- range $entries := list .toHost.customResources .fromHost.customResources -}}
{{- range $key, $settings := $entries -}}
{{- if and $settings.enabled (hasSuffix ".snapshot.storage.k8s.io" (first (splitList "/" $key))) }}yes{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if a rule of a reference lacks a key. */ -}}
{{- define "sublet.customIncomplete" -}}
{{- range $key, $settings := . -}}
{{- range $settings.references -}}
{{- if or (not .path) (not .to) }}yes{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if a path begins with a field that Sublet itself writes. */ -}}
{{- define "sublet.customFields" -}}
{{- range $key, $settings := . -}}
{{- $paths := $settings.allowedFields | default list -}}
{{- range $settings.references }}{{ $paths = append $paths (.path | default "") }}{{ end -}}
{{- range $paths -}}
{{- if has (first (splitList "." .)) (list "apiVersion" "kind" "metadata" "status") }}yes{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if the kinds of a reference do not fit what it is to. */ -}}
{{- define "sublet.referenceKinds" -}}
{{- range $key, $settings := . -}}
{{- range $settings.references -}}
{{- $kinds := .kinds | default dict -}}
{{- if ne (eq (.to | default "") "object") (not (empty $kinds)) }}yes{{ end -}}
{{- if and .kind (not (hasKey $kinds .kind)) }}yes{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if a reference has names where none can pass. */ -}}
{{- define "sublet.referenceNames" -}}
{{- range $key, $settings := . -}}
{{- range $settings.references -}}
{{- if and .names (has (.to | default "") (list "secrets" "configmaps" "labels" "labelSelector" "image" "gracePeriod" "podMetadata" "empty" "none")) }}yes{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if a reference is to something produced that does not come back. */ -}}
{{- define "sublet.referenceProduced" -}}
{{- range $key, $settings := . -}}
{{- range $settings.references -}}
{{- if and .produced (ne (.to | default "") "secrets") }}yes{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if the metadata of pods may be missing in a schema. */ -}}
{{- define "sublet.referencePodMetadata" -}}
{{- range $key, $settings := . -}}
{{- range $settings.references -}}
{{- if and .optional (eq (.to | default "") "podMetadata") }}yes{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if a reference to classes of the host has no names. */ -}}
{{- define "sublet.referenceClasses" -}}
{{- range $key, $settings := . -}}
{{- range $settings.references -}}
{{- if and (not .names) (has (.to | default "") (list "ingressclasses" "priorityclasses" "runtimeclasses" "storageclasses")) }}yes{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if a kind of the host with a namespace has no mappings. */ -}}
{{- define "sublet.customUnmapped" -}}
{{- range $key, $settings := . -}}
{{- if and $settings.enabled (eq ($settings.scope | default "Cluster") "Namespaced") (not (dig "byName" dict ($settings.mappings | default dict))) }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if a kind of the host without a namespace has mappings. */ -}}
{{- define "sublet.customMapped" -}}
{{- range $key, $settings := . -}}
{{- if and $settings.enabled (eq ($settings.scope | default "Cluster") "Cluster") (dig "byName" dict ($settings.mappings | default dict)) }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{- /* Not empty if a mapping of a kind gives all objects of a namespace one name. */ -}}
{{- define "sublet.customMapsToOne" -}}
{{- range $key, $settings := . -}}
{{- if $settings.enabled }}{{ include "sublet.mapsToOne" (dig "byName" dict ($settings.mappings | default dict)) }}{{ end -}}
{{- end -}}
{{- end -}}
