// Package nodeproxy answers for the kubelets of a virtual cluster.
//
// A virtual node is a node of the host, so its real kubelet belongs to the
// host and knows nothing of the virtual cluster. The virtual API server still
// wants to talk to it: for logs, exec, attach and port-forward it opens a
// connection to the node's address and sends the request there, after it has
// checked the tenant's rights.
//
// That connection never leaves the process. [Proxy.Dial] hands the API server
// one end of a buffer in memory, whatever node it asked for, and a small HTTPS
// server reads the other end. For each request it
//
//  1. takes the virtual pod from the path, as a kubelet would,
//  2. computes the name of the host pod and asks for proof that this pod is the
//     copy of that virtual pod (translate.Origin); nothing is relayed otherwise,
//  3. translates the query from the kubelet's words to those of the host's API,
//  4. relays to pods/log, pods/exec, pods/attach or pods/portforward of the host.
//
// Streams are passed through byte by byte once both sides have agreed to switch
// protocols, so SPDY and WebSocket both work, in each of their versions, as long
// as the host knows the version. Errors are said as a kubelet says them, as
// plain text, with the host's names turned back into virtual ones.
//
// On the host this needs nothing but those four subresources in one namespace:
// no right on nodes/proxy, and no Service per node.
package nodeproxy
