package v1alpha1

// PassedLabels are the labels of the tenant's pods that keep their key on the host.
type PassedLabels struct {
	// Keys of labels, or prefixes that end with *. The tenant chooses the values, so selectors of the host
	// can match. Those are Services, PodDisruptionBudgets and NetworkPolicies of the release's namespace,
	// webhooks, and NetworkPolicies that admit pods of all namespaces. Set this to [] where one of them
	// selects by such a key. Labels of the release's own pods and of sublet.dev never pass.
	// Default: [app, app.kubernetes.io/*]
	Allow []string `json:"allow" format:"key-pattern" unique:"true"`
}

// PassedAnnotations are the annotations of the tenant's pods that reach the host.
type PassedAnnotations struct {
	// Keys of annotations, or prefixes that end with *. Name what autoscalers, monitoring and the network of
	// the host may learn from a tenant. For limits of bandwidth add kubernetes.io/ingress-bandwidth and
	// kubernetes.io/egress-bandwidth, for more networks k8s.v1.cni.cncf.io/networks. The tenant chooses
	// the values. The pod gets an Event for known annotations that stay behind.
	// Default: [cluster-autoscaler.kubernetes.io/safe-to-evict*, prometheus.io/*]
	Allow []string `json:"allow" format:"key-pattern" unique:"true"`
}

// defaultPassedLabels returns the labels by which tools of the host group pods.
func defaultPassedLabels() PassedLabels {
	return PassedLabels{Allow: []string{"app", "app.kubernetes.io/*"}}
}

// defaultPassedAnnotations returns the annotations that autoscalers and monitoring read.
func defaultPassedAnnotations() PassedAnnotations {
	return PassedAnnotations{Allow: []string{"cluster-autoscaler.kubernetes.io/safe-to-evict*", "prometheus.io/*"}}
}
