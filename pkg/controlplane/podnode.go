package controlplane

import (
	"maps"
	"net/http"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	corelisters "k8s.io/client-go/listers/core/v1"
)

// withNodeOfPod adds the node of the pod to the user info of a caller with a pod token. A kubelet
// requests a token after the pod is bound, so its token has the node. Ours may be issued before. If
// the caches lag, the node is missing, as with a token that is bound to no pod.
func withNodeOfPod(inner authenticator.Request, pods corelisters.PodLister, nodes corelisters.NodeLister) authenticator.Request {
	return authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		response, ok, err := inner.AuthenticateRequest(req)
		if !ok || err != nil || response == nil || response.User == nil {
			return response, ok, err
		}
		nodeName := nodeOfCaller(response.User, pods)
		if nodeName == "" {
			return response, ok, nil
		}
		added := maps.Clone(response.User.GetExtra()) // The response is in a cache.
		added[serviceaccount.NodeNameKey] = []string{nodeName}
		if node, err := nodes.Get(nodeName); err == nil {
			added[serviceaccount.NodeUIDKey] = []string{string(node.UID)}
		}
		return &authenticator.Response{Audiences: response.Audiences, User: &user.DefaultInfo{
			Name: response.User.GetName(), UID: response.User.GetUID(), Groups: response.User.GetGroups(), Extra: added,
		}}, ok, nil
	})
}

// nodeOfCaller returns the node of the pod whose token a caller has. It is empty if the caller has no pod
// token, already has a node, or if the cache has another pod of that name.
func nodeOfCaller(caller user.Info, pods corelisters.PodLister) string {
	extra := caller.GetExtra()
	names, uids := extra[serviceaccount.PodNameKey], extra[serviceaccount.PodUIDKey]
	if len(names) != 1 || len(uids) != 1 || len(extra[serviceaccount.NodeNameKey]) > 0 {
		return ""
	}
	namespace, _, err := serviceaccount.SplitUsername(caller.GetName())
	if err != nil {
		return "" // A client certificate may also have such extra fields.
	}
	pod, err := pods.Pods(namespace).Get(names[0])
	if err != nil || string(pod.UID) != uids[0] {
		return ""
	}
	return pod.Spec.NodeName
}
