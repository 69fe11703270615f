package peering

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/wire"
)

const (
	// parkTime is how long a peer's connection waits for the outcome of our own
	// dial before it is taken instead.
	parkTime = time.Second
	// maxGreetings bounds the accepted connections that have not introduced
	// themselves yet.
	maxGreetings = 64
)

// ErrRunTwice is returned by Run if it has been called before.
var ErrRunTwice = errors.New("transport has been run already")

// An Engine is a transport.Transport over a Network. The goroutine of Run owns
// the peers; other goroutines hand it what they have found out as functions for
// it to call.
type Engine struct {
	self    string
	cfg     transport.Config
	log     *slog.Logger
	limiter Limiter
	net     Network
	comp    *wire.Compressor
	started atomic.Bool
	closing sync.Once

	mu    sync.Mutex
	want  map[string]transport.Endpoint
	state map[string]transport.PeerState
	// Others than those of want may dial if open is set.
	open    bool
	anybody transport.Endpoint

	changed chan struct{} // gets a token when want has changed
	ops     chan func()   // for the owner to call
	stopped chan struct{} // closed when the owner calls no more

	// What follows belongs to the owner.
	ctx         context.Context
	handler     transport.Handler
	rand        *mathrand.Rand
	incarnation uint64
	attempts    uint64
	peers       map[string]*peer
	wg          sync.WaitGroup // all goroutines
}

var _ transport.Transport = (*Engine)(nil)

// A peer is what the owner knows of one.
type peer struct {
	name     string
	endpoint transport.Endpoint
	wanted   bool

	link *link      // with a run goroutine, perhaps about to end
	next *candidate // takes over when link has ended

	dial      *dial
	dialAt    time.Time // when to dial next, zero for never
	failures  int       // since the last link that was stable
	parked    *candidate
	parkUntil time.Time
}

// A dial is one on its way.
type dial struct {
	attempt uint64
	cancel  context.CancelFunc
}

// New returns the transport of the region self over net. The configuration has
// been validated.
func New(self string, net Network, cfg transport.Config) (*Engine, error) {
	comp, err := wire.NewCompressor(runtime.GOMAXPROCS(0))
	if err != nil {
		return nil, err
	}
	var seed [8]byte
	rand.Read(seed[:]) // never fails
	return &Engine{
		self: self, cfg: cfg, net: net, comp: comp,
		log:         cfg.Log.With("region", self),
		state:       make(map[string]transport.PeerState),
		changed:     make(chan struct{}, 1),
		ops:         make(chan func()),
		stopped:     make(chan struct{}),
		rand:        mathrand.New(mathrand.NewPCG(cfg.Seed, 0)),
		incarnation: binary.BigEndian.Uint64(seed[:]),
		peers:       make(map[string]*peer),
	}, nil
}

// Addr implements transport.Transport.
func (e *Engine) Addr() string { return e.net.Addr() }

// Close implements transport.Transport.
func (e *Engine) Close() error {
	if !e.started.CompareAndSwap(false, true) {
		return nil
	}
	return e.closeNetwork()
}

func (e *Engine) closeNetwork() (err error) {
	e.closing.Do(func() { err = e.net.Close() })
	return err
}

// SetPeers implements transport.Transport.
func (e *Engine) SetPeers(peers map[string]transport.Endpoint) {
	e.mu.Lock()
	e.want = maps.Clone(peers)
	delete(e.want, e.self)
	e.anybody, e.open = e.want[transport.Anybody]
	delete(e.want, transport.Anybody)
	for name := range e.state {
		if _, ok := e.want[name]; !ok {
			delete(e.state, name)
		}
	}
	for name, ep := range e.want {
		st := e.state[name]
		st.Endpoint = ep
		e.state[name] = st
	}
	e.mu.Unlock()
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// Peers implements transport.Transport.
func (e *Engine) Peers() map[string]transport.PeerState {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.state)
}

// note changes the state that is shown of a peer, if it still is one.
func (e *Engine) note(p *peer, change func(*transport.PeerState)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if st, ok := e.state[p.name]; ok {
		change(&st)
		e.state[p.name] = st
	}
}

// Run implements transport.Transport.
func (e *Engine) Run(ctx context.Context, h transport.Handler) error {
	if !e.started.CompareAndSwap(false, true) {
		return ErrRunTwice
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e.ctx, e.handler = ctx, h
	lost := make(chan error, 1)
	e.wg.Go(func() { lost <- e.accept(ctx) })
	err := e.own(ctx, lost)
	cancel(transport.ErrShutdown)
	e.shutdown()
	return errors.Join(err, e.closeNetwork())
}

// own is the owner's loop.
func (e *Engine) own(ctx context.Context, lost <-chan error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-lost:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept connections: %w", err)
		case <-e.changed:
			e.setPeers()
		case op := <-e.ops:
			op()
		case <-timer.C:
		}
		timer.Reset(e.tick(time.Now()))
	}
}

