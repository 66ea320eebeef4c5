package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/v3/kubernetes"
	clocktesting "k8s.io/utils/clock/testing"
)

// fakePuts answers every write with err.
type fakePuts struct {
	kubernetes.Interface
	err  error
	puts int
}

func (f *fakePuts) OptimisticPut(context.Context, string, []byte, int64, kubernetes.PutOptions) (kubernetes.PutResponse, error) {
	f.puts++
	return kubernetes.PutResponse{Succeeded: f.err == nil}, f.err
}

func TestCreationLimit(t *testing.T) {
	t.Parallel()
	const quota = 100 * mib
	for _, tc := range []struct {
		reason   string
		inUse    int64
		size     int
		revision int64
		internal bool
		free     int64
		answer   error
		want     *FullError
		relieved bool
	}{
		{reason: "a create in a half full store", inUse: 50 * mib},
		{reason: "a create from 75 % on frees old revisions early", inUse: 80 * mib, relieved: true},
		{reason: "no create from 90 % on", inUse: 90 * mib, want: &FullError{}, relieved: true},
		{reason: "nor one that would reach it", inUse: 89 * mib, size: 2 * mib, want: &FullError{}, relieved: true},
		{reason: "an update from 90 % on", inUse: 95 * mib, revision: 7},
		{reason: "a create by the process itself", inUse: 92 * mib, internal: true, relieved: true},
		{reason: "no create by the process itself from 95 % on", inUse: 95 * mib, internal: true, want: &FullError{}, relieved: true},
		{reason: "no create on a full volume", inUse: mib, free: minFree - 1, want: &FullError{Volume: true}, relieved: true},
		{reason: "an update on a full volume", inUse: mib, free: 1, revision: 7},
		{reason: "an update that exceeds the quota", inUse: 99 * mib, revision: 7, answer: rpctypes.ErrNoSpace, want: &FullError{Updates: true}, relieved: true},
		{reason: "no update far above a quota that has become smaller", inUse: 126 * mib, revision: 7, want: &FullError{Updates: true}, relieved: true},
		{reason: "an update of the process itself there", inUse: 126 * mib, revision: 7, internal: true},
		{reason: "any other error stays as it is", revision: 7, answer: context.Canceled},
	} {
		puts, relieved := &fakePuts{err: tc.answer}, false
		limit := &creationLimit{
			Interface: puts,
			usage:     func() Usage { return Usage{Size: quota, InUse: tc.inUse, Quota: quota} },
			free: func() (int64, error) {
				if tc.free == 0 {
					return 0, errors.ErrUnsupported
				}
				return tc.free, nil
			},
			internal: func(context.Context) bool { return tc.internal },
			relieve:  func() { relieved = true },
		}
		_, err := limit.OptimisticPut(t.Context(), "/registry/a", make([]byte, tc.size), tc.revision, kubernetes.PutOptions{})
		var full *FullError
		switch {
		case tc.want == nil && !errors.Is(err, tc.answer):
			t.Errorf("%s: got %v, want %v", tc.reason, err, tc.answer)
		case tc.want != nil && (!errors.As(err, &full) || full.Volume != tc.want.Volume || full.Updates != tc.want.Updates):
			t.Errorf("%s: got %v, want %+v", tc.reason, err, tc.want)
		}
		if relieved != tc.relieved {
			t.Errorf("%s: asked for space: %t", tc.reason, relieved)
		}
		if wrote := puts.puts > 0; wrote != (tc.want == nil || tc.answer != nil) {
			t.Errorf("%s: the write reached the store: %t", tc.reason, wrote)
		}
	}
}

func TestFullErrorNamesSizeAndQuota(t *testing.T) {
	t.Parallel()
	err := &FullError{Usage: Usage{Size: 100 * mib, InUse: 91 * mib, Quota: 100 * mib}}
	for _, part := range []string{"91 of 100 MiB", "90 %"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error %q does not name %q", err, part)
		}
	}
}

// small gives a store a quota that a test can fill, and a clock that the test
// steps.
func small(fake *clocktesting.FakeClock) func(*Etcd) {
	return func(e *Etcd) { e.Quota, e.Clock = 64*mib, fake }
}

// fill creates keys of 1 MiB until the store denies one, and returns how many
// there are.
func fill(t *testing.T, client *kubernetes.Client, prefix string) (count int, denied error) {
	t.Helper()
	value := make([]byte, mib)
	for count = range 1000 {
		if _, err := client.Kubernetes.OptimisticPut(t.Context(), fmt.Sprintf("/registry/%s-%d", prefix, count), value, 0, kubernetes.PutOptions{}); err != nil {
			return count, err
		}
	}
	t.Fatal("1000 MiB fit into a quota of 64 MiB")
	return 0, nil
}

