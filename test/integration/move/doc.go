// Package move moves the store of a running API server under its clients.
package move
