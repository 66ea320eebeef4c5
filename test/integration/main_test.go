package integration

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// stopping ends the API servers after the last test; running waits for that.
var (
	stopping, stop = context.WithCancel(context.Background())
	running        sync.WaitGroup
)

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard())
	code := m.Run()
	stop()
	running.Wait()
	os.Exit(code)
}
