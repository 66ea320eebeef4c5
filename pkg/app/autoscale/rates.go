package autoscale

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// ratesPrefix is the key prefix of all rates. It is outside of the prefix of the API
	// server, so that tenants cannot see them.
	ratesPrefix = "/sublet/requests/"
	// ReportPeriod is the time between two reports of a replica.
	ReportPeriod = 10 * time.Second
	// storeTimeout bounds one request to the store.
	storeTimeout = 5 * time.Second
)

// report is the value that a replica writes into the store.
type report struct {
	// Rate is the number of requests per second since the last report.
	Rate float64 `json:"rate"`
}

// Reporter writes the request rate of one replica into the store. Every replica runs one.
type Reporter struct {
	// Replica is the name of the pod.
	Replica string
	// Store returns the client of the store.
	Store func() kubernetes.Interface
	// Clock is the time.
	Clock clock.WithTicker

	requests atomic.Int64
	// revision is the revision of the key, 0 if the key does not exist. It is valid if known
	// is true.
	revision int64
	known    bool
}

// Count counts one request.
func (r *Reporter) Count() { r.requests.Add(1) }

// Run reports until ctx ends. If a report fails, the next one includes its requests.
func (r *Reporter) Run(ctx context.Context) error {
	since, counted := r.Clock.Now(), r.requests.Load()
	ticker := r.Clock.NewTicker(ReportPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
		now, total := r.Clock.Now(), r.requests.Load()
		elapsed := now.Sub(since).Seconds()
		if elapsed <= 0 {
			continue
		}
		if err := r.write(ctx, report{Rate: float64(total-counted) / elapsed}); err != nil {
			if ctx.Err() == nil {
				klog.V(2).InfoS("Cannot report the rate of API requests, retrying", "err", err)
			}
			continue
		}
		since, counted = now, total
	}
}

// write writes the report. Even an unchanged one gives the key a new revision, which shows
// that the replica is alive.
func (r *Reporter) write(ctx context.Context, value report) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("cannot encode the rate of requests: %w", err)
	}
	const attempts = 2 // The revision of the first one may be outdated.
	for range attempts {
		if !r.known {
			if err := r.readRevision(ctx); err != nil {
				return err
			}
		}
		options := kubernetes.PutOptions{GetOnFailure: r.revision > 0}
		response, err := r.Store().OptimisticPut(ctx, ratesPrefix+r.Replica, data, r.revision, options)
		if err != nil {
			r.known = false
			return fmt.Errorf("cannot write the rate of requests: %w", err)
		}
		r.revision, r.known = response.Revision, response.Succeeded
		if response.Succeeded {
			return nil
		}
	}
	return fmt.Errorf("cannot write the rate of requests: another process writes key %s%s", ratesPrefix, r.Replica)
}

// readRevision reads the revision of the key, which an earlier process may have written.
func (r *Reporter) readRevision(ctx context.Context) error {
	response, err := r.Store().Get(ctx, ratesPrefix+r.Replica, kubernetes.GetOptions{})
	if err != nil {
		return fmt.Errorf("cannot get the rate of requests: %w", err)
	}
	r.revision, r.known = 0, true
	if response.KV != nil {
		r.revision = response.KV.ModRevision
	}
	return nil
}

// storedRate is the last report of a replica, as it is in the store.
type storedRate struct {
	report

	// revision grows with each report.
	revision int64
}

// readRates returns the last report of each replica: pod -> rate. Some of the pods may no longer
// exist.
func readRates(ctx context.Context, store kubernetes.Interface) (map[string]storedRate, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	response, err := store.List(ctx, ratesPrefix, kubernetes.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot list the rates of requests: %w", err)
	}
	rates := map[string]storedRate{}
	for _, kv := range response.Kvs {
		rate := storedRate{revision: kv.ModRevision}
		if json.Unmarshal(kv.Value, &rate.report) == nil {
			rates[strings.TrimPrefix(string(kv.Key), ratesPrefix)] = rate
		}
	}
	return rates, nil
}
