package sim

import (
	"container/heap"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
)

// Options say what to simulate.
type Options struct {
	Seed uint64
	// Regions is the size of the cluster; 0 lets the seed decide.
	Regions int
	// With are classes of faults that are there whatever the seed says, but for those
	// that are left out; Without are these.
	With, Without []Fault
	// Keep are the actions of the schedule that are carried out, by index; nil means all.
	Keep []int
	// Trace gets a readable account if it is not nil.
	Trace io.Writer
	// Open makes a region's store; nil means memstore. A store that cannot clone
	// itself is not rolled back, and not killed in the middle of a commit.
	Open func() (store.Store, error)
}

// A Failure is a guarantee that did not hold.
type Failure struct {
	Check  string // the function that found it
	At     time.Duration
	Detail string
}

func (f *Failure) String() string {
	return fmt.Sprintf("%s at %v: %s", f.Check, f.At.Round(time.Microsecond), f.Detail)
}

// Stats count what a run went through.
type Stats struct {
	Steps, Commits, Changes, Writes, Refused, Reads, Dropped, Conflicts, Trimmed, Cut, Snapshots, Resumed, Calls, Decisions int
	// Secrets are the writes to vaults, Lost those of which nothing is left, and Kept
	// the vaults that stayed through a snapshot.
	Secrets, Lost, Kept int
	// Repeats are the requests that were recognised, Shared the shares of other
	// regions that were seen to have something left.
	Repeats, Shared int
	// AtHome are the writes that were taken under the authority of a strict home,
	// Granted the claims that became authority.
	AtHome, Granted int
	// Added are the regions that became members.
	Added int
	// Removed are the regions that were removed, Rejoined those that came back as new
	// replicas, Unseen the changes that no other region had then.
	Removed, Rejoined, Unseen int
	// Befell are the faults that happened.
	Befell Tally
}

// Add sums two counts.
func (s *Stats) Add(o Stats) {
	s.Steps += o.Steps
	s.Commits += o.Commits
	s.Changes += o.Changes
	s.Writes += o.Writes
	s.Refused += o.Refused
	s.Reads += o.Reads
	s.Dropped += o.Dropped
	s.Conflicts += o.Conflicts
	s.Trimmed += o.Trimmed
	s.Repeats += o.Repeats
	s.Shared += o.Shared
	s.AtHome += o.AtHome
	s.Granted += o.Granted
	s.Added += o.Added
	s.Removed += o.Removed
	s.Rejoined += o.Rejoined
	s.Unseen += o.Unseen
	s.Cut += o.Cut
	s.Snapshots += o.Snapshots
	s.Resumed += o.Resumed
	s.Calls += o.Calls
	s.Decisions += o.Decisions
	for i, n := range o.Befell {
		s.Befell[i] += n
	}
	s.Secrets += o.Secrets
	s.Lost += o.Lost
	s.Kept += o.Kept
}

// A Result is what became of a run.
type Result struct {
	// Hash sums up all that happened, in order (I10).
	Hash    string
	Virtual time.Duration
	// Convergence is how long it took after all was healed.
	Convergence time.Duration
	Stats       Stats
	// Actions are the indices of the schedule's actions that were carried out.
	Actions []int
	Regions int
	Faults  []Fault
	Failure *Failure // nil if every guarantee held
}

// world is a simulation under way.
type world struct {
	opts     Options
	sc       *scenario
	now      time.Duration
	queue    eventQueue
	order    uint64
	nodes    []*node
	pairs    [MaxRegions][MaxRegions]*pair
	clients  []*client
	hist     history
	tainted  bool // a document was damaged once
	keyed    map[crdt.RequestHash]*keyed
	keys     *rand.Rand // of the repetition of requests
	vaults   []vault
	replicas []replicaName
	minted   map[crdt.ReplicaID]bool
	calm     bool // faults are over
	healed   time.Duration
	app      *rand.Rand
	stats    Stats
	hash     hash.Hash
	scratch  []byte // of record
	failure  *Failure
}

type replicaName struct {
	id   crdt.ReplicaID
	name string
}

// epochStart is the wall time at which every simulation begins. It is far ahead,
// so that nothing that expires has expired for a store with a clock of its own.
var epochStart = time.Date(2100, 1, 1, 12, 0, 0, 0, time.UTC)

