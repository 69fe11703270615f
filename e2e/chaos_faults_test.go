package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
	"github.com/meridiandb/meridian/e2e/history"
	"github.com/meridiandb/meridian/e2e/relay"
	"github.com/meridiandb/meridian/transport/certs"
)

const (
	minFault = 300 * time.Millisecond
	maxFault = 2 * time.Second
	// stormRestarts is how many processes are killed and started one after the other
	// in a restart storm, without waiting for any.
	stormRestarts = 4
	// maxShift is how far clocks jump, either way.
	maxShift = 2 * time.Hour
)

// A fault of links is made and described by the state of some paths.
type linkFault struct {
	name string
	// worst are the conditions that befall some paths.
	worst relay.Conditions
	set   func(x *chaos, nodes []*cluster.Node, worst relay.Conditions)
}

// between sets the conditions of all paths between two sets of regions.
func (x *chaos) between(as, bs []*cluster.Node, there, back relay.Conditions) {
	for _, a := range as {
		for _, b := range bs {
			if a != b {
				x.set(a, b, there)
				x.set(b, a, back)
			}
		}
	}
}

func (x *chaos) set(from, to *cluster.Node, c relay.Conditions) {
	if err := x.net.Set(from.Region, to.Region, c); err != nil {
		x.t.Fatal(err)
	}
}

// everywhere gives each path the same conditions.
func everywhere(x *chaos, nodes []*cluster.Node, c relay.Conditions) { x.between(nodes, nodes, c, c) }

var (
	cut     = relay.Conditions{Cut: true}
	passing = relay.Conditions{}
)

// linkFaults are given the regions in an order that was drawn.
var linkFaults = []linkFault{
	{"cut in two halves", cut, func(x *chaos, n []*cluster.Node, _ relay.Conditions) { x.between(n[:len(n)/2], n[len(n)/2:], cut, cut) }},
	{"region cut off", cut, func(x *chaos, n []*cluster.Node, _ relay.Conditions) { x.between(n[:1], n[1:], cut, cut) }},
	{"every link cut", cut, everywhere},
	{"one link cut", cut, func(x *chaos, n []*cluster.Node, _ relay.Conditions) { x.between(n[:1], n[1:2], cut, cut) }},
	{"one link cut one way", cut, func(x *chaos, n []*cluster.Node, _ relay.Conditions) { x.between(n[:1], n[1:2], cut, passing) }},
	{"region heard by nobody", cut, func(x *chaos, n []*cluster.Node, _ relay.Conditions) { x.between(n[:1], n[1:], cut, passing) }},
	{"region that hears nobody", cut, func(x *chaos, n []*cluster.Node, _ relay.Conditions) { x.between(n[:1], n[1:], passing, cut) }},
	{"delay", relay.Conditions{Delay: 40 * time.Millisecond, Jitter: 40 * time.Millisecond}, everywhere},
	{"loss", relay.Conditions{Drop: 0.15}, everywhere},
	{"duplicates", relay.Conditions{Duplicate: 0.3}, everywhere},
	{"reordering", relay.Conditions{Delay: time.Millisecond, Reorder: 0.2}, everywhere},
	{"slow links", relay.Conditions{Rate: 64 << 10}, everywhere},
	{"bad links", relay.Conditions{
		Delay: 10 * time.Millisecond, Jitter: 20 * time.Millisecond, Drop: 0.05, Duplicate: 0.05, Reorder: 0.05,
	}, everywhere},
}

// misfortune is one step of the schedule: something happens to the links, or to
// processes, or both at once. Afterwards all processes run; what happened to the
// links may stay for the next step.
func (x *chaos) misfortune() {
	nodes := slices.Clone(x.nodes)
	x.rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
	onLinks, onProcesses, hold := x.rand.IntN(4) > 0, x.rand.IntN(2) > 0, x.draw(minFault, maxFault)
	possible := slices.DeleteFunc(slices.Clone(linkFaults), func(f linkFault) bool { return !x.net.can(f.worst) })
	what, link := "links are up", x.rand.IntN(len(possible))
	heal := x.rand.IntN(3) > 0
	if onLinks {
		f := possible[link]
		linked := nodes
		if x.joins() {
			linked = append(slices.Clone(nodes), x.newcomer)
		}
		f.set(x, linked, f.worst)
		x.faults[f.name]++
		what = f.name
		x.awaitWrites(what, nodes...)
	}
	if onProcesses {
		f := x.nextProcessFault()
		x.rand.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		x.faults[f.name]++
		f.do(x, nodes, what+", and "+f.name, hold)
	} else {
		x.pass(hold)
	}
	x.awaitWrites(what, nodes...)
	if heal {
		x.heal()
	}
}

