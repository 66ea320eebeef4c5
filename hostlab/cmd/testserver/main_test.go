package main

import (
	"testing"

	"github.com/sublet-dev/sublet/test/goroutines"
)

func TestMain(m *testing.M) { goroutines.Verify(m) }
