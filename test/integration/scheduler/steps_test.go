package scheduler

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// killed is a kill of the server between two steps on the way of a pod to its node.
// What happens on the host while the server is dead is a part of it.
type killed struct {
	name, reason string
	// full fills the host's nodes, so that it refuses the pod until one is freed.
	full bool
	// consumer has the pod wait for a volume, which is made once dead and alive are
	// over.
	consumer bool
	// hush keeps from the server what the host does with its pods.
	hush bool
	// catches are the requests without whose answers the server is killed.
	catches []request
	// until is what the host looks like when the server is killed.
	until func(*step, context.Context) error
	// dead is what happens while the server is dead, alive what happens when it is
	// back.
	dead, alive func(*testing.T, *step)
	// gone is true if there is no pod at the end.
	gone bool
}

// kills returns all of them, in the order of the steps.
func kills() []killed {
	return []killed{
		{
			name: "nothing made", reason: "the host knows neither of the pod nor of its token",
			catches: []request{{method: http.MethodPost, resource: "pods"}, {method: http.MethodPost, resource: "secrets"}},
		},
		{
			name: "token only", reason: "the token's Secret is there and its pod is not",
			catches: []request{{method: http.MethodPost, resource: "pods"}},
			until:   (*step).hasToken,
		},
		{
			name: "pod only", reason: "the pod is on its node and cannot start for want of its token",
			catches: []request{{method: http.MethodPost, resource: "secrets"}},
			until:   (*step).isBound,
			dead:    func(t *testing.T, s *step) { s.stay(t) },
		},
		{
			name: "made unawares", reason: "the host has made the pod and the server does not know",
			catches: []request{{method: http.MethodPost, resource: "pods", fate: unanswered}},
			until:   (*step).isBound,
			dead:    func(t *testing.T, s *step) { s.stay(t) },
		},
		{
			name: "undecided", reason: "the host's scheduler waits for a volume",
			consumer: true, until: (*step).isThere,
		},
		{
			name: "bound unawares", reason: "the host has bound the pod and the server has not heard of it",
			hush: true, until: (*step).isBoundUnawares,
			dead: func(t *testing.T, s *step) { s.stay(t) },
		},
		{
			name: "refused unawares, then bound", reason: "the host gets room for what it has refused and takes it",
			full: true, hush: true, until: (*step).isRefusedUnawares,
			dead: func(t *testing.T, s *step) { s.freeNode(t) },
		},
		{
			name: "refused unawares", reason: "another node has room than the one that was proposed",
			full: true, hush: true, until: (*step).isRefusedUnawares,
			dead: func(t *testing.T, s *step) { s.free(t, s.other(t)) },
		},
		{
			name: "not withdrawn", reason: "the refused pod is still there, and another node has room",
			full: true, catches: []request{{method: http.MethodDelete, resource: "pods"}},
			dead: func(t *testing.T, s *step) { s.free(t, s.other(t)) },
		},
		{
			name: "not withdrawn, then bound", reason: "the host takes what was to be withdrawn: there it stays",
			full: true, catches: []request{{method: http.MethodDelete, resource: "pods"}},
			dead: func(t *testing.T, s *step) { s.freeNode(t) },
		},
		{
			name: "withdrawn too late", reason: "a delete that was sent for a refused pod must not meet a bound one",
			full: true, catches: []request{{method: http.MethodDelete, resource: "pods", fate: late}},
			dead: func(t *testing.T, s *step) {
				s.freeNode(t)
				if got := s.caught[0].let(t); got.code != http.StatusConflict {
					t.Errorf("the host answers %d to the late delete: %s", got.code, got.body)
				}
			},
		},
		{
			name: "withdrawn unawares", reason: "the refused pod is gone and the server does not know",
			full: true, catches: []request{{method: http.MethodDelete, resource: "pods", fate: unanswered}},
			until: (*step).isGone,
			dead:  func(t *testing.T, s *step) { s.free(t, s.host.Nodes()[0]) },
		},
		{
			name: "made too late", reason: "the host makes a pod whose tenant has deleted it meanwhile",
			catches: []request{{method: http.MethodPost, resource: "pods", fate: late}}, gone: true,
			alive: func(t *testing.T, s *step) {
				s.running(t, s.pod.Name)
				s.deletePod(t)
				if got := s.caught[0].let(t); got.code != http.StatusCreated {
					t.Errorf("the host answers %d to the late request: %s", got.code, got.body)
				}
			},
		},
	}
}

// TestSteps kills the server between any two steps of the way of a pod to its node.
// It always ends as if nobody had died.
func TestSteps(t *testing.T) {
	t.Parallel()
	host := newHost(t, 2)
	w := newWire(t, host)
	// Only the host knows what is free, so it is the host who refuses.
	scheduler := map[string]any{"enabled": true, "hostUsage": false}
	s := openVia(t, host, w, "steps", map[string]any{"controlPlane": map[string]any{"advanced": map[string]any{"virtualScheduler": scheduler}}})
	stop := (&crowd{host: host}).watchful(t)
	for i, k := range kills() {
		// One after the other: what is caught is known by the only pod there is.
		if !t.Run(k.name, func(t *testing.T) { k.run(t, &step{shop: s, wire: w, name: fmt.Sprintf("pod-%d", i)}) }) {
			break
		}
	}
	if err := stop(); err != nil {
		t.Errorf("the host was overcommitted on the way: %v", err)
	}
}

