package storage

import (
	"io"
	"strings"

	"github.com/sirupsen/logrus"
	"k8s.io/klog/v2"
)

// redirectKineLog makes kine write to our log, and keeps it from ending the process.
func redirectKineLog() {
	logger := logrus.StandardLogger()
	logger.SetOutput(io.Discard)
	logger.SetLevel(logrus.InfoLevel)
	hooks := make(logrus.LevelHooks)
	hooks.Add(kineHook{})
	logger.ReplaceHooks(hooks)
	// kine ends the process if the database goes away while a compaction commits. The
	// next compaction asks the database how far the last one came.
	logger.ExitFunc = func(int) {}
}

// kineHook forwards kine's log lines to klog.
type kineHook struct{}

// Levels returns the levels to pass on.
func (kineHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire forwards a line. It drops lines about failed requests and slow statements, because they contain the
// request with values of Secrets. We log errors of requests ourselves.
func (kineHook) Fire(entry *logrus.Entry) error {
	for _, prefix := range []string{"error in ", "error while ", "Slow SQL"} {
		if strings.HasPrefix(entry.Message, prefix) {
			return nil
		}
	}
	switch {
	case entry.Level <= logrus.FatalLevel:
		klog.InfoS("The database library wanted to end the process", "message", entry.Message)
	case entry.Level <= logrus.WarnLevel:
		klog.V(2).InfoS("Message of the database library", "level", entry.Level.String(), "message", entry.Message)
	default:
		klog.V(4).InfoS("Message of the database library", "message", entry.Message)
	}
	return nil
}
