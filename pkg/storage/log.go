package storage

import (
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
)

// logger returns the logger of etcd, which writes its warnings and errors to the log of
// this process.
func (e *Etcd) logger() *zap.Logger {
	if e.Logger != nil {
		return e.Logger
	}
	return zap.New(processLog{})
}

// processLog is a zap core that writes to klog, in the encoding that the operator chose.
type processLog struct{ fields []zapcore.Field }

// Enabled implements zapcore.LevelEnabler.
func (processLog) Enabled(level zapcore.Level) bool { return level >= zapcore.WarnLevel }

// With implements zapcore.Core.
func (l processLog) With(fields []zapcore.Field) zapcore.Core {
	return processLog{slices.Concat(l.fields, fields)}
}

// Check implements zapcore.Core.
func (l processLog) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !l.Enabled(entry.Level) || isNoise(entry.Message) {
		return checked
	}
	return checked.AddCore(entry, l)
}

// Write implements zapcore.Core.
func (l processLog) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	values := zapcore.NewMapObjectEncoder()
	for _, field := range slices.Concat(l.fields, fields) {
		field.AddTo(values)
	}
	pairs := []any{"component", "etcd"}
	for _, name := range slices.Sorted(maps.Keys(values.Fields)) {
		pairs = append(pairs, name, values.Fields[name])
	}
	if entry.Level >= zapcore.ErrorLevel {
		klog.ErrorS(nil, entry.Message, pairs...)
	} else {
		klog.InfoS(entry.Message, pairs...)
	}
	return nil
}

// Sync implements zapcore.Core.
func (processLog) Sync() error {
	klog.Flush()
	return nil
}

// noise returns the beginning of each message that etcd logs at every start and stop of a
// healthy server.
func noise() []string {
	return []string{
		"Failed to detect schema version",
		"failed to update storage version",
		"prober detected unhealthy status", // The reason of a wait names the member.
		"simple token is not cryptographically signed",
	}
}

// isNoise reports whether a message means nothing to an operator.
func isNoise(message string) bool {
	return strings.Contains(message, "pending configuration changes to apply") ||
		slices.ContainsFunc(noise(), func(start string) bool { return strings.HasPrefix(message, start) })
}