// nextProcessFault deals the faults of processes out like cards: all come up
// before one does again.
func (x *chaos) nextProcessFault() processFault {
	for {
		if len(x.deck) == 0 {
			x.deck = slices.Clone(processFaults)
			x.rand.Shuffle(len(x.deck), func(i, j int) { x.deck[i], x.deck[j] = x.deck[j], x.deck[i] })
		}
		f := x.deck[0]
		if x.deck = x.deck[1:]; f.can == nil || f.can(x) {
			return f
		}
	}
}

// shift lets a region's clock jump, and notes it.
func (x *chaos) shift(n *cluster.Node, offset time.Duration) {
	op := history.Op{Process: "clocks", Region: n.Region, Object: history.Clock, Kind: history.Write, Amount: int64(offset), Result: history.OK, Start: x.rec.Now()}
	body := fmt.Sprintf(`{"offset":%q}`, offset)
	n.Must(x.t, cluster.Request{Method: http.MethodPut, Path: "/v1/faults/clock", Body: body}, http.StatusOK)
	op.End = x.rec.Now()
	x.rec.Record(op)
}

func (x *chaos) draw(from, to time.Duration) time.Duration {
	return from + time.Duration(x.rand.Int64N(int64(to-from)))
}

// A processFault befalls the first of the regions that it is given, or several, and
// takes about as long as it is told.
type processFault struct {
	name string
	do   func(x *chaos, nodes []*cluster.Node, what string, hold time.Duration)
	can  func(x *chaos) bool // whether it makes sense now; nil if it always does
}

// diskFull is the fault that needs a file system of its own.
const diskFull = "disk full"

var processFaults = []processFault{
	{name: "kill -9", do: func(x *chaos, n []*cluster.Node, what string, hold time.Duration) {
		n[0].Kill(x.t)
		x.awaitWrites(what, n[1:]...)
		x.pass(hold)
		n[0].Start(x.t)
		n[0].AwaitReady(x.t)
	}},
	{name: "kill -9 of all", do: func(x *chaos, n []*cluster.Node, _ string, _ time.Duration) {
		for _, n := range n {
			n.Kill(x.t)
		}
		for _, n := range n {
			n.Start(x.t)
		}
		for _, n := range n {
			n.AwaitReady(x.t)
		}
	}},
	{name: "pause", do: func(x *chaos, n []*cluster.Node, what string, hold time.Duration) {
		n[0].Pause(x.t)
		defer n[0].Resume(x.t)
		x.awaitWrites(what, n[1:]...)
		x.pass(hold)
	}},
	{name: "clock jumps", do: func(x *chaos, n []*cluster.Node, what string, hold time.Duration) {
		x.shift(n[0], x.draw(-maxShift, maxShift))
		x.awaitWrites(what, n...)
		x.pass(hold)
		if x.rand.IntN(2) == 0 {
			x.shift(n[0], 0)
		}
	}},
	{name: "topology changes", do: func(x *chaos, n []*cluster.Node, what string, hold time.Duration) {
		shapes := []string{
			`{"kind":"mesh"}`, `{"kind":"ring"}`,
			fmt.Sprintf(`{"kind":"star","hub":%q,"deputies":[%q]}`, n[0].Region, n[1].Region),
		}
		body := shapes[x.rand.IntN(len(shapes))]
		n[0].Must(x.t, cluster.Request{Method: http.MethodPut, Path: "/v1/cluster/topology", Body: body}, http.StatusOK)
		x.awaitWrites(what, n...)
		x.pass(hold)
	}},
	{name: "rolling restart", do: func(x *chaos, n []*cluster.Node, what string, _ time.Duration) {
		for i, one := range n {
			if status := one.Stop(x.t); status != 0 {
				x.t.Errorf("%s: SIGTERM ended it with status %d", one.Region, status)
			}
			x.awaitWrites(what, slices.Delete(slices.Clone(n), i, i+1)...)
			one.Start(x.t)
			one.AwaitReady(x.t)
		}
	}},
	{name: "restart storm", do: func(x *chaos, n []*cluster.Node, _ string, _ time.Duration) {
		for range stormRestarts {
			one := n[x.rand.IntN(len(n))]
			one.Kill(x.t)
			one.Start(x.t)
		}
		for _, n := range n {
			n.AwaitReady(x.t)
		}
	}},
	{name: "region joins", can: (*chaos).alone, do: func(x *chaos, n []*cluster.Node, what string, hold time.Duration) {
		x.join(n[0], n[1])
		x.awaitWrites(what, n...)
		x.pass(hold)
	}},
	{name: "certificate renewed", do: func(x *chaos, n []*cluster.Node, what string, hold time.Duration) {
		renew(x.t, x.c, n[0], certs.DefaultRegionValidity)
		x.restart(n[1]) // their handshake is with the new one
		x.awaitWrites(what, n...)
		x.pass(hold)
	}},
	{name: "certificate expires", do: (*chaos).expire},
	{name: diskFull, can: func(x *chaos) bool { return x.disk != nil }, do: (*chaos).fillDisk},
}

