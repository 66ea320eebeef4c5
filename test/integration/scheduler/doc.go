// Package scheduler tests virtual schedulers as they are installed: a simulated
// host with the real kube-scheduler in this process, and virtual clusters that
// are processes of the server's binary, with the rights that the chart gives
// them. `make build` makes the binary.
package scheduler
