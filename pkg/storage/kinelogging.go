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

// kineHook passes kine's log lines on.
type kineHook struct{}

// Levels returns the levels to pass on.
func (kineHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire passes a line on. Errors of requests are ours to log: kine's lines have the whole
// request, with the values of Secrets. So do those of slow statements, with names.
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
