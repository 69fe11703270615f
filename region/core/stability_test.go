package core_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/wire"
)

// A cluster runs cores by hand: what one sends waits until it is delivered.
type cluster struct {
	t      *testing.T
	now    time.Time
	nodes  map[string]*node
	ids    byte
	down   map[[2]string]bool // pairs without a link, in the order of names
	keep   core.Retention     // of stores that are started
	limits core.Limits        // of theirs
	spec   topology.Spec
	part   int // where a message of a snapshot is cut
	// drops says which messages do not arrive, nil if all do.
	drops func(from, to *node, m wire.Message) bool
	// snapshots are those that were asked for, who of whom.
	snapshots [][2]string
}

type node struct {
	w       *cluster
	name    string
	members []string
	st      *memstore.Store
	core    *core.Core
	out     map[string][]wire.Message
	fx      core.Effects
	plan    topology.Plan
	closed  []core.Close
	saved   []string // the tags of older versions that were saved
}

func newCluster(t *testing.T, names ...string) *cluster {
	w := &cluster{t: t, now: time.Unix(1e9, 0), nodes: map[string]*node{}, spec: topology.Spec{Kind: topology.Mesh}, down: map[[2]string]bool{}, part: core.SnapshotBytes}
	for _, name := range names {
		w.add(name, names...)
	}
	return w
}

func (w *cluster) add(name string, members ...string) *node {
	n := &node{w: w, name: name, members: members}
	w.nodes[name] = n
	n.start(memstore.New())
	return n
}

// start makes a core of a store, and links it where it can be.
func (n *node) start(st *memstore.Store) {
	n.w.t.Helper()
	n.startAs(st, st.Continuous())
}

// startAs does so with a store that takes itself for what it was, or not.
func (n *node) startAs(st *memstore.Store, continuous bool) {
	n.w.t.Helper()
	c, err := core.New(core.Config{
		Region: n.name, Cluster: "test", Members: n.members, Topology: n.w.spec,
		NewReplica: func() crdt.ReplicaID {
			n.w.ids++
			return crdt.ReplicaID{15: n.w.ids}
		},
		Discontinuous: !continuous, Retention: n.w.keep, Limits: n.w.limits,
	}, st)
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.st, n.core, n.out, n.fx, n.closed = st, c, map[string][]wire.Message{}, core.Effects{}, nil
	n.step()
	for _, o := range n.w.sorted() {
		if o != n {
			n.w.unlink(n, o)
			n.w.link(n, o)
		}
	}
}

func (w *cluster) sorted() []*node {
	var out []*node
	for _, name := range slices.Sorted(maps.Keys(w.nodes)) {
		out = append(out, w.nodes[name])
	}
	return out
}

func pairOf(a, b *node) [2]string { return [2]string{min(a.name, b.name), max(a.name, b.name)} }

func (n *node) lets(o *node) bool {
	return slices.Contains(n.core.Members(), o.name) && !slices.Contains(n.core.Pending(), o.name)
}

func (w *cluster) unlink(a, b *node) {
	delete(a.out, b.name)
	delete(b.out, a.name)
	a.step(core.LinkDown{Peer: b.name})
	b.step(core.LinkDown{Peer: a.name})
}

func (w *cluster) link(a, b *node) {
	if !w.down[pairOf(a, b)] && a.lets(b) && b.lets(a) {
		a.step(core.LinkUp{Peer: b.name})
		b.step(core.LinkUp{Peer: a.name})
	}
}

