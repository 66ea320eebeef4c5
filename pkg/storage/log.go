package storage

import (
	"fmt"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logger returns the configured logger, or one that logs what an operator can
// use.
func (e *Etcd) logger() (*zap.Logger, error) {
	if e.Logger != nil {
		return e.Logger, nil
	}
	config := zap.NewProductionConfig()
	config.Level = zap.NewAtomicLevelAt(zap.WarnLevel)
	config.DisableStacktrace = true
	config.DisableCaller = true
	logger, err := config.Build(zap.WrapCore(func(core zapcore.Core) zapcore.Core { return noiseFilter{core} }))
	if err != nil {
		return nil, fmt.Errorf("cannot build the logger of the database: %w", err)
	}
	return logger, nil
}

// noiseFilter drops what etcd logs at every start and stop of a healthy server.
type noiseFilter struct{ zapcore.Core }

// noise returns the beginning of each such message.
func noise() []string {
	return []string{
		"Failed to detect schema version",
		"failed to update storage version",
		"prober detected unhealthy status", // The reason of a wait names the member.
		"simple token is not cryptographically signed",
	}
}

// With returns a filtered core with more fields.
func (f noiseFilter) With(fields []zapcore.Field) zapcore.Core {
	return noiseFilter{f.Core.With(fields)}
}

// Check accepts every message but noise.
func (f noiseFilter) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	for _, message := range noise() {
		if strings.HasPrefix(entry.Message, message) {
			return checked
		}
	}
	if strings.Contains(entry.Message, "pending configuration changes to apply") {
		return checked
	}
	return f.Core.Check(entry, checked)
}
