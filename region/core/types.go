package core

import (
	"errors"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core/conflictlog"
	"github.com/meridiandb/meridian/region/store"
)

// Errors of writes and reads, besides those of package crdt. They are stable:
// package api maps each to one HTTP status.
var (
	// ErrUnknownCollection: no collection has that name (HTTP 404).
	ErrUnknownCollection = errors.New("unknown collection")
	// ErrPrecondition: If-Match or If-None-Match does not hold (HTTP 412).
	ErrPrecondition = errors.New("precondition failed")
	// ErrBaseGone: the version named as base is not kept any more (HTTP 410).
	ErrBaseGone = errors.New("base version is not kept any more")
	// ErrInvalid: the request itself is wrong (HTTP 422).
	ErrInvalid = errors.New("invalid request")
	// ErrExists: the thing is there already and differs (HTTP 409).
	ErrExists = errors.New("exists already")
	// ErrFenced: this store has been found to be a fork of another and takes
	// no writes (HTTP 503).
	ErrFenced = errors.New("store is fenced")
	// ErrCatchingUp: the store is new, or was rolled back, and takes no writes
	// until it holds what the first peer that it met holds (HTTP 503).
	ErrCatchingUp = errors.New("catching up")
	// ErrTooBig: the change is beyond its limits (HTTP 413).
	ErrTooBig = errors.New("change too big")
)

// A Condition is a precondition on a document, checked atomically with the
// write by the region that takes it, and local to that region.
type Condition struct {
	// Match, if not empty, lists version tags one of which the document must have.
	Match []string
	// MatchAny demands that the document exists.
	MatchAny bool
	// NoneMatch lists version tags none of which the document may have.
	NoneMatch []string
	// Absent demands that the document does not exist.
	Absent bool
}

// A DocWrite is an edit of one document.
type DocWrite struct {
	Collection string // a name, or an incarnation written as a dot
	ID         string
	Edit       crdt.Edit
	If         Condition
	// BaseTag names the older version that the edit is based on; "" is the present one.
	BaseTag string
}

// A Write is an atomic change of one or several documents, each at most once.
type Write struct {
	Docs []DocWrite
	// Trace is the span that the write is made in, zero if it is not traced.
	Trace crdt.Trace
	// Await is for how long acknowledgements of other regions will be waited for.
	Await time.Duration
	// Request names the client's request, if it gave an idempotency key.
	Request RequestID
	// Shares is for how long the write may wait for shares of bounded counters
	// that this region lacks and others have.
	Shares time.Duration
}

// A Receipt tells what became of a Write. It is given only once the write is durable.
type Receipt struct {
	Dot   crdt.Dot
	Stamp crdt.Stamp
	// Have is the region's vector with this write: the client's token.
	Have crdt.Vector
	// Repeated says that the request was carried out before, and that this is its
	// answer from then.
	Repeated bool
	Docs     []DocReceipt
}

// A DocReceipt tells what became of one document of a Write.
type DocReceipt struct {
	Collection *Collection
	ID         string
	Tag        string // of the new version
	Created    bool   // there was no document before
	Exists     bool   // there is one now
}

// PutCollection asks to create a collection, or to change its settings.
type PutCollection struct {
	Name     string
	Settings Settings
}

// DropCollection asks to mark a collection as deleted. Its documents are to be
// deleted before; what is edited concurrently stays readable under the incarnation.
type DropCollection struct {
	Name string
}

// A CollectionReceipt answers PutCollection and DropCollection.
type CollectionReceipt struct {
	Collection *Collection
	Created    bool
	Have       crdt.Vector
}