func (n *node) step(events ...core.Event) {
	n.w.t.Helper()
	for more := true; more; events = nil {
		fx, err := n.core.Step(n.w.now, events)
		if err == nil && fx.Batch != nil {
			for _, v := range fx.Batch.Versions {
				n.saved = append(n.saved, v.Tag)
			}
			err = n.st.Commit(fx.Batch)
		}
		if err != nil {
			n.w.t.Fatal(err)
		}
		for _, s := range fx.Sends {
			n.out[s.Peer] = append(n.out[s.Peer], s.Message)
		}
		for _, s := range fx.Streams {
			answer := core.CatchUp(n.st.Snapshot(), s.Peer, s.ID, s.Spans)
			if s.Snapshot != nil {
				n.w.snapshots = append(n.w.snapshots, [2]string{s.Peer, n.name})
				answer = core.Snapshot(n.st.Snapshot(), n.name, s.Peer, *s.Snapshot, 0, n.w.part)
			}
			for m, err := range answer {
				if err != nil && s.Snapshot == nil { // it says itself why it cannot be had
					n.w.t.Fatal(err)
				}
				n.out[s.Peer] = append(n.out[s.Peer], m)
			}
		}
		n.closed = append(n.closed, fx.Closes...)
		if fx.Plan != nil {
			n.plan = *fx.Plan
		}
		n.fx, more = fx, fx.More
	}
}

// deliver hands over what waits from one to another.
func (w *cluster) deliver(from, to *node) {
	messages := from.out[to.name]
	delete(from.out, to.name)
	for _, m := range messages {
		if w.drops != nil && w.drops(from, to, m) {
			continue
		}
		to.step(core.Received{Peer: from.name, Message: m})
	}
}

// run lets time pass, in which whoever is linked hears of each other.
func (w *cluster) run(d time.Duration, but ...*node) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(core.TickEvery)
		for _, a := range w.sorted() {
			for _, b := range w.sorted() {
				if a != b && !slices.Contains(but, a) && !slices.Contains(but, b) {
					w.deliver(a, b)
				}
			}
			a.step(core.Tick{})
		}
	}
}

func (n *node) ask(what any) core.Reply {
	n.w.t.Helper()
	n.step(core.Submit{ID: 1, Ask: what})
	if len(n.fx.Replies) != 1 {
		n.w.t.Fatalf("%d replies", len(n.fx.Replies))
	}
	return n.fx.Replies[0]
}

func (n *node) status() core.Status {
	n.w.t.Helper()
	s, ok := n.ask(core.Inspect{}).Result.(core.Status)
	if !ok {
		n.w.t.Fatal("no status")
	}
	return s
}

func (n *node) write(name string) crdt.Dot {
	n.w.t.Helper()
	rep := n.ask(core.PutCollection{Name: name, Settings: core.DefaultSettings()})
	if rep.Err != nil {
		n.w.t.Fatalf("%s: %v", n.name, rep.Err)
	}
	return crdt.Dot{Replica: n.core.Replica(), Seq: n.core.Have().Get(n.core.Replica())}
}

// A store that was put back has caught up with its peer, but others may come to count
// what that has as stable, with a report of the former replica, as long as nobody knows it.
func TestI12_NewReplicaWritesOnceOthersKnowIt(t *testing.T) {
	w := newCluster(t, "a", "b", "c")
	a, b, c := w.nodes["a"], w.nodes["b"], w.nodes["c"]
	w.run(3 * time.Second)
	old := a.st.Clone()
	b.write("first")
	w.run(2 * time.Second)
	first := a.core.Have()

	w.down[pairOf(a, c)] = true
	a.start(old)
	w.deliver(a, b)
	w.deliver(b, a) // its hello
	w.deliver(a, b) // a request
	w.deliver(b, a)
	if !a.core.Have().Covers(first) || a.core.Have().Get(a.core.Replica()) != 1 {
		t.Fatalf("it has %v", a.core.Have())
	}
	if rep := a.ask(core.PutCollection{Name: "early", Settings: core.DefaultSettings()}); !errors.Is(rep.Err, core.ErrCatchingUp) {
		t.Errorf("nobody knows it, and it writes: %v", rep.Err)
	}

	// b has not heard of it, and goes on with c.
	late := b.write("late")
	w.deliver(a, b)
	w.deliver(b, a)
	d := a.write("now")
	if !a.core.Have().Contains(late) {
		t.Errorf("%v was written without having seen %v", d, late)
	}
}

