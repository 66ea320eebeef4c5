package integration

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/component-base/metrics/legacyregistry"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// stopping ends the API servers after the last test; running waits for that.
var (
	stopping, stop = context.WithCancel(context.Background())
	running        sync.WaitGroup
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	code := m.Run()
	// Only a whole run uses every kind.
	if code == 0 && flag.Lookup("test.run").Value.String() == "" && !testing.Short() {
		if err := checkKinds(); err != nil {
			fmt.Fprintf(os.Stderr, "integration: %v\n", err)
			code = 1
		}
	}
	stop()
	running.Wait()
	os.Exit(code)
}

// checkedElsewhere returns the kinds whose integration test is in package scheduler: the
// virtual scheduler writes what they sync.
func checkedElsewhere() []string {
	return []string{"deviceclasses", "resourceclaims", "resourceslices"}
}

// checkKinds checks that each kind of the table has put an object right between two API
// servers, in any of the tests.
func checkKinds() error {
	used, err := syncedKinds()
	if err != nil {
		return err
	}
	used = append(used, checkedElsewhere()...)
	var unused []string
	for _, row := range kinds.Table() {
		with, without := row.Kinds()
		for _, kind := range slices.Concat(with, without) {
			if !slices.Contains(used, kind.Name()) {
				unused = append(unused, kind.Name())
			}
		}
	}
	if len(unused) > 0 {
		return fmt.Errorf("no test syncs an object of the kinds %v", unused)
	}
	return nil
}

// syncedKinds returns the kinds that have put an object right after an event. A write that a retry or a scan makes does not
// count.
func syncedKinds() (synced []string, err error) {
	families, err := legacyregistry.DefaultGatherer.Gather()
	if err != nil {
		return nil, fmt.Errorf("cannot read the metrics: %w", err)
	}
	for _, family := range families {
		if family.GetName() != "sublet_sync_latency_seconds" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				synced = append(synced, label.GetValue())
			}
		}
	}
	return synced, nil
}
