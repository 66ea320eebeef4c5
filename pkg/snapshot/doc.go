// Package snapshot reads a store at one revision. It verifies what it has read,
// writes it to a file, restores it, and moves it to another store.
//
// It needs only what every kind of store can do: ranges at a revision, and
// transactions with one write. So a [Dump] of one kind restores into any other.
//
// Of a store, the content is what the API server keeps in it. Our own keys below
// /sublet/ belong to one store and stay there.
//
// A [Mover] copies one store to an empty one. It writes a record into the target
// and a mark into the source. One write decides the move: the one that finishes
// the mark. Before it, the source is the store; after it, the target is.
package snapshot
