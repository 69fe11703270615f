package transporttest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/wire"
)

// patience bounds every wait of the suite. In a bubble it costs nothing.
const patience = 20 * time.Second

// A member is one region of a test: a transport that runs, and its handler,
// which records what happens and checks that the order of calls is right.
type member struct {
	t    testing.TB
	name string
	tr   transport.Transport
	stop context.CancelFunc
	done chan error // gets what Run returned

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at each event
	links    map[string]transport.Link
	ups      map[string]int
	downs    map[string][]error
	received map[string][]got // by peer
	hold     func(transport.Stream, wire.Message)
	wrong    []string
}

// got is a message received.
type got struct {
	stream transport.Stream
	msg    wire.Message
	at     time.Time
}

func newMember(t testing.TB, name string, tr transport.Transport) *member {
	return &member{
		t: t, name: name, tr: tr,
		done:     make(chan error, 1),
		changed:  make(chan struct{}),
		links:    make(map[string]transport.Link),
		ups:      make(map[string]int),
		downs:    make(map[string][]error),
		received: make(map[string][]got),
	}
}

// start runs the transport until stop is called or the test ends.
func (m *member) start() {
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	go func() { m.done <- m.tr.Run(ctx, m) }()
}

// end stops the transport and returns what Run did.
func (m *member) end() error {
	m.stop()
	return <-m.done
}

// finish stops the transport and checks that it ends in peace.
func (m *member) finish() {
	m.t.Helper()
	m.stop()
	select {
	case err := <-m.done:
		m.done <- nil
		if err != nil {
			m.t.Errorf("%s: Run: %v", m.name, err)
		}
	case <-time.After(patience):
		m.t.Fatalf("%s: Run does not return", m.name)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.wrong {
		m.t.Errorf("%s: %s", m.name, w)
	}
	for peer := range m.links {
		m.t.Errorf("%s: no LinkDown for %s before Run returned", m.name, peer)
	}
}

func (m *member) event(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *member) LinkUp(l transport.Link) {
	m.event(func() {
		if m.links[l.Peer()] != nil {
			m.wrong = append(m.wrong, "LinkUp for "+l.Peer()+" before LinkDown of its link")
		}
		m.links[l.Peer()] = l
		m.ups[l.Peer()]++
	})
}

func (m *member) LinkDown(l transport.Link, reason error) {
	m.event(func() {
		if m.links[l.Peer()] != l {
			m.wrong = append(m.wrong, "LinkDown for "+l.Peer()+" without its LinkUp")
		}
		if reason == nil {
			m.wrong = append(m.wrong, "LinkDown without a reason")
		}
		delete(m.links, l.Peer())
		m.downs[l.Peer()] = append(m.downs[l.Peer()], reason)
	})
}

func (m *member) Receive(l transport.Link, s transport.Stream, msg wire.Message) {
	at := time.Now()
	m.mu.Lock()
	hold := m.hold
	m.mu.Unlock()
	if hold != nil {
		hold(s, msg)
	}
	m.event(func() {
		if m.links[l.Peer()] != l {
			m.wrong = append(m.wrong, "Receive outside LinkUp and LinkDown of "+l.Peer())
		}
		m.received[l.Peer()] = append(m.received[l.Peer()], got{s, msg, at})
	})
}

// setHold makes Receive call f first.
func (m *member) setHold(f func(transport.Stream, wire.Message)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hold = f
}

// await waits until cond, which is called with the lock held, is true.
func (m *member) await(what string, cond func() bool) {
	m.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		m.mu.Lock()
		ok, changed := cond(), m.changed
		m.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline.C:
			m.t.Fatalf("%s: %s: not within %v; %s", m.name, what, patience, m)
		}
	}
}

func (m *member) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "ups %v, downs %v, linked", m.ups, m.downs)
	for p := range m.links {
		fmt.Fprintf(&b, " %s", p)
	}
	fmt.Fprintf(&b, ", peers %+v", m.tr.Peers())
	return b.String()
}

// link waits for a link with peer and returns it.
func (m *member) link(peer string) (l transport.Link) {
	m.t.Helper()
	m.await("link with "+peer, func() bool { l = m.links[peer]; return l != nil })
	return l
}

// awaitUps waits for the n-th LinkUp of peer.
func (m *member) awaitUps(peer string, n int) transport.Link {
	m.t.Helper()
	m.await(fmt.Sprintf("LinkUp number %d of %s", n, peer), func() bool { return m.ups[peer] >= n && m.links[peer] != nil })
	return m.link(peer)
}

// awaitDowns waits for the n-th LinkDown of peer and returns its reason.
func (m *member) awaitDowns(peer string, n int) (reason error) {
	m.t.Helper()
	m.await(fmt.Sprintf("LinkDown number %d of %s", n, peer), func() bool {
		if len(m.downs[peer]) < n {
			return false
		}
		reason = m.downs[peer][n-1]
		return true
	})
	return reason
}

// awaitMessages waits for n messages of peer and returns all that there are.
func (m *member) awaitMessages(peer string, n int) (all []got) {
	m.t.Helper()
	m.await(fmt.Sprintf("%d messages of %s", n, peer), func() bool {
		all = m.received[peer]
		return len(all) >= n
	})
	return all
}

// awaitState waits until cond holds for what Peers says of a peer.
func (m *member) awaitState(peer, what string, cond func(transport.PeerState) bool) {
	m.t.Helper()
	deadline := time.Now().Add(patience)
	for !cond(m.tr.Peers()[peer]) {
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: %s: not within %v: %+v", m.name, what, patience, m.tr.Peers()[peer])
		}
		pause(5 * time.Millisecond)
	}
}

// pause waits for time to pass, where there is no event to wait for.
func pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	<-t.C
}
