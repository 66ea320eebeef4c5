package nodeproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/translate"
)

func notFound(key types.NamespacedName) error {
	return apierrors.NewNotFound(corev1.Resource("pods"), key.Name)
}

// podsFunc is a HostPods that is a function.
type podsFunc func(key types.NamespacedName) (metav1.Object, error)

func (f podsFunc) HostPod(_ context.Context, key types.NamespacedName) (metav1.Object, error) {
	return f(key)
}

type reply struct {
	Code       int
	Text       string
	RetryAfter string
}

// sendRequest sends a request to the kubelet and reads the whole response.
func sendRequest(t *testing.T, p *Proxy, method, path string, header http.Header) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "https://node-7:10250"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(request.Header, header)
	response, err := kubelet(t, p).Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: cannot read the answer: %v", method, path, err)
	}
	return reply{Code: response.StatusCode, Text: string(body), RetryAfter: response.Header.Get("Retry-After")}
}

var upgradeToSPDY = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"SPDY/3.1"}, "X-Stream-Protocol-Version": {"v4.channel.k8s.io"}}

func TestNothingIsRelayed(t *testing.T) {
	t.Parallel()
	const log = "/containerLogs/web/front-0/nginx"
	copyOf := hostPod(testCluster, testPod)
	changed := func(change func(*metav1.PartialObjectMetadata)) podsFunc {
		return func(types.NamespacedName) (metav1.Object, error) {
			pod := copyOf.DeepCopy()
			change(pod)
			return pod, nil
		}
	}
	gone := reply{Code: http.StatusNotFound, Text: `pod "front-0" does not exist`}
	cases := map[string]struct {
		reason string
		pods   HostPods
		method string
		path   string
		header http.Header
		want   reply
	}{
		"NoHostPod": {
			reason: "a pod that has no copy on the host yet is not on the node yet",
			pods:   podsFunc(func(key types.NamespacedName) (metav1.Object, error) { return nil, notFound(key) }),
			path:   log,
			want:   gone,
		},
		"ForeignCluster": {
			reason: "a pod of another virtual cluster in the same namespace is not ours, whatever its name",
			pods: changed(func(pod *metav1.PartialObjectMetadata) {
				other := testCluster
				other.UID = "another"
				translate.Stamp(other, func(translate.Cluster, types.NamespacedName) types.NamespacedName {
					return types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
				}, testPod, "uid", pod)
			}),
			path: log,
			want: gone,
		},
		"NoProof": {
			reason: "a pod of the host that has the name but not the marks is foreign",
			pods: changed(func(pod *metav1.PartialObjectMetadata) {
				pod.Labels, pod.Annotations = nil, nil
			}),
			path: log,
			want: gone,
		},
		"ClaimsAnotherPod": {
			reason: "the marks of another virtual pod do not fit the name",
			pods: changed(func(pod *metav1.PartialObjectMetadata) {
				pod.Annotations = hostPod(testCluster, types.NamespacedName{Namespace: "web", Name: "front-1"}).Annotations
			}),
			path: log,
			want: gone,
		},
		"NoVirtualPod": {
			reason: "a copy whose virtual pod is gone waits for its end and is not the tenant's any more",
			path:   "/containerLogs/web/front-1/nginx",
			want:   reply{Code: http.StatusNotFound, Text: `pod "front-1" does not exist`},
		},
		"NoName": {
			reason: "no pod has such a name, so no API server is asked",
			path:   "/containerLogs/web/..%2f..%2fshop-0/nginx",
			want:   reply{Code: http.StatusNotFound, Text: `pod "../../shop-0" does not exist`},
		},
		"NoNameTwice": {
			reason: "the same, encoded twice",
			path:   "/containerLogs/web/..%252fshop-0/nginx",
			want:   reply{Code: http.StatusNotFound, Text: `pod "..%2fshop-0" does not exist`},
		},
		"NoNamespace": {
			reason: "nor a namespace",
			path:   "/containerLogs/we%252fb/front-0/nginx",
			want:   gone,
		},
		"OtherUID": {
			reason: "the host pod is still the copy of a virtual pod that was there before",
			path:   "/exec/web/front-0/another-uid/nginx?command=sh&output=1",
			method: http.MethodPost,
			header: upgradeToSPDY,
			want:   gone,
		},
		"LookupFails": {
			reason: "what went wrong on the host is for the operator's log, not for the tenant",
			pods:   podsFunc(func(types.NamespacedName) (metav1.Object, error) { return nil, errors.New("dial tcp 10.9.8.7:443") }),
			path:   log,
			want: reply{
				Code: http.StatusServiceUnavailable,
				Text: `cannot get pod "front-0": the API server of the host cluster does not respond; try again later`,
			},
		},
		"NoUpgrade": {
			reason: "a kubelet says the same",
			path:   "/exec/web/front-0/nginx?command=sh&output=1",
			method: http.MethodPost,
			want:   reply{Code: http.StatusBadRequest, Text: "Upgrade request required"},
		},
		"NotServed": {
			reason: "what else a kubelet serves is said not to be served",
			path:   "/stats/summary",
			want: reply{
				Code: http.StatusNotFound,
				Text: "/stats/summary is not served: this node's kubelet belongs to the host cluster. A virtual cluster relays logs, exec, attach and port-forward only",
			},
		},
		"Healthz": {
			reason: "the kubelet's health is asked for through the node's proxy",
			path:   "/healthz",
			want:   reply{Code: http.StatusOK, Text: "ok"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			p, _ := startProxy(t, h, func(o *Options) {
				if tc.pods != nil {
					o.Pods = tc.pods
				}
			})
			method := tc.method
			if method == "" {
				method = http.MethodGet
			}
			if diff := cmp.Diff(tc.want, sendRequest(t, p, method, tc.path, tc.header)); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
			if n := len(h.requests()); n > 0 {
				t.Errorf("%s\nthe host saw %d requests, want none", tc.reason, n)
			}
		})
	}
}

