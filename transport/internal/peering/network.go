// Package peering keeps links with peers over any network that has
// authenticated connections with unidirectional streams. It is all of a
// transport.Transport but the network: whom to dial and when, which of several
// connections is the link, queues, frames, and the calls of the handler.
package peering

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/meridiandb/meridian/transport"
)

// A Network makes authenticated connections.
type Network interface {
	// Dial connects to addr. The other side must prove to be the region peer.
	Dial(ctx context.Context, peer, addr string) (Conn, error)
	// Accept waits for the next connection that another side has dialled. An
	// error means that the network is gone, or that ctx has ended.
	Accept(ctx context.Context) (Conn, error)
	// Addr is where others can dial.
	Addr() string
	// Close frees the network after all connections have been closed. It waits
	// for its goroutines.
	Close() error
}

// A Conn is an authenticated connection. Errors of its streams other than
// io.EOF and ErrStreamReset mean that it has ended or is just about to.
type Conn interface {
	// Peer is the region on the other side.
	Peer() string
	RemoteAddr() string
	// Open opens a stream. The other side notices it with the first byte. With
	// urgent, its data goes before that of other streams. It waits while the
	// other side allows no more streams.
	Open(ctx context.Context, urgent bool) (SendStream, error)
	// Accept waits for the next stream, in the order of their opening.
	Accept(ctx context.Context) (io.Reader, error)
	// Close ends the connection, and tells the other side why. Only the first
	// call counts. It does not wait for the other side.
	Close(code Code, reason string)
	// Done is closed when the connection has ended on this side.
	Done() <-chan struct{}
	// Err is why it has ended, once Done is closed.
	Err() error
	RTT() time.Duration
	// Traffic counts the bytes of the packets that came in and went out, those
	// sent again included; 0 if the network has none.
	Traffic() (in, out uint64)
}

// A SendStream is the sending end of a stream. Its reading end reports io.EOF
// after Close, and ErrStreamReset after Reset.
type SendStream interface {
	// Write waits until the bytes are on their way, or the stream or connection
	// has ended.
	io.WriteCloser
	// Reset gives up the stream and ends a Write. It may be called at any time.
	Reset()
}

// ErrStreamReset is returned from a stream that the other side gave up.
var ErrStreamReset = errors.New("stream reset")

// A Code says in few bits why a connection is closed. Codes are part of the
// protocol.
type Code uint64

// The codes.
const (
	CodeClosed    Code = iota // by the handler
	CodeShutdown              // the side goes away
	CodeProtocol              // the other side sent nonsense
	CodeNotPeer               // the other side is not a peer
	CodeDuplicate             // there is another connection
	CodeReplaced              // a newer connection took over
	CodeOff                   // no link is wanted for now
	CodeTimeout               // the other side did not say what it had to
	CodeBusy                  // too many connections at once
)

func (c Code) sentinel() error {
	switch c {
	case CodeShutdown:
		return transport.ErrShutdown
	case CodeProtocol:
		return transport.ErrProtocol
	case CodeNotPeer:
		return transport.ErrNotPeer
	case CodeDuplicate:
		return transport.ErrDuplicate
	case CodeReplaced:
		return transport.ErrReplaced
	case CodeOff, CodeBusy:
		return transport.ErrRefused
	case CodeTimeout:
		return transport.ErrDead
	default:
		return transport.ErrClosed
	}
}

// MaxReason bounds the text that is sent along with a Code.
const MaxReason = 512

// A CloseError is why a connection was closed by one of its sides.
type CloseError struct {
	Code   Code
	Reason string
	Remote bool // the other side closed it
}

func (e *CloseError) Error() string {
	who := "closed here"
	if e.Remote {
		who = "closed by the peer"
	}
	if e.Reason == "" {
		return fmt.Sprintf("%s: %s", who, e.Code.sentinel())
	}
	return fmt.Sprintf("%s: %q", who, e.Reason)
}

// Is makes errors.Is find the sentinel of the code.
func (e *CloseError) Is(target error) bool { return target == e.Code.sentinel() }
