package sim_test

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/e2e/sim"
	"github.com/meridiandb/meridian/region/badgerstore"
	"github.com/meridiandb/meridian/region/store"
)

// seeds is how many seeds TestSimulation runs: 200 take half a minute on two cores.
var seeds = flag.Int("sim.seeds", 200, "how many seeds TestSimulation runs")

// shards is into how many tests the seeds are split, to run in parallel.
const shards = 8

func report(t *testing.T, o sim.Options, res sim.Result) {
	t.Helper()
	if res.Failure == nil {
		return
	}
	least, small, _ := sim.Shrink(o, res)
	t.Errorf("seed %d: %v\nleast: %v\nreplay: go run ./e2e/simulate %s", o.Seed, res.Failure, small.Failure, least.Args())
}

func TestSimulation(t *testing.T) {
	if testing.Short() {
		*seeds = min(*seeds, 20)
	}
	for shard := range shards {
		t.Run(fmt.Sprint(shard), func(t *testing.T) {
			t.Parallel()
			var sum sim.Stats
			for seed := 1 + shard; seed <= *seeds; seed += shards {
				o := sim.Options{Seed: uint64(seed)}
				res := sim.Run(o)
				sum.Add(res.Stats)
				report(t, o, res)
			}
			t.Logf("%+v", sum)
		})
	}
}

var vaults = []sim.Fault{sim.Vaults}

// regressions are seeds on which the simulation found a bug, with what it was.
// Most are kept as mutants too (mutants_test.go), since what a seed means changes with
// the scenario, or have a test of the core.
var regressions = []struct {
	options sim.Options
	bug     string
}{
	{sim.Options{Seed: 6}, "a failed write left documents cached under a dot that a collection of another type took"},
	{sim.Options{Seed: 30}, "a request without an answer was not repeated for hours after the clock had gone back"},
	{sim.Options{Seed: 12}, "reports from before a restart outbid those after it when the clock had gone back; a donor that was rolled back was asked for ever"},
	{sim.Options{Seed: 71}, "a document was forgotten though a deletion that wins had still to swallow writes"},
	{sim.Options{Seed: 1179}, "a region waited for changes that its donor had lost"},
	{sim.Options{Seed: 1234}, "the same, in a larger cluster"},
	{sim.Options{Seed: 579}, "a link that was dead but not down kept the news of a new replica out"},
	{
		sim.Options{Seed: 30096, Without: []sim.Fault{
			sim.Loss, sim.Duplicate, sim.Reorder, sim.Abort, sim.Flap, sim.Clock, sim.Disk, sim.Full, sim.Tiny, sim.OneWay,
		}},
		"what was left of a rolled back replica came back below the stable vector",
	},
	{sim.Options{Seed: 41}, "the report of a store that was rolled back counted for stability, though others held what it had written"},
	{sim.Options{Seed: 246}, "the same, out of an inbox"},
	{sim.Options{Seed: 10386}, "reports of a replica that is no more outbid its successor's for ever, as one who knew better always heard the successor last"},
	{sim.Options{Seed: 20184}, "a store that was rolled back did not notice it by what peers came to hold later"},
	{sim.Options{Seed: 20199}, "a region wrote before it had announced itself, in the step in which it met its first peer"},
	{sim.Options{Seed: 98}, "a request for a snapshot that came twice was served twice, and the parts mixed"},
	{sim.Options{Seed: 201}, "a store that was rolled back took a snapshot before it was clear whose changes it had"},
	{sim.Options{Seed: 79}, "a store that was rolled back asked for the proof of a log that another peer had already settled"},
	{sim.Options{Seed: 109}, "a conflict that came in the step in which the collection got its callback was not asked about"},
	{sim.Options{Seed: 1973}, "a snapshot was asked for anew before an answer could come, for ever"},
	{sim.Options{Seed: 728}, "a store that was put back used dots again, in shares that it gave away before it met one that knew better"},
	{sim.Options{Seed: 1819}, "reports of a store that was put back counted for stability before it had noticed"},
	{sim.Options{Seed: 1499}, "a new replica wrote before anybody else knew of it, and the report of the one before counted still"},
	{sim.Options{Seed: 6767}, "the same, in a ring"},
	{sim.Options{Seed: 995}, "a region was added and served while only the one that added it knew, which lost its store"},
	{sim.Options{Seed: 133}, "a new region counted what was stable before it had all members for peers"},
	{sim.Options{Seed: 149}, "what waited of a replica that had never announced itself stayed in an inbox when that was no more"},
	{sim.Options{Seed: 6628}, "an edit that did not know of a deletion brought shares back that were given anew in a document made since"},
	{sim.Options{Seed: 6768}, "the same, with a restart"},
	{sim.Options{Seed: 2536}, "a check took for in reach whom no region was linked with yet, as those who were to be had caught up just then"},
	{sim.Options{Seed: 2693}, "the same, as the region that a new one was started with had not heard of it"},
	{sim.Options{Seed: 7105}, "the same, of a new region that others were linked with, but which the arbiter did not know for a member"},
	{sim.Options{Seed: 7175}, "a snapshot of 200 parts took longer over a slow link than regions may take to converge"},
	{sim.Options{Seed: 13162}, "a snapshot whose donor was put back starts over after a minute, when regions were to have converged"},
	{sim.Options{Seed: 15331}, "a copy of a damaged document was asked for anew before an answer could come, for ever"},
	{sim.Options{Seed: 530}, "a check took it for wrong that a region, after a restart, refuses a new one until it has heard again who knows of that"},
	{sim.Options{Seed: 3011}, "what a store had sent before it was put back went on waiting, as it became a new replica over a link that stood already"},
	{sim.Options{Seed: 9135}, "two regions that were put back, and cut off from the others, vouched for each other"},
	{sim.Options{Seed: 2313}, "a new region made a collection that it held alone before it met another, and could take no snapshot any more"},
	{sim.Options{Seed: 5631, Without: []sim.Fault{sim.Residency}}, "a region gave up the last whole copies of two documents for a snapshot, though the log of one that it was about to meet would have done"},
	{sim.Options{Seed: 1980}, "regions that were all put back waited for one that had been added, with which none of them would link"},
	{sim.Options{Seed: 5117}, "the same, as one of them lacked the body of a change that the new one was to hold"},
	{sim.Options{Seed: 2525}, "documents that were changed in a step were written again after the store was cleared for a snapshot"},
	{sim.Options{Seed: 4120}, "a link came up with a member that a core had not heard of since the disk was full, and that was called nonsense"},
	{sim.Options{Seed: 9738}, "two regions waited for each other: one for a body that nobody has, of which the other, that copied a snapshot, could not say so"},
	{sim.Options{Seed: 9845}, "a region that copied a snapshot waited for a new one, which waited for it, to say that it has nothing of a collection"},
	{sim.Options{Seed: 8904}, "a check took what was lost with a store for held, as another region should have held it"},
	{sim.Options{Seed: 19627}, "a check took a store that had not made its first step for the one that a region had not heard of yet"},
	{sim.Options{Seed: 19488}, "a snapshot that had to start over was whole just before a minute was over, and the region was to take writes at once"},
	{sim.Options{Seed: 5549}, "a new region that could not reach the only one that it knew, and founded a cluster, kept holders of what is lost waiting for ever"},
	{sim.Options{Seed: 12542}, "a region that copied a snapshot could not say that it has nothing of what is lost, as it had documents of another collection that some regions hold"},
	{sim.Options{Seed: 15620}, "a region that copied a snapshot waited for new ones, which were to be let in once it had copied that"},
	{sim.Options{Seed: 19709}, "a store that was put back took bodies for lost that others had, since it had once written by itself"},
	{sim.Options{Seed: 12333}, "two holders of a vault that were both behind the logs of the others gave up their copies for each other's; then they kept them, and stayed behind for good"},
	{sim.Options{Seed: 13961}, "the only region with a copy of a vault was behind the log of one that does not hold it, and stayed behind for good"},
	{sim.Options{Seed: 4637, With: vaults}, "a region whose copied documents had a change took its body for lost, as nobody had it in a log"},
	{sim.Options{Seed: 4743, With: vaults}, "a copy that had passed a vault waited for a holder of the next, which its region does not hold"},
	{sim.Options{Seed: 4542, With: vaults}, "two regions of a star lacked changes of each other, which the hub, that copied a snapshot, could not pass on, and waited for"},
	{sim.Options{Seed: 2542, With: vaults}, "of three holders with the same copies one waited for another to give an empty vault, and that for it to be done"},
}

