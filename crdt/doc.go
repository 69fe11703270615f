// Package crdt holds the replicated data types of Meridian and the causal
// vocabulary that they share: replicas, dots, version vectors, hybrid logical
// stamps and changes.
//
// Everything here is pure: no I/O, no goroutines, no clock but the one that is
// handed in. A change is delivered to every replica exactly once and only after
// everything in its Deps (see package region), so that the types can be
// operation based: an operation removes what its writer had seen and adds its
// own, concurrent ones stay side by side (Baquero, Almeida, Shoker: Pure
// Operation-Based Replicated Data Types, 2017).
//
// The types themselves live below: crdt/register (a multi-value register of
// whole documents), crdt/document (a JSON document merged per field) and
// crdt/automerge (an Automerge document). A type implements [State]. Which of
// several concurrent values is shown is not theirs to decide: a [Resolve]
// function, made from the collection's policy by package conflict, picks one
// when a document is viewed.
package crdt
