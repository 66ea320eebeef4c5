package kubeletmetrics

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	corev1 "k8s.io/api/core/v1"
)

const (
	// resourcePath is the path of the usage of pods.
	resourcePath = "metrics/resource"
	// textType is the type of the answers, which each scraper reads.
	textType = "text/plain; version=0.0.4; charset=utf-8"
	// acceptedTypes are what a kubelet may answer with. The first can be read in pieces.
	acceptedTypes = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited," +
		"text/plain;version=0.0.4;q=0.5"

	podMemory  = "pod_memory_working_set_bytes"
	nodeMemory = "node_memory_working_set_bytes"
)

// filterText returns the tenant's part of metrics, one family after the other.
func (s podSet) filterText(body io.Reader, header http.Header, path string) ([]byte, error) {
	format := expfmt.ResponseFormat(header)
	if format == expfmt.FmtUnknown {
		return nil, fmt.Errorf("cannot read metrics of type %q", header.Get("Content-Type"))
	}
	var out bytes.Buffer
	decoder := expfmt.NewDecoder(body, format)
	encoder := expfmt.NewEncoder(&out, expfmt.NewFormat(expfmt.TypeTextPlain))
	var memory float64
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("cannot read metrics: %w", err)
		}
		s.filterFamily(&family)
		if len(family.GetMetric()) == 0 {
			continue
		}
		if family.GetName() == podMemory {
			for _, m := range family.GetMetric() {
				memory += m.GetGauge().GetValue()
			}
		}
		if err := encoder.Encode(&family); err != nil {
			return nil, fmt.Errorf("cannot write metrics: %w", err)
		}
	}
	if path == resourcePath {
		if err := encoder.Encode(nodeUsage(memory)); err != nil {
			return nil, fmt.Errorf("cannot write metrics: %w", err)
		}
	}
	return out.Bytes(), nil
}

// nodeUsage returns the memory of a node that the tenant's pods use. There is none for the
// CPU: the sum would fall when a pod ends, and a counter must not fall.
func nodeUsage(memory float64) *dto.MetricFamily {
	return &dto.MetricFamily{
		Name: new(nodeMemory), Help: new("Working set of the pods of this cluster on the node in bytes"), Type: dto.MetricType_GAUGE.Enum(),
		Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: &memory}}},
	}
}

// filterFamily removes all that is not the tenant's from a family of metrics.
func (s podSet) filterFamily(family *dto.MetricFamily) {
	kept := family.Metric[:0]
	for _, m := range family.GetMetric() {
		if s.toVirtualMetric(family.GetName(), m) {
			kept = append(kept, m)
		}
	}
	family.Metric = kept
}

// toVirtualMetric gives a metric the names of the virtual cluster. It returns false if the
// metric is not about a pod of the tenant, or has a label that is not known.
func (s podSet) toVirtualMetric(family string, m *dto.Metric) bool {
	labels := map[string]string{}
	for _, label := range m.GetLabel() {
		labels[label.GetName()] = label.GetValue()
	}
	if labels["pod"] == "" {
		return isAboutScrape(family) && len(labels) == 0
	}
	pod := s.find(labels["namespace"], labels["pod"])
	if pod == nil || !mayShow(pod, family) {
		return false
	}
	values, ok := toVirtualLabels(pod, labels)
	if !ok {
		return false
	}
	for _, label := range m.GetLabel() {
		value := values[label.GetName()]
		label.Value = &value
	}
	return true
}

// isAboutScrape reports whether a metric without pod reports that the kubelet could not measure.
func isAboutScrape(family string) bool {
	return family == "scrape_error" || family == "resource_scrape_error" || family == "container_scrape_error"
}

// mayShow reports whether a family may be shown for a pod. The network of a pod in the
// network of its node is that of all.
func mayShow(pod *corev1.Pod, family string) bool {
	return !pod.Spec.HostNetwork || !strings.HasPrefix(family, "container_network_")
}

// toVirtualLabels returns the labels of a metric with the names of the virtual pod. ok is
// false for a container that is not the tenant's, and for an unknown label.
func toVirtualLabels(pod *corev1.Pod, labels map[string]string) (values map[string]string, ok bool) {
	container := labels["container"]
	image, found := imageOf(pod, container)
	if !found && !isWholePod(container) {
		return nil, false
	}
	values = map[string]string{}
	for name, value := range labels {
		switch name {
		case "namespace":
			value = pod.Namespace
		case "pod":
			value = pod.Name
		case "pod_uid":
			value = string(pod.UID)
		case "image":
			// That of a whole pod is the pause image of the host.
			value = image
		case "id":
			value = toVirtualCgroup(value, pod.UID)
		case "name":
			value = toContainerID(value)
		default:
			if !slices.Contains(plainLabels(), name) {
				return nil, false
			}
		}
		values[name] = value
	}
	return values, true
}

// toContainerID returns the name that a runtime gives a container, or nothing if it is more
// than an ID. Some runtimes have the name of the host pod in it.
func toContainerID(name string) string {
	if strings.Trim(name, "0123456789abcdef") != "" {
		return ""
	}
	return name
}

// plainLabels returns the labels that pass as they are.
func plainLabels() []string {
	return []string{
		"container", "cpu", "device", "event", "failure_type", "interface", "major", "minor", "operation", "pagesize",
		"probe_type", "result", "scope", "state", "tcp_state", "type", "udp_state", "ulimit",
	}
}

// isWholePod reports whether the label of a container is that of a metric of its pod.
func isWholePod(container string) bool { return container == "" || container == "POD" }
