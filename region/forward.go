package region

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/wire"
)

// A request that belongs to another region goes there, and its answer comes
// back, as messages on a bulk stream that each side of a link keeps open for
// them: neither live changes nor catch-up wait for them. Regions that are not
// linked reach each other through those that are between. Nothing is ever sent
// twice, so a request is carried out once or not at all; what nobody knows is
// told so.

// Errors of forwarding.
var (
	// ErrUnreachable: no link leads to the region, or it does not take the request.
	// It has not been carried out (HTTP 503).
	ErrUnreachable = errors.New("region cannot be reached")
	// ErrForwardBusy: as many requests are under way as may be. It has not been
	// carried out (HTTP 429).
	ErrForwardBusy = errors.New("too many forwarded requests")
	// ErrForwardLost: the answer did not come. The request may have been carried
	// out, or may yet be (HTTP 503).
	ErrForwardLost = errors.New("the answer of the other region was lost")
)

// Bounds of forwarding.
const (
	// maxForwards is how many requests of this region may wait for answers.
	maxForwards = 1024
	// maxServing is how many requests of others are served at a time.
	maxServing = 512
	// maxHops bounds the regions that pass one message on.
	maxHops = 8
	// maxLaneBytes bounds what waits to be written to one peer, but for one message.
	maxLaneBytes = 32 << 20
)

// Why a request is refused, as told between regions.
const (
	refusedBusy = "busy"
	refusedWay  = "no way"
)

// Serve answers a request that another region forwards. Both are HTTP/1.1 messages.
type Serve func(ctx context.Context, request []byte) (response []byte)

type forwarder struct {
	self    string
	session crdt.ReplicaID
	plan    atomic.Pointer[topology.Plan]
	serve   atomic.Pointer[Serve]

	mu      sync.Mutex
	lanes   map[string]*lane
	pending map[uint64]*forward
	nextID  uint64

	served  *prometheus.CounterVec
	serving sync.WaitGroup
	slots   chan struct{}
}

func newForwarder(self string, session crdt.ReplicaID, served *prometheus.CounterVec) *forwarder {
	f := &forwarder{
		self: self, session: session, served: served, lanes: map[string]*lane{}, pending: map[uint64]*forward{},
		slots: make(chan struct{}, maxServing),
	}
	f.plan.Store(&topology.Plan{})
	return f
}

// A forward is a request that waits for its answer.
type forward struct {
	lane *lane
	item *laneItem
	done chan forwardResult // holds one
}

type forwardResult struct {
	response []byte
	err      error
}

// ServeForwarded says who answers the requests that other regions forward. Until
// then they are refused.
func (r *Region) ServeForwarded(s Serve) { r.forwards.serve.Store(&s) }

// Reaches reports whether a request can be forwarded to a region now.
func (r *Region) Reaches(region string) bool { return r.forwards.way(region) != nil }

// Forward has another region answer a request. The error is ErrUnreachable,
// ErrForwardBusy or ErrForwardLost.
func (r *Region) Forward(ctx context.Context, to string, request []byte) ([]byte, error) {
	response, err := r.forward(ctx, to, request)
	outcome := forwardAnswered
	switch {
	case errors.Is(err, ErrForwardBusy):
		outcome = forwardBusy
	case errors.Is(err, ErrForwardLost):
		outcome = forwardLost
	case err != nil:
		outcome = forwardUnreachable
	}
	r.metrics.forwarded.WithLabelValues(to, outcome).Inc()
	return response, err
}

func (r *Region) forward(ctx context.Context, to string, request []byte) ([]byte, error) {
	f := r.forwards
	if len(request) > wire.MaxForwarded {
		return nil, fmt.Errorf("%w: a request of %d bytes, at most %d are forwarded", ErrUnreachable, len(request), wire.MaxForwarded)
	}
	w, id, err := f.begin(to, request)
	if err != nil {
		return nil, err
	}
	defer f.end(id)
	select {
	case res := <-w.done:
		return res.response, res.err
	case <-r.stopped:
	case <-ctx.Done():
	}
	if w.item.withdraw() {
		return nil, fmt.Errorf("%w: %s did not take it in time", ErrUnreachable, to)
	}
	return nil, fmt.Errorf("%w: %s did not answer in time", ErrForwardLost, to)
}

func (f *forwarder) begin(to string, request []byte) (*forward, uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.lanes[f.plan.Load().Next(to)]
	switch {
	case l == nil || !l.speaks:
		return nil, 0, fmt.Errorf("%w: no link leads to %s", ErrUnreachable, to)
	case len(f.pending) >= maxForwards:
		return nil, 0, fmt.Errorf("%w: %d wait for their answers", ErrForwardBusy, len(f.pending))
	}
	f.nextID++
	id := f.nextID
	w := &forward{lane: l, done: make(chan forwardResult, 1)}
	w.item = &laneItem{failed: func(err error) { f.fail(id, err) }, message: wire.Forward{Origin: f.self, To: to, Session: f.session, ID: id, Request: request}}
	if !l.push(w.item) {
		return nil, 0, fmt.Errorf("%w: the way to %s is full", ErrForwardBusy, to)
	}
	f.pending[id] = w
	return w, id, nil
}

