// Package replicas tests virtual clusters of one or several replicas under faults. The host
// is simulated, and the StatefulSet of the chart makes the pods of the control plane. Each
// of them is a process that is killed, paused and cut off.
//
// The processes are this test's own binary, which is also a server.
package replicas
