package fault

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/wire"
)

// ErrCut is returned by a bulk stream over a link that is cut.
var ErrCut = errors.New("link is cut")

// A Transport is a transport.Transport with faults.
type Transport struct {
	inner transport.Transport

	mu      sync.Mutex
	rand    *rand.Rand
	peers   map[string]transport.Endpoint
	faults  map[string]Fault
	lasting map[string]Fault // the last that were set without an end
	ends    map[string]*time.Timer
	redial  map[string]bool // has been cut, so whoever can dials again
}

var _ transport.Transport = (*Transport)(nil)

// Wrap returns inner with faults. The seed makes repeatable what is lost.
func Wrap(inner transport.Transport, seed uint64) *Transport {
	return &Transport{
		inner: inner, rand: rand.New(rand.NewPCG(seed, 0)),
		faults:  make(map[string]Fault),
		lasting: make(map[string]Fault),
		ends:    make(map[string]*time.Timer),
		redial:  make(map[string]bool),
	}
}

// Set puts a fault in place of the one that the link to a region has; the zero
// Fault heals it. It works at once, and also for regions that are not peers yet.
// Healing lets messages that are held up arrive in their time. The error wraps
// ErrInvalid.
func (t *Transport) Set(region string, f Fault) error {
	if err := f.Validate(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if end := t.ends[region]; end != nil {
		end.Stop()
		delete(t.ends, region)
	}
	if f.For == 0 {
		t.lasting[region] = f
	} else {
		var end *time.Timer
		end = time.AfterFunc(f.For, func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			if t.ends[region] == end { // there is no later one
				delete(t.ends, region)
				t.set(region, t.lasting[region])
			}
		})
		t.ends[region] = end
	}
	t.set(region, f)
	return nil
}

// set puts a fault in place. The lock is held.
func (t *Transport) set(region string, f Fault) {
	before := t.faults[region]
	t.faults[region] = f
	if f.IsZero() {
		delete(t.faults, region)
	}
	if before.off() != f.off() {
		t.redial[region] = true
		t.setPeers()
	}
}

// Faults returns the faults that there are, by region.
func (t *Transport) Faults() map[string]Fault {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.faults)
}

// SetPeers implements transport.Transport.
func (t *Transport) SetPeers(peers map[string]transport.Endpoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.peers = maps.Clone(peers)
	t.setPeers()
}

// setPeers tells the inner transport. The lock is held. After a cut this side
// dials, whoever did before, so that a link is back without waiting for the other
// side's backoff.
func (t *Transport) setPeers() {
	if t.peers == nil {
		return
	}
	peers := make(map[string]transport.Endpoint, len(t.peers))
	for region, ep := range t.peers {
		ep.Off = ep.Off || t.faults[region].off()
		ep.Dial = ep.Dial || t.redial[region] && ep.Addr != ""
		peers[region] = ep
	}
	if _, open := peers[transport.Anybody]; open {
		for region, f := range t.faults {
			if _, named := peers[region]; !named && f.off() {
				peers[region] = transport.Endpoint{Off: true}
			}
		}
	}
	t.inner.SetPeers(peers)
}

// Peers implements transport.Transport.
func (t *Transport) Peers() map[string]transport.PeerState { return t.inner.Peers() }

// Addr implements transport.Transport.
func (t *Transport) Addr() string { return t.inner.Addr() }

// Close implements transport.Transport.
func (t *Transport) Close() error {
	t.mu.Lock()
	for _, end := range t.ends {
		end.Stop()
	}
	clear(t.ends)
	t.mu.Unlock()
	return t.inner.Close()
}

// Run implements transport.Transport.
func (t *Transport) Run(ctx context.Context, h transport.Handler) error {
	return t.inner.Run(ctx, &handler{t: t, ctx: ctx, outer: h, links: make(map[transport.Link]*link)})
}

func (t *Transport) fault(region string) Fault {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.faults[region]
}

// vanishes draws whether a live message under f is lost.
func (t *Transport) vanishes(f Fault) bool {
	if f.State == Cut {
		return true
	}
	if f.Loss == 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.rand.Float64() < f.Loss
}

// A handler stands between the inner transport and the handler given to Run.
type handler struct {
	t     *Transport
	ctx   context.Context
	outer transport.Handler

	mu    sync.RWMutex
	links map[transport.Link]*link
}

func (h *handler) LinkUp(inner transport.Link) {
	ctx, cancel := context.WithCancel(h.ctx)
	l := &link{Link: inner, t: h.t, ctx: ctx, cancel: cancel}
	l.out = newLine(ctx)
	for i := range l.in {
		l.in[i] = newLine(ctx)
	}
	h.mu.Lock()
	h.links[inner] = l
	h.mu.Unlock()
	h.outer.LinkUp(l)
}

func (h *handler) LinkDown(inner transport.Link, reason error) {
	h.mu.Lock()
	l := h.links[inner]
	delete(h.links, inner)
	h.mu.Unlock()
	l.cancel()
	l.out.drain()
	for _, in := range l.in {
		in.drain()
	}
	h.outer.LinkDown(l, reason)
}

func (h *handler) Receive(inner transport.Link, s transport.Stream, m wire.Message) {
	h.mu.RLock()
	l := h.links[inner]
	h.mu.RUnlock()
	f := h.t.fault(l.Peer())
	if !f.in() {
		f = Fault{}
	}
	if f.State == Cut || s == transport.Live && h.t.vanishes(f) {
		return
	}
	l.line(s).put(m, f.Delay, true, func() { h.outer.Receive(l, s, m) })
}
