package goroutines

import (
	"strings"
	"testing"
)

func TestMain(m *testing.M) { Verify(m) }

//nolint:paralleltest // Goroutines of other tests would count.
func TestAwait(t *testing.T) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		<-end
	}()
	err := await(0)
	if err == nil || !strings.Contains(err.Error(), "TestAwait") {
		t.Errorf("a goroutine that waits is not found: %v", err)
	}
	close(end)
	if err := await(limit); err != nil {
		t.Errorf("a goroutine that has ended is found: %v", err)
	}
	<-ended
}