// fail ends a request that did not get out.
func (f *forwarder) fail(id uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.pending[id]; w != nil {
		delete(f.pending, id)
		w.done <- forwardResult{err: err}
	}
}

func (f *forwarder) end(id uint64) {
	f.mu.Lock()
	delete(f.pending, id)
	f.mu.Unlock()
}

// way is the lane to a region, nil if there is none.
func (f *forwarder) way(to string) *lane {
	next := f.plan.Load().Next(to)
	f.mu.Lock()
	defer f.mu.Unlock()
	if l := f.lanes[next]; l != nil && l.speaks {
		return l
	}
	return nil
}

func (f *forwarder) linkUp(ctx context.Context, link transport.Link) {
	f.mu.Lock()
	f.lanes[link.Peer()] = newLane(ctx, link)
	f.mu.Unlock()
}

// greeted notes which version the peer speaks.
func (f *forwarder) greeted(link transport.Link, version uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l := f.lanes[link.Peer()]; l != nil && l.link == link && version >= versionForward && !l.speaks {
		l.speaks = true
		go l.run()
	}
}

// versionForward is the first version of the vocabulary that has Forward.
const versionForward = 5

// linkDown ends the lane, and tells who waits for answers by it.
func (f *forwarder) linkDown(link transport.Link) {
	f.mu.Lock()
	l := f.lanes[link.Peer()]
	if l == nil || l.link != link {
		f.mu.Unlock()
		return
	}
	delete(f.lanes, link.Peer())
	started := l.speaks
	f.mu.Unlock()
	l.stop()
	if started {
		<-l.done
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, w := range f.pending {
		if w.lane != l {
			continue
		}
		err := fmt.Errorf("%w: the link with %s has ended", ErrForwardLost, link.Peer())
		if w.item.withdraw() {
			err = fmt.Errorf("%w: the link with %s has ended", ErrUnreachable, link.Peer())
		}
		w.done <- forwardResult{err: err}
		delete(f.pending, id)
	}
}

// received takes a message of a lane. It never blocks.
func (f *forwarder) received(ctx context.Context, from transport.Link, m wire.Message) {
	switch m := m.(type) {
	case wire.Forward:
		m.Hops++
		if m.To == f.self {
			f.answer(ctx, m)
		} else if !f.pass(from, m.To, m.Hops, m) {
			f.respond(wire.Forwarded{Origin: m.Origin, Session: m.Session, ID: m.ID, Refused: refusedWay})
		}
	case wire.Forwarded:
		m.Hops++
		if m.Origin == f.self {
			f.deliver(m)
		} else {
			f.pass(from, m.Origin, m.Hops, m)
		}
	}
}

// pass sends a message on towards a region, but not back.
func (f *forwarder) pass(from transport.Link, to string, hops uint64, m wire.Message) bool {
	l := f.way(to)
	return l != nil && l.link != from && hops <= maxHops && l.push(&laneItem{message: m})
}

// answer serves a request in a goroutine of its own.
func (f *forwarder) answer(ctx context.Context, m wire.Forward) {
	reply := wire.Forwarded{Origin: m.Origin, Session: m.Session, ID: m.ID}
	serve := f.serve.Load()
	if serve == nil {
		f.served.WithLabelValues(m.Origin, forwardUnreachable).Inc()
		reply.Refused = refusedWay
		f.respond(reply)
		return
	}
	select {
	case f.slots <- struct{}{}:
	default:
		f.served.WithLabelValues(m.Origin, forwardBusy).Inc()
		reply.Refused = refusedBusy
		f.respond(reply)
		return
	}
	f.serving.Go(func() {
		defer func() { <-f.slots }()
		reply.Response = (*serve)(ctx, m.Request)
		f.served.WithLabelValues(m.Origin, forwardAnswered).Inc()
		f.respond(reply)
	})
}

// respond sends an answer back by the way that there is now. If there is none the
// origin notices by its own time.
func (f *forwarder) respond(m wire.Forwarded) {
	m.From = f.self
	if l := f.way(m.Origin); l != nil {
		l.push(&laneItem{message: m})
	}
}

func (f *forwarder) deliver(m wire.Forwarded) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.pending[m.ID]
	if w == nil || m.Session != f.session {
		return
	}
	delete(f.pending, m.ID)
	res := forwardResult{response: m.Response}
	switch m.Refused {
	case "":
	case refusedBusy:
		res.err = fmt.Errorf("%w: %s takes no more", ErrForwardBusy, m.From)
	default:
		res.err = fmt.Errorf("%w: %s says %q", ErrUnreachable, m.From, m.Refused)
	}
	w.done <- res
}
