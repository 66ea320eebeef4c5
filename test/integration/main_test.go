package integration

import (
	"context"
	"os"
	"sync"
	"testing"
)

// stopping ends the API servers after the last test; running waits for that.
var (
	stopping, stop = context.WithCancel(context.Background())
	running        sync.WaitGroup
)

func TestMain(m *testing.M) {
	code := m.Run()
	stop()
	running.Wait()
	os.Exit(code)
}
