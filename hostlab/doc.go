// Package hostlab starts the host clusters that end-to-end tests, the benchmark and the
// demo install Sublet on, and stops them without a trace.
//
// A [Host] has one of three providers:
//
//   - local: a real cluster of one node on a bare Debian machine, as root. It has a
//     control plane, etcd, a kubelet with containerd and runc, kube-proxy, CoreDNS and
//     a storage class with dynamic volumes, which package volumes makes. Package netpol
//     enforces NetworkPolicies there. It needs no container engine and no image registry. What it
//     lacks it installs with apt-get and builds from the Go module proxy.
//   - kind: a cluster of kind, where docker and kind are installed.
//   - existing: the cluster of the current kubeconfig.
//
// The local provider runs the whole node in its own mount and network namespace, which
// one small process keeps (cmd/holder). A veth pair connects it to the machine. Each
// daemon enters the namespaces with nsenter. So the firewall rules of kube-proxy, the
// bridge of the pods and all mounts end with the last process. The machine's own
// network and mounts never change. Containers are below one cgroup.
//
// The state is pid files below one folder. A process is stopped by its pid, after a
// check that the pid is still the process that was started.
//
// [Host.Up] is idempotent: it starts what does not run. [Host.Down] stops everything
// and removes the cluster, but keeps the binaries.
//
// Package sim is the other laboratory: a simulated host in process, whose kubelets
// answer at once. Package oci writes the images of both.
package hostlab
