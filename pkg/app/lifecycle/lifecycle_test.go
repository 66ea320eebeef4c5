package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// journal records in which order things happen.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) record(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

// steady returns a part that is ready at once and runs until it is stopped.
func (j *journal) steady(name string) Part {
	ready := make(chan struct{})
	return Part{Name: name, Ready: ready, Run: func(ctx context.Context) error {
		j.record("start " + name)
		close(ready)
		<-ctx.Done()
		j.record("stop " + name)
		return nil
	}}
}

func TestRun(t *testing.T) {
	t.Parallel()
	broken := errors.New("port in use")
	failing := Part{Name: "api", Run: func(context.Context) error { return broken }, Ready: make(chan struct{})}
	leaving := Part{Name: "dns", Run: func(context.Context) error { return nil }}

	for name, tc := range map[string]struct {
		reason string
		parts  func(*journal) []Part
		cancel bool
		want   []string
		errs   string
	}{
		"Stops": {
			reason: "A signal stops the parts in the reverse of the order in which they started.",
			parts:  func(j *journal) []Part { return []Part{j.steady("a"), j.steady("b")} },
			cancel: true,
			want:   []string{"start a", "start b", "stop b", "stop a"},
		},
		"NotReady": {
			reason: "A part that fails before it is ready stops those before it; those after it never start.",
			parts:  func(j *journal) []Part { return []Part{j.steady("a"), failing, j.steady("c")} },
			want:   []string{"start a", "stop a"},
			errs:   "api: port in use",
		},
		"Leaves": {
			reason: "A part that ends without an error ends the process too.",
			parts:  func(j *journal) []Part { return []Part{j.steady("a"), leaving} },
			want:   []string{"start a", "stop a"},
			errs:   "dns ended by itself",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := &journal{}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			parts := tc.parts(j)
			if tc.cancel {
				last := parts[len(parts)-1].Ready
				go func() { <-last; cancel() }()
			}
			err := Run(ctx, parts, nil)
			if diff := cmp.Diff(tc.want, slices.Clone(j.lines)); diff != "" {
				t.Errorf("%s\n-want +got:\n%s", tc.reason, diff)
			}
			if (err == nil) != (tc.errs == "") || err != nil && !strings.Contains(err.Error(), tc.errs) {
				t.Errorf("%s\nwant error %q, got %v", tc.reason, tc.errs, err)
			}
		})
	}
}
