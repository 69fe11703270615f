package cluster

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is how long tests wait for what should take a moment. It is far above
// what anything needs, for machines that do other things too.
const Patience = 60 * time.Second

// Topologies.
const (
	Mesh = "mesh"
	Ring = "ring"
	Star = "star"
)

// Name is the name of every cluster here.
const Name = "e2e"

// Regions are those of a cluster unless Options say otherwise.
var Regions = []string{"us-east", "eu-west", "ap-south"}

// Options say what a cluster looks like. The zero value is a mesh of three.
type Options struct {
	Regions []string
	// Topology is Mesh unless said otherwise. The hub of a star is the first
	// region, its deputy the second.
	Topology string
	// Args are further flags of serve, ArgsOf those of one region.
	Args   []string
	ArgsOf map[string][]string
	// Prepare is called with the cluster before its regions are started.
	Prepare func(*Cluster)
	// Places, if not nil, are where the regions run, instead of all on the loopback.
	Places Places
}

// Places let each region run in a network of its own.
type Places interface {
	// Add makes the place of a region, and returns the IP address that the other
	// regions reach it at.
	Add(region string) (ip string, err error)
	// Command is what comes before a program and its arguments to run it there.
	Command(region string) []string
	// DialContext connects to a TCP address as it is there.
	DialContext(ctx context.Context, region, addr string) (net.Conn, error)
}

// peerPort is the one of each region that has a place of its own.
const peerPort = "7400"

// place gives a region where it is reached by others and by the tests.
func (n *Node) place(tb testing.TB) {
	tb.Helper()
	p := n.c.places
	if p == nil {
		n.PeerAddr, n.client = freeUDP(tb), n.c.client
		return
	}
	ip, err := p.Add(n.Region)
	if err != nil {
		tb.Fatal(err)
	}
	n.PeerAddr = net.JoinHostPort(ip, peerPort)
	n.command = p.Command(n.Region)
	n.client = newClient(func(ctx context.Context, _, addr string) (net.Conn, error) {
		return p.DialContext(ctx, n.Region, addr)
	})
}

// A Cluster is several regions, each a process.
type Cluster struct {
	// Dir is the folder with all files of the cluster, TLS the one with the
	// authority and the certificates.
	Dir, TLS string
	// Nodes are the regions, in the order of Options.Regions.
	Nodes []*Node

	client *http.Client
	places Places
}

// Start starts a cluster, and waits until all regions take requests and hold
// what the others hold. It is stopped when the test ends.
func Start(tb testing.TB, o Options) *Cluster {
	tb.Helper()
	if o.Regions == nil {
		o.Regions = Regions
	}
	if o.Topology == "" {
		o.Topology = Mesh
	}
	c := &Cluster{Dir: tb.TempDir(), client: newClient(nil), places: o.Places}
	c.TLS = filepath.Join(c.Dir, "certs")
	MustRun(tb, "certs", "init", "--dir", c.TLS, "--cluster", Name)
	for _, region := range o.Regions {
		MustRun(tb, "certs", "issue", "--dir", c.TLS, "--region", region)
		n := &Node{Region: region, Data: filepath.Join(c.Dir, region), c: c}
		n.place(tb)
		c.Nodes = append(c.Nodes, n)
	}
	for _, n := range c.Nodes {
		n.args = n.serveArgs(o)
	}
	if o.Prepare != nil {
		o.Prepare(c)
	}
	tb.Cleanup(func() { c.stop(tb) })
	for _, n := range c.Nodes {
		n.spawn(tb)
	}
	for _, n := range c.Nodes {
		n.AwaitReady(tb)
	}
	c.AwaitEqual(tb, c.Nodes...)
	// Who took writes as the first of a cluster that it thought its own takes none from
	// when it hears of another until that one has heard of it.
	for _, n := range c.Nodes {
		n.AwaitReady(tb)
	}
	return c
}

// Join makes a region that knows nothing of the cluster but one region and the
// certificates. It is not started, and nobody was told of it.
func (c *Cluster) Join(tb testing.TB, region string, via *Node, args ...string) *Node {
	tb.Helper()
	MustRun(tb, "certs", "issue", "--dir", c.TLS, "--region", region)
	n := &Node{Region: region, Data: filepath.Join(c.Dir, region), c: c}
	n.place(tb)
	n.args = append([]string{
		"serve", "--region", region, "--cluster", Name, "--data", n.Data, "--tls-dir", c.TLS,
		"--http", "127.0.0.1:0", "--peer-listen", n.PeerAddr, "--peers", via.Region + "=" + via.PeerAddr, "--fault-injection",
	}, args...)
	c.Nodes = append(c.Nodes, n)
	return n
}

// serveArgs are the arguments of serve, but for its HTTP address.
func (n *Node) serveArgs(o Options) []string {
	var peers []string
	for _, p := range n.c.Nodes {
		if p != n {
			peers = append(peers, p.Region+"="+p.PeerAddr)
		}
	}
	args := []string{
		"serve", "--region", n.Region, "--cluster", Name, "--data", n.Data, "--tls-dir", n.c.TLS,
		"--http", "127.0.0.1:0", "--peer-listen", n.PeerAddr, "--topology", o.Topology, "--fault-injection",
	}
	if len(peers) > 0 {
		args = append(args, "--peers", strings.Join(peers, ","))
	}
	if o.Topology == Star {
		args = append(args, "--hub", o.Regions[0])
		if len(o.Regions) > 2 {
			args = append(args, "--deputies", o.Regions[1])
		}
	}
	return append(append(args, o.Args...), o.ArgsOf[n.Region]...)
}

