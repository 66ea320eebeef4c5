package main

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The sizes of the measurements.
const (
	hostNodes    = 20
	manyNodes    = 1000
	pacedPods    = 100
	pacePause    = 200 * time.Millisecond
	burstPods    = 300
	burstWorkers = 10
	foreignPods  = 10000
	lagWrites    = 100
	lagPause     = 50 * time.Millisecond
	manySecrets  = 5000
	secretSize   = 4 << 10
)

// figure is the unit of a figure and the limit that we set ourselves on two
// cores; 0 is no limit.
type figure struct {
	unit  string
	limit float64
	least float64 // for figures of which more is better
}

// figures returns all figures by name.
func figures() map[string]figure {
	all := storeFigures()
	maps.Copy(all, replicaFigures())
	maps.Copy(all, customFigures())
	maps.Copy(all, defaultFigures())
	return all
}

// storeFigures returns the starts and single pods with stores other than the default, as
// defaultFigures has them. An external etcd runs in the process of the host. Databases are
// measured if flags have their addresses.
func storeFigures() map[string]figure {
	all := map[string]figure{
		// The longest time that the API is away while 10,000 objects move, over all moves between
		// two stores. It is measured once.
		"store_move": {"s", 10, 0},
	}
	for _, store := range benchStores() {
		all[store.name+"_start_ready"] = figure{"s", 1.2, 0}
		all[store.name+"_start_first_pod"] = figure{"s", 0, 0}
		for _, latency := range []string{"pod_down_p50", "pod_down_p99", "pod_up_p50", "pod_up_p99"} {
			all[store.name+"_"+latency] = figure{"ms", 0, 0}
		}
	}
	return all
}

// replicaFigures returns the figures of three replicas on one external etcd, all on this
// machine. Each is killed in turn while a client writes 50 times a second.
func replicaFigures() map[string]figure {
	return map[string]figure{
		// The longest time in which no write succeeds.
		"ha_api_gap": {"s", 2, 0},
		// From the death of the leader until the host has a pod that is created after it.
		"ha_sync_gap": {"s", 5, 0},
		// An update of a ConfigMap, without a fault.
		"ha_write_p50": {"ms", 0, 0},
		"ha_write_p99": {"ms", 0, 0},
	}
}

