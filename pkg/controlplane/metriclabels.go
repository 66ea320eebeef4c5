package controlplane

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	flowcontrolbootstrap "k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/component-base/metrics"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	kubecontrolplane "k8s.io/kubernetes/pkg/controlplane"
)

// limitMetricLabels keeps names that tenants choose out of the labels of metrics. Each name would be a further series, of
// which a custom resource has hundreds, and series stay after the object has gone. A tenant who creates and deletes
// definitions could fill the memory with them. Other names count together as "unexpected".
//
// It must be called before the first use of the metrics.
//
//nolint:gochecknoglobals // The labels of metrics are the process's; they are set once.
var limitMetricLabels = sync.OnceFunc(func() { metrics.SetLabelAllowList(allowedLabels()) })

// allowedLabels returns the values that labels may have, by metric and label as in "metric,label". Values are
// separated by commas, so that a leading comma allows the empty value.
func allowedLabels() map[string]string {
	groups, versions, resources := builtInNames()
	levels, flows := flowControlNames()
	allowed := map[string]string{}
	allow := func(label string, values []string, metrics []string) {
		text := "," + strings.Join(values, ",")
		for _, metric := range metrics {
			allowed[metric+","+label] = text
		}
	}
	byResource := append(storageMetrics(), requestMetrics()...)
	allow("group", groups, byResource)
	allow("resource", resources, byResource)
	allow("version", versions, requestMetrics())
	allow("subresource", subresources(), requestMetrics())
	allow("priority_level", levels, flowControlMetrics())
	allow("flow_schema", flows, flowControlMetrics())
	allow("name", nil, webhookMetrics())
	allow("policy", nil, policyMetrics())
	allow("policy_binding", nil, policyMetrics())
	return allowed
}

