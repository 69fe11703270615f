package wire

import (
	"fmt"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
)

// Protocol is the ALPN name of the protocol.
const Protocol = "meridian/1"

// Version is the greatest version of the vocabulary that this package speaks,
// and MinVersion the least.
const (
	MinVersion = 8 // since digests are sums over entries, and changes have placeholders
	Version    = 8
)

// Bounds of messages. A decoder refuses what is beyond them.
const (
	// MaxMessage is the greatest size of an encoded message. A change of the
	// greatest size fits into one.
	MaxMessage = crdt.MaxChangeBytes + 64<<10
	// MaxName is the greatest length of the name of a cluster or a region.
	MaxName = 255
	// MaxText is the greatest length of a text for people.
	MaxText = 1024
	// MaxChanges is the greatest number of changes in a message.
	MaxChanges = 1 << 16
	// MaxSpans is the greatest number of spans in a message.
	MaxSpans = 1 << 16
	// MaxReports is the greatest number of reports or acks in a message, and of
	// links in a report.
	MaxReports = 1024
	// MaxWants is the greatest number of changes that a report wants.
	MaxWants = 64
	// MaxDigests is the greatest number of digests in a message.
	MaxDigests = 4096
)

// A Kind is a message's number on the wire.
type Kind byte

// The kinds. Numbers are never reused.
const (
	KindHello   Kind = 1
	KindChanges Kind = 2
	KindAck     Kind = 3
	KindStatus  Kind = 4
	KindRequest Kind = 5
	KindCatchUp Kind = 6
	// Since version 2.
	KindAwait       Kind = 7
	KindAcks        Kind = 8
	KindVectorQuery Kind = 9
	KindVectorReply Kind = 10
	// Since version 3.
	KindDigestQuery Kind = 11
	KindDigestReply Kind = 12
	// Since version 4.
	KindPresence     Kind = 13
	KindShareRequest Kind = 20
	// Since version 5.
	KindForward   Kind = 14
	KindForwarded Kind = 15
	// Since version 6.
	KindBehind          Kind = 30
	KindSnapshotRequest Kind = 31
	KindSnapshotPart    Kind = 32
	// Since version 8.
	KindDocQuery Kind = 33
	KindDocReply Kind = 34
	// KindRemoved is passed over by who does not know it.
	KindRemoved Kind = 35
)

func (k Kind) String() string {
	switch k {
	case KindHello:
		return "hello"
	case KindChanges:
		return "changes"
	case KindAck:
		return "ack"
	case KindStatus:
		return "status"
	case KindRequest:
		return "request"
	case KindCatchUp:
		return "catch-up"
	case KindAwait:
		return "await"
	case KindAcks:
		return "acks"
	case KindVectorQuery:
		return "vector-query"
	case KindVectorReply:
		return "vector-reply"
	case KindDocQuery:
		return "doc-query"
	case KindDocReply:
		return "doc-reply"
	case KindRemoved:
		return "removed"
	case KindDigestQuery:
		return "digest-query"
	case KindDigestReply:
		return "digest-reply"
	case KindPresence:
		return "presence"
	case KindShareRequest:
		return "share-request"
	case KindForward:
		return "forward"
	case KindForwarded:
		return "forwarded"
	case KindBehind:
		return "behind"
	case KindSnapshotRequest:
		return "snapshot-request"
	case KindSnapshotPart:
		return "snapshot-part"
	}
	return fmt.Sprintf("kind(%d)", byte(k))
}

// A Message is one of [Hello], [Changes], [Ack], [Status], [Request], [CatchUp],
// [Await], [Acks], [VectorQuery], [VectorReply], [DigestQuery], [DigestReply],
// [Presence], [ShareRequest], [Forward], [Forwarded], [Behind], [SnapshotRequest],
// [SnapshotPart], [DocQuery], [DocReply] and [Removed], as values, or one of them [Packed].
type Message interface {
	Kind() Kind
	// size is a bound on the size of the encoded fields.
	size() int
	appendFields(b []byte) []byte
}

// Hello is the first message on a link, in both directions.
type Hello struct {
	// MinVersion and MaxVersion are the versions that the sender speaks.
	MinVersion, MaxVersion uint64
	// Cluster and Region say who speaks. The transport has authenticated both;
	// they are here so that a wrong configuration can be told.
	Cluster, Region string
	// Replica is the sender's store.
	Replica crdt.ReplicaID
	// Have is what the sender holds.
	Have crdt.Vector
	// Tips are the tips of the hash-chained logs that the sender holds, by
	// origin. A receiver compares what is said of its own replica, and of others
	// at the same sequence number.
	Tips []Tip
	// Now is the sender's wall clock in Unix milliseconds, to estimate how far the
	// clocks are apart.
	Now int64
	// Lists says that the sender knows the receiver as a member, by a region that added it.
	Lists bool
	// Copying says that the sender has no place in the cluster yet, and takes a snapshot:
	// Have says nothing of what the cluster has. Both since version 8.
	Copying bool
}

