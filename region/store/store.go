// Package store is what a region asks of its disk: records of documents, of the
// log and of the region itself, written in atomic, durable batches and read
// through consistent snapshots.
//
// Two implementations pass one suite (package storetest): badgerstore keeps a
// folder, memstore keeps memory and fails on request.
package store

import (
	"errors"
	"iter"
	"time"

	"github.com/meridiandb/meridian/crdt"
)

// Bounds of a batch. Every Store accepts a batch within them and refuses one
// beyond them; [Batch.Size] measures.
const (
	// MaxBatchBytes is the greatest size of a batch. It is far above what one
	// step of a region should write, so that a single change that touches many
	// large documents still commits at once.
	MaxBatchBytes = 256 << 20
	// MaxBatchRecords is the greatest number of records that a batch writes or removes.
	MaxBatchRecords = 200_000
	// FastBatchBytes and FastBatchRecords bound the batches that a Store commits
	// in one flush. Larger ones are as atomic, but are written twice: a region
	// stops collecting changes for a batch when it gets there.
	FastBatchBytes   = 2 << 20
	FastBatchRecords = 10_000
	// MaxValueBytes is the greatest size of one value.
	MaxValueBytes = 64 << 20
	// MaxNameBytes is the greatest length of the name of a meta record, of a
	// version's tag, and of a document's id.
	MaxNameBytes = 4096
)

// ChainSize is the length of a link of the hash chain of a log.
const ChainSize = 16

// Errors of a Store. Implementations wrap them with what they know.
var (
	// ErrFull: there is no room for the batch. Nothing of it was written, and
	// later commits succeed when there is room again. Reads are not affected.
	ErrFull = errors.New("the disk is full")
	// ErrBatchTooLarge: the batch or a record of it is beyond its bound. Nothing
	// of it was written.
	ErrBatchTooLarge = errors.New("batch too large")
	// ErrFailed: an earlier commit, or this one, failed in a way that leaves
	// open what of it is on disk. The store refuses writes until it is opened
	// again; reads show the state before the failed commit.
	ErrFailed = errors.New("the store has failed")
	// ErrClosed: the store or the snapshot was closed.
	ErrClosed = errors.New("the store is closed")
	// ErrCorrupt: a record that no correct store writes.
	ErrCorrupt = errors.New("corrupt record")
)

// DocKey names a document: the incarnation of its collection and its id.
type DocKey struct {
	Collection crdt.Dot
	ID         string
}

// DocPut sets a document's state.
type DocPut struct {
	Key DocKey
	// State is the encoded state; nil removes the record.
	State []byte
}

// VersionPut keeps an older state of a document, for writes that are based on it.
type VersionPut struct {
	Key DocKey
	// Slot is the version's place in the document's ring of older versions.
	// Writing to a slot drops what was there: a caller that counts modulo N
	// keeps the last N.
	Slot uint32
	// Tag is the crdt.VersionTag of the state's heads.
	Tag   string
	State []byte
	// Expires is when the version is dropped; the zero time means never.
	Expires time.Time
}

// LogPut appends a change to the log of its replica.
type LogPut struct {
	Dot crdt.Dot
	// Chain is the hash of the log up to and including this change.
	Chain [ChainSize]byte
	// Change is the encoded change.
	Change []byte
}

// A Batch is one atomic commit. Of several puts of one record the last one
// counts, and TrimLog is applied after Log.
type Batch struct {
	Docs     []DocPut
	Versions []VersionPut
	Log      []LogPut
	// TrimLog removes entries of the log. Each entry of a span counts as a
	// record, whether it is there or not, so a long log is cut in pieces.
	TrimLog []crdt.Span
	// Meta sets small named records; a nil value removes one.
	Meta map[string][]byte
}

// LogEntry is a change as the log has it.
type LogEntry struct {
	Dot    crdt.Dot
	Chain  [ChainSize]byte
	Change []byte
}

// DocEntry is a document as a scan shows it.
type DocEntry struct {
	ID    string
	State []byte
}

// MetaEntry is a meta record as a scan shows it.
type MetaEntry struct {
	Name  string
	Value []byte
}

