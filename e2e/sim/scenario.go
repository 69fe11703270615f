package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/topology"
)

// A Fault is a class of things that go wrong.
type Fault string

// The classes of faults.
const (
	Loss      Fault = "loss"      // live messages vanish
	Duplicate Fault = "duplicate" // live messages come twice
	Reorder   Fault = "reorder"   // live messages overtake each other
	Abort     Fault = "abort"     // catch-up streams break off
	Cut       Fault = "cut"       // a link goes, both ways
	OneWay    Fault = "oneway"    // one direction of a link goes
	Partition Fault = "partition" // the regions fall into two groups
	Flap      Fault = "flap"      // a connection breaks and is made again
	Crash     Fault = "crash"     // a process dies, at any moment
	Clock     Fault = "clock"     // clocks jump and drift
	Disk      Fault = "disk"      // commits take their time
	Full      Fault = "full"      // commits fail for want of room
	Tiny      Fault = "tiny"      // inbox, cache, batch and trim queue hold next to nothing
	Rollback  Fault = "rollback"  // a store is replaced by an older copy of itself
	Volume    Fault = "volume"    // the same below the file system, so that the store cannot tell
	Topology  Fault = "topology"  // the shape of the links changes
	Corrupt   Fault = "corrupt"   // a byte of a stored document changes
	Residency Fault = "residency" // some collections are held by some regions only
	Repeat    Fault = "repeat"    // clients send requests again, under idempotency keys
	Shares    Fault = "shares"    // clients race for counters with bounds
	Homes     Fault = "homes"     // homes are set, moved, given up and taken by force
	Wipe      Fault = "wipe"      // a store is replaced by an empty one
	Cutting   Fault = "cutting"   // the log keeps next to nothing, so that who lacks something takes a snapshot
	Members   Fault = "members"   // regions are added
	Removals  Fault = "removals"  // regions are removed, and come back with the store that they had
	Vaults    Fault = "vaults"    // all holders of a collection that some regions hold are put back at once
)

// classes are all of them.
var classes = [...]Fault{
	Loss, Duplicate, Reorder, Abort, Cut, OneWay, Partition, Flap, Crash, Clock, Disk, Full, Tiny, Rollback, Topology, Repeat, Shares, Homes, Wipe, Cutting, Corrupt, Members, Volume, Residency, Removals, Vaults,
}

// Faults lists all classes.
func Faults() []Fault { return slices.Clone(classes[:]) }

// A Tally counts what befell the cluster, by class. Of classes that are settings of a
// whole run, such as Tiny, it counts the runs.
type Tally [len(classes)]int

// Of is the count of a class.
func (t Tally) Of(f Fault) int { return t[slices.Index(classes[:], f)] }

func (t Tally) String() string {
	parts := make([]string, len(t))
	for i, n := range t {
		parts[i] = fmt.Sprintf("%s %d", classes[i], n)
	}
	return strings.Join(parts, ", ")
}

// befell counts a fault.
func (w *world) befell(f Fault) { w.stats.Befell[slices.Index(classes[:], f)]++ }

// later are the classes that draw from a stream of their own, so that the seeds
// kept what they meant when these came.
var later = []Fault{Wipe, Cutting}

// apart are the classes that do not go along with removals, since the checks of these do
// not follow what is lost with a region for a while.
var apart = []Fault{Volume, Corrupt, Repeat, Shares, Homes, Residency, Vaults}

// actionFaults are the classes that happen at a moment of the schedule.
var actionFaults = []Fault{Cut, OneWay, Partition, Flap, Crash, Clock, Disk, Full, Rollback, Topology, Wipe, Volume}

// ParseFaults reads a list of classes, separated by commas.
func ParseFaults(s string) ([]Fault, error) {
	var out []Fault
	for name := range strings.SplitSeq(s, ",") {
		if name == "" {
			continue
		}
		if !slices.Contains(Faults(), Fault(name)) {
			return nil, fmt.Errorf("unknown class of faults %q: there are %v", name, Faults())
		}
		out = append(out, Fault(name))
	}
	return out, nil
}

