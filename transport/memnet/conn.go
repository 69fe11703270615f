package memnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/internal/peering"
)

// acceptBacklog is how many connections may wait to be accepted.
const acceptBacklog = 64

var errNetworkClosed = errors.New("memnet: network closed")

// A node is one region's access to the network.
type node struct {
	net     *Network
	region  string
	streams int // that a peer may have open
	accepts chan *conn
	done    chan struct{}
	once    sync.Once
}

var _ peering.Network = (*node)(nil)

func (nd *node) Addr() string { return Addr(nd.region) }

func (nd *node) stop() { nd.once.Do(func() { close(nd.done) }) }

func (nd *node) Close() error {
	nd.net.mu.Lock()
	if nd.net.nodes[nd.region] == nd {
		delete(nd.net.nodes, nd.region)
	}
	nd.net.mu.Unlock()
	nd.stop()
	return nil
}

func (nd *node) Accept(ctx context.Context) (peering.Conn, error) {
	select {
	case c := <-nd.accepts:
		return c, nil
	case <-nd.done:
		return nil, errNetworkClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dialPoll is how often a dial looks whether its way is open.
const dialPoll = 10 * time.Millisecond

func (nd *node) Dial(ctx context.Context, peer, addr string) (peering.Conn, error) {
	// The handshake takes a round trip, once both ways are open and there is
	// somebody to answer.
	for {
		other, wait := nd.answer(addr)
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
		if other == nil {
			continue
		}
		if other.region != peer {
			return nil, fmt.Errorf("%w: %s is %s, not %s", transport.ErrIdentity, addr, other.region, peer)
		}
		return nd.connect(other)
	}
}

// answer returns who answers at addr and how long that takes, or nil and when to
// ask again.
func (nd *node) answer(addr string) (*node, time.Duration) {
	n := nd.net
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, other := range n.nodes {
		if other.Addr() != addr {
			continue
		}
		if there, back := n.way(nd.region, other.region), n.way(other.region, nd.region); !there.Cut && !back.Cut {
			return other, there.Delay + back.Delay
		}
	}
	return nil, dialPoll
}

func (nd *node) connect(other *node) (peering.Conn, error) {
	n := nd.net
	a := newConn(n, nd.region, other.region, other.streams)
	b := newConn(n, other.region, nd.region, nd.streams)
	a.other, b.other = b, a
	n.mu.Lock()
	alive := n.nodes[nd.region] == nd && n.nodes[other.region] == other
	if alive {
		n.ends[a], n.ends[b] = struct{}{}, struct{}{}
	}
	delay := n.way(nd.region, other.region).Delay
	n.mu.Unlock()
	if !alive {
		return nil, fmt.Errorf("%w: connection lost in the handshake", transport.ErrDead)
	}
	time.AfterFunc(delay, func() {
		select {
		case other.accepts <- b:
		default:
			b.Close(peering.CodeBusy, "too many connections at once")
		}
	})
	return a, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A conn is one side's end of a connection.
type conn struct {
	net        *Network
	self, peer string
	other      *conn
	opening    chan struct{} // a token for each stream that is open to the other side
	incoming   chan *pipe    // streams that the other side has begun
	done       chan struct{}
	orphan     bool // the other side has gone without a word; guarded by net.mu

	mu    sync.Mutex
	err   error
	pipes map[*pipe]struct{} // that this side reads or writes
}

var _ peering.Conn = (*conn)(nil)

func newConn(n *Network, self, peer string, streams int) *conn {
	return &conn{
		net: n, self: self, peer: peer,
		opening:  make(chan struct{}, streams),
		incoming: make(chan *pipe, transport.MaxBulkLimit+1),
		done:     make(chan struct{}),
		pipes:    make(map[*pipe]struct{}),
	}
}

func (c *conn) Peer() string          { return c.peer }
func (c *conn) RemoteAddr() string    { return Addr(c.peer) }
func (c *conn) Done() <-chan struct{} { return c.done }

func (c *conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Traffic implements peering.Conn: there are no packets.
func (c *conn) Traffic() (in, out uint64) { return 0, 0 }

func (c *conn) RTT() time.Duration {
	return c.net.delay(c.self, c.peer) + c.net.delay(c.peer, c.self)
}

// end ends this side.
func (c *conn) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	pipes := c.pipes
	c.pipes = nil
	close(c.done)
	c.mu.Unlock()
	c.net.mu.Lock()
	delete(c.net.ends, c)
	c.net.mu.Unlock()
	for p := range pipes {
		p.fail(c, err)
	}
}

func (c *conn) endIn(d time.Duration, err error) {
	time.AfterFunc(d, func() { c.end(err) })
}

// giveUp ends this side without a word to the other, which notices by itself.
func (c *conn) giveUp() {
	c.end(transport.ErrDead)
	c.net.mu.Lock()
	c.other.orphan = true
	c.net.mu.Unlock()
	c.other.endIn(c.net.opts.IdleTimeout, transport.ErrDead)
}

func (c *conn) Close(code peering.Code, reason string) {
	c.mu.Lock()
	over := c.err != nil
	c.mu.Unlock()
	if over {
		return
	}
	c.end(&peering.CloseError{Code: code, Reason: reason})
	c.net.mu.Lock()
	w := *c.net.way(c.self, c.peer)
	c.other.orphan = true
	c.net.mu.Unlock()
	if w.Cut {
		c.other.endIn(c.net.opts.IdleTimeout, transport.ErrDead)
		return
	}
	c.other.endIn(w.Delay, &peering.CloseError{Code: code, Reason: reason[:min(len(reason), peering.MaxReason)], Remote: true})
}

// wake lets readers look at the way again.
func (c *conn) wake() {
	c.mu.Lock()
	pipes := slices.Collect(maps.Keys(c.pipes))
	c.mu.Unlock()
	for _, p := range pipes {
		p.wake()
	}
}

// add registers a pipe with this side. It fails if the side has ended.
func (c *conn) add(p *pipe) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.pipes[p] = struct{}{}
	return nil
}

func (c *conn) remove(p *pipe) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pipes, p)
}

func (c *conn) Open(ctx context.Context, _ bool) (peering.SendStream, error) {
	select {
	case c.opening <- struct{}{}:
	case <-c.done:
		return nil, c.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p := newPipe(c)
	if err := c.add(p); err != nil {
		return nil, err
	}
	return p, nil
}

func (c *conn) Accept(ctx context.Context) (io.Reader, error) {
	select {
	case p := <-c.incoming:
		return reader{p}, nil
	case <-c.done:
		return nil, c.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
