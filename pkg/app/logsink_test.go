package app

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
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

// TestPrintableLog logs an error with a text that a tenant has chosen. Nothing of it controls a terminal, and each of
// its lines is indented.
func TestPrintableLog(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{"console", "json"} {
		for _, verbosity := range []int32{0, 4} {
			var out bytes.Buffer
			logger := newLogger(v1alpha1.Logging{Encoding: encoding, Verbosity: verbosity}, &out)
			text := "denied größer\x1b[2J\rI1129 forged\nI1129 forged too\a \u009b31m \u202eback"
			logger.Error(errors.New(text), "Unhandled Error", "object", text)
			for i, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
				if i > 0 && !strings.HasPrefix(line, "\t") && !strings.HasPrefix(line, " >") {
					t.Errorf("%s: not indented: %q", encoding, line)
				}
				if at := strings.IndexFunc(line, func(r rune) bool { return r != '\t' && !unicode.IsPrint(r) }); at >= 0 {
					t.Errorf("%s: controls a terminal: %q", encoding, line)
				}
			}
			if !strings.Contains(out.String(), "denied größer") {
				t.Errorf("%s: the text is not readable: %s", encoding, out.String())
			}
		}
	}
}
