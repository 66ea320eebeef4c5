package kubeletmetrics

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	corev1 "k8s.io/api/core/v1"
	stats "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// summaryPath is the path of all that a kubelet measures of pods, as JSON.
const summaryPath = "stats/summary"

// filterSummary returns the tenant's part of a summary.
func (s podSet) filterSummary(body io.Reader, q query) ([]byte, error) {
	var host stats.Summary
	if err := json.NewDecoder(body).Decode(&host); err != nil {
		return nil, fmt.Errorf("cannot read summary: %w", err)
	}
	virtual := stats.Summary{Pods: []stats.PodStats{}}
	for i := range host.Pods {
		if pod := s.find(host.Pods[i].PodRef.Namespace, host.Pods[i].PodRef.Name); pod != nil {
			virtual.Pods = append(virtual.Pods, toVirtualStats(pod, &host.Pods[i]))
		}
	}
	virtual.Node = sumOf(virtual.Pods)
	virtual.Node.NodeName = q.node
	text, err := json.Marshal(virtual)
	if err != nil {
		return nil, fmt.Errorf("cannot write summary: %w", err)
	}
	return text, nil
}

// toVirtualStats returns what is shown of a pod. It copies what is known, so a field of a
// newer kubelet does not pass unseen.
func toVirtualStats(pod *corev1.Pod, host *stats.PodStats) stats.PodStats {
	virtual := stats.PodStats{
		PodRef:           stats.PodReference{Name: pod.Name, Namespace: pod.Namespace, UID: string(pod.UID)},
		StartTime:        host.StartTime,
		Containers:       []stats.ContainerStats{},
		CPU:              host.CPU,
		Memory:           host.Memory,
		IO:               host.IO,
		EphemeralStorage: host.EphemeralStorage,
		ProcessStats:     host.ProcessStats,
		Swap:             host.Swap,
	}
	if !pod.Spec.HostNetwork {
		virtual.Network = host.Network
	}
	for _, c := range host.Containers {
		if _, ok := imageOf(pod, c.Name); ok {
			virtual.Containers = append(virtual.Containers, stats.ContainerStats{
				Name: c.Name, StartTime: c.StartTime, CPU: c.CPU, Memory: c.Memory, IO: c.IO, Rootfs: c.Rootfs, Logs: c.Logs, Swap: c.Swap,
			})
		}
	}
	for _, v := range host.VolumeStats {
		i := slices.IndexFunc(pod.Spec.Volumes, func(own corev1.Volume) bool { return own.Name == v.Name })
		if i >= 0 {
			virtual.VolumeStats = append(virtual.VolumeStats, stats.VolumeStats{
				FsStats: v.FsStats, Name: v.Name, PVCRef: claimOf(pod, &pod.Spec.Volumes[i]),
			})
		}
	}
	return virtual
}

// claimOf returns the virtual claim of a volume, or nil if it has none.
func claimOf(pod *corev1.Pod, volume *corev1.Volume) *stats.PVCReference {
	switch {
	case volume.PersistentVolumeClaim != nil:
		return &stats.PVCReference{Namespace: pod.Namespace, Name: volume.PersistentVolumeClaim.ClaimName}
	case volume.Ephemeral != nil:
		return &stats.PVCReference{Namespace: pod.Namespace, Name: pod.Name + "-" + volume.Name}
	}
	return nil
}

// sumOf returns what pods use of a node. It has no counters: a sum of them would fall when
// a pod ends.
func sumOf(pods []stats.PodStats) stats.NodeStats {
	var cpu, memory, workingSet, rss uint64
	node := stats.NodeStats{CPU: &stats.CPUStats{UsageNanoCores: &cpu}, Memory: &stats.MemoryStats{
		UsageBytes: &memory, WorkingSetBytes: &workingSet, RSSBytes: &rss,
	}}
	for _, pod := range pods {
		if pod.CPU != nil {
			add(&cpu, pod.CPU.UsageNanoCores)
			if pod.CPU.Time.After(node.CPU.Time.Time) {
				node.CPU.Time = pod.CPU.Time
			}
		}
		if pod.Memory != nil {
			add(&memory, pod.Memory.UsageBytes)
			add(&workingSet, pod.Memory.WorkingSetBytes)
			add(&rss, pod.Memory.RSSBytes)
			if pod.Memory.Time.After(node.Memory.Time.Time) {
				node.Memory.Time = pod.Memory.Time
			}
		}
		if node.StartTime.IsZero() || pod.StartTime.Before(&node.StartTime) {
			node.StartTime = pod.StartTime
		}
	}
	return node
}

// add adds a value that may be missing.
func add(total, value *uint64) {
	if value != nil {
		*total += *value
	}
}
