package syncer

import (
	"errors"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

func TestUnstoredCopies(t *testing.T) {
	t.Parallel()
	key := func(i int) types.NamespacedName {
		return types.NamespacedName{Namespace: "web", Name: fmt.Sprintf("s%d", i)}
	}
	full := func() *unstoredCopies {
		u := &unstoredCopies{}
		for i := range maxUnstored {
			if err := u.add(key(i), testStart()); err != nil {
				t.Fatalf("copy %d: %v", i, err)
			}
		}
		return u
	}
	for _, test := range []struct {
		reason string
		do     func(*unstoredCopies)
		key    int
		now    time.Duration
		denied bool
	}{
		{reason: "one more than the limit waits", key: maxUnstored, denied: true},
		{reason: "a copy that counts already is tried again", key: 3},
		{reason: "a stored object makes room", do: func(u *unstoredCopies) { u.forget(key(7)) }, key: maxUnstored},
		{reason: "an object that another replica syncs makes room", key: maxUnstored, do: func(u *unstoredCopies) {
			u.isStored = func(stored types.NamespacedName) bool { return stored == key(7) }
		}},
		{reason: "copies that others have deleted count for two minutes", key: maxUnstored, now: 2*pendingLife + time.Second},
	} {
		u := full()
		if test.do != nil {
			test.do(u)
		}
		err := u.add(key(test.key), testStart().Add(test.now))
		if (err != nil) != test.denied {
			t.Errorf("%s: got %v", test.reason, err)
		}
		if err != nil {
			if seconds, ok := apierrors.SuggestsClientDelay(err); !ok || seconds != 1 {
				t.Errorf("%s: %v does not ask to try again", test.reason, err)
			}
		}
	}
}

// TestCreateFirstIsBounded creates host copies whose virtual objects are never stored.
func TestCreateFirstIsBounded(t *testing.T) {
	t.Parallel()
	e, _, host := firstBench(t)
	create := func(name string, dryRun bool) error {
		_, err := e.CreateHostFirst(t.Context(), "services", service(func(s *corev1.Service) { s.Name = name }), dryRun)
		return err
	}
	for i := range maxUnstored {
		if err := create(fmt.Sprintf("s%d", i), false); err != nil {
			t.Fatal(err)
		}
	}
	requests := len(writesOf(host))
	if _, ok := errors.AsType[*tooManyUnstoredError](create("one-more", false)); !ok {
		t.Error("the number of host copies without virtual objects must have a limit")
	}
	if got := len(writesOf(host)); got != requests {
		t.Errorf("a create above the limit must not reach the host: %d requests, then %d", requests, got)
	}
	if err := create("dry", true); err != nil {
		t.Errorf("a dry run leaves nothing, so no limit applies: %v", err)
	}
	r := e.runners["services"].reconciler
	r.unstored.forget(types.NamespacedName{Namespace: "web", Name: "s0"})
	if err := create("one-more", false); err != nil {
		t.Errorf("a stored object makes room: %v", err)
	}
}
