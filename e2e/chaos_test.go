package e2e

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/check"
	"github.com/meridiandb/meridian/e2e/cluster"
	"github.com/meridiandb/meridian/e2e/history"
	"github.com/meridiandb/meridian/e2e/relay"
)

var (
	chaosFor  = flag.Duration("e2e.chaos", 0, "how long chaos lasts for each topology; from a minute on with five regions and all topologies")
	chaosSeed = flag.Uint64("e2e.seed", 0, "the seed of chaos; 0 draws one")
)

const (
	shortChaos = 14 * time.Second
	longChaos  = 10 * time.Minute
	// manyRegions is from how long a chaos on it is one of five regions in all topologies.
	manyRegions = time.Minute
	// round is how long faults go on before all is healed, and has to converge.
	round = 30 * time.Second
	// converged is how soon after the last heal all regions have to hold the same.
	converged = 10 * time.Second
)

// newRegion joins in the course of chaos. It is the first by name, so it dials all
// others: none of them gets around the relays by its address.
const newRegion = "af-north"

// Five regions, of which the short form has the first three.
var fiveRegions = []string{"us-east", "eu-west", "ap-south", "sa-east", "af-south"}

// Nothing acknowledged is lost and all regions agree after whatever befalls links
// and processes; what clients saw on the way is checked as package check says.
func TestChaos(t *testing.T) {
	d, seed := *chaosFor, *chaosSeed
	if d == 0 {
		if d = shortChaos; *long {
			d = longChaos
		}
	}
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	topologies := []string{cluster.Mesh, cluster.Ring, cluster.Star}
	regions := fiveRegions
	if d < manyRegions {
		topologies = topologies[seed%3 : seed%3+1]
		regions = regions[:3]
	}
	for _, topology := range topologies {
		t.Run(topology, func(t *testing.T) {
			t.Logf("replay: go test ./e2e -v -artifacts -run 'TestChaos$/%s' -e2e.chaos %v -e2e.seed %d", topology, d, seed)
			startChaos(t, userSpace{relay.New(seed)}, cluster.Options{Regions: regions, Topology: topology}, seed, d).run(d)
		})
	}
}

// A chaos is a cluster whose links are relays, with its clients and faults.
type chaos struct {
	t *testing.T
	c *cluster.Cluster
	// nodes are the regions that clients use and faults befall: the newcomer is one
	// from the round after it has joined.
	nodes    []*cluster.Node
	newcomer *cluster.Node
	disk     *fillable // of one region; nil if there can be none here
	net      misfortunes
	rand     *rand.Rand     // of the schedule of faults
	deck     []processFault // that are still to come before one comes again

	rec     *history.Recorder
	path    string
	urls    map[string]string
	clients map[string]*http.Client
	start   time.Time
	gens    int
	stop    chan struct{}
	wg      sync.WaitGroup
	acked   map[string]*latest

	faults   map[string]int
	converge cluster.Sample
}

// misfortunes are what can befall the paths between regions.
type misfortunes interface {
	// can reports whether Set knows of these conditions.
	can(relay.Conditions) bool
	// reach is the address at which one region is to dial another.
	reach(from, to *cluster.Node) (string, error)
	Set(from, to string, c relay.Conditions) error
	Heal() error
	Total() (relay.Counts, error)
	Close() error
}

// userSpace has misfortunes made by relays, and knows all.
type userSpace struct{ *relay.Network }

func (userSpace) can(relay.Conditions) bool { return true }

func (r userSpace) reach(from, to *cluster.Node) (string, error) {
	return r.Dial(from.Region, to.Region, to.PeerAddr)
}

func (r userSpace) Set(from, to string, c relay.Conditions) error {
	r.Network.Set(from, to, c)
	return nil
}

func (r userSpace) Heal() error {
	r.Network.Heal()
	return nil
}

func (r userSpace) Total() (relay.Counts, error) { return r.Network.Total(), nil }

// latest is when the last acknowledged write of a region was begun.
type latest struct {
	sync.Mutex
	at time.Time
}

func (l *latest) set(at time.Time) {
	l.Lock()
	defer l.Unlock()
	if at.After(l.at) {
		l.at = at
	}
}

func (l *latest) after(at time.Time) bool {
	l.Lock()
	defer l.Unlock()
	return l.at.After(at)
}

func startChaos(t *testing.T, net misfortunes, o cluster.Options, seed uint64, d time.Duration) *chaos {
	t.Helper()
	x := &chaos{
		t: t, net: net, rand: rand.New(rand.NewPCG(seed, 0)),
		path: filepath.Join(t.ArtifactDir(), "history.jsonl"),
		urls: map[string]string{}, clients: map[string]*http.Client{},
		acked: map[string]*latest{}, faults: map[string]int{},
		gens: int(d/generation) + 2,
	}
	var err error
	if x.rec, err = history.Create(x.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.net.Close(); err != nil {
			t.Error(err)
		}
	})
	o.Prepare = func(c *cluster.Cluster) {
		x.nodes = slices.Clone(c.Nodes)
		x.disk = newFillable(t, x.nodes[x.rand.IntN(len(x.nodes))])
		for _, n := range c.Nodes {
			x.prepare(n, c.Others(n)...)
		}
	}
	x.c = cluster.Start(t, o)
	x.newcomer = x.c.Join(t, newRegion, x.nodes[0])
	x.prepare(x.newcomer, x.nodes[0])
	x.seedData()
	return x
}

