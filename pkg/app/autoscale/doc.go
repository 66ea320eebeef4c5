// Package autoscale scales the control plane to a target of API requests per second and replica.
//
// Each replica counts its requests and writes its rate into the store of the virtual cluster
// ([Reporter]). The leader sums the rates, decides on the number of replicas, and patches the
// scale subresource of its workload ([Scaler]). So replicas need no connections to each other,
// and only the leader writes to the host.
//
// The decision follows the HorizontalPodAutoscaler. It tolerates a deviation of ten percent.
// Replicas without a rate count against a change. All rates within a stabilization window must
// agree to a change. Replicas measure their rates by their own clocks, and the leader measures
// the age of a rate by its clock.
package autoscale
