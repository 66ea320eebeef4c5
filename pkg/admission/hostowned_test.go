package admission

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
)

// withKinds returns the default settings with these kinds switched on.
func withKinds(settings ...string) *v1alpha1.Config {
	var kinds []v1alpha1.Kind
	for _, setting := range settings {
		kinds = append(kinds, v1alpha1.Kind{Setting: setting, Enabled: true})
	}
	return v1alpha1.Default(kinds...)
}

// checkDenial evaluates that an error has a text, or that there is none for an empty one.
func checkDenial(t *testing.T, reason, denial string, err error) {
	t.Helper()
	switch {
	case denial == "" && err != nil:
		t.Errorf("%s: %v", reason, err)
	case denial != "" && (err == nil || !strings.Contains(err.Error(), denial)):
		t.Errorf("%s: got %v, want an error with %q", reason, err, denial)
	}
}

func TestHostOwned(t *testing.T) {
	t.Parallel()
	marked := metav1.ObjectMeta{Name: "gvisor", Annotations: map[string]string{labels.HostUID: "u"}}
	own := metav1.ObjectMeta{Name: "gvisor"}
	kept := metav1.ObjectMeta{Name: "gvisor", Annotations: map[string]string{labels.Definition: "digest"}}
	const fixed, mark = "is the host's and cannot be changed here", "only the syncer writes it"
	for _, kind := range hostOwnedKinds() {
		object := func(metadata metav1.ObjectMeta) runtime.Object {
			return &metav1.PartialObjectMetadata{ObjectMeta: metadata}
		}
		for _, test := range []struct {
			reason   string
			old, now runtime.Object
			denial   string
		}{
			{"a label of a copy", object(marked), object(marked), fixed},
			{"a copy that becomes the tenant's", object(marked), object(own), fixed},
			{"the end of a copy", object(marked), nil, fixed},
			{"a forged copy", nil, object(marked), mark},
			{"a tenant's object that becomes a copy", object(own), object(marked), mark},
			{"a tenant's object", nil, object(own), ""},
			{"and its end", object(own), nil, ""},
		} {
			err := askPolicies(t, withKinds(kind.setting), fakeView{}, kind.resource, "Kind", test.old, test.now)
			checkDenial(t, kind.noun+": "+test.reason, test.denial, err)
		}
	}
	err := askPolicies(t, withKinds(), fakeView{}, nodev1.Resource("runtimeclasses"), "RuntimeClass", nil, &nodev1.RuntimeClass{ObjectMeta: own})
	checkDenial(t, "a kind that is off", "", err)
	for reason, test := range map[string]struct {
		old, now metav1.ObjectMeta
		denial   string
	}{
		"a mark for the day on which the kind is on": {own, marked, mark},
		"another mark":                        {marked, metav1.ObjectMeta{Name: "gvisor", Annotations: map[string]string{labels.HostUID: "v"}}, mark},
		"a copy of a kind that was on before": {marked, marked, ""},
		"a copy that becomes the tenant's":    {marked, own, ""},
		"the mark of a definition of Sublet":  {own, kept, mark},
		"such a mark from before":             {kept, kept, ""},
	} {
		err := askPolicies(t, withKinds(), fakeView{}, nodev1.Resource("runtimeclasses"), "RuntimeClass", &nodev1.RuntimeClass{ObjectMeta: test.old}, &nodev1.RuntimeClass{ObjectMeta: test.now})
		checkDenial(t, reason, test.denial, err)
	}
}

// podOfClass returns a pod of a runtime class that tolerates a taint.
func podOfClass(class, taint string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db"}}
	p.Spec.RuntimeClassName = &class
	p.Spec.Containers = []corev1.Container{{Name: "db", Image: "busybox"}}
	p.Spec.Tolerations = []corev1.Toleration{{Key: taint, Operator: corev1.TolerationOpExists}}
	return p
}