// prepare has a region dial others by the paths that faults befall, and gives it an
// HTTP port that it keeps when it is restarted.
func (x *chaos) prepare(n *cluster.Node, others ...*cluster.Node) {
	x.introduce(n, others...)
	addr := freePort(x.t)
	n.SetArg("--http", addr)
	x.urls[n.Region] = "http://" + addr
	x.clients[n.Region] = n.Client(chaosPatience)
	x.acked[n.Region] = &latest{}
}

// introduce tells a region of others, from its next start on.
func (x *chaos) introduce(n *cluster.Node, others ...*cluster.Node) {
	var peers []string
	for _, p := range others {
		addr, err := x.net.reach(n, p)
		if err != nil {
			x.t.Fatal(err)
		}
		peers = append(peers, p.Region+"="+addr)
	}
	n.SetArg("--peers", strings.Join(peers, ","))
}

// Ports that the system gives to nobody of its own accord.
const firstPort, lastPort = 20000, 32000

func freePort(t *testing.T) string {
	t.Helper()
	for {
		addr := fmt.Sprintf("127.0.0.1:%d", firstPort+rand.IntN(lastPort-firstPort))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return addr
	}
}

// run lets faults and clients loose, and checks what came of it.
func (x *chaos) run(d time.Duration) {
	x.start = time.Now()
	for i := 0; time.Since(x.start) < d; i++ {
		until := time.Now().Add(min(round, d-time.Since(x.start)))
		x.startClients(i)
		for time.Now().Before(until) && !x.t.Failed() {
			x.misfortune()
		}
		close(x.stop)
		x.heal()
		healed := time.Now()
		x.wg.Wait()
		if x.joins() {
			x.newcomer.AwaitReady(x.t)
		}
		x.c.AwaitEqual(x.t)
		took := time.Since(healed)
		x.converge = append(x.converge, took)
		if took > converged {
			x.t.Errorf("round %d: it took %v after the last heal to converge", i, took)
		}
		if x.t.Failed() {
			break
		}
		if x.joins() {
			x.admit()
		}
	}
	docs := x.c.AwaitSame(x.t)
	x.finalReads()
	if err := x.rec.Close(); err != nil {
		x.t.Fatal(err)
	}
	x.judge(docs, d)
}

// judge runs the checkers and prints the figures.
func (x *chaos) judge(docs int, d time.Duration) {
	ops, err := history.Load(x.path)
	if err != nil {
		x.t.Fatal(err)
	}
	start := time.Now()
	for _, v := range check.All(ops) {
		x.t.Error(v)
	}
	checked := time.Since(start)
	results := map[history.Result]int{}
	for _, op := range ops {
		results[op.Result]++
	}
	x.t.Logf("%d operations: %d ok, %d refused, %d unknown; %d documents equal in %d regions",
		len(ops), results[history.OK], results[history.Refused], results[history.Unknown], docs, len(x.nodes))
	var faults []string
	total := 0
	for _, name := range slices.Sorted(maps.Keys(x.faults)) {
		faults = append(faults, fmt.Sprintf("%d %s", x.faults[name], name))
		total += x.faults[name]
	}
	packets, err := x.net.Total()
	if err != nil {
		x.t.Error(err)
	}
	x.t.Logf("%d faults: %s; packets: %+v", total, strings.Join(faults, ", "), packets)
	x.t.Logf("%d rounds, converged after the last heal: %v; checked in %v", len(x.converge), x.converge, checked.Round(time.Millisecond))
	if results[history.OK] == 0 || total == 0 || packets.Delivered == 0 {
		x.t.Error("nothing has happened: the test shows nothing")
	}
	for _, f := range processFaults {
		if d >= longChaos && x.faults[f.name] == 0 && (f.name != diskFull || x.disk != nil) {
			x.t.Errorf("%q has never happened", f.name)
		}
	}
}

// heal takes away all that befell the links.
func (x *chaos) heal() {
	if err := x.net.Heal(); err != nil {
		x.t.Fatal(err)
	}
}

// pass waits for a part of the schedule to be over.
func (x *chaos) pass(d time.Duration) {
	select {
	case <-time.After(d):
	case <-x.t.Context().Done():
	}
}

// awaitWrites demands that regions acknowledge writes that are begun from now on:
// whatever link is cut.
func (x *chaos) awaitWrites(what string, nodes ...*cluster.Node) {
	x.t.Helper()
	from := time.Now()
	cluster.Await(x.t, converged, "writes to be accepted in every region while "+what, func() (bool, string) {
		for _, n := range nodes {
			if !x.acked[n.Region].after(from) {
				return false, n.Region + " accepts none"
			}
		}
		return true, ""
	})
}

// context for what the setup asks of regions.
func (x *chaos) ctx() context.Context { return x.t.Context() }