// idle is the wait when nothing is due.
const idle = time.Hour

// tick does what is due, and returns how long there is nothing to do.
func (e *Engine) tick(now time.Time) time.Duration {
	wait := idle
	due := func(at time.Time) bool {
		if d := at.Sub(now); d > 0 {
			wait = min(wait, d)
			return false
		}
		return true
	}
	for _, name := range slices.Sorted(maps.Keys(e.peers)) {
		p := e.peers[name]
		if p.parked != nil && due(p.parkUntil) {
			if c := p.unpark(); !c.over() {
				e.callOff(p)
				e.adopt(p, c, false)
			}
		}
		if !p.dialAt.IsZero() && due(p.dialAt) {
			e.dial(p)
		}
	}
	return wait
}

// post hands f to the owner. It reports false if the owner has stopped.
func (e *Engine) post(f func()) bool {
	select {
	case e.ops <- f:
		return true
	case <-e.stopped:
		return false
	}
}

// shutdown ends everything that the owner has started and waits for it.
func (e *Engine) shutdown() {
	close(e.stopped)
	reason := &CloseError{Code: CodeShutdown, Reason: transport.ErrShutdown.Error()}
	for _, p := range e.peers {
		e.drop(p, CodeShutdown, reason)
	}
	e.wg.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, st := range e.state {
		st.Linked = false
		e.state[name] = st
	}
}

// setPeers brings the peers in line with what SetPeers said last.
func (e *Engine) setPeers() {
	e.mu.Lock()
	want, open, anybody := e.want, e.open, e.anybody
	e.mu.Unlock()
	for name, p := range e.peers {
		if _, ok := want[name]; !ok && p.wanted {
			if open && (p.link != nil || p.next != nil) {
				p.endpoint = anybody
				continue
			}
			p.wanted = false
			e.drop(p, CodeNotPeer, fmt.Errorf("%w: %s was taken out of the peers of %s", transport.ErrNotPeer, name, e.self))
			e.forget(p)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		ep := want[name]
		p := e.peers[name]
		if p == nil {
			p = &peer{name: name}
			e.peers[name] = p
		}
		if p.wanted && p.endpoint == ep {
			continue
		}
		p.wanted, p.endpoint = true, ep
		if ep.Off {
			e.drop(p, CodeOff, fmt.Errorf("%w: the link with %s is switched off", transport.ErrRefused, name))
			continue
		}
		// The new address may be the right one: no reason to wait.
		p.failures, p.dialAt = 0, time.Time{}
		if p.parked == nil {
			e.callOff(p)
		}
		e.consider(p, time.Now())
	}
}

// drop ends everything with a peer.
func (e *Engine) drop(p *peer, code Code, reason error) {
	e.callOff(p)
	p.dialAt = time.Time{}
	if c := p.unpark(); c != nil {
		c.refuse(code, reason.Error())
	}
	if p.next != nil {
		p.next.refuse(code, reason.Error())
		p.next = nil
	}
	if p.link != nil {
		p.link.fail(code, reason)
	}
}

// forget removes a peer of which nothing is left.
func (e *Engine) forget(p *peer) {
	if !p.wanted && p.link == nil {
		delete(e.peers, p.name)
	}
}

// consider plans a dial if there should be one.
func (e *Engine) consider(p *peer, at time.Time) {
	if p.wanted && !p.endpoint.Off && p.endpoint.Dial && p.endpoint.Addr != "" &&
		p.link == nil && p.dial == nil && p.dialAt.IsZero() {
		p.dialAt = at
	}
}

// backoff is how long to wait after the failures that there were.
func (e *Engine) backoff(p *peer) time.Duration {
	d := e.cfg.BackoffMax
	if n := max(p.failures-1, 0); n < 32 && e.cfg.BackoffMin<<n < d && e.cfg.BackoffMin<<n > 0 {
		d = e.cfg.BackoffMin << n
	}
	return d - time.Duration(e.rand.Int64N(int64(d)/2+1))
}

// failed counts a failure and plans the next dial.
func (e *Engine) failed(p *peer, err error) {
	p.failures++
	e.note(p, func(st *transport.PeerState) {
		st.LastError, st.LastErrorAt = err, time.Now()
		st.Attempts++
	})
	if n, ok := e.limiter.Allow("dial " + p.name + rootText(err)); ok {
		e.log.Warn("cannot reach peer", "peer", p.name, "address", p.endpoint.Addr, "error", err, "suppressed", n)
	}
	e.consider(p, time.Now().Add(e.backoff(p)))
}

// rootText tells kinds of errors apart that differ in details such as ports.
func rootText(err error) string {
	for _, kind := range []error{
		transport.ErrIdentity, transport.ErrNotPeer, transport.ErrRefused, transport.ErrDead, transport.ErrDuplicate, transport.ErrShutdown,
	} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	return err.Error()
}

// dial starts dialling a peer.
func (e *Engine) dial(p *peer) {
	p.dialAt = time.Time{}
	if p.link != nil || p.dial != nil {
		return
	}
	e.attempts++
	ctx, cancel := context.WithTimeout(e.ctx, e.cfg.DialTimeout)
	d := &dial{attempt: e.attempts, cancel: cancel}
	p.dial = d
	own, addr := wire.Preface{Incarnation: e.incarnation, Attempt: e.attempts}, p.endpoint.Addr
	e.wg.Go(func() {
		defer cancel()
		c, err := e.connect(ctx, p.name, addr, own)
		if !e.post(func() { e.dialed(p, d, c, err) }) && c != nil {
			c.refuse(CodeShutdown, transport.ErrShutdown.Error())
		}
	})
}

// callOff ends a dial that is on its way. Its outcome is ignored.
func (e *Engine) callOff(p *peer) {
	if p.dial != nil {
		p.dial.cancel()
		p.dial = nil
	}
}

// connect dials, introduces this side and waits for the peer's word that the
// connection is to be the link. Only that tells that the peer has accepted our
// certificate and wants us.
func (e *Engine) connect(ctx context.Context, name, addr string, own wire.Preface) (*candidate, error) {
	conn, err := e.net.Dial(ctx, name, addr)
	if err != nil {
		return nil, e.timedOut(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close(CodeDuplicate, "dial called off") })
	c := &candidate{conn: conn}
	err = func() error {
		if c.out, err = conn.Open(ctx, true); err != nil {
			return err
		}
		if _, err = c.out.Write(own.Append([]byte{byte(wire.StreamLive)})); err != nil {
			return err
		}
		return c.readPreface(ctx)
	}()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, e.timedOut(ctx, c.give(CodeProtocol, err))
	}
	return c, nil
}