// Run carries out one seed.
func Run(o Options) (res Result) {
	w := &world{
		opts: o, sc: newScenario(o), hash: sha256.New(), minted: map[crdt.ReplicaID]bool{},
		keyed: map[crdt.RequestHash]*keyed{}, keys: source(o.Seed, streamRepeats+100),
		app: source(o.Seed, streamApp),
	}
	w.hist.init()
	defer func() {
		if p := recover(); p != nil {
			w.fail("panic", "%v\n%s", p, debug.Stack())
		}
		for _, n := range w.nodes {
			if n.store != nil {
				_ = n.store.Close()
			}
		}
		res.Failure, res.Stats, res.Virtual = w.failure, w.stats, w.now
		res.Hash = hex.EncodeToString(w.hash.Sum(nil)[:12])
	}()
	res.Regions = len(w.sc.regions)
	for _, a := range w.sc.actions {
		res.Actions = append(res.Actions, a.index)
	}
	for _, f := range Faults() {
		if w.sc.faults[f] {
			res.Faults = append(res.Faults, f)
		}
	}
	for _, f := range []Fault{Tiny, Cutting} {
		if w.sc.faults[f] {
			w.befell(f)
		}
	}
	w.build()
	w.start()
	w.trade()
	w.keepVaults()
	w.runUntil(w.sc.duration)
	w.heal()
	res.Convergence = w.converge()
	w.finish()
	return res
}

// archiveEvery is how often a copy of each store is put by for rollbacks.
const archiveEvery = 700 * time.Millisecond

func (w *world) build() {
	w.tracef("%d regions %v, %s, faults %v, limits %+v, timing %+v", len(w.sc.regions), w.sc.regions, w.sc.spec.Kind, w.sc.faults, w.sc.limits, w.sc.timing)
	for i, name := range w.sc.regions {
		st, err := w.open()
		if err != nil {
			w.fail("open", "%v", err)
			return
		}
		w.nodes = append(w.nodes, newNode(w, i, name, st))
	}
	for i, a := range w.nodes {
		for j := i + 1; j < len(w.nodes); j++ {
			w.pairs[i][j] = &pair{
				w: w, ends: [2]*node{a, w.nodes[j]},
				r: source(w.opts.Seed, streamNetwork+100*uint64(i*MaxRegions+j+1)),
			}
		}
	}
	for i := range w.sc.clients {
		w.clients = append(w.clients, &client{index: i, tags: map[doc][]string{}})
	}
}

func (w *world) open() (store.Store, error) {
	if w.opts.Open != nil {
		return w.opts.Open()
	}
	return memstore.New(), nil
}

func (w *world) start() {
	for _, n := range w.nodes {
		// Regions do not start at one moment.
		w.at(between(n.r, 0, 500*time.Millisecond), func() { n.boot() })
	}
	if w.sc.asks {
		w.at(time.Second, w.makeAsking)
	}
	for _, a := range w.sc.actions {
		w.at(a.at, func() { w.perform(a) })
	}
	if !w.sc.faults[Rollback] && !w.sc.faults[Volume] && !w.sc.faults[Vaults] {
		return
	}
	for t := archiveEvery; t < w.sc.duration; t += archiveEvery {
		w.at(t, func() {
			for _, n := range w.nodes {
				n.archiveCopy()
			}
		})
	}
}

func (w *world) fail(check, format string, args ...any) {
	if w.failure == nil {
		w.failure = &Failure{Check: check, At: w.now, Detail: w.rename(fmt.Sprintf(format, args...))}
		w.tracef("FAILED %s: %s", check, w.failure.Detail)
	}
}

// A happening is something that is due at a moment.
type happening struct {
	at    time.Duration
	order uint64
	do    func()
}

type eventQueue []happening

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push implements heap.Interface.
func (q *eventQueue) Push(x any) { *q = append(*q, x.(happening)) }

// Pop implements heap.Interface.
func (q *eventQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	old[len(old)-1] = happening{}
	*q = old[:len(old)-1]
	return x
}

func (w *world) at(t time.Duration, do func()) {
	w.order++
	heap.Push(&w.queue, happening{max(t, w.now), w.order, do})
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now+d, do) }

// runUntil lets happen what is due until t.
func (w *world) runUntil(t time.Duration) {
	for w.failure == nil && len(w.queue) > 0 && w.queue[0].at <= t {
		h := heap.Pop(&w.queue).(happening)
		w.now = h.at
		h.do()
	}
	if w.failure == nil {
		w.now = max(w.now, t)
	}
}

// mint makes a replica id that this run has not seen.
func (w *world) mint(n *node) crdt.ReplicaID {
	var id crdt.ReplicaID
	for i := range id {
		id[i] = byte(n.mint.Uint32())
	}
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	w.minted[id] = true
	n.minted++
	w.replicas = append(w.replicas, replicaName{id, fmt.Sprintf("%s.%d", n.name, n.minted)})
	return id
}
