package app

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
)

func TestOperatorSink(t *testing.T) {
	t.Parallel()
	var lines []string
	inner := funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{LogTimestamp: false})
	logger := logr.New(newOperatorSink(inner))

	logger.Info("ours")
	logger.WithName("syncer").WithValues("kind", "pods").Info("ours too")
	// Through reflection the caller is a function of a library.
	reflect.ValueOf(logger.Info).Call([]reflect.Value{reflect.ValueOf("a library's")})
	logger.Error(errors.New("broken"), "any error")
	logger.Error(errors.New("failed to fetch openapi paths: not running"), "Unhandled Error")

	want := []string{
		`"level"=0 "msg"="ours"`,
		`"level"=0 "msg"="ours too" "kind"="pods"`,
		`"msg"="any error" "error"="broken"`,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestOperatorSinkNamesTheCaller(t *testing.T) {
	t.Parallel()
	var line string
	inner := funcr.New(func(_, args string) { line = args }, funcr.Options{LogCaller: funcr.All})
	logger := logr.New(newOperatorSink(inner))
	for _, write := range []func(){
		func() { logger.Info("something") },
		func() { logger.Error(nil, "something") },
		func() { logger.WithName("syncer").WithValues("kind", "pods").Info("something") },
	} {
		write()
		if !strings.Contains(line, `"logsink_test.go"`) {
			t.Errorf("The line must name the file of the caller, got %s", line)
		}
	}
}