// step is the pod of one kill and what is seen of it.
type step struct {
	*shop
	wire   *wire
	name   string
	pod    *corev1.Pod // as it was created
	caught []*catch
	place  string // the node that the refused host pod was held to
	bound  *boundPods
}

func (k killed) run(t *testing.T, s *step) {
	s.bound = watchBound(t, s.shop)
	if k.full {
		for _, node := range s.host.Nodes() {
			s.fill(t, node)
		}
	}
	if k.hush {
		s.wire.hush("pods")
	}
	for _, c := range k.catches {
		s.caught = append(s.caught, s.wire.catch(c))
	}
	pod := newPod(s.name, "cpu", "4")
	if k.consumer {
		pod = newConsumer(t, s.shop, s.name)
	}
	s.pod = s.create(t, pod)
	for _, c := range s.caught {
		c.await(t)
	}
	if k.until != nil {
		eventually(t, "the moment to be killed", func(ctx context.Context) error { return k.until(s, ctx) })
	}
	s.server.Kill()
	s.wire.clear()
	if k.dead != nil {
		k.dead(t, s)
	}
	s.start(t.Context(), t)
	if k.alive != nil {
		k.alive(t, s)
	}
	if k.consumer {
		provision(t, s.shop)
	}
	if !k.gone {
		s.settled(t)
		s.deletePod(t)
		if n := s.bound.count(t); n != 1 {
			t.Errorf("%d host pods of it had a node", n)
		}
	}
	s.clean(t)
}

// settled waits until the pod runs and looks at how.
func (s *step) settled(t *testing.T) {
	t.Helper()
	eventually(t, "the pod runs, with its token", func(ctx context.Context) error {
		pod, err := s.get(ctx, s.name)
		if err != nil {
			return err
		}
		if pod.UID != s.pod.UID {
			return fmt.Errorf("it is another one, %s", pod.UID)
		}
		host, err := s.hostPod(ctx)
		if err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodRunning || pod.Spec.NodeName != host.Spec.NodeName {
			return fmt.Errorf("%s on %q, its host pod on %q, %v", pod.Status.Phase, pod.Spec.NodeName, host.Spec.NodeName, pod.Status.Conditions)
		}
		_, err = s.agree(ctx)
		return errors.Join(err, s.hasToken(ctx))
	})
	if pod, err := s.get(t.Context(), s.name); err != nil || s.place != "" && pod.Spec.NodeName != s.place {
		t.Errorf("it is on %s, where %s has room: %v", pod.Spec.NodeName, s.place, err)
	}
}

// deletePod deletes the pod as its tenant, and waits until both sides have forgotten it.
func (s *step) deletePod(t *testing.T) {
	t.Helper()
	if err := s.client.CoreV1().Pods(metav1.NamespaceDefault).Delete(t.Context(), s.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.vanished(t)
}

func (s *step) vanished(t *testing.T) {
	t.Helper()
	eventually(t, "nothing is left of the pod", func(ctx context.Context) error {
		if _, err := s.get(ctx, s.name); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the virtual pod is there: %w", err)
		}
		pods, err := s.ours(ctx)
		if err != nil || len(pods) > 0 {
			return fmt.Errorf("%d host pods, %w", len(pods), err)
		}
		tokens, err := s.tokens(ctx)
		if err != nil || len(tokens) > 0 {
			return fmt.Errorf("%d Secrets, %w", len(tokens), err)
		}
		return nil
	})
}

// clean empties the nodes for the next one.
func (s *step) clean(t *testing.T) {
	t.Helper()
	s.vanished(t)
	for _, node := range s.host.Nodes() {
		s.free(t, node)
		s.cordon(t, node, false)
		eventually(t, "the tenant sees "+node+" as it was", func(ctx context.Context) error {
			found, err := s.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
			if err == nil && found.Spec.Unschedulable {
				err = errors.New("it is cordoned")
			}
			return err
		})
	}
}

// other returns a node that the refused pod is not pinned to. The pod must end there.
func (s *step) other(t *testing.T) string {
	t.Helper()
	held := s.held(t)
	nodes := s.host.Nodes()
	s.place = nodes[slices.IndexFunc(nodes, func(name string) bool { return name != held })]
	return s.place
}

// freeNode frees the node that the refused pod is pinned to. It waits until the host has bound
// the pod there, where it must stay.
func (s *step) freeNode(t *testing.T) {
	t.Helper()
	s.free(t, s.held(t))
	eventually(t, "the host binds the pod", s.isBound)
	s.stay(t)
}

// stay expects the pod to end where the host has bound it. The operator cordons that node,
// so that a second choice would be another one.
func (s *step) stay(t *testing.T) {
	t.Helper()
	s.place = s.held(t)
	s.cordon(t, s.place, true)
}
