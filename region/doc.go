// Package region is the leader of one region: it takes writes, commits them to
// its store, and exchanges them with the leaders of the other regions.
//
// The decisions are made by package core, a pure state machine. This package
// drives it: one goroutine, the owner, takes what has arrived (writes from a
// bounded mailbox, messages from links), makes one Step of it, commits one
// batch, and only then answers and sends. Reads never pass through the owner:
// they are made from a snapshot of the store.
package region