// TestFullStoreHeals shows that a full store takes updates and deletes, and takes
// creates again once objects were deleted, without a restart.
func TestFullStoreHeals(t *testing.T) {
	t.Parallel()
	fake := clocktesting.NewFakeClock(time.Now())
	e, client := startEtcd(t, t.TempDir(), small(fake))
	count, err := fill(t, client, "first")
	var full *FullError
	if !errors.As(err, &full) {
		t.Fatalf("after %d creates of 1 MiB: got %v, want a *FullError", count, err)
	}
	if count < 44 || count > 58 {
		t.Errorf("%d objects of 1 MiB fit into 90 %% of a quota of 64 MiB", count)
	}
	got, err := client.Kubernetes.Get(t.Context(), "/registry/first-0", kubernetes.GetOptions{})
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	// On a slow machine the file grows beyond the quota before its free pages are used
	// again. The next look of the keeper makes it smaller.
	eventually(t, func() string {
		_, err := client.Kubernetes.OptimisticPut(t.Context(), "/registry/first-0", []byte("small"), got.KV.ModRevision, kubernetes.PutOptions{})
		if err != nil {
			fake.Step(spaceCheck)
			return fmt.Sprintf("an update in the full store: %v", err)
		}
		return ""
	})
	for i := range count {
		if _, err := client.Delete(t.Context(), fmt.Sprintf("/registry/first-%d", i)); err != nil {
			t.Fatalf("a delete in the full store: %v", err)
		}
	}
	eventually(t, func() string {
		fake.Step(spaceCheck)
		if _, err := client.Kubernetes.OptimisticPut(t.Context(), "/registry/again", make([]byte, mib), 0, kubernetes.PutOptions{}); err != nil {
			return fmt.Sprintf("after all objects were deleted: %v", err)
		}
		return ""
	})
	eventually(t, func() string {
		fake.Step(spaceCheck)
		if usage := e.usage(); usage.InUse > usage.Quota/2 || usage.Size > usage.Quota/2 {
			return fmt.Sprintf("after all objects were deleted, the usage is %+v", usage)
		}
		return ""
	})
	if again, err := fill(t, client, "second"); again < count*9/10 || !errors.As(err, &full) {
		t.Errorf("%d objects fit after the first ones were deleted, want about %d: %v", again, count, err)
	}
}

// exceedQuota updates one key until the alarm is set. The keeper does not see
// that: its clock is stopped.
func exceedQuota(t *testing.T, client *kubernetes.Client) {
	t.Helper()
	value := strings.Repeat("x", mib)
	for range 1000 {
		if _, err := client.Put(t.Context(), "/registry/same", value); err != nil {
			if !errors.Is(err, rpctypes.ErrNoSpace) {
				t.Fatalf("Put: %v", err)
			}
			return
		}
	}
	t.Fatal("1000 updates of 1 MiB fit into a quota of 64 MiB")
}

func TestAlarmIsCleared(t *testing.T) {
	t.Parallel()
	fake := clocktesting.NewFakeClock(time.Now())
	e, client := startEtcd(t, t.TempDir(), small(fake))
	exceedQuota(t, client)
	if alarms, _ := e.alarms(t.Context()); len(alarms) != 1 || e.checks()[0].Healthy {
		t.Errorf("the alarms are %v and the checks %+v, want an alarm and an unhealthy check", alarms, e.checks())
	}
	eventually(t, func() string {
		fake.Step(spaceCheck)
		if _, err := client.Put(t.Context(), "/registry/after", "1"); err != nil {
			return fmt.Sprintf("the store still denies writes: %v", err)
		}
		return ""
	})
	if checks := e.checks(); len(checks) == 0 || !checks[0].Healthy {
		t.Errorf("the checks are %+v, want a healthy one", checks)
	}
}

func TestStartWithAlarm(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fake := clocktesting.NewFakeClock(time.Now())
	first, client := startEtcd(t, dir, small(fake))
	exceedQuota(t, client)
	first.Stop()

	_, client = startEtcd(t, dir, small(fake))
	eventually(t, func() string {
		fake.Step(spaceCheck)
		if _, err := client.Put(t.Context(), "/registry/after", "1"); err != nil {
			return fmt.Sprintf("the store still denies writes after a restart: %v", err)
		}
		return ""
	})
}

func TestUncommittedWritesCount(t *testing.T) {
	t.Parallel()
	commits := int64(0)
	u := uncommitted{commits: func() int64 { return commits }}
	for _, step := range []struct{ commits, want int64 }{{0, 10}, {0, 20}, {1, 10}, {1, 20}, {3, 10}} {
		commits = step.commits
		u.add(10)
		if got := u.total(); got != step.want {
			t.Errorf("after %d commits: %d bytes are not committed, want %d", step.commits, got, step.want)
		}
	}
}