func TestMappedCopies(t *testing.T) {
	t.Parallel()
	copied := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "ca", Annotations: map[string]string{labels.HostUID: "u"}}}
	own := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "ca"}}
	const fixed, mark = "is the host's and cannot be changed here", "only the syncer writes it"
	for _, kind := range mappedKinds(nil) {
		for _, test := range []struct {
			reason   string
			setting  string
			ending   bool
			old, now runtime.Object
			denial   string
		}{
			{"a change of a copy", kind.setting, false, copied, copied, fixed},
			{"a change of a copy in a namespace that is being deleted", kind.setting, true, copied, copied, fixed},
			{"a copy that becomes the tenant's", kind.setting, false, copied, own, fixed},
			{"the end of a copy", kind.setting, false, copied, nil, fixed},
			{"the end of a namespace", kind.setting, true, copied, nil, ""},
			{"a forged copy", kind.setting, false, nil, copied, mark},
			{"a tenant's object that becomes a copy", kind.setting, false, own, copied, mark},
			{"a tenant's object", kind.setting, false, nil, own, ""},
			{"its change", kind.setting, false, own, own, ""},
			{"and its end", kind.setting, false, own, nil, ""},
			{"a copy of a kind that is off", "sync.fromHost.other", false, copied, copied, ""},
			{"a forged copy of a kind that is off", "sync.fromHost.other", false, nil, copied, mark},
		} {
			checks := Checks{}
			AddMappedChecks(checks, withKinds(test.setting), func(string) bool { return test.ending })
			checkDenial(t, kind.noun+": "+test.reason, test.denial, askChecks(t, checks, kind.resource, "Kind", test.old, test.now))
		}
	}
}

func TestRuntimeClassesOfHost(t *testing.T) {
	t.Parallel()
	shown := fakeView{runtimeClasses: map[string]*nodev1.RuntimeClass{"gvisor": {
		ObjectMeta: metav1.ObjectMeta{Name: "gvisor"},
		Scheduling: &nodev1.Scheduling{Tolerations: []corev1.Toleration{{Key: "sandbox", Operator: corev1.TolerationOpExists}}},
	}}}
	const on = "sync.fromHost.runtimeClasses"
	listed := withKinds(on)
	listed.Policies.Pods.RuntimeClasses = []string{"kata"}
	handled := withKinds()
	handled.Policies.Pods.RuntimeHandlers = map[string]string{"runsc": "sandboxed"}
	own := fakeView{runtimeClasses: map[string]*nodev1.RuntimeClass{"gvisor": {ObjectMeta: metav1.ObjectMeta{Name: "gvisor"}, Handler: "runsc"}}}
	pods := corev1.Resource("pods")
	for _, test := range []struct {
		reason   string
		settings *v1alpha1.Config
		view     HostView
		old, now *corev1.Pod
		denial   string
	}{
		{"a class that is shown, with its tolerations", withKinds(on), shown, nil, podOfClass("gvisor", "sandbox"), ""},
		{"a label on a pod of it", withKinds(on), shown, podOfClass("gvisor", "sandbox"), podOfClass("gvisor", "sandbox"), ""},
		{"a toleration that the class does not have", withKinds(on), shown, nil, podOfClass("gvisor", "other"), "policies.pods.tolerations"},
		{"one that is added later", withKinds(on), shown, podOfClass("gvisor", "sandbox"), podOfClass("gvisor", "other"), "policies.pods.tolerations"},
		{"a class that is not shown", withKinds(on), shown, nil, podOfClass("kata", "node.kubernetes.io/a"), "policies.pods.runtimeClasses"},
		{"unless the policy has it", listed, shown, nil, podOfClass("kata", "node.kubernetes.io/a"), ""},
		{"its tolerations are not the class's then", listed, shown, nil, podOfClass("kata", "sandbox"), "policies.pods.tolerations"},
		{"the kind is off", withKinds(), shown, nil, podOfClass("gvisor", "node.kubernetes.io/a"), "policies.pods.runtimeClasses"},
		{"a class of the tenant's own with a handler that is allowed", handled, own, nil, podOfClass("gvisor", "node.kubernetes.io/a"), ""},
		{"its tolerations are the tenant's", handled, own, nil, podOfClass("gvisor", "sandbox"), "policies.pods.tolerations"},
		{"a class that is not the tenant's", handled, own, nil, podOfClass("kata", "node.kubernetes.io/a"), "policies.pods.runtimeClasses"},
		{"a host that is not known yet", withKinds(on), fakeView{err: errors.New("no")}, nil, podOfClass("gvisor", "sandbox"), "Try again"},
		{
			"which holds up no pod that exists", withKinds(on), fakeView{err: errors.New("no")},
			podOfClass("gvisor", "sandbox"), podOfClass("gvisor", "sandbox"), "",
		},
	} {
		var old runtime.Object
		if test.old != nil {
			old = test.old
		}
		checkDenial(t, test.reason, test.denial, askPolicies(t, test.settings, test.view, pods, "Pod", old, test.now))
	}
}