// defaultFigures returns the figures of one replica with the default settings.
func defaultFigures() map[string]figure {
	return map[string]figure{
		// From the start of the process, on an empty data folder, to /readyz.
		// First pod: to spec.nodeName of a pod that is created as soon as the
		// virtual API takes one.
		"start_ready":     {"s", 1.0, 0},
		"start_first_pod": {"s", 1.3, 0},

		// Anonymous memory one minute after /readyz succeeded, with nothing to
		// do, and the CPU used in the second half of that minute.
		"idle_anon": {"MB", 95, 0},
		"idle_cpu":  {"%", 0.5, 0},

		// An idle server with all kinds on that every host has. Its memory is measured
		// as for idle_anon. Its watches are those on the host, beyond those with the
		// default kinds. Network policies and budgets are on by default later than the
		// others: what they cost is the difference to servers without them.
		"kinds_anon":          {"MB", 105, 0},
		"kinds_watches":       {"watches", 12, 0},
		"kinds_later_mb":      {"MB", 10, -10}, // Less than nothing is noise.
		"kinds_later_watches": {"watches", 4, 0},

		// Anonymous memory one minute after 5,000 Secrets of 4 KiB were created
		// that no pod uses. One informer holds them. At about that time, the syncer
		// compares its caches with the API server for the first time.
		"memory_5000_secrets": {"MB", 200, 0},

		// The server's binary without symbols; the layers of an image of it.
		"binary": {"MiB", 165, 0},
		"image":  {"MiB", 45, 0},

		// The process "sublet version --client", from its start to its end. "sublet list
		// --all-contexts" of 10 hosts in this process, each with 50 virtual clusters
		// of 10 pods. They answer from memory.
		"cli_version":  {"ms", 60, 0},
		"cli_list_500": {"s", 2, 0},

		// 100 pods, one every 0.2 s. Down: from just before the tenant's create
		// call to the host's watch event of the host pod. Up: from the host's
		// watch event with phase Running to the virtual one.
		"pod_down_p50": {"ms", 8, 0},
		"pod_down_p99": {"ms", 25, 0},
		"pod_up_p50":   {"ms", 10, 0},
		"pod_up_p99":   {"ms", 40, 0},

		// 300 pods by 10 workers on 20 nodes, from the first create call to the
		// watch event with which the last one is Running. The ratio is the time
		// in the virtual cluster divided by the time on the host. For the quota ratio the
		// namespace there has the quota and the limit range of the chart, which each
		// virtual cluster has by default. CPU is that of the server, requests
		// are those of the server by the host's own count, both until then and
		// per pod.
		// Delete: from the first of 300 delete calls by 10 workers to the host's
		// watch event of the last pod that goes.
		"burst_ratio":       {"x", 1.5, 0},
		"burst_quota_ratio": {"x", 1.5, 0},
		"pod_cpu":           {"ms", 5, 0},
		"pod_host_requests": {"requests", 2.2, 0},
		"burst_delete":      {"s", 2, 0},

		// The time of such a burst and the CPU of the server in it. Both are divided by those of
		// another build, whose bursts alternate with these. Sched is with a virtual scheduler.
		"base_burst":       {"x", 1.03, 0},
		"base_pod_cpu":     {"x", 1.03, 0},
		"base_sched_burst": {"x", 1.03, 0},
		"base_sched_cpu":   {"x", 1.03, 0},

		// With a virtual scheduler, the same burst until the last pod has a
		// node. The ratio is the pods per second, divided by those on the host. Bound
		// is each pod's time from just before its create call to the tenant's
		// watch event that shows its node.
		"sched_ratio":     {"x", 0, 0.7},
		"sched_bound_p50": {"ms", 0, 0},
		"sched_bound_p99": {"ms", 0, 0},

		// What the ratio is if only the copies are created, directly on the host:
		// the pod and the Secret with its token. It bounds the ratio above.
		"sched_ratio_bound": {"x", 0, 0},

		// CPU per pod in the same bursts, until the last pod has a node. That of
		// the host's process is divided by the one without a virtual cluster. On
		// shared cores both add up.
		"sched_cpu":      {"ms", 0, 0},
		"sched_host_cpu": {"x", 0, 0},

		// 100 pods, one every 0.2 s, from just before the create call to the tenant's
		// watch event with phase Running. The ratio is that under a flood in another
		// virtual cluster of the host, divided by that without. The flood is 10,000 pods
		// in a loop, ConfigMaps of 1 MiB, Events, 200 watches and 200 logs. Its processes
		// have the least priority, as a node divides its CPU among pods.
		"neighbour_p50_ratio": {"x", 0, 0},
		"neighbour_p99_ratio": {"x", 1.2, 0},

		// With 10,000 pods of others on 1,000 nodes: what the sums of their
		// requests take on the heap of the process that keeps them.
		"sched_foreign_pod": {"B", 2048, 0},

		// With 1,000 host nodes. All: from the start of the process to the watch
		// event of the last virtual node. Memory and CPU as above. Lag: from just
		// before a host node is labelled to the virtual node's watch event.
		// Overlaid: the same with a virtual scheduler, for nodes that the tenant
		// has cordoned, tainted, labelled and annotated.
		"nodes_all":      {"s", 3, 0},
		"nodes_anon":     {"MB", 130, 0},
		"nodes_idle_cpu": {"%", 0, 0},
		"node_lag_p99":   {"ms", 15, 0},

		"node_lag_overlaid_p99": {"ms", 100, 0},
	}
}

// median returns the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// percentile returns the smallest value that at least p percent of the values do not
// exceed.
func percentile(values []float64, p float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

// format writes a value with three digits that count.
func format(value float64) string {
	digits := 2
	switch {
	case value >= 100:
		digits = 0
	case value >= 10:
		digits = 1
	}
	return strconv.FormatFloat(value, 'f', digits, 64)
}

func formatAll(values []float64) string {
	var all []string
	for _, value := range values {
		all = append(all, format(value))
	}
	return strings.Join(all, " ")
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
