package consistency

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// shownOperations is how many operations of a bad history are printed, the last ones.
const shownOperations = 400

// format returns the operations in the order of their calls, one a line.
func format(history []registerOperation) string {
	sorted := slices.SortedFunc(slices.Values(history), func(a, b registerOperation) int { return int(a.call - b.call) })
	var text strings.Builder
	for _, o := range sorted[max(0, len(sorted)-shownOperations):] {
		fmt.Fprintf(&text, "%10.4f %10.4f client %d %s\n", o.call.Seconds(), o.back.Seconds(), o.client, o)
	}
	return text.String()
}

// String returns the operation without its times.
func (o registerOperation) String() string {
	answer := map[outcome]string{acknowledged: "ok", conflicted: "conflict", failed: "failed", unknown: "no answer"}[o.outcome]
	switch o.kind {
	case readRegister:
		return fmt.Sprintf("read %d (version %d)", o.to, o.version)
	case writeRegister:
		return fmt.Sprintf("write %d: %s (version %d)", o.to, answer, o.version)
	case swapRegister:
	}
	return fmt.Sprintf("swap %d for %d: %s (version %d)", o.from, o.to, answer, o.version)
}

// versionOf returns the resourceVersion of an object or list, 0 if it is no number.
func versionOf(object interface{ GetResourceVersion() string }) uint64 {
	version, err := strconv.ParseUint(object.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return version
}
