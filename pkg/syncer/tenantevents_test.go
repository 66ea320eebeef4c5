package syncer

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/sublet-dev/sublet/pkg/translate"
)

func TestHostWordsBecomeVirtualOnes(t *testing.T) {
	t.Parallel()
	host := types.NamespacedName{Namespace: "prod", Name: "cart-mz3k"}
	tests := map[string]struct {
		reason, message, want string
	}{
		"Name":      {"The host's name means nothing to a tenant.", `pods "cart-mz3k" is forbidden`, `pods "cart" is forbidden`},
		"Namespace": {"Nor does its namespace.", `in namespace "prod"`, `in namespace "web"`},
		"Word":      {"A namespace may be called like a word.", `no product in "prod" for prod`, `no product in "web" for prod`},
		"Key":       {"Both together stand for the object.", `cannot create prod/cart-mz3k`, `cannot create web/cart`},
		"Long":      {"The API server takes messages of a certain length.", strings.Repeat("x", 2000), strings.Repeat("x", maxMessageLength-3) + "..."},
		"Runes":     {"No character is cut in two.", strings.Repeat("ü", 1000), strings.Repeat("ü", 510) + "..."},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := (&tenantEvents{cluster: translate.Cluster{Namespace: "prod"}}).toVirtualNames(tc.message, theKey(), host)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\n-want +got\n%s", tc.reason, diff)
			}
		})
	}
}

func TestTenantEventsAreSuppressedInAFlood(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	n := newTenantEvents(newFakeServer("virtual", c), scheme.Scheme, c, logr.Discard(), translate.Cluster{Namespace: "tenant"})
	recorded := 0
	for i := range 2 * maxRecorded {
		if n.shouldRecord(strconv.Itoa(i)) {
			recorded++
		}
	}
	if recorded != maxRecorded || n.recorded.count() != maxRecorded {
		t.Errorf("A flood must be bounded, %d of %d were recorded", recorded, 2*maxRecorded)
	}
	if n.shouldRecord("0") {
		t.Error("A repeat is suppressed")
	}
	c.Step(eventPeriod)
	if !n.shouldRecord("0") || n.recorded.count() != 1 {
		t.Errorf("After the period all are forgotten, %d are left", n.recorded.count())
	}
}

func TestTenantEventIsCountedOverARestart(t *testing.T) {
	t.Parallel()
	c := clocktesting.NewFakeClock(testStart())
	server := newFakeServer("virtual", c)
	object := server.add(virtualMap())
	for range 3 {
		n := newTenantEvents(server, scheme.Scheme, c, logr.Discard(), translate.Cluster{Namespace: "tenant"})
		n.recordHostRefusal(t.Context(), "configmaps", object, theKey(), errors.New("quota exceeded"))
	}
	events := server.list(&corev1.Event{}, labelsEverything())
	if len(events) != 1 {
		t.Fatalf("One Event stands for all with one message, got %d", len(events))
	}
	if event := events[0].(*corev1.Event); event.Count != 3 || event.Reason != "HostRefused" || event.Message != "quota exceeded" {
		t.Errorf("It must be counted, got %+v", event)
	}
}
