// Package host starts the host cluster that end-to-end tests install Sublet on,
// and stops it without a trace.
//
// There are three providers of the same [Cluster]:
//
//   - local, a real one-node cluster on a bare Debian machine, run as root: API
//     server, controller manager, scheduler and etcd, a kubelet with containerd
//     and runc, kube-proxy, CoreDNS and a storage class with dynamic volumes. It
//     needs no container engine and no image registry; what it lacks it installs
//     with apt-get and builds from the Go module proxy;
//   - kind, where docker and kind exist;
//   - existing, whatever the current kubeconfig points at.
//
// The local provider keeps the whole node in a mount and a network namespace of
// its own, held by one small process (cmd/holder). A veth pair joins it to the
// machine, and every daemon enters it with nsenter. So the firewall rules of
// kube-proxy, the bridge of the pods and all mounts vanish with the last process,
// and the machine's own network and mounts are never changed. Containers live
// below one cgroup of ours. State is pid files below one folder: whatever is
// stopped is stopped by its pid, after checking that the pid is still the process
// that we started.
//
// [Up] is idempotent: it starts what does not run and leaves alone what does.
// [Down] ends everything and forgets the cluster, but keeps the binaries.
package hostlab