// MaxRegions is the greatest size of a simulated cluster.
const MaxRegions = 9

var regionNames = [MaxRegions]string{
	"us-east", "eu-west", "ap-south", "sa-east", "af-south", "us-west", "eu-north", "ap-east", "me-south",
}

// An action is something that the schedule does to the cluster at a moment. All
// that it draws comes from its own seed, so that leaving others out changes little.
type action struct {
	index int
	at    time.Duration
	fault Fault // "" for work of clients
	seed  uint64
}

// A scenario is what a seed says about the cluster and its environment.
type scenario struct {
	founders []string
	regions  []string // those that were added included
	spec     topology.Spec
	duration time.Duration
	limits   core.Limits
	timing   core.Timing
	keep     core.Retention
	maxSkew  time.Duration
	faults   map[Fault]bool
	// Probabilities per message, per stream for abort.
	loss, duplicate, reorder, abort float64
	// idle is after which silence a connection is given up.
	idle    time.Duration
	latency [MaxRegions][MaxRegions]time.Duration
	jitter  time.Duration
	clients int
	docs    int // per collection
	skew    [MaxRegions]time.Duration
	actions []action
	// appFails is how often the application does not answer.
	appFails float64
	// asks says that most of the work is in collections that it decides about.
	asks bool
}

// The streams of randomness that a seed is the source of.
const (
	streamScenario = iota + 1
	streamActions
	streamNetwork
	streamNodes
	streamReplicas
	streamRepeats
	streamShares
	streamHomes
	streamLater
	streamApp
	streamCorrupt
	streamVolumes
	streamMembers   = streamApp + 10
	streamResidency = streamApp + 20
	streamRemovals  = streamApp + 30
	streamVaults    = streamApp + 40
	streamOlder     = streamApp + 50
)

func source(seed, stream uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, stream)) }

// between draws a duration.
func between(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)+1))
}

func chance(r *rand.Rand, p float64) bool { return r.Float64() < p }

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func newScenario(o Options) *scenario {
	r := source(o.Seed, streamScenario)
	s := &scenario{faults: map[Fault]bool{}}
	n := pick(r, 2, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 6, 7, 9)
	if o.Regions > 0 {
		n = min(o.Regions, MaxRegions)
	}
	s.founders, s.regions = regionNames[:n], regionNames[:n]
	s.spec = drawSpec(r, n)
	s.duration = between(r, 3*time.Second, pick(r, 8*time.Second, 16*time.Second))
	// A third of the seeds has few classes of faults, so that one is not always
	// hidden by another.
	p := pick(r, 0.15, 0.4, 0.7)
	rl := source(o.Seed, streamLater)
	for _, f := range Faults() {
		if f == Homes || f == Members || f == Removals || f == Vaults {
			continue // by a stream of its own, below
		}
		from, p := r, p
		// What was drawn before there were these classes stays as it was.
		switch f {
		case Repeat:
			from = source(o.Seed, streamRepeats)
		case Shares:
			from = source(o.Seed, streamShares)
		case Corrupt:
			from = source(o.Seed, streamCorrupt)
		case Volume:
			from, p = source(o.Seed, streamVolumes), 0.1
		case Residency:
			from, p = source(o.Seed, streamResidency+100), 0.35
		default:
			if slices.Contains(later, f) {
				from, p = rl, 0.5
			}
		}
		on := chance(from, p)
		s.faults[f] = on && !slices.Contains(o.Without, f)
	}
	s.faults[Members] = chance(source(o.Seed, streamMembers), 0.4) && !slices.Contains(o.Without, Members)
	s.faults[Homes] = chance(source(o.Seed, streamHomes), 0.4) && !slices.Contains(o.Without, Homes)
	s.faults[Removals] = chance(source(o.Seed, streamRemovals), 0.2) && !slices.Contains(o.Without, Removals)
	s.faults[Vaults] = chance(source(o.Seed, streamVaults+2), 0.05) && !slices.Contains(o.Without, Vaults)
	for _, f := range o.With {
		s.faults[f] = !slices.Contains(o.Without, f)
	}
	switch {
	case s.faults[Removals] && !slices.Contains(o.With, Vaults):
		for _, f := range apart {
			s.faults[f] = false
		}
	case s.faults[Vaults]:
		s.drawVaults(o)
	}
	s.drawNetwork(r)
	s.drawLimits(r)
	s.drawOlder(source(o.Seed, streamOlder))
	if s.faults[Cutting] {
		s.keep = core.Retention{Changes: 1 + uint64(rl.IntN(20)), Age: pick(rl, 0, 0, 700*time.Millisecond)}
	}
	s.clients = 1 + r.IntN(6)
	s.docs = 1 + r.IntN(6)
	for i := range s.skew {
		s.skew[i] = between(r, -200*time.Millisecond, 200*time.Millisecond)
		if chance(r, 0.2) && s.faults[Clock] {
			s.skew[i] = between(r, -3*time.Hour, 3*time.Hour)
		}
	}
	s.drawActions(o)
	r = source(o.Seed, streamApp+1)
	s.appFails, s.asks = pick(r, 0, 0.2, 0.8), chance(r, 0.4)
	return s
}

