package replicas

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// membersGap is how long a write may take while members join or leave, on a busy machine.
const membersGap = patience

// TestEmbeddedMembers scales a control plane with an embedded etcd from one to three
// replicas and back, without a restart of the first. No acknowledged write is lost.
func TestEmbeddedMembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{replicas: 1})
	first := w.fleet.Replicas()[0]
	writes := w.write(t)
	for _, replicas := range []int32{3, 1} {
		eventually(t, "the StatefulSet is scaled", func(ctx context.Context) error { return w.fleet.Scale(ctx, replicas) })
		w.awaitReady(t, int(replicas))
		eventually(t, "nobody else runs", func(context.Context) error {
			if running := len(w.fleet.Replicas()); running != int(replicas) {
				return fmt.Errorf("%d replicas run", running)
			}
			return nil
		})
	}
	if again := w.fleet.Replicas()[0]; again.UID != first.UID {
		t.Error("the first replica was replaced")
	}
	writes.check(t, w)
}

// TestMembersDie kills each of three members in turn, so that the leader of the store is one of
// them. No acknowledged write is lost.
func TestMembersDie(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{replicas: 1})
	eventually(t, "the StatefulSet is scaled", func(ctx context.Context) error { return w.fleet.Scale(ctx, 3) })
	w.awaitReady(t, 3)
	writes := w.write(t)
	succeeded := 0
	for i := range 3 {
		pod := fmt.Sprint("shop-", i)
		w.fleet.Kill(pod)
		eventually(t, "the others take a write", func(ctx context.Context) error { return writeTo(ctx, w.client(t)) })
		for _, replica := range w.fleet.Replicas() {
			log, err := os.ReadFile(replica.LogFile())
			if err != nil {
				t.Fatal(err)
			}
			succeeded += strings.Count(string(log), "electing this member")
		}
		w.fleet.Restart(pod)
		w.awaitReady(t, 3)
	}
	t.Logf("%d elections because a process has ended", succeeded)
	writes.check(t, w)
}

// writes is a client that creates ConfigMaps twice a second.
type writes struct {
	stop context.CancelFunc
	done sync.WaitGroup
	made []string
	gap  time.Duration
}

// write starts a client that writes to each replica in turn.
func (w *world) write(t *testing.T) *writes {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	s := &writes{stop: stop}
	s.done.Go(func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			due := time.Now()
			for ctx.Err() == nil {
				if err := w.create(ctx, fmt.Sprintf("write-%d-", i), s); err == nil {
					break
				}
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond): // The replicas need the CPU.
				}
			}
			s.gap = max(s.gap, time.Since(due))
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	})
	t.Cleanup(func() { stop(); s.done.Wait() })
	return s
}

// create creates one ConfigMap.
func (w *world) create(ctx context.Context, prefix string, s *writes) error {
	client := w.pick()
	if client == nil {
		return errNobody
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	made, err := client.CoreV1().ConfigMaps(metav1.NamespaceDefault).Create(ctx,
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix}}, metav1.CreateOptions{})
	if err == nil {
		s.made = append(s.made, made.Name)
	}
	return err
}

// check stops the client and fails the test if a write is lost or took too long.
func (s *writes) check(t *testing.T, w *world) {
	t.Helper()
	s.stop()
	s.done.Wait()
	kept := map[string]bool{}
	eventually(t, "the ConfigMaps are listed", func(ctx context.Context) error {
		client := w.pick()
		if client == nil {
			return errNobody
		}
		list, err := client.CoreV1().ConfigMaps(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, item := range list.Items {
			kept[item.Name] = true
		}
		return nil
	})
	var lost []error
	for _, name := range s.made {
		if !kept[name] {
			lost = append(lost, errors.New(name))
		}
	}
	if len(lost) > 0 || len(s.made) == 0 {
		t.Errorf("of %d acknowledged writes are lost: %v", len(s.made), errors.Join(lost...))
	}
	t.Logf("%d writes, the longest took %s", len(s.made), s.gap.Round(time.Millisecond))
	if s.gap > membersGap {
		t.Errorf("a write took %s, want at most %s", s.gap, membersGap)
	}
}
