package core

import (
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/wire"
)

// An Event is something that happened to the region: one of those below, or [Called].
type Event interface{ isEvent() }

type (
	// Submit asks for something; a [Reply] with the same ID answers it. Ask is
	// a Write, Restore, PutCollection, DropCollection, SetHome, AddRegion,
	// RemoveRegion, SetTopology or Inspect.
	Submit struct {
		ID  uint64
		Ask any
	}
	// LinkUp says that there is a new link with the peer.
	LinkUp struct{ Peer string }
	// LinkDown says that the link with the peer is gone.
	LinkDown struct{ Peer string }
	// Received hands over a message of a peer whose link is up.
	Received struct {
		Peer    string
		Message wire.Message
	}
	// NotMember says that a peer refuses links with this region, which it does not
	// know as a member.
	NotMember struct{ Peer string }
	// Tick says that nothing may have happened but time went on. It is due at
	// least every TickEvery.
	Tick struct{}
	// Ending says that there will be no more Steps: what waits in memory alone, and is
	// better saved, is saved.
	Ending struct{}
)

// TickEvery is how often a core needs a Step at the least.
const TickEvery = 100 * time.Millisecond

// Inspect asks for a Status. Await, Gather, Compare and Tell are further things to Submit.
type Inspect struct{}

func (Submit) isEvent()    {}
func (LinkUp) isEvent()    {}
func (LinkDown) isEvent()  {}
func (Received) isEvent()  {}
func (NotMember) isEvent() {}
func (Tick) isEvent()      {}
func (Ending) isEvent()    {}

// Effects is what a Step asks its driver to do: commit Batch first, then the rest.
type Effects struct {
	// Batch is to be committed atomically and durably; nil if there is nothing.
	Batch *store.Batch
	// Have and Catalog are what readers may see once Batch is durable.
	Have    crdt.Vector
	Catalog *Catalog
	// Members are the names of all regions, this one included, in order.
	Members []string
	// Pending are those of them that are not let in yet: there must be no links with them.
	Pending []string
	// Digest is that of all documents once Batch is durable.
	Digest digest.Digest
	// OldestNews is when the least recently heard peer was last heard of, over
	// any path; zero if one never was.
	OldestNews time.Time
	// Writable says why no write can be taken; nil if one can.
	Writable error
	// Readable says why nothing can be read; nil if it can.
	Readable error
	// Conflicts tells of the conflict log once Batch is durable.
	Conflicts ConflictStatus
	// Requests tells of the requests under idempotency keys once Batch is durable.
	Requests RequestStatus
	// Calls are callbacks to be asked; what is wrong with that is for Called to tell.
	Calls []Call
	// Replies answer Submit events.
	Replies []Reply
	// Acked tells of which peers more is known than before that they hold it durably.
	Acked []Acked
	// Heard is what others tell of documents, for whoever has them open.
	Heard []Tell
	// Traced are the changes of others in Batch whose writers trace them.
	Traced []Traced
	// Sends are messages for the live streams, in order per peer.
	Sends []Send
	// Streams are catch-up streams to be served from the durable log.
	Streams []Stream
	// Closes are links to be closed.
	Closes []Close
	// Plan is the new plan of links, nil if it has not changed.
	Plan *topology.Plan
	// Unheard goes with Plan: its peers that are not heard though they could be. This
	// side is to dial them too; the other may have come to think that there is none
	// to dial, if this region was removed.
	Unheard []string
	// Memory is what the core holds after the step.
	Memory Memory
	// Notes are for the log.
	Notes []Note
	// More says that the batch was full: call Step again at once.
	More bool
}

// Memory tells what a core holds in memory, within Limits: documents in the cache,
// their bytes, estimated by their encoded size, documents to be trimmed, and bytes of
// older versions that are not saved yet.
type Memory struct{ CacheDocuments, CacheBytes, TrimQueue, OlderBytes int }

// A Reply answers a Submit: Result is a Receipt, CollectionReceipt, Status,
// Gathered, Compared, or nil for Await and Tell.
type Reply struct {
	ID     uint64
	Result any
	Err    error
}

// A Traced is a change of another region, which peer it came from, and the span
// that it is a part of.
type Traced struct {
	Dot   crdt.Dot
	Trace crdt.Trace
	From  string
}

// A Send is a message for a peer. Where several peers are sent the same changes, it
// is the same slice of them.
type Send struct {
	Peer    string
	Message wire.Message
}

// A Stream is a request of a peer to be answered with the messages of [CatchUp],
// or of [core.Snapshot] if Snapshot is set.
type Stream struct {
	Peer     string
	ID       uint64
	Spans    []crdt.Span
	Snapshot *wire.SnapshotRequest
}

// A Close asks for a link to be closed, and why.
type Close struct {
	Peer string
	Err  error
}

// A Note is something that an operator should be able to read.
type Note struct {
	Warn bool
	Text string
	Args []any // slog key-value pairs
}

// Status is what a core knows of itself and its peers.
type Status struct {
	Region  string
	Replica crdt.ReplicaID
	Have    crdt.Vector
	// Held is known to be held by every member, Stable is below anything
	// concurrent that can still arrive. Both are empty until every member was heard.
	Held, Stable crdt.Vector
	// Changes counts what is held; HeldLag and StableLag what of it is not known
	// to be held by all and not stable, HeldBehind and StableBehind for how long.
	Changes, HeldLag, StableLag uint64
	HeldBehind, StableBehind    time.Duration
	Spec                        topology.Spec
	Inbox                       InboxStatus
	Log                         LogStatus
	// Unmet is, if not 0, the first change that this replica made in a process
	// that had met no peer before, until all are known to hold it.
	Unmet uint64
	// Snapshot is of one that is being taken, nil if none is.
	Snapshot *SnapshotStatus
	// Fenced says why the store must never take writes again, Suspect why not
	// until a peer has cleared that up.
	Fenced, Suspect string
	// Removed says, if not empty, that this region is no member any more, or is about
	// to be none.
	Removed string
	// Rebased tells of what a store that came back had set aside.
	Rebased Rebased
	// Shares tells of the shares of bounded counters.
	Shares ShareStatus
	// Damaged are stored documents that are damaged, Repaired those that were, the
	// last ones since the start.
	Damaged  []Damage
	Repaired []Repair
	Peers    []PeerStatus
}

// InboxStatus tells what waits for its dependencies.
type InboxStatus struct {
	Changes int
	Bytes   int
}

// PeerStatus is what is known of another region.
type PeerStatus struct {
	Region string
	// Replica is zero until the region was heard.
	Replica crdt.ReplicaID
	// Linked says that there is a link, Heard that it is not silent.
	Linked, Heard bool
	// Have is the last vector known of it, Lag the number of our changes that it lacks.
	Have crdt.Vector
	// Missing is the number of changes that it has and we lack.
	Missing, Lag uint64
	// Behind is for how long it has lacked something, at the precision of Timing.Status.
	Behind time.Duration
	// LastHeard is when news of it last came, over any path.
	LastHeard time.Time
	// Away is for how long there was no news of it since the start, over any path; 0 if
	// that is less than Timing.Away.
	Away time.Duration
	// Offset is its clock minus ours when it last reported directly, delay included.
	Offset time.Duration
	// Links are the regions that it hears.
	Links []string
	// Compared is how its documents compare with those here.
	Compared Comparison
}