func TestHostErrors(t *testing.T) {
	t.Parallel()
	host := translate.Hashed(testCluster, testPod)
	status := func(code int, message string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { writeStatus(w, code, message) }
	}
	cases := map[string]struct {
		reason string
		refuse http.HandlerFunc
		want   reply
	}{
		"Waiting": {
			reason: "the message is passed on in the names that the tenant knows",
			refuse: status(http.StatusBadRequest, fmt.Sprintf("container \"nginx\" in pod %q is waiting to start: ContainerCreating", host.Name)),
			want:   reply{Code: http.StatusBadRequest, Text: `container "nginx" in pod "front-0" is waiting to start: ContainerCreating`},
		},
		"KubeletUnreachable": {
			reason: "addresses of the host are not the tenant's business",
			refuse: status(http.StatusInternalServerError, fmt.Sprintf("Get \"https://10.0.0.7:10250/containerLogs/%s/%s/nginx\": connection refused", host.Namespace, host.Name)),
			want:   reply{Code: http.StatusInternalServerError, Text: `Get the host: connection refused`},
		},
		"Reference": {
			reason: "what the pod refers to has a name of the host too",
			refuse: status(http.StatusBadRequest, fmt.Sprintf("container \"nginx\" is waiting to start: configmap %q not found", translate.Hashed(testCluster, types.NamespacedName{Namespace: "web", Name: "app"}).Name)),
			want:   reply{Code: http.StatusBadRequest, Text: `container "nginx" is waiting to start: configmap "app" not found`},
		},
		"FullName": {
			reason: "the kubelet's full name of a pod has the namespace behind",
			refuse: status(http.StatusNotFound, fmt.Sprintf("container not found in %s_%s of namespace %q", host.Name, host.Namespace, host.Namespace)),
			want:   reply{Code: http.StatusNotFound, Text: `container not found in front-0_web of namespace "web"`},
		},
		"NoRight": {
			reason: "who we are on the host is no business of the tenant",
			refuse: status(http.StatusForbidden, fmt.Sprintf(`pods %q is forbidden: User "system:serviceaccount:tenant-shop:shop" cannot get resource "pods/log" in API group "" in the namespace "tenant-shop"`, host.Name)),
			want:   reply{Code: http.StatusForbidden, Text: "this virtual cluster has no permission for pods/log on the host cluster; ask the operator of the host cluster"},
		},
		"Policy": {
			reason: "a policy of the host explains itself to the tenant",
			refuse: status(http.StatusForbidden, `admission webhook "policy.example.org" denied the request: no logs after midnight`),
			want:   reply{Code: http.StatusForbidden, Text: `an admission webhook of the host denied the request: no logs after midnight`},
		},
		"Unauthorized": {
			reason: "our expired token must not look like the tenant's",
			refuse: status(http.StatusUnauthorized, "Unauthorized"),
			want: reply{
				Code: http.StatusBadGateway,
				Text: "the host cluster does not accept the credentials of this virtual cluster's control plane; ask the operator of the host cluster",
			},
		},
		"Busy": {
			reason: "when to come back is passed on",
			refuse: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", "7")
				status(http.StatusTooManyRequests, "slow down")(w, r)
			},
			want: reply{Code: http.StatusTooManyRequests, Text: "slow down", RetryAfter: "7"},
		},
		"PlainText": {
			reason: "a refused handshake comes as plain text",
			refuse: func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "unable to negotiate protocol", http.StatusForbidden)
			},
			want: reply{Code: http.StatusForbidden, Text: "unable to negotiate protocol"},
		},
		"Page": {
			reason: "the page of a load balancer is not for the tenant",
			refuse: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = io.WriteString(w, "<html>")
			},
			want: reply{Code: http.StatusServiceUnavailable, Text: "the host cluster returned 503 Service Unavailable for pods/log"},
		},
		"Redirect": {
			reason: "nobody is led to another address with our credentials",
			refuse: func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://elsewhere.example.org/", http.StatusFound)
			},
			want: reply{Code: http.StatusBadGateway, Text: "the host cluster returned 302 Found for pods/log"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newFakeHost(t)
			h.refuse = tc.refuse
			p, _ := startProxy(t, h, nil)
			if diff := cmp.Diff(tc.want, sendRequest(t, p, http.MethodGet, "/containerLogs/web/front-0/nginx", nil)); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
			}
			// A stream gets the same response, for pods/exec.
			want := tc.want
			want.Text = strings.ReplaceAll(want.Text, "pods/log", "pods/exec")
			if diff := cmp.Diff(want, sendRequest(t, p, http.MethodPost, "/exec/web/front-0/nginx?command=sh&output=1", upgradeToSPDY)); diff != "" {
				t.Errorf("%s, for a stream\n-want, +got:\n%s", tc.reason, diff)
			}
		})
	}
}