// builtInNames returns the names of what the API server serves without custom resources.
func builtInNames() (groups, versions, resources []string) {
	allGroups := map[string]bool{"apiextensions.k8s.io": true, "apiregistration.k8s.io": true, "metrics.k8s.io": true}
	allVersions := map[string]bool{"v1": true, "v1beta1": true}
	allResources := map[string]bool{"customresourcedefinitions": true, "apiservices": true}
	for served, enabled := range kubecontrolplane.DefaultAPIResourceConfigSource().GroupVersionConfigs {
		if !enabled {
			continue
		}
		allGroups[served.Group], allVersions[served.Version] = true, true
		for kind := range legacyscheme.Scheme.KnownTypes(served) {
			if isResource(served.WithKind(kind)) {
				resource, _ := meta.UnsafeGuessKindToResource(served.WithKind(kind))
				allResources[resource.Resource] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(allGroups)), slices.Sorted(maps.Keys(allVersions)), slices.Sorted(maps.Keys(allResources))
}

// isResource reports whether a kind of the scheme may be a resource. Others are lists and parameters of requests.
func isResource(gvk schema.GroupVersionKind) bool {
	shared := metav1.SchemeGroupVersion.WithKind(gvk.Kind)
	return !strings.HasSuffix(gvk.Kind, "List") && !strings.HasSuffix(gvk.Kind, "Options") && !legacyscheme.Scheme.Recognizes(shared)
}

// flowControlNames returns the names of the default objects of flow control.
func flowControlNames() (levels, flows []string) {
	for _, level := range slices.Concat(flowcontrolbootstrap.MandatoryPriorityLevelConfigurations, flowcontrolbootstrap.SuggestedPriorityLevelConfigurations) {
		levels = append(levels, level.Name)
	}
	for _, flow := range slices.Concat(flowcontrolbootstrap.MandatoryFlowSchemas, flowcontrolbootstrap.SuggestedFlowSchemas) {
		flows = append(flows, flow.Name)
	}
	return levels, flows
}

// subresources returns the names of all built-in subresources.
func subresources() []string {
	return []string{
		"approval", "attach", "binding", "ephemeralcontainers", "eviction", "exec", "finalize", "log", "portforward", "proxy",
		"resize", "scale", "status", "token",
	}
}

// requestMetrics returns the metrics of requests.
func requestMetrics() []string {
	return []string{
		"apiserver_longrunning_requests", "apiserver_request_aborts_total", "apiserver_request_body_size_bytes",
		"apiserver_request_duration_seconds", "apiserver_request_sli_duration_seconds", "apiserver_request_terminations_total",
		"apiserver_request_total", "apiserver_requested_deprecated_apis", "apiserver_response_sizes", "apiserver_selfrequest_total",
		"apiserver_watch_events_sizes", "apiserver_watch_events_total", "apiserver_watch_list_duration_seconds",
	}
}

// storageMetrics returns the metrics of the store and the watch cache. Some exist for custom resources alone.
func storageMetrics() []string {
	return []string{
		"apiserver_cache_list_fetched_objects_total", "apiserver_cache_list_returned_objects_total", "apiserver_cache_list_total",
		"apiserver_init_events_total", "apiserver_storage_consistency_checks_total", "apiserver_storage_decode_errors_total",
		"apiserver_storage_events_received_total", "apiserver_storage_list_duration_seconds",
		"apiserver_storage_list_evaluated_objects_total", "apiserver_storage_list_fetched_objects_total",
		"apiserver_storage_list_returned_objects_total", "apiserver_storage_list_total",
		"apiserver_storage_transformation_operations_total", "apiserver_terminated_watchers_total",
		"apiserver_watch_cache_consistent_read_total", "apiserver_watch_cache_events_dispatched_total",
		"apiserver_watch_cache_events_received_total", "apiserver_watch_cache_initialization_duration_seconds",
		"apiserver_watch_cache_initialization_errors_total", "apiserver_watch_cache_initializations_total",
		"apiserver_watch_cache_read_wait_seconds", "apiserver_watch_cache_resource_version",
		"apiserver_watch_events_dispatch_duration_seconds", "apiserver_watch_filtered_events_total", "apiserver_watch_shards_total",
		"etcd_bookmark_counts", "etcd_bookmark_total", "etcd_request_duration_seconds", "etcd_request_errors_total",
		"etcd_requests_total", "watch_cache_capacity", "watch_cache_capacity_decrease_total", "watch_cache_capacity_increase_total",
	}
}

// flowControlMetrics returns the metrics of flow control.
func flowControlMetrics() []string {
	metrics := []string{
		"current_executing_requests", "current_executing_seats", "current_inqueue_requests", "current_inqueue_seats",
		"current_limit_seats", "current_r", "demand_seats", "demand_seats_average", "demand_seats_high_watermark",
		"demand_seats_smoothed", "demand_seats_stdev", "dispatch_r", "dispatched_requests_total", "epoch_advance_total", "latest_s",
		"lower_limit_seats", "next_discounted_s_bounds", "next_s_bounds", "nominal_limit_seats",
		"priority_level_request_utilization", "priority_level_seat_utilization", "rejected_requests_total",
		"request_concurrency_in_use", "request_concurrency_limit", "request_dispatch_no_accommodation_total",
		"request_execution_seconds", "request_queue_length_after_enqueue", "request_wait_duration_seconds", "seat_fair_frac",
		"target_seats", "upper_limit_seats", "watch_count_samples", "work_estimated_seats",
	}
	for i := range metrics {
		metrics[i] = "apiserver_flowcontrol_" + metrics[i]
	}
	return metrics
}

// webhookMetrics returns the metrics of webhooks and of the match conditions of webhooks and policies.
func webhookMetrics() []string {
	return []string{
		"apiserver_admission_match_condition_evaluation_errors_total", "apiserver_admission_match_condition_evaluation_seconds",
		"apiserver_admission_match_condition_exclusions_total", "apiserver_admission_webhook_admission_duration_seconds",
		"apiserver_admission_webhook_fail_open_count", "apiserver_admission_webhook_rejection_count",
		"apiserver_admission_webhook_request_total",
	}
}

// policyMetrics returns the metrics of admission policies.
func policyMetrics() []string {
	return []string{
		"apiserver_mutating_admission_policy_check_duration_seconds", "apiserver_mutating_admission_policy_check_total",
		"apiserver_validating_admission_policy_check_duration_seconds", "apiserver_validating_admission_policy_check_total",
	}
}
