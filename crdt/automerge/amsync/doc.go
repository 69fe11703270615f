// Package amsync is Automerge's sync protocol, version 1, on top of the hashes
// of changes alone. It is what a region speaks with the clients that hold a
// replica of a document themselves.
//
// The library has the protocol too. It is done here in Go because nothing of a
// client's message should reach the library but changes that package validate
// has checked (of 72,000 messages with flipped bits, 432 killed the process),
// and because one [History] serves all clients of a document: with the library
// each would hold a copy of it.
//
// The protocol: Kleppmann and Howard, Byzantine Eventual Consistency and the
// Fundamental Limits of Peer-to-Peer Databases (2020); messages and constants
// are those of https://docs.rs/automerge (module sync).
package amsync