func TestHostUnreachable(t *testing.T) {
	t.Parallel()
	h := newFakeHost(t)
	h.server.Close()
	p, _ := startProxy(t, h, nil)
	want := reply{
		Code: http.StatusBadGateway,
		Text: `cannot relay pods/log of pod "front-0": the host cluster's API cannot be reached; try again later`,
	}
	if diff := cmp.Diff(want, sendRequest(t, p, http.MethodGet, "/containerLogs/web/front-0/nginx", nil)); diff != "" {
		t.Errorf("a host that is away is said to be away\n-want, +got:\n%s", diff)
	}
}

func TestToHostQuery(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason  string
		op      string
		kubelet string
		want    string
	}{
		"AllOfALog": {
			reason:  "every option of a log has the same name on both sides",
			op:      "containerLogs",
			kubelet: "follow=true&previous=true&timestamps=true&sinceSeconds=5&sinceTime=2026-01-01T00%3A00%3A00Z&tailLines=3&limitBytes=9&stream=Stderr",
			want:    "container=c&follow=true&limitBytes=9&previous=true&sinceSeconds=5&sinceTime=2026-01-01T00%3A00%3A00Z&stream=Stderr&tailLines=3&timestamps=true",
		},
		"StreamAll": {
			reason:  "an older host refuses to be told its default",
			op:      "containerLogs",
			kubelet: "stream=All",
			want:    "container=c",
		},
		"Unknown": {
			reason:  "a container's name in the query would be a second one, and unknown options are not ours to pass on",
			op:      "containerLogs",
			kubelet: "container=other&insecureSkipTLSVerifyBackend=true",
			want:    "container=c",
		},
		"Terminal": {
			reason:  "a terminal has no second output",
			op:      "exec",
			kubelet: "command=sh&input=1&output=1&tty=1",
			want:    "command=sh&container=c&stderr=false&stdin=true&stdout=true&tty=true",
		},
		"Ports": {
			reason:  "the oldest WebSocket protocol names its ports, in one value or in many",
			op:      "portForward",
			kubelet: "port=80%2C81&port=90",
			want:    "ports=80&ports=81&ports=90",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kubeletQuery, err := url.ParseQuery(tc.kubelet)
			if err != nil {
				t.Fatal(err)
			}
			for _, op := range relayedOperations() {
				if op.name != tc.op {
					continue
				}
				if diff := cmp.Diff(tc.want, op.toHostQuery(kubeletQuery, "c").Encode()); diff != "" {
					t.Errorf("%s\n-want, +got:\n%s", tc.reason, diff)
				}
			}
		})
	}
}

func TestToHostHeader(t *testing.T) {
	t.Parallel()
	from := http.Header{
		"Connection":                {"Upgrade"},
		"Upgrade":                   {"websocket"},
		"Sec-Websocket-Key":         {"a2V5"},
		"Sec-Websocket-Protocol":    {"v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0", "v4.channel.k8s.io"},
		"X-Stream-Protocol-Version": {"v4.channel.k8s.io", "v3.channel.k8s.io"},
		"Authorization":             {"Bearer of-the-tenant"},
		"Cookie":                    {"a=b"},
		"Impersonate-User":          {"system:masters"},
		"X-Remote-User":             {"admin"},
		"Origin":                    {"https://dashboard.example.org"},
	}
	want := http.Header{
		"Connection":                {"Upgrade"},
		"Upgrade":                   {"websocket"},
		"Sec-Websocket-Key":         {"a2V5"},
		"Sec-Websocket-Protocol":    {"v5.channel.k8s.io, v4.channel.k8s.io"},
		"X-Stream-Protocol-Version": {"v4.channel.k8s.io", "v3.channel.k8s.io"},
	}
	if diff := cmp.Diff(want, toHostHeader(from)); diff != "" {
		t.Errorf("identities of the tenant stay in the virtual cluster\n-want, +got:\n%s", diff)
	}
}