// drawVaults makes a cluster for the class that puts back all holders of a vault: a small one, where
// logs mostly keep next to nothing, without the classes that ask for what such a loss may take.
func (s *scenario) drawVaults(o Options) {
	r := source(o.Seed, streamVaults)
	if n := pick(r, 3, 3, 4); o.Regions == 0 {
		s.founders, s.regions = regionNames[:n], regionNames[:n]
	}
	s.spec = topology.Spec{Kind: topology.Mesh}
	if chance(r, 0.3) {
		s.spec = drawSpec(r, len(s.regions))
	}
	for _, f := range []Fault{Volume, Corrupt, Members, Removals} {
		s.faults[f] = false
	}
	s.faults[Residency] = !slices.Contains(o.Without, Residency)
	s.faults[Cutting] = chance(r, 0.8) && !slices.Contains(o.Without, Cutting)
}

func (s *scenario) drawNetwork(r *rand.Rand) {
	if s.faults[Loss] {
		s.loss = pick(r, 0.01, 0.1, 0.4)
	}
	if s.faults[Duplicate] {
		s.duplicate = pick(r, 0.05, 0.3)
	}
	if s.faults[Reorder] {
		s.reorder = pick(r, 0.05, 0.3)
	}
	if s.faults[Abort] {
		s.abort = pick(r, 0.1, 0.4)
	}
	s.idle = between(r, time.Second, 5*time.Second)
	s.jitter = pick(r, 0, time.Millisecond, 20*time.Millisecond, 100*time.Millisecond)
	for i := range MaxRegions {
		for j := range MaxRegions {
			s.latency[i][j] = between(r, 100*time.Microsecond, pick(r, 5*time.Millisecond, 100*time.Millisecond, 400*time.Millisecond))
		}
	}
}

func (s *scenario) drawLimits(r *rand.Rand) {
	s.maxSkew = pick(r, 0, time.Second, time.Minute)
	s.limits = core.Limits{Doc: crdt.DefaultLimits, RequestAge: repeatAge}
	if chance(r, 0.2) {
		s.limits.Doc.Siblings = 1 + r.IntN(4)
	}
	tiny := [...]func(){
		func() { s.limits.InboxBytes = 600 + r.IntN(pick(r, 2000, 20_000)) },
		func() { s.limits.CacheBytes = 1 + r.IntN(8000) },
		func() { s.limits.BatchBytes = 1000 + r.IntN(3000) },
		func() { s.limits.TrimQueue = 1 + r.IntN(5) },
	}
	for _, f := range tiny {
		if on := chance(r, 0.6); on && s.faults[Tiny] {
			f()
		}
	}
	if chance(r, 0.3) {
		s.timing.GapGrace = between(r, time.Millisecond, time.Second)
	}
	if chance(r, 0.3) {
		s.timing.RequestTimeout = between(r, 200*time.Millisecond, 3*time.Second)
	}
	if chance(r, 0.3) {
		s.timing.Status = between(r, 100*time.Millisecond, time.Second)
	}
}