func (x *chaos) restart(n *cluster.Node) {
	n.Kill(x.t)
	n.Start(x.t)
	n.AwaitReady(x.t)
}

// expire lets the certificate of a region run out, whose links break because it
// or another region starts anew, and gives it a new one.
func (x *chaos) expire(n []*cluster.Node, what string, hold time.Duration) {
	const loud = "certificate is out of its time"
	said := strings.Count(n[0].Log(), loud)
	renew(x.t, x.c, n[0], time.Millisecond)
	again := x.rand.IntN(2)
	x.restart(n[again])
	if again == 0 && strings.Count(n[0].Log(), loud) == said {
		x.t.Errorf("%s does not say that its certificate has run out", n[0].Region)
	}
	x.awaitWrites(what, n...)
	x.pass(hold)
	renew(x.t, x.c, n[0], certs.DefaultRegionValidity)
}

// fillDisk leaves one region no room. It refuses writes, with 507, and goes on
// reading; the others do without it. It goes on when there is room, or is killed
// before and started again.
func (x *chaos) fillDisk(nodes []*cluster.Node, what string, hold time.Duration) {
	full, probe := x.disk.node, 0
	free := x.disk.fill(x.t)
	cluster.Await(x.t, converged, full.Region+" to refuse writes while "+what, func() (bool, string) {
		probe++
		res := full.Must(x.t, cluster.PutRequest(inDocs, "probe", fmt.Sprintf(`{"n":%d}`, probe)),
			http.StatusOK, http.StatusCreated, http.StatusServiceUnavailable, http.StatusInsufficientStorage)
		return res.Status == http.StatusInsufficientStorage, res.Text()
	})
	from := time.Now()
	x.awaitWrites(what, slices.DeleteFunc(slices.Clone(nodes), func(n *cluster.Node) bool { return n == full })...)
	x.pass(hold)
	full.Get(x.t, inDocs, keyOf(history.Set, 0))
	if x.acked[full.Region].after(from) {
		x.t.Errorf("%s acknowledges writes on a full disk", full.Region)
	}
	kill := x.rand.IntN(2) == 0
	if kill {
		full.Kill(x.t)
	}
	free()
	if kill {
		full.Start(x.t)
		full.AwaitReady(x.t)
	}
}

// join has a region that others may not reach add the newcomer, which knows one
// other. If that has happened already, the newcomer is killed on its way.
func (x *chaos) join(by, via *cluster.Node) {
	if x.newcomer.Running() {
		x.newcomer.Kill(x.t)
		x.newcomer.Start(x.t)
		return
	}
	x.introduce(x.newcomer, via)
	x.newcomer.Start(x.t)
	by.Must(x.t, cluster.Request{
		Method: http.MethodPost, Path: "/v1/cluster/regions/" + newRegion, Body: fmt.Sprintf(`{"address":%q}`, x.newcomer.PeerAddr),
	}, http.StatusOK, http.StatusCreated)
}

// alone reports whether the newcomer has not joined yet.
func (x *chaos) alone() bool { return len(x.nodes) < len(x.c.Nodes) }

// joins reports whether the newcomer has been started and is not among the nodes.
func (x *chaos) joins() bool { return x.newcomer.Running() && !slices.Contains(x.nodes, x.newcomer) }

// admit lets clients use the newcomer, and faults befall its links: from now on it
// dials all others by paths of its own.
func (x *chaos) admit() {
	x.introduce(x.newcomer, x.nodes...)
	x.newcomer.Kill(x.t)
	x.newcomer.Start(x.t)
	x.newcomer.AwaitReady(x.t)
	x.nodes = append(x.nodes, x.newcomer)
}
