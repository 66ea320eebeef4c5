package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// conditions returns for each combination of the configuration, the template condition under
// which values break it. $v are the values.
func conditions() map[string]string {
	const (
		backup   = "$v.controlPlane.backingStore.backup"
		claim    = "$v.controlPlane.statefulSet.persistence.volumeClaim"
		nodes    = "$v.sync.fromHost.nodes"
		toHost   = "$v.sync.toHost"
		replicas = "$v.controlPlane.statefulSet.highAvailability"
	)
	all := map[string]string{
		"nodes-all-and-labels":            "and " + nodes + ".enabled " + nodes + ".selector.all " + nodes + ".selector.labels",
		"nodes-off-and-labels":            "and (not " + nodes + ".enabled) " + nodes + ".selector.labels",
		"nodes-off-and-sync-back":         "and (not " + nodes + ".enabled) " + nodes + ".syncBackChanges",
		"sync-back-without-fields":        "and " + nodes + ".syncBackChanges (not " + nodes + ".syncBackFields)",
		"sync-back-without-labels":        "and " + nodes + ".syncBackChanges (has \"labels\" " + nodes + ".syncBackFields) (not " + nodes + ".syncBackLabels)",
		"sync-back-shared":                "and " + nodes + ".enabled " + nodes + ".syncBackChanges (not " + nodes + ".selector.labels) (not " + nodes + ".syncBackSharedNodes)",
		"endpointslices-without-services": "and " + toHost + ".endpointSlices.enabled (not " + toHost + ".services.enabled)",
		"node-selector-and-nodes": "and " + toHost + ".pods.nodeSelector " + nodes + ".enabled " +
			"(or " + nodes + ".selector.all " + nodes + ".selector.labels)",
		"configmaps-off-and-all": "and " + toHost + ".configMaps.all (not " + toHost + ".configMaps.enabled)",
		"secrets-off-and-all":    "and " + toHost + ".secrets.all (not " + toHost + ".secrets.enabled)",
		"scheduler-without-nodes": "and $v.controlPlane.advanced.virtualScheduler.enabled (or (not " + nodes + ".enabled) " +
			"(and (not " + nodes + ".selector.all) (not " + nodes + ".selector.labels)))",
		"class-without-claim": "and (not " + claim + ".enabled) " + claim + ".storageClass",
		"no-size":             `le (include "sublet.quantity" ` + claim + ".size | float64) 0.0",
		"backup-of-replicas": "and " + backup + ".enabled " + severalBackupReplicas() + " " +
			"(not (has \"ReadWriteMany\" " + backup + ".volumeClaim.accessModes))",
		"restore-without-backup": "and (not " + backup + ".enabled) " + backup + ".restoreFrom",
		"restore-of-replicas":    "and " + backup + ".restoreFrom " + severalReplicas(),
		"no-backup-size":         `le (include "sublet.quantity" ` + backup + ".volumeClaim.size | float64) 0.0",
		"no-backup-access-mode":  "not " + backup + ".volumeClaim.accessModes",
		"metrics-of-nothing": "and $v.integrations.metricsServer.enabled (not $v.integrations.metricsServer.pods) " +
			"(not $v.integrations.metricsServer.nodes)",
		"no-access-mode":            "not " + claim + ".accessModes",
		"replicas-of-embedded-etcd": "and " + replicas + ".enabled (not (has (int " + replicas + ".replicas) (list 1 3 5))) " + usesEmbeddedEtcd(),
		"lease-under-deadline":      "le (int " + replicas + ".leaseDuration) (int " + replicas + ".renewDeadline)",
		"deadline-under-retry":      "le (mul 10 (int " + replicas + ".renewDeadline)) (mul 12 (int " + replicas + ".retryPeriod))",
	}
	for _, more := range []map[string]string{
		kindConditions(), storeConditions(), moveConditions(), autoscalingConditions(), accessConditions(),
		customResourceConditions(), networkingConditions(), splitConditions(), scheduleConditions(), resourceConditions(), quotaConditions(), limitRangeConditions(),
	} {
		maps.Copy(all, more)
	}
	return all
}