// timedOut says what the end of a dial's time means.
func (e *Engine) timedOut(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w within %v", transport.ErrDead, e.cfg.DialTimeout)
	}
	return err
}

// give closes the connection for an error of a stream, and returns the
// reason: that the connection had ended before, if so.
func (c *candidate) give(code Code, err error) error {
	c.conn.Close(code, err.Error())
	<-c.conn.Done()
	var closed *CloseError
	if cause := c.conn.Err(); !errors.As(cause, &closed) || closed.Remote {
		return cause
	}
	return err
}

func (c *candidate) over() bool {
	select {
	case <-c.conn.Done():
		return true
	default:
		return false
	}
}

// readPreface reads the beginning of the peer's live stream.
func (c *candidate) readPreface(ctx context.Context) error {
	in, err := c.conn.Accept(ctx)
	if err != nil {
		return err
	}
	var t [1]byte
	if _, err = io.ReadFull(in, t[:]); err != nil {
		return err
	}
	if wire.StreamType(t[0]) != wire.StreamLive {
		return fmt.Errorf("%w: first stream is of type %d", transport.ErrProtocol, t[0])
	}
	c.in = in
	c.remote, err = wire.ReadPreface(in)
	return err
}

// dialed takes the outcome of a dial.
func (e *Engine) dialed(p *peer, d *dial, c *candidate, err error) {
	if p.dial != d {
		if c != nil {
			c.refuse(CodeDuplicate, "dial called off")
		}
		return
	}
	p.dial = nil
	reserve := p.unpark()
	switch {
	case err == nil:
		if reserve != nil {
			reserve.refuse(CodeDuplicate, transport.ErrDuplicate.Error())
		}
		e.adopt(p, c, true)
	case reserve != nil && !reserve.over():
		e.adopt(p, reserve, false)
	default:
		e.failed(p, err)
	}
}

// accept takes connections from the network until that ends.
func (e *Engine) accept(ctx context.Context) error {
	greetings := make(chan struct{}, maxGreetings)
	for {
		conn, err := e.net.Accept(ctx)
		if err != nil {
			return err
		}
		select {
		case greetings <- struct{}{}:
		default:
			conn.Close(CodeBusy, "too many connections at once")
			continue
		}
		e.wg.Go(func() {
			defer func() { <-greetings }()
			e.greet(ctx, conn)
		})
	}
}

