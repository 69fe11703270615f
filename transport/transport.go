package transport

import (
	"context"
	"errors"
	"time"

	"github.com/meridiandb/meridian/transport/wire"
)

// Why links end and connections are refused. The error given to LinkDown, and
// the LastError of a PeerState, wrap one of them or an error of the network.
var (
	// ErrClosed: one side closed the link; the text says which one and why.
	ErrClosed = errors.New("link closed")
	// ErrShutdown: one side is going away.
	ErrShutdown = errors.New("shutting down")
	// ErrDead: nothing was heard of the peer for the idle timeout.
	ErrDead = errors.New("peer does not answer")
	// ErrRestarted: the peer has no memory of the connection.
	ErrRestarted = errors.New("peer has restarted")
	// ErrReplaced: the peer dialled again and the new connection took over.
	ErrReplaced = errors.New("replaced by a newer connection")
	// ErrDuplicate: the connection was not needed, there is another.
	ErrDuplicate = errors.New("duplicate connection")
	// ErrRefused: the peer, or this side, does not want the connection.
	ErrRefused = errors.New("connection refused")
	// ErrIdentity: the other side is not who it should be: another authority,
	// another cluster, or another region's name.
	ErrIdentity = errors.New("wrong identity")
	// ErrProtocol: what the peer sent makes no sense.
	ErrProtocol = errors.New("protocol violation")
	// ErrNotPeer: the region is not, or no longer, one to keep a link with.
	ErrNotPeer = errors.New("not a peer")
)

// Anybody stands for all regions that SetPeers does not name.
const Anybody = "*"

// A Transport keeps links with peers.
type Transport interface {
	// Run keeps the links until ctx ends, and then closes them, waits for every
	// goroutine and every call of the handler to return, and returns nil. An
	// error means that the network cannot be used any more. It may be called once.
	Run(ctx context.Context, h Handler) error

	// SetPeers says with whom to keep a link, by region name. It may be called
	// at any time, also before Run. The link with a region that is left out is
	// closed, and its dialling refused; so a region that should be able to dial
	// this one must be named, with Dial false. A changed address is used from
	// the next dial on. If [Anybody] is named, regions that are not may dial this one
	// as long as it is.
	SetPeers(peers map[string]Endpoint)

	// Peers says how it stands with each region named by SetPeers.
	Peers() map[string]PeerState

	// Addr is the address that peers can dial. It is known before Run.
	Addr() string

	// Close frees what New took, for a transport that is never run. After Run it
	// does nothing.
	Close() error
}

// An Endpoint says how to keep a link with a region.
type Endpoint struct {
	// Addr is where to dial. A host name is looked up at each attempt.
	Addr string
	// Dial says to dial; otherwise this side waits for the peer.
	Dial bool
	// Off says to keep no link for now: not to dial, to refuse quietly, and to
	// close the link that there is. Fault injection uses it.
	Off bool
}

// A PeerState says how it stands with a peer.
type PeerState struct {
	Endpoint Endpoint
	// Linked says whether there is a link.
	Linked bool
	// Attempts counts the failed dials since the last link.
	Attempts int
	// LastError is why the last link ended or the last dial failed, or nil if
	// there has been none; LastErrorAt is when.
	LastError   error
	LastErrorAt time.Time
}

// A Handler gets what happens on links. Calls for different links, and for
// different streams of one link, run at the same time; it may call any method
// of the link and of the transport except Run. Once the context of Run has
// ended its methods must return.
type Handler interface {
	// LinkUp is called before anything else of a link. It may already send.
	LinkUp(l Link)
	// LinkDown is called after everything else of a link, and before LinkUp of
	// the next link with the same peer.
	LinkDown(l Link, reason error)
	// Receive gets a message. Calls for one stream come one after the other, in
	// order. It may block: that holds back the sender of this stream only. The
	// byte slices in m share memory with the other messages of the batch that
	// they came in; clone what is kept for long.
	Receive(l Link, s Stream, m wire.Message)
}

// A Stream tells the streams of a link apart, by number: Live, or a bulk
// stream's. The numbers are not reused within a link.
type Stream uint64

// Live is the live stream.
const Live Stream = 0

// A Link is one connection with a peer. Its methods may be called at any time
// by any goroutine, also after it is down.
type Link interface {
	// Peer is the region on the other side. It is authenticated.
	Peer() string
	// Send queues m on the live stream. It never blocks. It reports false, and
	// counts, if the queue is full or the link is down. The message and what it
	// refers to must not be changed afterwards.
	Send(m wire.Message) bool
	// Bulk opens a bulk stream. It waits while the peer has as many of ours open
	// as it allows.
	Bulk(ctx context.Context) (BulkWriter, error)
	// Close ends the link without waiting. The peer is told the reason's text, and whether
	// it is an ErrNotPeer.
	// Unless the peer is taken out by SetPeers, there will be a new link.
	Close(reason error)
	// Stats returns figures of the link.
	Stats() LinkStats
}

// A BulkWriter is the sending side of a bulk stream. It belongs to one
// goroutine.
type BulkWriter interface {
	// Write sends m, after what is before it. It waits for the receiver to take
	// in what it has got, or for ctx to end. After an error the stream is dead
	// and the receiver may have got all, some or none of what was written.
	Write(ctx context.Context, m wire.Message) error
	// Close ends the stream. What was written still arrives if the link stays.
	// It must be called, also after an error.
	Close() error
}

// LinkStats are figures of a link since it is up.
type LinkStats struct {
	// Since is when the link came up.
	Since time.Time
	// Dialed says that this side dialled.
	Dialed bool
	// RemoteAddr is the other side's address.
	RemoteAddr string
	// RTT is the smoothed round-trip time.
	RTT time.Duration
	// BytesIn and BytesOut count the bytes of frames, as compressed.
	BytesIn, BytesOut uint64
	// WireIn and WireOut count the bytes of the packets that carry them, without
	// the headers of UDP and IP; 0 if there are none.
	WireIn, WireOut uint64
	// MessagesIn and MessagesOut count messages of all streams.
	MessagesIn, MessagesOut uint64
	// Dropped counts the messages that Send did not take.
	Dropped uint64
	// Unknown counts received messages of kinds that are not known here.
	Unknown uint64
	// QueuedBytes is what waits in the live queue, uncompressed.
	QueuedBytes int
}