// Limits of the core. The zero value of a field means its default.
type Limits struct {
	// Doc bounds one document.
	Doc crdt.Limits
	// BatchBytes ends a batch, which is committed at once, when what it writes
	// is estimated to reach it. Default store.FastBatchBytes.
	BatchBytes int
	// InboxBytes bounds the changes held back until their dependencies are
	// there; what overflows is asked for again. Default 64 MiB.
	InboxBytes int
	// CacheBytes bounds the decoded documents held by the owner, by an estimate of
	// the memory that they take, several times their encoded size.
	CacheBytes int
	// WriteDocs is the most documents in one write. Default 1,000.
	WriteDocs int
	// Collections is the most collections that local writers may make. Default 10,000.
	Collections int
	// TrimQueue is the most documents remembered for trimming. Default 100,000.
	TrimQueue int
	// OlderBytes bounds the older versions of documents that wait in memory to be saved,
	// by an estimate. They wait while there are more than QuietChanges in TickEvery, in any
	// case if that is negative, and otherwise are saved at once. Defaults 64 MiB and 32.
	OlderBytes, QuietChanges int
	// OlderWhole is the size in bytes below which one that waits is kept as it is, not by how it
	// differs from the next newer one. Default 512.
	OlderWhole int
	// Requests and RequestBytes bound what is remembered of requests under
	// idempotency keys: no more are taken here then. Those that other regions took
	// are remembered all the same. Defaults 1,000,000 and 256 MiB.
	Requests     int
	RequestBytes int
	// RequestAge is for how long a request is remembered. Default 24 h.
	RequestAge time.Duration
	// Conflicts bounds the log of conflicts.
	Conflicts conflictlog.Limits
}

// Defaults of Limits.
const (
	DefaultBatchBytes  = store.FastBatchBytes
	DefaultInboxBytes  = 64 << 20
	DefaultCacheBytes  = 128 << 20
	DefaultWriteDocs   = 1000
	DefaultCollections = 10_000
	DefaultTrimQueue   = 100_000

	DefaultOlderBytes   = 64 << 20
	DefaultQuietChanges = 32
	DefaultOlderWhole   = 512

	DefaultRequests     = 1_000_000
	DefaultRequestBytes = 256 << 20
	DefaultRequestAge   = 24 * time.Hour
)

// Documents are the limits of a document.
func (l Limits) Documents() crdt.Limits {
	if l.Doc == (crdt.Limits{}) {
		return crdt.DefaultLimits
	}
	return l.Doc
}

func (l Limits) withDefaults() Limits {
	def := func(p *int, d int) {
		if *p == 0 {
			*p = d
		}
	}
	l.Doc = l.Documents()
	def(&l.BatchBytes, DefaultBatchBytes)
	def(&l.InboxBytes, DefaultInboxBytes)
	def(&l.CacheBytes, DefaultCacheBytes)
	def(&l.WriteDocs, DefaultWriteDocs)
	def(&l.Collections, DefaultCollections)
	def(&l.TrimQueue, DefaultTrimQueue)
	def(&l.OlderBytes, DefaultOlderBytes)
	def(&l.QuietChanges, DefaultQuietChanges)
	def(&l.OlderWhole, DefaultOlderWhole)
	def(&l.Requests, DefaultRequests)
	def(&l.RequestBytes, DefaultRequestBytes)
	if l.RequestAge == 0 {
		l.RequestAge = DefaultRequestAge
	}
	return l
}

// Timing of the core. The zero value of a field means its default.
type Timing struct {
	// Status is how often a region reports its vector and links to its peers. Default 500 ms.
	Status time.Duration
	// GapGrace is how long a change that a peer is known to hold may be missing
	// before it is asked for. Default 300 ms.
	GapGrace time.Duration
	// RequestTimeout is how long a request may go without progress before
	// another peer is asked. Default 3 s.
	RequestTimeout time.Duration
	// Away is after how long without news of a peer it is warned that the log grows
	// because of it. Default DefaultAway.
	Away time.Duration
	// DeadAfter is how long a peer may be silent before its link counts as
	// down. Default 2 s.
	DeadAfter time.Duration
	// Scrub is how long after a pass through all stored documents, which looks for
	// damage, the next one begins; the first begins so long after the start.
	// Default DefaultScrub.
	Scrub time.Duration
}

// DefaultScrub is the default of Timing.Scrub.
const DefaultScrub = time.Hour

func (t Timing) withDefaults() Timing {
	def := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	def(&t.Status, 500*time.Millisecond)
	def(&t.GapGrace, 300*time.Millisecond)
	def(&t.RequestTimeout, 3*time.Second)
	def(&t.DeadAfter, 2*time.Second)
	def(&t.Away, DefaultAway)
	def(&t.Scrub, DefaultScrub)
	return t
}