// A Tip is the end of one origin's log: the hash of its chain up to and
// including Seq.
type Tip struct {
	Replica crdt.ReplicaID
	Seq     uint64
	Hash    [16]byte
}

// Changes pushes changes that the receiver is believed not to have.
type Changes struct {
	// Changes are encoded crdt.Changes, as bytes, so that passing them on needs
	// no encoding.
	Changes [][]byte
}

// Ack says what the sender holds durably. It is cumulative.
type Ack struct {
	Have crdt.Vector
}

// Status spreads what regions report of themselves: the sender's own report and
// the latest that it has of others.
type Status struct {
	Reports []Report
}

// A Report is what a region says of itself. It replaces one of the same replica
// with a lesser Seq.
type Report struct {
	Region  string
	Replica crdt.ReplicaID
	Seq     uint64
	// Have is what the region holds durably.
	Have crdt.Vector
	// Links are the regions that it hears.
	Links []string
	// Now is its wall clock in Unix milliseconds.
	Now int64
	// Digest is that of all documents of the region at Have, but for those that only
	// some regions hold. Since version 3; zero if it was not told.
	Digest digest.Digest
	// Settled says that the region's replica has a place in the cluster: it takes
	// writes, or did, and can vouch for a new replica.
	Settled bool
	// Founder says that it is settled only as the first of a cluster, having met nobody who had more.
	Founder bool
	// Copying is as in [Hello]. Since version 8.
	Copying bool
	// Wants names changes that the region should hold and has only placeholders of,
	// while it is linked with all others that should, and of what others want in this way
	// all that it has nothing of; and, by the change that made it,
	// a collection of which it has nothing yet while it takes a snapshot. Since version 8.
	Wants []Want
}

// A Want is a change whose body is wanted, or a collection.
type Want struct {
	Dot crdt.Dot
	// Regions is a hash of the patterns of the regions that hold what it does, zero for a
	// collection: who copies a snapshot knows of what collections it has something already.
	Regions uint64
}

// Request asks for changes. It is answered by CatchUp messages with the same ID
// on a bulk stream.
type Request struct {
	ID    uint64
	Spans []crdt.Span
}

// CatchUp is a part of the answer to a Request.
type CatchUp struct {
	ID uint64
	// Changes are encoded crdt.Changes, in an order that respects causality.
	Changes [][]byte
	// Done marks the last part.
	Done bool
	// Refused says, if not empty, why there is no more; Done is then set too.
	Refused string
}

// Await says that a client of a region waits for others to hold what it wrote.
// Whoever gets it fetches at once what it lacks of Want, tells the sender for
// the next while what it hears that others hold (Acks), and passes it on along
// the way of the origin's changes. It is repeated as long as somebody waits.
type Await struct {
	// Origin is the region that waits.
	Origin string
	Want   crdt.Vector
}

// Acks passes on what other regions hold durably.
type Acks struct {
	Acks []RegionAck
}

// A RegionAck is what a region holds durably, as told by another one.
type RegionAck struct {
	Region  string
	Replica crdt.ReplicaID
	// Seq is that of the region's last report that the teller had.
	Seq  uint64
	Have crdt.Vector
}

// VectorQuery asks all regions what they hold now. It travels along the way of
// the origin's changes; the answers come back the way that it took.
type VectorQuery struct {
	// Origin is the region that asks, Session the present run of its process.
	Origin  string
	Session crdt.ReplicaID
	ID      uint64
}

// VectorReply answers a VectorQuery, with what the region held when it came.
type VectorReply struct {
	Session crdt.ReplicaID
	ID      uint64
	RegionAck
}

// A DigestLevel says of what digests are asked for.
type DigestLevel byte

// The levels.
const (
	// DigestsOfCollections asks for those of all collections. The keys are
	// incarnations, encoded as dots.
	DigestsOfCollections DigestLevel = 0
	// DigestsOfGroups asks for those of the groups of a collection. The keys of
	// these and of buckets are numbers, encoded as varints.
	DigestsOfGroups DigestLevel = 1
	// DigestsOfBuckets asks for those of the buckets of the group Part.
	DigestsOfBuckets DigestLevel = 2
)