// When all stores of a cluster were put back, there is none that could vouch for
// another: all of them do together. Some of them cannot: what those told before may count
// where they cannot be heard.
func TestI12_ClusterThatWasPutBackGoesOn(t *testing.T) {
	for _, missing := range []bool{false, true} {
		w := newCluster(t, "a", "b", "c")
		w.run(3 * time.Second)
		w.nodes["a"].write("x")
		w.run(2 * time.Second)
		images := map[string]*memstore.Store{}
		for name, n := range w.nodes {
			images[name] = n.st.Clone()
		}
		if missing {
			delete(w.nodes, "c")
		}
		for _, n := range w.sorted() {
			for _, o := range w.sorted() {
				w.unlink(n, o)
			}
		}
		for _, n := range w.sorted() {
			n.start(images[n.name])
		}
		if missing {
			w.run(10 * time.Second)
			if err := w.nodes["a"].fx.Writable; !errors.Is(err, core.ErrCatchingUp) || !strings.Contains(err.Error(), "or all have: c") {
				t.Errorf("c may hold for stable what a and b have forgotten, and they take writes: %v", err)
			}
			w.add("c", "a", "b", "c") // in its place, and empty
		}
		w.run(time.Second)
		for _, n := range w.sorted() {
			n.write("y-" + n.name)
		}
	}
}

// A region that lost its store and met nobody goes on as a cluster of its own. It knows nothing of what
// counts where it was, and vouches for none that does.
func TestI12_WhoFoundedAnewDoesNotVouch(t *testing.T) {
	w := newCluster(t, "a", "b", "c")
	w.run(3 * time.Second)
	a, b, c := w.nodes["a"], w.nodes["b"], w.nodes["c"]
	a.write("x")
	b.write("x")
	w.run(2 * time.Second)
	image := a.st.Clone()
	w.cut(a, b)
	w.cut(a, c)
	w.cut(b, c)
	a.start(image)
	b.start(memstore.New())
	w.run(10 * time.Second)
	b.write("y")
	delete(w.down, pairOf(a, b))
	w.link(a, b)
	w.run(10 * time.Second)
	if err := a.fx.Writable; !errors.Is(err, core.ErrCatchingUp) || !strings.Contains(err.Error(), "or all have: c") {
		t.Errorf("c may hold for stable what a has forgotten, and it takes writes: %v", err)
	}
	clear(w.down)
	w.link(a, c)
	w.link(b, c)
	w.run(5 * time.Second)
	for _, n := range w.sorted() {
		n.write("z-" + n.name)
	}
}

// Those who wait for each other link with all members, also with one that the stores were
// put back to before anybody had met it.
func TestI12_ClusterThatWasPutBackMeetsWhoWasAdded(t *testing.T) {
	w := newCluster(t, "a", "b", "c")
	w.run(3 * time.Second)
	if rep := w.nodes["a"].ask(core.AddRegion{Region: "d", Address: "d:1"}); rep.Err != nil {
		t.Fatal(rep.Err)
	}
	w.run(2 * time.Second)
	images := map[string]*memstore.Store{}
	for name, n := range w.nodes {
		images[name] = n.st.Clone()
	}
	for _, n := range w.sorted() {
		for _, o := range w.sorted() {
			w.unlink(n, o)
		}
	}
	for _, n := range w.sorted() {
		n.start(images[n.name])
	}
	w.run(3 * time.Second)
	if err := w.nodes["a"].fx.Writable; !errors.Is(err, core.ErrCatchingUp) || !strings.Contains(err.Error(), "or all have: d") {
		t.Errorf("a does not wait for d: %v", err)
	}
	w.add("d", "a", "d")
	w.run(3 * time.Second)
	for _, n := range w.sorted() {
		n.write("y-" + n.name)
	}
}

