// Package automerge is the type "automerge": an Automerge document, for text
// and rich collaboration, with its history, and for clients that hold a replica
// themselves (automerge-repo). Strings are collaborative text.
//
// # The engine
//
// The engine is the C library that the Go module of Automerge brings along,
// through a thin binding of our own (internal/lib). The module's Go API was
// weighed and left: it frees the library's memory by finalizers, which run when
// Go's heap grows, which it does not (load and drop of 200,000 documents: 8 MB
// before and 12 MB after with an explicit free; from 477 MB to 6.8 GB through
// the Go API); it reads one value in each call into C, where one call of ours
// reads a whole level; and it lacks what a database needs: all concurrent values
// of a place and rollback. It also has traps that cannot be fenced from outside
// (a list of two changes corrupts the heap).
//
// The library is built to abort the process when something is wrong. So nothing
// reaches it that package validate has not taken apart and put together again.
//
// # What is replicated
//
// A mutation's payload is the changes that it adds to the history, as Automerge
// encodes them: one for a write through REST, any number for what a client
// brings. Changes arrive in causal order and so find their dependencies. The
// state is the set of changes that live:
//
//   - A Fresh mutation (its writer saw no document) covers what is in its Deps,
//     and begins a new root. Covered changes do not live, unless a change that
//     is not covered depends on them: an edit concurrent with a deletion brings
//     the document back whole, and the new one merges with it.
//   - A deletion that wins clears everything, as in every type.
//   - Two changes of one actor with one sequence number, which only a broken
//     client makes, cannot both live. Of what lives so far, changes are accepted
//     one by one: always the one that was brought by the least stamp, then dot,
//     then the one with the least hash, of those whose dependencies are accepted.
//     One whose actor and number are taken is rejected, and what depends on it.
//     What lives is what is accepted and not covered, and what that depends on.
//     (So a covered change that only rejected ones need does not live, and yet
//     takes its number.) The others are kept aside. A client that brings such a
//     change to a region which knows that it is rejected gets an error.
//
// Of several mutations that brought a change, it is known by the least of those
// that no other is covered less than, by part of the same mutations.
//
// So what lives is a function of the mutations, whatever their order. Covered
// changes are kept until the mutation that covers them is stable, since until
// then an edit that needs them can arrive. Nothing else of a history is ever
// dropped.
//
// An actor is never used for two histories: it is a hash of the document, the
// replica, and the mutation that last took something out of what lives or put
// it back; a write that is based on an older version has one of its own.
//
// # What is shown
//
// Automerge shows, of concurrent values, the one with the greatest counter. Here
// a policy decides, as for the other types, by the stamps of the writes: each
// change is known by the dot that brought it. So a reader through REST and one
// through automerge-repo can be shown different ones of several concurrent
// values until somebody writes over them. That covers maps and lists which were
// created concurrently in one place: Automerge does not merge them, one is
// shown, and both are versions of the conflict.
//
// # Costs
//
// BenchmarkCosts does each thing through a State and with the bare library, which
// validates nothing and remembers nothing of who wrote what, in turn in one
// process. How many times as long a State takes, and how long, on a virtual machine
// with two cores:
//
//	JSON      create         load           write          apply          to JSON
//	288 B     1.4x, 0.33 ms  0.6x, 0.10 ms  5.1x, 36 µs    3.1x, 24 µs    1.0x, 35 µs
//	2 KB      1.2x, 2.0 ms   0.6x, 0.48 ms  5.6x, 51 µs    3.2x, 24 µs    1.0x, 0.22 ms
//	20 KB     2.3x, 41 ms    1.0x, 12 ms    5.3x, 49 µs    3.1x, 27 µs    1.0x, 3.0 ms
//	200 KB    2.0x, 0.43 s   1.1x, 0.15 s   4.7x, 41 µs    2.8x, 20 µs    1.0x, 37 ms
//
//	changes   load           write
//	100       1.2x, 0.64 ms  6.5x, 63 µs
//	1,000     1.1x, 4.8 ms   14x, 0.13 ms
//	10,000    1.1x, 82 ms    41x, 1.0 ms
//
// Create makes a document and what is stored of it; write is a splice, from the
// edit to the state as it is stored; apply takes in the change of another region. A
// small document is stored as it was written, not compressed, and so loads faster
// than what the library saves. A write encodes what is known of each change of
// the history, 0.1 µs for each, which is what it costs at 10,000 changes; the bare
// library stores nothing with it. Documents here are lists of small objects, in
// which every name is a text, so that they take more than the same bytes of text.
//
// # Memory
//
// A state holds bytes: a saved document, and a tail of changes since. The
// library's form of it, which takes some 550 bytes a character, is made when it
// is needed and kept in a pool of bounded size that all states share
// ([SetMemoryBudget]), under the hashes of the document's heads. Nobody has to
// release anything, and whoever reads what the owner has just written finds it
// there.
package automerge
