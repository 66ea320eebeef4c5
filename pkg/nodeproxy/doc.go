// Package nodeproxy answers for the kubelets of a virtual cluster.
//
// A virtual node is a node of the host. Its kubelet belongs to the host and knows
// nothing of the virtual cluster. For logs, exec, attach and port-forward the
// virtual API server checks the tenant's permissions. Then it opens a connection to
// the node's address.
//
// That connection never leaves the process. [Proxy.Dial] returns one end of a
// buffer in memory, for any node, and a small HTTPS server reads the other end. For
// each request it
//
//  1. takes the virtual pod and the container from the path, as a kubelet does,
//  2. reads the virtual pod and checks that it has that container,
//  3. computes the name of the host pod and proves that it is the copy of the
//     virtual pod (translate.Origin),
//  4. translates the query from the kubelet's names to those of the host's API,
//  5. relays to pods/log, pods/exec, pods/attach or pods/portforward of the host.
//
// Nothing is relayed if a step fails. Containers that the host added to its copy
// are not served: they may have an identity that is not the tenant's.
//
// Once both sides have agreed to switch protocols, the proxy copies bytes. So SPDY
// and WebSocket work in each version that the host supports. An error is plain
// text, as a kubelet's is, with the host's names translated to virtual ones.
//
// On the host this needs permission for those four subresources in one namespace.
// It needs neither nodes/proxy nor a Service per node.
package nodeproxy
