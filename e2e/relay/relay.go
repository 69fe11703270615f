package relay

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"sync"
	"time"
)

const (
	// maxPacket is the longest UDP payload.
	maxPacket = 1 << 16
	// maxClients is how many sockets may dial one relay at a time: beyond that the
	// one that has been silent for longest is forgotten.
	maxClients = 16
)

// loopback is where all sockets are.
var loopback = net.IPv4(127, 0, 0, 1)

// A Network has the relays between regions.
type Network struct {
	seed uint64
	done chan struct{}
	wg   sync.WaitGroup

	mu     sync.Mutex
	closed bool
	paths  map[[2]string]*path
	relays []*relay
}

// New returns a network without relays, whose decisions are drawn from a seed.
func New(seed uint64) *Network {
	return &Network{seed: seed, done: make(chan struct{}), paths: map[[2]string]*path{}}
}

// Dial makes a relay for region from, which is to reach region to at target, and returns
// the address that from is to dial instead.
func (n *Network) Dial(from, to, target string) (string, error) {
	addr, err := net.ResolveUDPAddr("udp4", target)
	if err != nil {
		return "", err
	}
	if !addr.IP.IsLoopback() {
		return "", fmt.Errorf("%s is not on the loopback", target)
	}
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loopback})
	if err != nil {
		return "", err
	}
	r := &relay{n: n, conn: conn, target: addr, there: n.path(from, to), back: n.path(to, from), clients: map[string]*client{}}
	n.mu.Lock()
	n.relays = append(n.relays, r)
	n.mu.Unlock()
	n.wg.Go(r.serve)
	return conn.LocalAddr().String(), nil
}

// path returns what leads from one region to another.
func (n *Network) path(from, to string) *path {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := [2]string{from, to}
	p := n.paths[key]
	if p == nil {
		h := fnv.New64a()
		fmt.Fprintf(h, "%s>%s", from, to) // never fails
		p = newPath(n.seed, h.Sum64())
		n.paths[key] = p
		n.wg.Go(func() { p.run(n.done) })
	}
	return p
}

// Set sets the conditions of what leads from one region to another.
func (n *Network) Set(from, to string, c Conditions) { n.path(from, to).set(c) }

// SetBoth sets the conditions of both directions between two regions.
func (n *Network) SetBoth(a, b string, c Conditions) {
	n.Set(a, b, c)
	n.Set(b, a, c)
}

// Heal takes all conditions from all paths.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.paths {
		p.set(Conditions{})
	}
}

// Counts tells what became of the packets from one region to another.
func (n *Network) Counts(from, to string) Counts {
	_, c := n.path(from, to).get()
	return c
}

// Total sums up the counts of all paths.
func (n *Network) Total() (t Counts) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.paths {
		_, c := p.get()
		t.Delivered += c.Delivered
		t.Dropped += c.Dropped
		t.Duplicated += c.Duplicated
		t.Reordered += c.Reordered
	}
	return t
}

// Close ends all relays.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	close(n.done)
	var errs []error
	for _, r := range n.relays {
		errs = append(errs, r.close())
	}
	n.mu.Unlock()
	n.wg.Wait()
	return errors.Join(errs...)
}

// A relay passes on what comes to its socket, and what comes back.
type relay struct {
	n           *Network
	conn        *net.UDPConn
	target      *net.UDPAddr
	there, back *path

	mu      sync.Mutex
	closed  bool
	clients map[string]*client
}

// A client is a socket that has dialled the relay, with the one that it is seen as by
// the target.
type client struct {
	conn *net.UDPConn
	last time.Time
}

func (r *relay) serve() {
	buf := make([]byte, maxPacket)
	for {
		size, from, err := r.conn.ReadFromUDP(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier packet
		}
		c := r.client(from)
		if c == nil {
			continue
		}
		r.there.send(time.Now(), buf[:size], func(b []byte) {
			_, _ = c.conn.Write(b) // nobody listens there: lost, as on a network
		})
	}
}

// client returns the socket that stands for one that has dialled, nil if there
// can be none.
func (r *relay) client(from *net.UDPAddr) *client {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := from.String()
	if c := r.clients[key]; c != nil {
		c.last = time.Now()
		return c
	}
	if r.closed {
		return nil
	}
	if len(r.clients) >= maxClients {
		r.forgetOne()
	}
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: loopback}, r.target)
	if err != nil {
		return nil
	}
	c := &client{conn: conn, last: time.Now()}
	r.clients[key] = c
	r.n.wg.Go(func() { r.comeBack(c, from) })
	return c
}

func (r *relay) forgetOne() {
	var oldest string
	for key, c := range r.clients {
		if oldest == "" || c.last.Before(r.clients[oldest].last) {
			oldest = key
		}
	}
	_ = r.clients[oldest].conn.Close() // its goroutine ends by that
	delete(r.clients, oldest)
}

// comeBack passes on what the target answers to a client.
func (r *relay) comeBack(c *client, to *net.UDPAddr) {
	buf := make([]byte, maxPacket)
	for {
		size, err := c.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // the target is not there at the moment
		}
		r.back.send(time.Now(), buf[:size], func(b []byte) {
			_, _ = r.conn.WriteToUDP(b, to) // lost, as on a network
		})
	}
}

func (r *relay) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	errs := []error{r.conn.Close()}
	for _, c := range r.clients {
		errs = append(errs, c.conn.Close())
	}
	return errors.Join(errs...)
}
