// Package scheduler tests virtual schedulers as they are installed. The host is simulated,
// with the real kube-scheduler in this process. Virtual clusters are processes of the
// server's binary, with the permissions that the chart gives them. `make build` builds the
// binary.
package scheduler