// Otherwise a store that is lost, with the addition, could leave somebody in the
// cluster of whom nobody knows.
func TestI12_NewRegionIsLetInOnceMostKnowOfIt(t *testing.T) {
	w := newCluster(t, "a", "b")
	a, b := w.nodes["a"], w.nodes["b"]
	w.run(3 * time.Second)
	w.down[pairOf(a, b)] = true
	w.unlink(a, b)
	if rep := a.ask(core.AddRegion{Region: "d", Address: "d:1"}); rep.Err != nil {
		t.Fatal(rep.Err)
	}
	w.run(3 * time.Second)
	if p := a.core.Pending(); !slices.Equal(p, []string{"d"}) || !slices.Contains(a.core.Members(), "d") {
		t.Errorf("members %v, pending %v", a.core.Members(), p)
	}
	a.step(core.LinkUp{Peer: "d"})
	if len(a.closed) != 1 || !errors.Is(a.closed[0].Err, core.ErrNotMember) {
		t.Errorf("its link is not refused: %v", a.closed)
	}
	w.down[pairOf(a, b)] = false
	w.link(a, b)
	w.run(2 * time.Second)
	for _, n := range []*node{a, b} {
		if p := n.core.Pending(); len(p) > 0 {
			t.Errorf("%s does not let %v in", n.name, p)
		}
	}
	d := w.add("d", "a", "d")
	w.run(3 * time.Second)
	d.write("z")
}

// A core that was made anew has heard no reports. An old one of a store that is no
// more, as others pass it on, does not count when the replica that followed is known.
func TestI12_ReportOfFormerReplicaDoesNotCount(t *testing.T) {
	w := newCluster(t, "a", "b", "c")
	a, b, c := w.nodes["a"], w.nodes["b"], w.nodes["c"]
	w.run(3 * time.Second)
	w.down[pairOf(a, c)] = true
	w.unlink(a, c)
	a.start(a.st.Clone())
	w.run(3*time.Second, c)
	if !b.core.Have().Contains(crdt.Dot{Replica: a.core.Replica(), Seq: 1}) {
		t.Fatal("b does not know the new replica")
	}
	w.down[pairOf(a, b)] = true
	w.unlink(a, b)
	b.write("x")
	b.start(b.st)
	before := b.core.Have()
	w.run(3 * time.Second) // c tells b of what a was
	if s := b.status(); s.Stable.Len() > 0 || !c.core.Have().Covers(before) {
		t.Errorf("%v counts as stable with a report of what a was; c has %v", s.Stable, c.core.Have())
	}
	w.down = map[[2]string]bool{}
	w.link(a, b)
	w.link(a, c)
	w.run(3 * time.Second)
	if s := b.status(); !s.Stable.Covers(before) {
		t.Errorf("only %v of %v is stable when all is well again", s.Stable, before)
	}
}

// What a store has sent that is no more, and that nobody has in a log, is not
// applied any more by whoever knows of the replica that followed.
func TestI12_WhatAFormerStoreSentIsDropped(t *testing.T) {
	w := newCluster(t, "a", "b", "c")
	a, b, c := w.nodes["a"], w.nodes["b"], w.nodes["c"]
	w.run(3 * time.Second)
	old := a.st.Clone()
	a.write("x1")
	sent := a.out["b"]
	a.out, a.w.down[pairOf(a, b)] = map[string][]wire.Message{}, true
	last := a.core.Have().Get(a.core.Replica())
	former := a.core.Replica()

	// a's store is put back. b hears that from c, while its old link still stands.
	w.nodes = map[string]*node{"a": a, "c": c}
	a.start(old)
	w.nodes["b"] = b
	w.run(3 * time.Second)
	if !b.core.Have().Contains(crdt.Dot{Replica: a.core.Replica(), Seq: 1}) {
		t.Fatal("b does not know the new replica")
	}
	if len(b.closed) != 1 || !errors.Is(b.closed[0].Err, core.ErrReplaced) {
		t.Errorf("b does not end its link with a store that is no more: %v", b.closed)
	}
	for _, m := range sent {
		b.step(core.Received{Peer: "a", Message: m})
	}
	if b.core.Have().Contains(crdt.Dot{Replica: former, Seq: last}) {
		t.Errorf("b has %v", b.core.Have())
	}
}

