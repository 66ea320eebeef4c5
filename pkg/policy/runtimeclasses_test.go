package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestOwnClass looks up runtime classes of the tenant by their handlers.
func TestOwnClass(t *testing.T) {
	t.Parallel()
	handlers := map[string]string{"runsc": "gvisor"}
	class := func(name, handler string) *nodev1.RuntimeClass {
		return &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Handler: handler}
	}
	scheduled := class("mine", "runsc")
	scheduled.Scheduling = &nodev1.Scheduling{NodeSelector: map[string]string{"pool": "control-plane"}}
	for _, c := range []struct {
		reason, host   string
		class, allowed *nodev1.RuntimeClass
	}{
		{"the handler decides", "gvisor", class("mine", "runsc"), class("mine", "runsc")},
		{"what the tenant has written about nodes is checked", "gvisor", scheduled, class("mine", "runsc")},
		{"a handler that the operator has not named", "", class("mine", "kata"), nil},
		{"the name of a class of the host says nothing", "", class("gvisor", "kata"), nil},
	} {
		host, allowed := OwnClass(handlers, c.class)
		if host != c.host {
			t.Errorf("%s: got the class %q of the host, want %q", c.reason, host, c.host)
		}
		if diff := cmp.Diff(c.allowed, allowed); diff != "" {
			t.Errorf("%s: -want, +got:\n%s", c.reason, diff)
		}
	}
}
