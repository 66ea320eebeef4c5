package translate

import (
	"math"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestQuotaScope(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason        string
		scope         bool
		virtual, host *int64 // host is nil for a new host pod
		want          *int64
	}{
		{reason: "without a quota a pod stays as it is"},
		{reason: "a quota counts every pod of the tenant", scope: true, want: new(int64(math.MaxInt32))},
		{reason: "the tenant's own deadline counts too", scope: true, virtual: new(int64(60)), want: new(int64(60))},
		{
			reason: "a deadline that the tenant sets later comes nearer",
			scope:  true, virtual: new(int64(60)), host: new(int64(math.MaxInt32)), want: new(int64(60)),
		},
		{reason: "a pod keeps the scope that it has", host: new(int64(math.MaxInt32)), want: new(int64(math.MaxInt32))},
	} {
		in := input()
		in.QuotaScope = c.scope
		virtual := webPod(func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = c.virtual })
		host := stamped(virtual)
		if c.host != nil {
			host = created(t, in, webPod())
			host.UID = "host-uid"
			host.Spec.ActiveDeadlineSeconds = c.host
		}
		if err := Pod(in, virtual, host); err != nil {
			t.Fatalf("%s: %v", c.reason, err)
		}
		got := host.Spec.ActiveDeadlineSeconds
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%s: the host pod has the deadline %v, want %v", c.reason, got, c.want)
		}
	}
}

// TestQuotaScopeOfPodsThatExist checks that a pod from before the quota stays outside of it.
// Otherwise a quota that asks for requests would refuse each change of a pod without them.
func TestQuotaScopeOfPodsThatExist(t *testing.T) {
	t.Parallel()
	virtual := webPod()
	host := created(t, input(), virtual)
	host.UID = "host-uid"
	in := input()
	in.QuotaScope = true
	if err := Pod(in, virtual, host); err != nil {
		t.Fatal(err)
	}
	if got := host.Spec.ActiveDeadlineSeconds; got != nil {
		t.Errorf("a pod from before the quota has the deadline %d", *got)
	}
}