// greet waits for a peer who has dialled to introduce itself.
func (e *Engine) greet(ctx context.Context, conn Conn) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.DialTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close(CodeTimeout, "no preface in time") })
	c := &candidate{conn: conn}
	err := c.readPreface(ctx)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		err = c.give(CodeProtocol, err)
		if n, ok := e.limiter.Allow("greet " + conn.Peer()); ok {
			e.log.Info("connection came to nothing", "peer", conn.Peer(), "address", conn.RemoteAddr(), "error", err, "suppressed", n)
		}
		return
	}
	if !e.post(func() { e.accepted(c) }) {
		c.refuse(CodeShutdown, transport.ErrShutdown.Error())
	}
}

// accepted decides about a connection that a peer has dialled.
func (e *Engine) accepted(c *candidate) {
	name := c.conn.Peer()
	p := e.caller(name)
	if p == nil {
		c.refuse(CodeNotPeer, fmt.Sprintf("%s is not a peer of %s", name, e.self))
		if n, ok := e.limiter.Allow("not a peer " + name); ok {
			e.log.Warn("refused a region that is not a peer", "peer", name, "address", c.conn.RemoteAddr(), "suppressed", n)
		}
		return
	}
	if p.endpoint.Off {
		c.refuse(CodeOff, fmt.Sprintf("the link with %s is switched off at %s", name, e.self))
		return
	}
	var linked *wire.Preface
	switch {
	case p.next != nil:
		linked = &p.next.remote
	case p.link != nil:
		linked = &p.link.remote
	}
	switch arbitrate(c.remote, linked, p.dial != nil, e.self < name) {
	case adopt:
		e.callOff(p)
		e.adopt(p, c, false)
	case park:
		if old := p.parked; old != nil && !newer(c.remote, old.remote) {
			c.refuse(CodeDuplicate, transport.ErrDuplicate.Error())
			return
		}
		if old := p.unpark(); old != nil {
			old.refuse(CodeReplaced, transport.ErrReplaced.Error())
		}
		p.parked, p.parkUntil = c, time.Now().Add(parkTime)
	case replace:
		if p.next != nil {
			p.next.refuse(CodeReplaced, transport.ErrReplaced.Error())
		}
		p.next = c
		p.link.fail(CodeReplaced, transport.ErrReplaced)
	case refuse:
		c.refuse(CodeDuplicate, transport.ErrDuplicate.Error())
	}
}

// caller returns the peer that a region is which dials, nil if it may not.
func (e *Engine) caller(name string) *peer {
	p := e.peers[name]
	if p != nil && p.wanted {
		return p
	}
	e.mu.Lock()
	ep, open := e.anybody, e.open
	e.mu.Unlock()
	if !open || ep.Off {
		return nil
	}
	if p == nil {
		p = &peer{name: name}
		e.peers[name] = p
	}
	p.wanted, p.endpoint = true, ep
	return p
}

func (p *peer) unpark() *candidate {
	c := p.parked
	p.parked = nil
	return c
}

// adopt makes a connection the link.
func (e *Engine) adopt(p *peer, c *candidate, dialed bool) {
	p.dialAt = time.Time{}
	l := &link{
		candidate: *c, cfg: e.cfg, comp: e.comp, handler: e.handler, dialed: dialed,
		queue: newQueue(e.cfg.QueueBytes),
		log:   e.log.With("peer", p.name),
	}
	p.link = l
	own := wire.Preface{Incarnation: e.incarnation, Attempt: e.attempts}
	e.note(p, func(st *transport.PeerState) { st.Linked, st.Attempts = true, 0 })
	started := time.Now()
	e.wg.Go(func() {
		up, reason := l.run(own)
		e.post(func() { e.ended(p, up && time.Since(started) >= e.cfg.StableAfter, reason) })
	})
}

// ended is told that the link is down and its goroutine done.
func (e *Engine) ended(p *peer, stable bool, reason error) {
	p.link = nil
	if stable {
		p.failures = 0
	}
	p.failures++
	e.note(p, func(st *transport.PeerState) {
		st.Linked, st.LastError, st.LastErrorAt = false, reason, time.Now()
	})
	if c := p.next; c != nil {
		p.next = nil
		e.adopt(p, c, false)
		return
	}
	e.mu.Lock()
	if _, named := e.want[p.name]; !named {
		p.wanted = false // nothing is kept of it
	}
	e.mu.Unlock()
	e.consider(p, time.Now().Add(e.backoff(p)))
	e.forget(p)
}