// drawOlder draws how older versions wait to be saved.
func (s *scenario) drawOlder(r *rand.Rand) {
	if chance(r, 0.5) {
		s.limits.QuietChanges = pick(r, -1, 1, 4)
	}
	if chance(r, 0.5) {
		s.limits.OlderBytes = 1 + r.IntN(20_000)
	}
	if chance(r, 0.5) {
		s.limits.OlderWhole = 1
	}
}

func drawSpec(r *rand.Rand, n int) topology.Spec {
	switch pick(r, topology.Mesh, topology.Ring, topology.Star) {
	case topology.Ring:
		return topology.Spec{Kind: topology.Ring}
	case topology.Star:
		order := r.Perm(n)
		s := topology.Spec{Kind: topology.Star, Hub: regionNames[order[0]]}
		for _, i := range order[1 : 1+r.IntN(n)] {
			s.Deputies = append(s.Deputies, regionNames[i])
		}
		return s
	default:
		return topology.Spec{Kind: topology.Mesh}
	}
}

// drawActions makes the schedule. It does not depend on the classes that are
// left out, nor on the number of regions.
func (s *scenario) drawActions(o Options) {
	r := source(o.Seed, streamActions)
	work := pick(r, 15, 40, 80, 150)
	faults := pick(r, 4, 10, 25)
	all := make([]action, 0, work+faults*len(actionFaults))
	for range work {
		all = append(all, action{at: between(r, 0, s.duration), seed: r.Uint64()})
	}
	rl := source(o.Seed, streamLater+1)
	for _, f := range actionFaults {
		r := r
		if slices.Contains(later, f) {
			r = rl
		} else if f == Volume {
			r = source(o.Seed, streamVolumes+100)
		}
		n := 1 + r.IntN(faults)
		if f == Rollback || f == Topology || f == Wipe || f == Volume {
			n = 1 + n/2
		}
		for range n {
			all = append(all, action{at: between(r, 0, s.duration), fault: f, seed: r.Uint64()})
		}
	}
	r = source(o.Seed, streamHomes)
	for range 4 + r.IntN(30) {
		all = append(all, action{at: between(r, 0, s.duration), fault: Homes, seed: r.Uint64()})
	}
	corrupt := source(o.Seed, streamCorrupt+100)
	for range 1 + corrupt.IntN(4) {
		all = append(all, action{at: between(corrupt, 0, s.duration), fault: Corrupt, seed: corrupt.Uint64()})
	}
	s.timing.Scrub = between(corrupt, 200*time.Millisecond, 3*time.Second)
	r = source(o.Seed, streamMembers+1)
	for range 1 + r.IntN(maxNewcomers) {
		all = append(all, action{at: between(r, 0, s.duration), fault: Members, seed: r.Uint64()})
	}
	byTime := func(a, b action) int { return int(a.at - b.at) }
	slices.SortStableFunc(all, byTime)
	// These come behind, so that the others keep their numbers.
	r = source(o.Seed, streamRemovals+1)
	for range 1 + r.IntN(4) {
		all = append(all, action{at: between(r, 0, s.duration), fault: Removals, seed: r.Uint64()})
	}
	r = source(o.Seed, streamVaults+1)
	for range 1 + r.IntN(2) {
		all = append(all, action{at: between(r, s.duration/3, s.duration), fault: Vaults, seed: r.Uint64()})
	}
	for i := range all {
		all[i].index = i
	}
	slices.SortStableFunc(all, byTime)
	for _, a := range all {
		if (o.Keep == nil || slices.Contains(o.Keep, a.index)) && (a.fault == "" || s.faults[a.fault]) {
			s.actions = append(s.actions, a)
		}
	}
}