// kindConditions returns the conditions of kinds that need other kinds.
func kindConditions() map[string]string {
	const toHost = "$v.sync.toHost"
	return map[string]string{
		"snapshots-without-classes":     "and " + toHost + ".volumeSnapshots.enabled (not $v.sync.fromHost.volumeSnapshotClasses.enabled)",
		"snapshots-without-claims":      "and " + toHost + ".volumeSnapshots.enabled (not " + toHost + ".persistentVolumeClaims.enabled)",
		"claims-without-device-classes": "and " + toHost + ".resourceClaims.enabled (not $v.sync.fromHost.deviceClasses.enabled)",
		"claims-without-slices": "and " + toHost + ".resourceClaims.enabled $v.controlPlane.advanced.virtualScheduler.enabled " +
			"(not $v.sync.fromHost.resourceSlices.enabled)",
		"volumes-without-claims": "and " + toHost + ".persistentVolumes.enabled (not " + toHost + ".persistentVolumeClaims.enabled)",
	}
}

// networkingConditions returns the conditions of the settings of names and Services.
func networkingConditions() map[string]string {
	return map[string]string{
		"dns-rule-incomplete":                 `include "sublet.badDNSRules" $v.networking.resolveDNS`,
		"replicas-to-host-repeat":             `include "sublet.repeats" $v.networking.replicateServices.toHost`,
		"replicas-from-host-repeat":           `include "sublet.repeats" $v.networking.replicateServices.fromHost`,
		"replicas-from-host-without-services": "and $v.networking.replicateServices.fromHost (not $v.sync.toHost.services.enabled)",
		"replicas-without-services":           "and $v.networking.replicateServices.toHost (not $v.sync.toHost.services.enabled)",
		"public-egress-to-nothing":            `include "sublet.closesAll" $v.policies.networkPolicy.workload.publicEgress`,
	}
}

// customResourceConditions returns the conditions of mappings, and of kinds of custom resources.
func customResourceConditions() map[string]string {
	return map[string]string{
		"configmaps-mapped-to-one":          `include "sublet.mapsToOne" $v.sync.fromHost.configMaps.mappings.byName`,
		"secrets-mapped-to-one":             `include "sublet.mapsToOne" $v.sync.fromHost.secrets.mappings.byName`,
		"custom-resource-twice":             `include "sublet.customTwice" $v.sync`,
		"custom-resource-incomplete":        `include "sublet.customIncomplete" $v.sync.toHost.customResources`,
		"custom-resource-field":             `include "sublet.customFields" $v.sync.toHost.customResources`,
		"reference-kinds":                   `include "sublet.referenceKinds" $v.sync.toHost.customResources`,
		"reference-produced":                `include "sublet.referenceProduced" $v.sync.toHost.customResources`,
		"reference-names":                   `include "sublet.referenceNames" $v.sync.toHost.customResources`,
		"reference-pod-metadata-optional":   `include "sublet.referencePodMetadata" $v.sync.toHost.customResources`,
		"reference-class-without-names":     `include "sublet.referenceClasses" $v.sync.toHost.customResources`,
		"custom-resource-without-mappings":  `include "sublet.customUnmapped" $v.sync.fromHost.customResources`,
		"custom-resource-without-namespace": `include "sublet.customMapped" $v.sync.fromHost.customResources`,
		"snapshots-as-custom-resources": "and (or $v.sync.toHost.volumeSnapshots.enabled $v.sync.fromHost.volumeSnapshotClasses.enabled) " +
			`(include "sublet.customSnapshots" $v.sync)`,
		"custom-resources-mapped-to-one": `include "sublet.customMapsToOne" $v.sync.fromHost.customResources`,
	}
}

// validationHead begins chart/templates/_validate.tpl.
const validationHead = `{{- /* %s */ -}}

{{- /* What a quantity such as 500m or 5Gi is as a number. */ -}}
{{- define "sublet.quantity" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9.]+" $text | float64 -}}
{{- $suffix := regexReplaceAll "^[0-9.]+" $text "" -}}
{{- $units := dict "" 1 "n" 1e-9 "u" 1e-6 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 -}}
{{- $units = merge $units (dict "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 "Ei" 1152921504606846976) -}}
{{- if hasKey $units $suffix -}}
{{- printf "%%.3f" (mulf $number (get $units $suffix)) -}}
{{- else -}}
{{- printf "%%.3f" (float64 $text) -}}
{{- end -}}
{{- end -}}

{{- /* What is missing: Helm takes a key out of the values that somebody sets to null. */ -}}
{{- define "sublet.missing" -}}
{{- $missing := list -}}
{{- range $path := list
%s-}}
{{- $node := $.Values -}}
{{- $walked := list -}}
{{- range $key := splitList "." $path -}}
{{- if kindIs "map" $node -}}
{{- $walked = append $walked $key -}}
{{- $node = ternary (get $node $key) nil (hasKey $node $key) -}}
{{- end -}}
{{- end -}}
{{- if kindIs "invalid" $node -}}
{{- $missing = append $missing (printf "%%s: Invalid value: null: must not be null; leave the line out to get the default" (join "." $walked)) -}}
{{- end -}}
{{- end -}}
{{- join "\n" ($missing | uniq) -}}
{{- end -}}
`