// removals are seeds on which the simulation found bugs while regions came to be removed.
var removals = []uint64{
	114, 1072, 1224, 1030, 1138, 2243, 1223, 1032, 1277, 1431, 2283, 2390,
	190, 491, // of an old conflict that others had no part in, one side was brought in only
	828,   // regions waited for what only one had told of that was gone, and could not remove it
	958,   // a check took for lost what others had, too
	388,   // a document was deleted by the deletions of both sides, with what the store had written after its own
	466,   // a region was added again by two regions, and turned away by the one whose addition it did not know
	5718,  // a region that had given another one up removed it once more after it had been added again
	16663, // a store that was turned away once more waited for its claim, which nobody had heard of
	13618, // a store brought in what builds on what was left to another one, before that had brought it in
}

// beside are those of stores that are put back or lost beside removals: a removed one had what others
// had lost, and waited for them to have it; a store that was put back waited for the log of a removed one; one of
// a region that nobody had heard of was let in with what nobody takes; one from before its region had met
// anybody gave the one region up that it knew, and went on as a cluster of its own.
var beside = []uint64{285, 465, 570, 888, 19000, 19475, 1629, 3424, 4680, 18, 1334, 11643}

// whole are the regressions that need what clients came to do later.
var whole = []uint64{728, 1819, 149, 1499, 6767, 995, 133, 6628, 6768, 2536, 2693, 7105, 7175, 13162, 15331, 530, 3011, 9135, 2313, 1980, 5117, 5631, 2525, 4120, 9738, 9845, 8904, 19627, 19488, 5549, 12542, 15620, 19709, 12333, 13961, 2542, 4542}

