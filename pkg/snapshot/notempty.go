package snapshot

import "errors"

// IsNotEmpty reports whether a restore was refused because the store has content.
func IsNotEmpty(err error) bool { return errors.Is(err, errNotEmpty) }
