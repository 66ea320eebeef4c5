package controlplane

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

func TestWithNodeOfPod(t *testing.T) {
	t.Parallel()
	const pod, uid, node, nodeUID = "authentication.kubernetes.io/pod-name", "authentication.kubernetes.io/pod-uid",
		"authentication.kubernetes.io/node-name", "authentication.kubernetes.io/node-uid"
	of := func(values ...string) map[string][]string {
		extra := map[string][]string{}
		for i := 0; i < len(values); i += 2 {
			extra[values[i]] = []string{values[i+1]}
		}
		return extra
	}
	indexer := func(objects ...runtime.Object) cache.Indexer {
		store := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
		for _, object := range objects {
			if err := store.Add(object); err != nil {
				t.Fatal(err)
			}
		}
		return store
	}
	named := func(name string, uid types.UID, node string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: uid}, Spec: corev1.PodSpec{NodeName: node}}
	}
	pods := corelisters.NewPodLister(indexer(named("web", "uid-of-web", "one"), named("again", "other", "one"),
		named("waits", "uid-of-web", ""), named("away", "uid-of-web", "gone")))
	nodes := corelisters.NewNodeLister(indexer(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one", UID: "uid-of-one"}}))
	for _, test := range []struct {
		name, reason, user string
		extra, want        map[string][]string
	}{
		{name: "running", reason: "it has a node", extra: of(pod, "web", uid, "uid-of-web"),
			want: of(pod, "web", uid, "uid-of-web", node, "one", nodeUID, "uid-of-one")},
		{name: "made again", reason: "another pod of that name has the node", extra: of(pod, "again", uid, "uid-of-web")},
		{name: "waiting", reason: "it has no node", extra: of(pod, "waits", uid, "uid-of-web")},
		{name: "gone", reason: "the cache may lag", extra: of(pod, "gone", uid, "uid-of-web")},
		{name: "node away", reason: "the token of a kubelet names a node that is gone, too", extra: of(pod, "away", uid, "uid-of-web"),
			want: of(pod, "away", uid, "uid-of-web", node, "gone")},
		{name: "named", reason: "the token knows better", extra: of(pod, "web", uid, "uid-of-web", node, "two")},
		{name: "no pod", reason: "the token is bound to none", extra: of()},
		{name: "no account", reason: "it has no namespace", user: "admin", extra: of(pod, "web", uid, "uid-of-web")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			name := "system:serviceaccount:shop:default"
			if test.user != "" {
				name = test.user
			}
			inner := authenticator.RequestFunc(func(*http.Request) (*authenticator.Response, bool, error) {
				return &authenticator.Response{User: &user.DefaultInfo{Name: name, UID: "1", Groups: []string{"g"}, Extra: test.extra}}, true, nil
			})
			before := len(test.extra)
			got, ok, err := withNodeOfPod(inner, pods, nodes).AuthenticateRequest(nil)
			if !ok || err != nil {
				t.Fatalf("not authenticated: %v", err)
			}
			want := test.want
			if want == nil {
				want = test.extra
			}
			if diff := cmp.Diff(&user.DefaultInfo{Name: name, UID: "1", Groups: []string{"g"}, Extra: want}, got.User); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.reason, diff)
			}
			if len(test.extra) != before {
				t.Error("the response of the cache has changed")
			}
		})
	}
}

func TestIssuers(t *testing.T) {
	t.Parallel()
	const own = "https://kubernetes.default.svc.cluster.local"
	for _, test := range []struct {
		name, reason, keys string
		options            TokenOptions
		want               []string
	}{
		{name: "default", reason: "nothing is set", want: []string{own}},
		{name: "set", reason: "running pods have tokens of the default one", options: TokenOptions{Issuer: "https://a/b/"},
			want: []string{"https://a/b/", own}, keys: "https://a/b/openid/v1/jwks"},
		{name: "changed", reason: "the first one signs", options: TokenOptions{Issuer: "https://b", FormerIssuers: []string{"https://a", "https://b"}, KeysURL: "https://keys"},
			want: []string{"https://b", "https://a", own}, keys: "https://keys"},
		{name: "back", reason: "the default one signs again", options: TokenOptions{FormerIssuers: []string{"https://a"}}, want: []string{own, "https://a"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			config := &Config{ClusterDomain: "cluster.local", Tokens: test.options}
			if diff := cmp.Diff(test.want, config.issuers()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.reason, diff)
			}
			if got := config.keysURL(); got != test.keys {
				t.Errorf("%s: the keys are at %q, want %q", test.reason, got, test.keys)
			}
		})
	}
}
