package replicas

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/sublet-dev/sublet/hostlab/sim"
	"github.com/sublet-dev/sublet/pkg/app"
)

// serverVariable makes the binary of the test a server.
const serverVariable = "SUBLET_TEST_SERVER"

// longVariable runs the tests that take more than a minute each.
const longVariable = "SUBLET_TEST_LONG"

// isLong reports whether the long tests run too.
func isLong() bool { return os.Getenv(longVariable) != "" }

var (
	faultTime = flag.Duration("faults", 20*time.Second, "how long the checks break things")
	seed      = flag.Uint64("seed", rand.Uint64(), "what the checks do and break; random by default")
)

func TestMain(m *testing.M) {
	if os.Getenv(serverVariable) != "" {
		os.Exit(serve())
	}
	if err := os.Setenv(serverVariable, "1"); err != nil {
		panic(err)
	}
	if err := sim.LogTo(io.Discard); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// serve does what the server's main function does.
func serve() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := app.Command().ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "sublet-server: %v\n", err)
		return 1
	}
	return 0
}