// validationTemplate returns chart/templates/_validate.tpl.
func validationTemplate(settings []setting) ([]byte, error) {
	var paths strings.Builder
	for _, path := range required(settings) {
		fmt.Fprintf(&paths, "    %q\n", path)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, validationHead, generated, paths.String())
	out.WriteString(expressionsTemplate)
	out.WriteString(backwardsTemplate)
	out.WriteString("\n{{- /* What settings that are good each for themselves get wrong together. */ -}}\n")
	out.WriteString("{{- define \"sublet.combinations\" -}}\n{{- $v := .Values -}}\n{{- $problems := list -}}\n")
	known := conditions()
	for _, combination := range v1alpha1.Combinations() {
		condition, found := known[combination.Name]
		if !found {
			return nil, fmt.Errorf("combination %s has no condition for the chart", combination.Name)
		}
		delete(known, combination.Name)
		fmt.Fprintf(&out, "{{- if %s -}}\n", condition)
		fmt.Fprintf(&out, "{{- $problems = append $problems (printf \"%s: Invalid value: %%s: %s\" (%s)) -}}\n{{- end -}}\n",
			combination.Path, combination.Detail, shownValue(combination.Path))
	}
	for name := range known {
		return nil, fmt.Errorf("the chart has a condition for %s, which is no combination", name)
	}
	out.WriteString("{{- join \"\\n\" $problems -}}\n{{- end -}}\n")
	addresses, err := addressFormats()
	if err != nil {
		return nil, err
	}
	out.WriteString("\n{{- /* The settings that have IPs, by the form of their values. */ -}}\n")
	fmt.Fprintf(&out, "{{- define \"sublet.addressFormats\" -}}\n%s\n{{- end -}}\n", addresses)
	entries, err := json.Marshal(mapDefaults(settings))
	if err != nil {
		return nil, fmt.Errorf("cannot encode the defaults of maps: %w", err)
	}
	out.WriteString("\n{{- /* The entries that maps have by default. */ -}}\n")
	fmt.Fprintf(&out, "{{- define \"sublet.mapDefaults\" -}}\n%s\n{{- end -}}\n", entries)
	return out.Bytes(), nil
}

// mapDefaults returns the keys of each map that is not empty by default, by its path.
func mapDefaults(settings []setting) map[string][]string {
	all := map[string][]string{}
	for _, s := range settings {
		if below, isMap := s.fallback.(map[string]any); isMap && len(below) > 0 {
			all[strings.Join(s.path, ".")] = slices.Sorted(maps.Keys(below))
		}
		maps.Copy(all, mapDefaults(s.children))
	}
	return all
}

// access returns the template expression that reads a path from the values.
func access(path string) string {
	above, last := path[:strings.LastIndex(path, ".")], path[strings.LastIndex(path, ".")+1:]
	return fmt.Sprintf("get $v.%s %q", above, last)
}

// shownValue returns the template expression of what a message shows of a path.
func shownValue(path string) string {
	if v1alpha1.HidesValue(path) {
		return fmt.Sprintf(`include "sublet.namesOf" (%s)`, access(path))
	}
	return access(path) + " | toJson"
}

// required returns the paths that must not be missing: all but maps, and lists without a default, which are empty
// then. Helm removes a key that somebody sets to null. The server would use the default of a list.
func required(settings []setting) []string {
	var paths []string
	for _, s := range settings {
		_, isMap := s.fallback.(map[string]any)
		items, isList := s.fallback.([]any)
		if isMap || isList && len(items) == 0 {
			continue
		}
		paths = append(paths, strings.Join(s.path, "."))
		paths = append(paths, required(s.children)...)
	}
	return paths
}
