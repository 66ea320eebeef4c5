// Package backup writes the content of a store to files, on a schedule.
//
// A file is written under another name, read back, verified and then renamed. So a file
// with the name of a backup is complete, whatever ends the process. Older files are
// deleted after a newer one is complete, never before.
//
// A [Keeper] knows no kind of store: it gets a function that writes the content, and one
// that verifies it. It writes to its own directory alone.
package backup
