package storage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/syncz"
)

const (
	// monitorPeriod is the time between two checks of a store outside of the process.
	monitorPeriod = 5 * time.Second
	// monitorTimeout is how long an answer may take.
	monitorTimeout = 3 * time.Second
)

// monitor checks whether a store outside of the process answers, and how full it is.
type monitor struct {
	clock    clock.WithTicker
	observed *storeMetrics
	// ask returns the status of the store.
	ask func(ctx context.Context) (*etcdserverpb.StatusResponse, error)

	mu     sync.Mutex
	usage  Usage
	alarms []Alarm
	// since is when the store stopped to answer, zero while it answers. cause is why.
	since  time.Time
	cause  string
	logged time.Time
}

func newMonitor(x *External, observed *storeMetrics, first *etcdserverpb.StatusResponse) *monitor {
	m := &monitor{clock: x.Clock, observed: observed, ask: x.askStatus}
	m.record(first, nil)
	return m
}

// run asks until ctx ends.
func (m *monitor) run(ctx context.Context) {
	ticker := m.clock.NewTicker(monitorPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C():
		}
		asking, cancel := context.WithTimeout(ctx, monitorTimeout)
		status, err := m.ask(asking)
		cancel()
		if ctx.Err() == nil {
			m.record(status, err)
		}
	}
}

// record records an answer. It logs a store that stops to answer at once and every
// minute, and one that answers again.
func (m *monitor) record(status *etcdserverpb.StatusResponse, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Now()
	if err != nil {
		if m.since.IsZero() {
			m.since = now
		}
		m.cause = err.Error()
		m.observed.recordDown()
		if now.Sub(m.logged) >= repeatLog {
			m.logged = now
			klog.ErrorS(err, "Store does not respond, requests wait or fail", "duration", now.Sub(m.since).Round(time.Second))
		}
		return
	}
	if !m.since.IsZero() {
		klog.InfoS("Store responds again", "duration", now.Sub(m.since).Round(time.Second))
	}
	m.since, m.cause, m.logged = time.Time{}, "", time.Time{}
	m.usage = Usage{Size: status.GetDbSize(), InUse: status.GetDbSizeInUse(), Quota: status.GetDbSizeQuota()}
	m.alarms = nil
	for _, text := range status.GetErrors() {
		if strings.Contains(text, string(AlarmNoSpace)) {
			m.alarms = append(m.alarms, AlarmNoSpace)
		}
	}
	m.observed.recordUp()
	m.observed.observe(m.usage, len(m.alarms) > 0)
}

func (m *monitor) lastUsage() Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.usage
}

// checks returns whether the store answers, and its size if it has a known limit.
func (m *monitor) checks(name string) []syncz.Check {
	m.mu.Lock()
	defer m.mu.Unlock()
	check := syncz.Check{Name: "store connection", Healthy: true, Message: "The store answers.", Details: []string{name}}
	if !m.since.IsZero() {
		check.Healthy = false
		check.Message = fmt.Sprintf("The store has not responded for %s. Writes resume by themselves once it does.",
			m.clock.Now().Sub(m.since).Round(time.Second))
		check.Details = append(check.Details, m.cause)
	}
	checks := []syncz.Check{check}
	if m.usage.Quota > 0 {
		checks = append(checks, checkSize(m.usage, slices.Contains(m.alarms, AlarmNoSpace)))
	}
	return checks
}

// askStatus reads a key, which needs a quorum, and then the status of a member.
func (x *External) askStatus(ctx context.Context) (*etcdserverpb.StatusResponse, error) {
	if _, err := x.probes.Get(ctx, IdentityKey); err != nil {
		return nil, fmt.Errorf("cannot read from etcd: %w", err)
	}
	status, err := etcdserverpb.NewMaintenanceClient(x.client.ActiveConnection()).Status(ctx, &etcdserverpb.StatusRequest{})
	if err != nil {
		return nil, fmt.Errorf("cannot get the status of etcd: %w", err)
	}
	return status, nil
}

// usage returns the sizes of the whole etcd, which other users may share.
func (x *External) usage() Usage {
	if m := x.monitor.Load(); m != nil {
		return m.lastUsage()
	}
	return Usage{}
}

// listAlarms returns the alarms of the etcd. Its operator clears them.
func (x *External) listAlarms(context.Context) ([]Alarm, error) {
	m := x.monitor.Load()
	if m == nil {
		return nil, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.alarms), nil
}

// checks returns the health of the store, nothing before it has answered.
func (x *External) checks() []syncz.Check {
	m := x.monitor.Load()
	if m == nil {
		return nil
	}
	return m.checks("etcd " + strings.Join(x.Endpoints, ", ") + ", prefix " + x.Prefix)
}
