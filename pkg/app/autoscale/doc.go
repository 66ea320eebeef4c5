// Package autoscale holds a target of API requests per second and replica.
//
// Each replica counts the requests that it gets, and writes its rate into the store of the
// virtual cluster ([Reporter]). The leader adds up the rates, decides how many replicas there
// should be, and writes that into the scale subresource of its workload ([Scaler]). So no
// replica needs a connection to another one, and only the leader writes to the host.
//
// The decision follows the HorizontalPodAutoscaler. It tolerates ten percent. Replicas without a
// rate count against a change. All rates within a window must agree to a change. Rates are measured by the replicas, and their age by the clock of the leader.
package autoscale
