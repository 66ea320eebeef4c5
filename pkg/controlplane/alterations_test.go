package controlplane

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/kubernetes/pkg/apis/core"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
)

// imageSetter is an admission plugin that sets the image of pods, if it has one.
type imageSetter struct {
	*admission.Handler
	image string
}

// Admit implements [admission.MutationInterface].
func (s imageSetter) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	_ = a.GetObject() // Upstream's plugins read it before they alter it.
	if pod, ok := a.GetObject().(*core.Pod); ok && s.image != "" {
		pod.Spec.Containers[0].Image = s.image
	}
	return nil
}

// admissionAttempt is one run of the plugins of a tenant.
type admissionAttempt struct {
	policy, webhook string // the image that each sets, empty for none
	isReinvocation  bool
}

// admit calls the plugins in their order. In a reinvocation, they see what they have made of the pod before.
func (r admissionAttempt) admit(ctx context.Context, t *testing.T) {
	t.Helper()
	pod := &core.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: core.PodSpec{Containers: []core.Container{{Image: "sent"}}}}
	if r.isReinvocation {
		pod.Spec.Containers[0].Image = "altered"
	}
	a := admission.NewAttributesRecord(pod, nil, schema.GroupVersionKind{}, "shop", "web", schema.GroupVersionResource{Resource: "pods"}, "",
		admission.Update, nil, false, nil)
	if r.isReinvocation {
		a.GetReinvocationContext().SetIsReinvoke()
	}
	for _, plugin := range [][2]string{{mutatingpolicy.PluginName, r.policy}, {mutatingwebhook.PluginName, r.webhook}} {
		setter := imageSetter{admission.NewHandler(admission.Update), plugin[1]}
		mutation, _ := exemptOwnRequests(setter, plugin[0]).(admission.MutationInterface)
		if err := mutation.Admit(ctx, a, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSentObject lets the two plugins of a tenant alter a request, which may be tried again or invoke them again.
func TestSentObject(t *testing.T) {
	t.Parallel()
	syncer := loopback.Caller{User: &user.DefaultInfo{Name: "syncer"}, KeepsCopies: true}
	tests := map[string]struct {
		reason   string
		caller   loopback.Caller
		attempts []admissionAttempt
		want     string // the image that was sent, empty if nothing has altered it
	}{
		"NotAltered": {reason: "both leave it", caller: syncer, attempts: []admissionAttempt{{}}},
		"Policy":     {reason: "the policy alters it", caller: syncer, attempts: []admissionAttempt{{policy: "p"}}, want: "sent"},
		"Webhook":    {reason: "the webhook alters it", caller: syncer, attempts: []admissionAttempt{{webhook: "w"}}, want: "sent"},
		"Both":       {reason: "what the policy gets was sent", caller: syncer, attempts: []admissionAttempt{{policy: "p", webhook: "w"}}, want: "sent"},
		"Again":      {reason: "the last attempt is not altered", caller: syncer, attempts: []admissionAttempt{{policy: "p"}, {}}},
		"Reinvocation": {
			reason: "it was altered before", caller: syncer, want: "sent",
			attempts: []admissionAttempt{{policy: "p", webhook: "w"}, {isReinvocation: true}},
		},
		"AnotherCaller": {reason: "policies apply to it anyway", caller: loopback.Caller{User: syncer.User}, attempts: []admissionAttempt{{policy: "p"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			serveAs(t, test.caller, func(ctx context.Context) {
				for _, attempt := range test.attempts {
					attempt.admit(ctx, t)
				}
				if sent, ok := SentObject(ctx).(*core.Pod); ok {
					got = sent.Spec.Containers[0].Image
				}
			})
			if got != test.want {
				t.Errorf("%s: got the image %q, want %q", test.reason, got, test.want)
			}
		})
	}
}

// serveAs calls serve with the context of a request of a caller in the process.
func serveAs(t *testing.T, caller loopback.Caller, serve func(ctx context.Context)) {
	t.Helper()
	server := loopback.NewServer()
	server.Open(withRequestState(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { serve(req.Context()) })))
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "https://api/", nil)
	response, err := server.Transport(caller).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
}
