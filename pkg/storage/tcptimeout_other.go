//go:build !linux

package storage

import "syscall"

// limitUnacknowledged does nothing: the setting is Linux's.
func limitUnacknowledged(string, string, syscall.RawConn) error { return nil }