// The same of what waits for what it depends on, which comes from elsewhere later.
func TestI12_WhatWaitsOfAFormerStoreIsDropped(t *testing.T) {
	w := newCluster(t, "a", "b", "c", "d")
	a, b, c, d := w.nodes["a"], w.nodes["b"], w.nodes["c"], w.nodes["d"]
	w.run(3 * time.Second)
	old := a.st.Clone()
	y := d.write("y")
	w.deliver(d, a)
	a.write("x")
	x := crdt.Dot{Replica: a.core.Replica(), Seq: a.core.Have().Get(a.core.Replica())}
	w.deliver(a, b)
	if s := b.status(); s.Inbox.Changes != 1 {
		t.Fatalf("%d changes wait", s.Inbox.Changes)
	}
	for _, o := range []*node{a, b, c} {
		w.down[pairOf(d, o)] = true
		w.unlink(d, o)
	}
	w.down[pairOf(a, b)] = true
	w.nodes = map[string]*node{"a": a, "c": c}
	a.start(old)
	w.nodes["b"] = b
	w.run(3 * time.Second)
	if !b.core.Have().Contains(crdt.Dot{Replica: a.core.Replica(), Seq: 1}) {
		t.Fatal("b does not know the new replica")
	}
	w.nodes["d"] = d
	w.down[pairOf(d, b)] = false
	w.link(d, b)
	w.run(3 * time.Second)
	if have := b.core.Have(); !have.Contains(y) || have.Contains(x) {
		t.Errorf("b has %v, %v in it: %v, %v: %v", have, y, have.Contains(y), x, have.Contains(x))
	}
}

// The same where the store takes itself for what it was, until it meets those that know
// better, and becomes a new replica over a link that stands.
func TestI12_WhatWaitsIsDroppedAsItsStoreBecomesANewOne(t *testing.T) {
	w := newCluster(t, "a", "b", "c", "d")
	a, b, c, d := w.nodes["a"], w.nodes["b"], w.nodes["c"], w.nodes["d"]
	w.run(3 * time.Second)
	old := a.st.Clone()
	a.write("known")
	w.deliver(a, b)
	y := d.write("y")
	w.deliver(d, a)
	a.write("x")
	former := a.core.Replica()
	x := crdt.Dot{Replica: former, Seq: a.core.Have().Get(former)}
	w.deliver(a, b)
	if s := b.status(); s.Inbox.Changes != 1 {
		t.Fatalf("%d changes wait", s.Inbox.Changes)
	}
	for _, o := range []*node{a, b, c} {
		w.down[pairOf(d, o)] = true
		w.unlink(d, o)
	}
	w.nodes = map[string]*node{"a": a, "b": b, "c": c}
	a.startAs(old, true)
	if a.core.Replica() != former {
		t.Fatal("it knows by itself that it was put back")
	}
	w.run(3 * time.Second)
	if !b.core.Have().Contains(crdt.Dot{Replica: a.core.Replica(), Seq: 1}) || a.core.Replica() == former {
		t.Fatal("b does not know the new replica")
	}
	if s := b.status(); s.Inbox.Changes != 0 {
		t.Errorf("%d changes still wait", s.Inbox.Changes)
	}
	w.nodes["d"] = d
	w.down[pairOf(d, b)] = false
	w.link(d, b)
	w.run(3 * time.Second)
	if have := b.core.Have(); !have.Contains(y) || have.Contains(x) {
		t.Errorf("b has %v, %v in it: %v, %v: %v", have, y, have.Contains(y), x, have.Contains(x))
	}
}
