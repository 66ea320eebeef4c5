package replicas

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/test/await"
)

// term is a record of the leader on the anchor, with the version at which the host has it.
type term struct {
	pod     string
	epoch   uint64
	version uint64
}

// termLog records the terms as the host sees them begin.
type termLog struct {
	mu    sync.Mutex
	terms []term
}

// watchTerms records all terms from now on, until the test ends.
func (w *world) watchTerms(t *testing.T) *termLog {
	t.Helper()
	names := release.Release{Name: w.release.Name(), Namespace: w.release.Namespace()}
	anchors := w.host.Client().CoreV1().ConfigMaps(names.Namespace)
	anchor, err := anchors.Get(t.Context(), names.Anchor(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	changes := await.Changes(t, anchor.ResourceVersion, func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		o.FieldSelector = fields.OneTermEqualSelector("metadata.name", names.Anchor()).String()
		return anchors.Watch(ctx, o)
	})
	l := &termLog{}
	l.record(anchor)
	go func() {
		for event := range changes {
			if anchor, ok := event.Object.(*corev1.ConfigMap); ok && event.Type != watch.Deleted {
				l.record(anchor)
			}
		}
	}()
	return l
}

func (l *termLog) record(anchor *corev1.ConfigMap) {
	next := termOf(anchor)
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.terms); n == 0 || l.terms[n-1].epoch != next.epoch {
		l.terms = append(l.terms, next)
	}
}

func termOf(anchor *corev1.ConfigMap) term {
	epoch, _ := strconv.ParseUint(anchor.Annotations[labels.HolderEpoch], 10, 64)
	version, _ := strconv.ParseUint(anchor.ResourceVersion, 10, 64)
	return term{pod: anchor.Annotations[labels.Holder], epoch: epoch, version: version}
}

func (l *termLog) all() []term {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.terms)
}

// overlaps returns the writes to tenants' pods that a replica sent which did not lead.
// The host's versions order them among the terms, so no clock is trusted. Writes before the
// first term are of an earlier test.
func overlaps(terms []term, writes []hostWrite) []string {
	var found []string
	for _, w := range writes {
		if w.version < terms[0].version || !isLeaders(w) {
			continue
		}
		var leader term
		for _, t := range terms {
			if t.version <= w.version {
				leader = t
			}
		}
		if leader.pod != w.pod {
			found = append(found, fmt.Sprintf("%s of %s by %s at version %d, while %s leads with epoch %d since version %d",
				w.method, w.resource, w.pod, w.version, leader.pod, leader.epoch, leader.version))
		}
	}
	return found
}

// isLeaders reports whether only the leader may send the write. Every replica writes for
// admission, and about itself.
func isLeaders(w hostWrite) bool {
	kind, name, _ := strings.Cut(w.resource, "/")
	// The answer to the delete of a pod that goes at once has its last version.
	return kind == "pods" && !strings.HasPrefix(name, "shop-") && w.method != http.MethodDelete
}

func TestOverlaps(t *testing.T) {
	t.Parallel()
	terms := []term{{"shop-0", 1, 10}, {"shop-1", 2, 20}, {"shop-0", 3, 30}}
	for _, c := range []struct {
		reason string
		write  hostWrite
		want   int
	}{
		{"the leader's write", hostWrite{"shop-0", http.MethodPost, "pods", 15}, 0},
		{"the next leader's write", hostWrite{"shop-1", http.MethodPatch, "pods/x", 25}, 0},
		{"a write of who led before", hostWrite{"shop-0", http.MethodPost, "pods", 25}, 1},
		{"a write of who leads later", hostWrite{"shop-1", http.MethodPost, "pods", 15}, 1},
		{"a leader that leads again", hostWrite{"shop-0", http.MethodPost, "pods", 35}, 0},
		{"a write before the first term", hostWrite{"shop-1", http.MethodPost, "pods", 5}, 0},
		{"a Service is written by all", hostWrite{"shop-1", http.MethodPost, "services", 15}, 0},
		{"an answer without a version", hostWrite{"shop-1", http.MethodPost, "pods", 0}, 0},
	} {
		if got := overlaps(terms, []hostWrite{c.write}); len(got) != c.want {
			t.Errorf("%s: got %q", c.reason, got)
		}
	}
}

// checkTerms fails the test if two leaders wrote at once.
func (w *world) checkTerms(t *testing.T, l *termLog) {
	t.Helper()
	names := release.Release{Name: w.release.Name(), Namespace: w.release.Namespace()}
	eventually(t, "the last term is known", func(ctx context.Context) error {
		anchor, err := w.host.Client().CoreV1().ConfigMaps(names.Namespace).Get(ctx, names.Anchor(), metav1.GetOptions{})
		if err != nil {
			return err
		}
		last := l.all()[len(l.all())-1]
		if now := termOf(anchor); now.epoch != last.epoch {
			return fmt.Errorf("epoch %d, the anchor has %d", last.epoch, now.epoch)
		}
		return nil
	})
	for _, overlap := range overlaps(l.all(), w.ways.written.all()) {
		t.Error(overlap)
	}
	t.Logf("%d terms, %d writes to the host", len(l.all()), len(w.ways.written.all()))
}
