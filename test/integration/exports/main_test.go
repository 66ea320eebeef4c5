package exports

import (
	"io"
	"os"
	"testing"

	"github.com/sublet-dev/sublet/hostlab/sim"
)

func TestMain(m *testing.M) {
	if err := sim.LogTo(io.Discard); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