// Node returns a region by its name.
func (c *Cluster) Node(region string) *Node {
	i := slices.IndexFunc(c.Nodes, func(n *Node) bool { return n.Region == region })
	return c.Nodes[i]
}

// Others are all regions but these.
func (c *Cluster) Others(not ...*Node) []*Node {
	return slices.DeleteFunc(slices.Clone(c.Nodes), func(n *Node) bool { return slices.Contains(not, n) })
}

// running are the regions whose process runs.
func (c *Cluster) running() []*Node {
	return slices.DeleteFunc(slices.Clone(c.Nodes), func(n *Node) bool { return !n.Running() })
}

// stop ends all processes, and shows what they logged if the test has failed.
func (c *Cluster) stop(tb testing.TB) {
	for _, n := range c.Nodes {
		if n.Running() {
			n.end(tb)
		}
	}
	for _, n := range c.Nodes {
		n.client.CloseIdleConnections()
		for _, word := range []string{raceFound, "panic: ", "fatal error: "} {
			if i := strings.Index(n.Log(), word); i >= 0 {
				report := n.Log()[i:]
				tb.Errorf("%s logged: %s", n.Region, report[:min(len(report), shownLog)])
			}
		}
	}
	if tb.Failed() {
		for _, n := range c.Nodes {
			tb.Logf("log of %s, its end:\n%s", n.Region, tail(n.Log(), shownLog))
		}
	}
}

// shownLog is how much of each region's log is shown when a test fails.
const shownLog = 8 << 10

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}

// ports are the UDP ports given out by this test run: a region that is down
// keeps its own.
var ports = struct {
	sync.Mutex
	taken map[string]bool
}{taken: map[string]bool{}}

func freeUDP(tb testing.TB) string {
	tb.Helper()
	ports.Lock()
	defer ports.Unlock()
	for {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		addr := conn.LocalAddr().String()
		if err := conn.Close(); err != nil {
			tb.Fatal(err)
		}
		if !ports.taken[addr] {
			ports.taken[addr] = true
			return addr
		}
	}
}

// AwaitEqual waits until regions hold the same changes, and returns how long
// that took. Nobody may be writing.
func (c *Cluster) AwaitEqual(tb testing.TB, nodes ...*Node) time.Duration {
	tb.Helper()
	if len(nodes) == 0 {
		nodes = c.running()
	}
	start := time.Now()
	Await(tb, Patience, "equal vectors", func() (bool, string) {
		var state strings.Builder
		var first map[string]uint64
		equal := true
		for i, n := range nodes {
			status, err := n.Cluster(tb.Context())
			if err != nil {
				return false, err.Error()
			}
			fmt.Fprintf(&state, "%s: %v\n", n.Region, status.Vector)
			if i == 0 {
				first = status.Vector
			}
			equal = equal && maps.Equal(first, status.Vector)
		}
		// Before all have met the vectors can be equal by being empty.
		return equal && len(first) >= len(nodes), state.String()
	})
	return time.Since(start)
}

// AwaitSame waits until regions hold the same changes and then demands that all
// that can be read in them is equal, byte by byte: collections, documents, entity
// tags, and the versions of documents with conflicts. Nobody may be writing. It
// returns how many documents there are.
func (c *Cluster) AwaitSame(tb testing.TB, nodes ...*Node) int {
	tb.Helper()
	if len(nodes) == 0 {
		nodes = c.running()
	}
	c.AwaitEqual(tb, nodes...)
	first := nodes[0].Dump(tb)
	for _, n := range nodes[1:] {
		other := n.Dump(tb)
		if diff := first.diff(other); diff != "" {
			tb.Fatalf("%s and %s hold the same changes, but: %s", nodes[0].Region, n.Region, diff)
		}
	}
	return first.Docs
}

// A Link is the one between two regions.
type Link [2]*Node

// Links are the links of a region with others.
func (n *Node) Links(others ...*Node) (links []Link) {
	for _, o := range others {
		links = append(links, Link{n, o})
	}
	return links
}

// AllLinks are those between any two regions.
func (c *Cluster) AllLinks() (links []Link) {
	for i, n := range c.Nodes {
		links = append(links, n.Links(c.Nodes[i+1:]...)...)
	}
	return links
}

// Faults of links, as PUT /v1/faults/links/{region} takes them.
const (
	FaultCut  = `{"state":"cut"}`
	FaultNone = `{"state":"up"}`
)

// Cut cuts links at both ends.
func Cut(tb testing.TB, links ...Link) {
	tb.Helper()
	for _, l := range links {
		l[0].SetFault(tb, l[1], FaultCut)
		l[1].SetFault(tb, l[0], FaultCut)
	}
}

// Heal takes all faults from links.
func Heal(tb testing.TB, links ...Link) {
	tb.Helper()
	for _, l := range links {
		l[0].SetFault(tb, l[1], FaultNone)
		l[1].SetFault(tb, l[0], FaultNone)
	}
}

// SetFault sets the fault of the link with a peer, at this end only.
func (n *Node) SetFault(tb testing.TB, peer *Node, fault string) {
	tb.Helper()
	n.Must(tb, Request{Method: http.MethodPut, Path: "/v1/faults/links/" + peer.Region, Body: fault}, http.StatusOK)
}

// pollEvery is the pause between two looks of Await.
const pollEvery = 5 * time.Millisecond

// Await polls until done says so, and fails the test after a time with what
// done said at last.
func Await(tb testing.TB, within time.Duration, what string, done func() (ok bool, state string)) {
	tb.Helper()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	deadline := time.Now().Add(within)
	for {
		ok, state := done()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("waited %v for %s; at last:\n%s", within, what, state)
		}
		<-tick.C
	}
}