// ShareRequest asks a region for shares of a counter that has bounds. It goes
// along the way of the origin's changes, and is answered by one.
type ShareRequest struct {
	// Origin is the region that asks; Session tells its processes apart, and ID
	// grows within one.
	Origin  string
	Session crdt.ReplicaID
	ID      uint64
	// To is the region that is asked, Replica the one that the shares are for.
	To      string
	Replica crdt.ReplicaID
	// Collection, Document and Path, a JSON pointer, say where the counter is.
	Collection crdt.Dot
	Document   string
	Path       string
	// Up asks for how far the counter may be taken up, otherwise down, and Amount
	// for how much of that.
	Up     bool
	Amount uint64
	// Seen is up to where Origin holds the changes of the replica that it knows To by.
	Seen uint64
}

// DigestQuery asks for digests. It is answered by a DigestReply with the same ID.
type DigestQuery struct {
	ID         uint64
	Level      DigestLevel
	Collection crdt.Dot
	Part       uint64
	// After is the key behind which the answer is to start, if it does not fit
	// into one message.
	After []byte
}

// DigestReply answers a DigestQuery.
type DigestReply struct {
	ID uint64
	// Have is what the sender held when the digests were these.
	Have crdt.Vector
	// Digests are in the order of their keys. Those that are zero are left out.
	Digests []KeyDigest
	// More says that there are others behind the last one.
	More bool
}

// A KeyDigest is the digest of what Key names.
type KeyDigest struct {
	Key    []byte
	Digest digest.Digest
}

// Forward hands a region a request of a client, to be answered in the origin's
// stead. Both travel on bulk streams, from region to region along the links that
// are up, and are never sent twice.
type Forward struct {
	// Origin is the region that was asked, To the one that is to answer.
	Origin, To string
	// Session is the present run of the origin's process.
	Session crdt.ReplicaID
	ID      uint64
	// Hops counts the regions that have passed it on.
	Hops uint64
	// Request is an HTTP/1.1 request.
	Request []byte
}

// Forwarded answers a Forward. It goes back to the origin by whatever way there is.
type Forwarded struct {
	Origin, From string
	Session      crdt.ReplicaID
	ID           uint64
	Hops         uint64
	// Refused says, if not empty, why the request has not been and will not be
	// carried out. There is no response then.
	Refused string
	// Response is an HTTP/1.1 response.
	Response []byte
}

// DocQuery asks for a copy of a document, to repair one that is damaged. It is
// answered by a DocReply with the same ID.
type DocQuery struct {
	ID         uint64
	Collection crdt.Dot
	Document   string
}

// DocReply answers a DocQuery.
type DocReply struct {
	ID uint64
	// Have is what the sender held when its copy was this.
	Have crdt.Vector
	// Forgotten is the greatest stamp of what the sender had forgotten by then.
	Forgotten crdt.Stamp
	// Record is the document as it is stored, with its checksum; empty if there is
	// none.
	Record []byte
	// Refused says, if not empty, why there is no copy.
	Refused string
}

// Kind returns KindHello.
func (Hello) Kind() Kind { return KindHello }

// Kind returns KindChanges.
func (Changes) Kind() Kind { return KindChanges }

// Kind returns KindAck.
func (Ack) Kind() Kind { return KindAck }

// Kind returns KindStatus.
func (Status) Kind() Kind { return KindStatus }

// Kind returns KindRequest.
func (Request) Kind() Kind { return KindRequest }

// Kind returns KindCatchUp.
func (CatchUp) Kind() Kind { return KindCatchUp }

// Kind returns KindAwait.
func (Await) Kind() Kind { return KindAwait }

// Kind returns KindAcks.
func (Acks) Kind() Kind { return KindAcks }

// Kind returns KindVectorQuery.
func (VectorQuery) Kind() Kind { return KindVectorQuery }

// Kind returns KindShareRequest.
func (ShareRequest) Kind() Kind { return KindShareRequest }

// Kind returns KindVectorReply.
func (VectorReply) Kind() Kind { return KindVectorReply }

// Kind returns KindDigestQuery.
func (DigestQuery) Kind() Kind { return KindDigestQuery }

// Kind returns KindDigestReply.
func (DigestReply) Kind() Kind { return KindDigestReply }

// Kind returns KindForward.
func (Forward) Kind() Kind { return KindForward }

// Kind returns KindForwarded.
func (Forwarded) Kind() Kind { return KindForwarded }

// Kind returns KindDocQuery.
func (DocQuery) Kind() Kind { return KindDocQuery }

// Kind returns KindDocReply.
func (DocReply) Kind() Kind { return KindDocReply }