func TestRegressions(t *testing.T) {
	for _, r := range regressions {
		t.Run(fmt.Sprint(r.options.Seed), func(t *testing.T) {
			t.Parallel()
			t.Log(r.bug)
			if !slices.Contains(whole, r.options.Seed) {
				// There were none of these when they were found.
				r.options.Without = append(slices.Clone(r.options.Without), sim.Repeat, sim.Shares)
			}
			r.options.Without = append(slices.Clone(r.options.Without), sim.Removals)
			if r.options.With == nil {
				r.options.Without = append(r.options.Without, sim.Vaults)
			}
			report(t, r.options, sim.Run(r.options))
		})
	}
}

func TestRegressionsOfRemovals(t *testing.T) {
	for _, seed := range slices.Concat(removals, beside) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			o := sim.Options{Seed: seed, With: []sim.Fault{sim.Removals}}
			if !slices.Contains(beside, seed) {
				// No store was put back or lost beside removals when they were found.
				o.Without = []sim.Fault{sim.Rollback, sim.Wipe}
			}
			report(t, o, sim.Run(o))
		})
	}
}

// TestI10_SameSeedSameTrace: neither a second run nor the number of processors
// makes a difference.
func TestI10_SameSeedSameTrace(t *testing.T) {
	for _, seed := range []uint64{3, 8, 85, 94, 1043} { // 94 takes snapshots
		first := sim.Run(sim.Options{Seed: seed})
		old := runtime.GOMAXPROCS(1)
		second := sim.Run(sim.Options{Seed: seed})
		runtime.GOMAXPROCS(old)
		if first.Hash != second.Hash || first.Stats != second.Stats || first.Virtual != second.Virtual {
			t.Errorf("seed %d: %s %+v, then %s %+v", seed, first.Hash, first.Stats, second.Hash, second.Stats)
		}
	}
}

// TestCoverage: every class of faults occurs, and what the checks are about does.
func TestCoverage(t *testing.T) {
	var sum sim.Stats
	seeds := []uint64{73, 94} // two that take snapshots, one of them with an interruption
	for seed := range uint64(22) {
		seeds = append(seeds, 240+seed)
	}
	for _, seed := range seeds {
		res := sim.Run(sim.Options{Seed: seed})
		sum.Add(res.Stats)
	}
	for _, f := range sim.Faults() {
		if sum.Befell.Of(f) == 0 {
			t.Errorf("no fault of the class %s happens: %v", f, sum.Befell)
		}
	}
	if sum.Conflicts == 0 || sum.Trimmed == 0 || sum.Dropped == 0 || sum.Reads == 0 || sum.Repeats == 0 ||
		sum.Shared == 0 || sum.AtHome == 0 || sum.Granted == 0 || sum.Cut == 0 || sum.Snapshots == 0 || sum.Resumed == 0 {
		t.Errorf("something never happens: %+v", sum)
	}
}

func TestKeep(t *testing.T) {
	for _, keep := range [][]int{{}, {3}, {1, 2, 3, 7, 9, 10}} {
		s := sim.FormatKeep(keep)
		got, err := sim.ParseKeep(s)
		if err != nil || !slices.Equal(got, keep) {
			t.Errorf("%v is written as %q and read as %v, %v", keep, s, got, err)
		}
	}
	for _, bad := range []string{"", "x", "3-1", "1-", "-1"} {
		if _, err := sim.ParseKeep(bad); err == nil {
			t.Errorf("%q is read as a list of actions", bad)
		}
	}
	if _, err := sim.ParseFaults("loss,nosuch"); err == nil || !strings.Contains(err.Error(), "nosuch") {
		t.Errorf("an unknown class of faults gives %v", err)
	}
}

func BenchmarkSeed(b *testing.B) {
	for i := range b.N {
		sim.Run(sim.Options{Seed: uint64(i + 1)})
	}
}

// TestBadger runs a few seeds on the store that regions have in earnest. The
// trace is the same as on memstore but where a store is killed or rolled back.
func TestBadger(t *testing.T) {
	if testing.Short() {
		t.Skip("Badger's folders take a while")
	}
	compared := 0
	for _, seed := range []uint64{2, 21, 33} {
		o := sim.Options{Seed: seed, Regions: 3, Open: func() (store.Store, error) {
			return badgerstore.Open(t.TempDir(), badgerstore.Options{
				NoSync: true, MemTableBytes: badgerstore.MinMemTableBytes, BlockCacheBytes: 1 << 20, IndexCacheBytes: 1 << 20, ReserveBytes: -1,
			})
		}}
		res := sim.Run(o)
		report(t, o, res)
		o.Open = nil
		if slices.ContainsFunc(res.Faults, func(f sim.Fault) bool { return f == sim.Rollback || f == sim.Volume || f == sim.Wipe }) {
			continue // where a folder cannot be replaced as memory can
		}
		compared++
		if other := sim.Run(o); other.Hash != res.Hash {
			t.Errorf("seed %d: %s on Badger, %s in memory", seed, res.Hash, other.Hash)
		}
	}
	if compared == 0 {
		t.Error("no seed was compared")
	}
}
