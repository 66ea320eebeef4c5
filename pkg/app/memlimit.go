package app

import (
	"fmt"
	"os"
	"runtime/debug"

	"k8s.io/apimachinery/pkg/api/resource"
)

// memoryShare is the part of the container's memory limit, in percent, that the
// garbage collector aims to stay below. The rest is for what it does not count:
// stacks of the kernel, mapped files of the store, and garbage that is in the way.
const memoryShare = 85

// setMemoryLimit sets the limit of the garbage collector from the memory limit of
// the container in MEMORY_LIMIT, in bytes. It does nothing without one, or if
// GOMEMLIMIT is set.
func setMemoryLimit() error {
	text := os.Getenv("MEMORY_LIMIT")
	if text == "" || os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	limit, err := memoryLimit(text)
	if err != nil {
		return err
	}
	debug.SetMemoryLimit(limit)
	return nil
}

// memoryLimit returns the limit of the garbage collector for a container.
func memoryLimit(text string) (int64, error) {
	quantity, err := resource.ParseQuantity(text)
	if err != nil || quantity.Sign() <= 0 {
		return 0, fmt.Errorf("cannot use MEMORY_LIMIT %q: it must be an amount of memory", text)
	}
	return quantity.Value() / 100 * memoryShare, nil
}
