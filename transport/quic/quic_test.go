package quic_test

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/certs"
	"github.com/meridiandb/meridian/transport/quic"
	"github.com/meridiandb/meridian/transport/transporttest"
)

// base is what test networks have in common: an authority, and what each region
// has of its own. A region keeps its key and its address.
type base struct {
	authority   *certs.Authority
	mu          sync.Mutex
	credentials map[string]*certs.Credentials
	addrs       map[string]net.Addr
	conns       map[string]net.PacketConn
	config      quic.Config
}

func newBase(t testing.TB) *base {
	t.Helper()
	a, err := certs.NewAuthority("test", certs.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	return &base{
		authority:   a,
		credentials: make(map[string]*certs.Credentials),
		addrs:       make(map[string]net.Addr),
		conns:       make(map[string]net.PacketConn),
	}
}

func (n *base) issue(t testing.TB, region string) *certs.Credentials {
	t.Helper()
	c := n.credentials[region]
	if c == nil {
		var err error
		if c, err = n.authority.Issue(region); err != nil {
			t.Fatal(err)
		}
		n.credentials[region] = c
	}
	return c
}

func (n *base) make(t testing.TB, region string, cfg transport.Config, conn net.PacketConn) transport.Transport {
	t.Helper()
	qc := n.config
	qc.Config, qc.Conn, qc.Credentials = cfg, conn, n.issue(t, region)
	n.addrs[region], n.conns[region] = conn.LocalAddr(), conn
	tr, err := quic.New(qc)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func (n *base) Crash(region string) { n.conns[region].Close() }

// loopback is a network of real sockets.
type loopback struct{ *base }

func (n loopback) Transport(t testing.TB, region string, cfg transport.Config) transport.Transport {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	addr := "127.0.0.1:0"
	if a := n.addrs[region]; a != nil {
		addr = a.String()
	}
	conn, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return n.make(t, region, cfg, conn)
}

// simulated is a network of quic-go's simulated sockets, for bubbles.
type simulated struct {
	*base
	t       testing.TB
	router  simnet.PerfectRouter
	latency time.Duration
	links   map[string]*simnet.SimulatedLink
}

func newSimulated(t testing.TB, latency time.Duration) *simulated {
	t.Helper()
	return &simulated{base: newBase(t), t: t, latency: latency, links: make(map[string]*simnet.SimulatedLink)}
}

func (n *simulated) Transport(t testing.TB, region string, cfg transport.Config) transport.Transport {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	addr, _ := n.addrs[region].(*net.UDPAddr)
	if addr == nil {
		addr = &net.UDPAddr{IP: net.IPv4(1, 0, 0, byte(len(n.addrs)+1)).To4(), Port: 7400}
	}
	n.unplug(region)
	link := &simnet.SimulatedLink{Latency: n.latency, UploadPacket: &n.router}
	conn := simnet.NewBlockingSimConn(addr, link)
	link.Start()
	n.router.AddNode(addr, link) // from now on packets come
	n.links[region] = link
	t.Cleanup(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.unplug(region)
	})
	return n.make(t, region, cfg, conn)
}

// unplug ends a region's connection to the router.
func (n *simulated) unplug(region string) {
	link := n.links[region]
	if link == nil {
		return
	}
	delete(n.links, region)
	n.conns[region].Close()
	n.router.RemoveNode(n.addrs[region])
	if err := link.Close(); err != nil {
		n.t.Error(err)
	}
}

func TestConformance(t *testing.T) {
	t.Run("loopback", func(t *testing.T) {
		const keepAlive, idle = 200 * time.Millisecond, time.Second
		transporttest.Run(t, transporttest.Factory{
			New: func(t testing.TB) transporttest.Net {
				n := loopback{newBase(t)}
				n.config = quic.Config{KeepAlive: keepAlive, IdleTimeout: idle}
				return n
			},
			Idle: idle,
		})
	})
	// Not zero: quic-go takes no round trip of zero as a sample, so it would go on
	// pacing for the 100 ms that it assumes before it has any.
	for _, latency := range []time.Duration{100 * time.Microsecond, 20 * time.Millisecond} {
		t.Run(fmt.Sprintf("simulated %v", latency), func(t *testing.T) {
			transporttest.Run(t, transporttest.Factory{
				New:    func(t testing.TB) transporttest.Net { return newSimulated(t, latency) },
				Bubble: true,
				Idle:   quic.DefaultIdleTimeout,
			})
		})
	}
}
