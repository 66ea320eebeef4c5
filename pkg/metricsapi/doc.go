// Package metricsapi serves the metrics API (metrics.k8s.io/v1beta1) of a virtual cluster
// in the process of its API server. With it, kubectl top works, and autoscalers scale on
// CPU and memory.
//
// The numbers come from the host's metrics API, with one request for all pods of the
// virtual cluster ([hostUsage]). It is sent when somebody asks, and its result serves
// everybody for a few seconds. Nothing is watched.
//
// Names, namespaces and labels are those of virtual objects. A virtual pod gets the usage
// of the host pod that has the name of its copy and the label of its cluster. Only
// containers that the tenant wrote are shown, not those that the host added to the copy.
//
// The usage of a node is the sum of its pods above. The host's metrics of nodes are not
// read: they would show the tenant what others use.
package metricsapi
