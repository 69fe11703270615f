// Package memnet is a network in memory, for tests. Its transports do all that
// those of transport/quic do, over streams that behave like QUIC's: reliable, in
// order, with flow control of their own. Connections can be delayed, lossy, cut
// in either direction, and a region can crash. All times are those of package
// time, so that within testing/synctest they are exact.
package memnet

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/internal/peering"
)

// Defaults of Options.
const (
	DefaultIdleTimeout = 4 * time.Second
	DefaultWindow      = 1 << 20
)

// Options are the settings of a network. The zero value of a field stands for
// its default.
type Options struct {
	// Seed makes losses repeatable.
	Seed uint64
	// IdleTimeout is how long a side hears nothing before it gives up a connection.
	IdleTimeout time.Duration
	// Window is how many bytes may be on a stream before its reader takes them.
	Window int
}

// A Condition is the state of the way from one region to another.
type Condition struct {
	// Cut holds everything back. What was sent goes on its way again if the cut
	// ends before a side has given up.
	Cut bool
	// Delay is how long everything is on its way.
	Delay time.Duration
	// Loss is the share of packets that are lost and sent again, which takes a
	// round trip more and holds up what follows on the stream.
	Loss float64
}

// A Network connects regions. Its methods may be called at any time.
type Network struct {
	opts Options

	mu    sync.Mutex
	rand  *rand.Rand
	nodes map[string]*node // by region
	ways  map[[2]string]*way
	ends  map[*conn]struct{} // that have not ended
}

// A way is the way from one region to another. It is guarded by Network.mu.
type way struct {
	Condition
	cutAt, openAt time.Time // when the last cut began, and ended
	cuts          int       // how many there were
}

// New returns a network without regions on which nothing is cut or delayed.
func New(opts Options) *Network {
	if opts.IdleTimeout == 0 {
		opts.IdleTimeout = DefaultIdleTimeout
	}
	if opts.Window == 0 {
		opts.Window = DefaultWindow
	}
	return &Network{
		opts:  opts,
		rand:  rand.New(rand.NewPCG(opts.Seed, opts.Seed)),
		nodes: make(map[string]*node),
		ways:  make(map[[2]string]*way),
		ends:  make(map[*conn]struct{}),
	}
}

// Transport adds a region and returns its transport. Its address is Addr(region).
// A region that has closed its transport, or crashed, can be added again.
func (n *Network) Transport(region string, cfg transport.Config) (transport.Transport, error) {
	cfg, err := cfg.Validate()
	if err != nil {
		return nil, err
	}
	nd := &node{net: n, region: region, streams: cfg.MaxBulk + 1, accepts: make(chan *conn, acceptBacklog), done: make(chan struct{})}
	n.mu.Lock()
	if n.nodes[region] != nil {
		n.mu.Unlock()
		return nil, fmt.Errorf("memnet: region %s is there already", region)
	}
	n.nodes[region] = nd
	orphans := n.endsLike(func(c *conn) bool { return c.peer == region && c.orphan })
	n.mu.Unlock()
	for _, c := range orphans {
		c.endIn(n.delay(region, c.self)+resetAfter, transport.ErrRestarted)
	}
	return peering.New(region, nd, cfg)
}

// resetAfter is how long it takes a side to notice that the other one has
// restarted: the time until it sends something.
const resetAfter = time.Second

// Addr is the address of a region.
func Addr(region string) string { return "mem:" + region }

// Set sets the condition of the way from one region to another.
func (n *Network) Set(from, to string, c Condition) {
	n.mu.Lock()
	w := n.way(from, to)
	started, ended := c.Cut && !w.Cut, !c.Cut && w.Cut
	w.Condition = c
	if started {
		w.cuts++
		w.cutAt = time.Now()
	}
	if ended {
		w.openAt = time.Now()
	}
	cut := w.cuts
	affected := n.endsLike(func(e *conn) bool { return e.self == to && e.peer == from })
	n.mu.Unlock()
	for _, e := range affected {
		e.wake()
		if !started {
			continue
		}
		time.AfterFunc(n.opts.IdleTimeout, func() {
			n.mu.Lock()
			still := w.Cut && w.cuts == cut
			n.mu.Unlock()
			if still {
				e.giveUp()
			}
		})
	}
}

// SetBoth sets the condition of both ways between two regions.
func (n *Network) SetBoth(a, b string, c Condition) {
	n.Set(a, b, c)
	n.Set(b, a, c)
}

// Cut cuts both ways between two regions and leaves their other conditions.
func (n *Network) Cut(a, b string) { n.setCut(a, b, true) }

// Heal ends the cut of both ways between two regions.
func (n *Network) Heal(a, b string) { n.setCut(a, b, false) }

func (n *Network) setCut(a, b string, cut bool) {
	for _, p := range [][2]string{{a, b}, {b, a}} {
		n.mu.Lock()
		c := n.way(p[0], p[1]).Condition
		n.mu.Unlock()
		c.Cut = cut
		n.Set(p[0], p[1], c)
	}
}

// Crash takes a region away without a word to the others, as kill -9 does. They
// notice after the idle timeout, or soon after it was added again. Its own
// transport's Run returns an error.
func (n *Network) Crash(region string) {
	n.mu.Lock()
	nd := n.nodes[region]
	delete(n.nodes, region)
	own := n.endsLike(func(c *conn) bool { return c.self == region })
	n.mu.Unlock()
	if nd == nil {
		return
	}
	// First: once it is stopped its transport closes its connections, and says why.
	for _, c := range own {
		c.giveUp()
	}
	nd.stop()
}

// way returns the way between two regions. The lock is held.
func (n *Network) way(from, to string) *way {
	w := n.ways[[2]string{from, to}]
	if w == nil {
		w = new(way)
		n.ways[[2]string{from, to}] = w
	}
	return w
}

func (n *Network) delay(from, to string) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.way(from, to).Delay
}

// endsLike returns the ends that match. The lock is held.
func (n *Network) endsLike(match func(*conn) bool) []*conn {
	var out []*conn
	for c := range n.ends {
		if match(c) {
			out = append(out, c)
		}
	}
	return out
}

// minResend is the least time that the repetition of a lost packet takes.
const minResend = 10 * time.Millisecond

// arrival returns when what is sent now arrives, if it is not cut.
func (n *Network) arrival(from, to string) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.way(from, to)
	d := w.Delay
	for w.Loss > 0 && n.rand.Float64() < w.Loss {
		d += max(2*w.Delay, minResend)
	}
	return time.Now().Add(d)
}

// ready reports whether what was to arrive at due is there, and if not, when it
// will be; never, for all that is known, if that is zero.
func (n *Network) ready(from, to string, due time.Time) (ok bool, at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.way(from, to)
	if w.Cut {
		return false, time.Time{}
	}
	// What was under way during the last cut is sent again when that ends.
	if again := w.openAt.Add(w.Delay); !due.Before(w.cutAt) && due.Before(again) {
		due = again
	}
	return !time.Now().Before(due), due
}