// Sizes are bytes on disk.
type Sizes struct {
	// Records is what the records take: tables, or memory for a store without a disk.
	Records int64
	// Journal is what the write-ahead log and other files take.
	Journal int64
	// Free is the room that is left for the store, -1 if that cannot be known.
	Free int64
}

// A Reader reads records. Slices that single reads return are the caller's own.
// Slices in the entries of a scan are valid until the next step of the loop and
// must not be changed. A scan reports an error once, as its last step.
//
// All methods are safe for concurrent use.
type Reader interface {
	// Meta returns the named record, or nil if there is none.
	Meta(name string) ([]byte, error)
	// MetaRange scans the meta records whose name starts with prefix and is
	// greater than after, in order of their names' bytes. An empty after is
	// before every name.
	MetaRange(prefix, after string) iter.Seq2[MetaEntry, error]
	// Doc returns the state of a document, or nil if there is none. An empty
	// state is returned as an empty slice that is not nil.
	Doc(key DocKey) ([]byte, error)
	// Docs scans the documents of a collection whose id starts with prefix and
	// is greater than after, in order of their ids' bytes. An empty after is
	// before every id.
	Docs(collection crdt.Dot, prefix, after string) iter.Seq2[DocEntry, error]
	// Version returns the older state of a document that was kept under tag, or
	// nil if it is not kept or has expired at now. A store that cleans up by
	// its own clock may drop it once that clock has passed Expires.
	Version(key DocKey, tag string, now time.Time) ([]byte, error)
	// Log scans the log of a replica, from..to, both included, in order.
	// Entries that were never written or are trimmed are passed over: a caller
	// that needs a contiguous span must look at the dots.
	Log(replica crdt.ReplicaID, from, to uint64) iter.Seq2[LogEntry, error]
	// LogChain returns the chain hash of one entry, and whether the log has it.
	LogChain(dot crdt.Dot) (chain [ChainSize]byte, ok bool, err error)
}

// A Snapshot reads the store as it was when the snapshot was made, whatever is
// committed afterwards.
type Snapshot interface {
	Reader
	// Close releases the snapshot. Reads on it fail with ErrClosed from then on,
	// a scan that is under way ends with it at its next step, and closing
	// again does nothing. A snapshot that is never closed keeps the store from
	// reclaiming space, nothing worse.
	Close()
}

// A Store keeps the records of one region. Reads on the Store itself show the
// last commit; each call, or scan, is consistent in itself.
type Store interface {
	Reader
	// Commit writes a batch. When it returns nil the batch is durable, and
	// visible to every later read; before that nothing of it is visible, and
	// after a crash it is there whole or not at all. It keeps no slice of the
	// batch after it returned.
	//
	// ErrBatchTooLarge and ErrFull leave the store as it was and ready for
	// the next batch. After any other error the store has failed (ErrFailed)
	// and the caller should open it again, which may bring back the batch.
	//
	// Commits do not overlap: a second caller waits for the first.
	Commit(b *Batch) error
	// Snapshot returns a consistent view of the last commit. It costs little
	// and never waits for a commit that is under way.
	Snapshot() Snapshot
	// Continuous reports whether the store is where its last commit left it. It is
	// false for a copy, and for a store that was put back to what it was before, as
	// far as that can be told, until the first commit: what that writes must not rely on
	// what the store says of itself.
	Continuous() bool
	// Sizes tells what the store takes on disk.
	Sizes() (Sizes, error)
	// Close waits for a commit and for reads that are under way, then releases the store.
	// Scans end with ErrClosed at their next step, so Close must not be called
	// from within one. Closing again does nothing.
	Close() error
}

// A Compactor is a store in which what was replaced or removed takes room until it
// is compacted. It does that by itself too, as it is written to, and not to the end.
type Compactor interface {
	// Written is how many bytes were committed since the store was opened, or last
	// compacted.
	Written() int64
	// Garbage estimates which share of what the store takes is no longer there for
	// readers, 0 to 1. It costs little, whatever the size of the store.
	Garbage() (share float64, err error)
	// Compact gives back the room of what is no longer there. It rewrites much of the
	// store, and needs room for that (ErrFull); commits and reads go on meanwhile.
	Compact() error
}
