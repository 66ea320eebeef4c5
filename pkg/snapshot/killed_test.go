package snapshot

import (
	"encoding/json"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	// killVariable is the variable of the environment with the order of a process.
	killVariable = "SUBLET_TEST_KILLED_MOVE"
	// longVariable moves as many objects as a large virtual cluster has.
	longVariable = "SUBLET_TEST_LONG"
)

// killedObjects returns the number of objects: two pages, or many.
func killedObjects() int {
	if os.Getenv(longVariable) != "" {
		return 10_000
	}
	return firstPage + 100
}

// killOrder is what a process of [TestKilledMove] has to do.
type killOrder struct {
	Source location `json:"source"`
	Target location `json:"target"`
	// Before are the points at which earlier processes were killed.
	Before []Point `json:"before"`
	// At is the point at which this process is killed. Empty: it completes the move.
	At Point `json:"at"`
}

// TestKilledMove kills the processes of a move with SIGKILL at random points, twice before
// the move is decided and once around the decision. The last process completes the move.
//
// All stores are opened in processes that start no other. A process that is being started
// has copies of all open files for a moment, and with them their locks. For the same reason
// no other test runs at the same time.
//
//nolint:paralleltest // as above
func TestKilledMove(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	forEachPair(t, allPairs(), func(t *testing.T, from, to location) {
		var before []Point
		for _, point := range append(randomPoints(t, seed), "") {
			runMoveProcess(t, killOrder{from, to, before, point})
			before = append(before, point)
		}
	})
}

// randomPoints returns points at which a move is killed, other ones for each pair.
func randomPoints(t *testing.T, seed uint64) []Point {
	t.Helper()
	name := fnv.New64a()
	_, _ = name.Write([]byte(t.Name()))
	random := rand.New(rand.NewPCG(seed, name.Sum64()))
	points := allPoints()
	deciding := slices.Index(points, PointDeciding)
	early, late := points[:deciding], points[deciding:]
	chosen := []Point{early[random.IntN(len(early))], early[random.IntN(len(early))], late[random.IntN(len(late))]}
	t.Logf("killed at %q", chosen)
	return chosen
}

// runMoveProcess runs [TestMoveProcess] in a process of its own, which may be killed at
// the point of the order.
func runMoveProcess(t *testing.T, order killOrder) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestMoveProcess$")
	cmd.Env = append(os.Environ(), killVariable+"="+encode(order))
	output, err := cmd.CombinedOutput()
	switch isKilled := cmd.ProcessState != nil && isKilled(cmd.ProcessState); {
	case isKilled && order.At != "":
	case err != nil:
		t.Fatalf("process to be killed at %q after %q: %v\n%s", order.At, order.Before, err, output)
	}
}

// isKilled reports whether a process ended by SIGKILL.
func isKilled(state *os.ProcessState) bool {
	status, ok := state.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

// TestMoveProcess does nothing but in a process that [TestKilledMove] starts: it verifies
// what the last kill has left, and moves until it is killed.
//
//nolint:paralleltest // it is alone in its process
func TestMoveProcess(t *testing.T) {
	text, ok := os.LookupEnv(killVariable)
	if !ok {
		t.Skip("another test runs this one")
	}
	var order killOrder
	if err := json.Unmarshal([]byte(text), &order); err != nil {
		t.Fatal(err)
	}
	source, target := order.Source.store(), order.Target.store()
	if len(order.Before) == 0 {
		fill(t, source, killedObjects())
	} else {
		checkInterrupted(t, source, target, order.Before)
	}
	if order.At != "" {
		moveUntilKilled(t, newMover(source, target), order.At)
		return
	}
	before := read(t, source)
	if diff := cmp.Diff(contentOf(killedObjects()), before.values); diff != "" {
		t.Errorf("the source was changed:\n%s", diff)
	}
	if _, err := newMover(source, target).Run(t.Context()); err != nil {
		t.Fatalf("last attempt: %v", err)
	}
	checkMoved(t, source, target, before)
	if err := refusalOf(t, target, source.Location); err != nil {
		t.Errorf("target after the move: %v", err)
	}
}

// moveUntilKilled runs a move and kills this process at a point. It returns if the move
// does not come there.
func moveUntilKilled(t *testing.T, mover *Mover, at Point) {
	t.Helper()
	mover.At = func(point Point) error {
		if point != at {
			return nil
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return err
		}
		select {}
	}
	if _, err := mover.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}
