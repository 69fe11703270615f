// Command simulate runs seeds of the deterministic simulation.
//
//	go run ./e2e/simulate --seeds 10000            as many seeds as that
//	go run ./e2e/simulate --minutes 5 --start 1e6  as many as there is time for
//	go run ./e2e/simulate --seed 42 --trace        one seed, and what happened
//
// A failure is reported at once, with the command that replays it, and then with
// the least that still fails; the exit status is 1 then. A run that is interrupted
// says what it has done and where to go on.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/meridiandb/meridian/e2e/sim"
)

func main() {
	debug.SetGCPercent(gcPercent)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, errFailed):
		os.Exit(1)
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(2)
	}
}

// gcPercent trades memory, of which a seed needs little, for speed.
const gcPercent = 800

var errFailed = errors.New("a seed failed")

type settings struct {
	seeds, start uint64
	minutes      float64
	workers      int
	failures     int
	shrink       bool
	one          sim.Options
	single       bool
	trace        bool
	badger       bool
}

func parse(args []string, stderr io.Writer) (s settings, err error) {
	f := flag.NewFlagSet("simulate", flag.ContinueOnError)
	f.SetOutput(stderr)
	seed := f.Uint64("seed", 0, "run this one seed")
	f.Uint64Var(&s.seeds, "seeds", 1000, "how many seeds to run")
	f.Uint64Var(&s.start, "start", 1, "the first of them")
	f.Float64Var(&s.minutes, "minutes", 0, "stop after so many minutes; with it, --seeds has no default")
	f.IntVar(&s.workers, "workers", runtime.GOMAXPROCS(0), "how many to run at a time")
	f.IntVar(&s.failures, "failures", 1, "stop after so many failed seeds")
	f.BoolVar(&s.shrink, "shrink", true, "look for the least that still fails")
	f.IntVar(&s.one.Regions, "regions", 0, "size of the cluster; 0 lets the seed decide")
	with := f.String("with", "", "classes of faults to have with every seed, separated by commas")
	without := f.String("without", "", "classes of faults to leave out, separated by commas")
	keep := f.String("keep", "", "actions of the schedule to carry out, as in 3,7-9; all if not given")
	f.BoolVar(&s.trace, "trace", false, "print what happens, with --seed")
	f.BoolVar(&s.badger, "badger", false, "use Badger, in memory, as the store")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("unknown argument %q; see --help", f.Arg(0))
	}
	f.Visit(func(x *flag.Flag) {
		s.single = s.single || x.Name == "seed"
		if x.Name == "keep" {
			s.one.Keep, err = sim.ParseKeep(*keep)
		}
	})
	if err != nil {
		return s, err
	}
	if s.minutes > 0 {
		given := false
		f.Visit(func(x *flag.Flag) { given = given || x.Name == "seeds" })
		if !given {
			s.seeds = 1 << 62
		}
	}
	s.one.Seed = *seed
	if s.one.With, err = sim.ParseFaults(*with); err != nil {
		return s, err
	}
	s.one.Without, err = sim.ParseFaults(*without)
	return s, err
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if s.badger {
		s.one.Open = openBadger
	}
	if s.single {
		return runOne(s, stdout)
	}
	return runMany(ctx, s, stdout)
}

func runOne(s settings, out io.Writer) error {
	if s.trace {
		s.one.Trace = out
	}
	res := sim.Run(s.one)
	fmt.Fprintf(out, "seed %d: %d regions, faults %v, %d actions, %.1f s of virtual time, converged after %.1f s\n",
		s.one.Seed, res.Regions, res.Faults, len(res.Actions), res.Virtual.Seconds(), res.Convergence.Seconds())
	fmt.Fprintf(out, "%s\ntrace hash %s\n", account(res.Stats), res.Hash)
	if res.Failure == nil {
		return nil
	}
	report(s, res, out)
	return errFailed
}

// account says what a run went through, and how often each fault befell it.
func account(s sim.Stats) string {
	befell := s.Befell
	s.Befell = sim.Tally{}
	counts, _, _ := strings.Cut(fmt.Sprintf("%+v", s), " Befell:")
	return fmt.Sprintf("%s\nfaults: %v", strings.TrimPrefix(counts, "{"), befell)
}

// report prints a failure and, unless it is not wanted, the least that fails.
func report(s settings, res sim.Result, out io.Writer) {
	o := s.one
	o.Trace = nil
	fmt.Fprintf(out, "FAILED seed %d: %v\nreplay: %s\n", s.one.Seed, res.Failure, command(o, s.badger))
	if s.shrink {
		o, res, tries := sim.Shrink(o, res)
		fmt.Fprintf(out, "shrunk in %d runs to %d regions, %d actions, faults %v: %v\nreplay: %s\n",
			tries, res.Regions, len(res.Actions), res.Faults, res.Failure, command(o, s.badger))
	}
}

func command(o sim.Options, badger bool) string {
	c := "go run ./e2e/simulate " + o.Args()
	if badger {
		c += " --badger"
	}
	return c + " --trace"
}

const (
	// progressEvery is how often the rate is printed.
	progressEvery = 5 * time.Second
	// slowSeed is after how long a seed that still runs is named: one that never
	// ends would not be known otherwise.
	slowSeed = time.Minute
)

func runMany(ctx context.Context, s settings, out io.Writer) error {
	if s.minutes > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(s.minutes*float64(time.Minute)))
		defer cancel()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	seeds, begun, results := make(chan uint64), make(chan uint64), make(chan seedResult)
	go func() {
		defer close(seeds)
		for i := range s.seeds {
			select {
			case seeds <- s.start + i:
			case <-ctx.Done():
				return
			}
		}
	}()
	var workers sync.WaitGroup
	for range max(s.workers, 1) {
		workers.Go(func() {
			for seed := range seeds {
				begun <- seed
				o := s.one
				o.Seed = seed
				results <- seedResult{seed, sim.Run(o)}
			}
		})
	}
	go func() {
		workers.Wait()
		close(results)
	}()
	c := &collector{settings: s, out: out, begin: time.Now(), running: map[uint64]time.Time{}}
	return c.collect(begun, results, stop)
}

type seedResult struct {
	seed uint64
	sim.Result
}

// A collector sums up the results of many seeds.
type collector struct {
	settings
	out              io.Writer
	begin            time.Time
	sum              sim.Stats
	virtual, slowest time.Duration
	done             uint64
	failed           []string
	running          map[uint64]time.Time
}

// collect takes results until there are no more. It calls stop when enough failed.
func (c *collector) collect(begun <-chan uint64, results <-chan seedResult, stop func()) error {
	progress := time.NewTicker(progressEvery)
	defer progress.Stop()
	for {
		select {
		case seed := <-begun:
			c.running[seed] = time.Now()
		case r, ok := <-results:
			if !ok {
				return c.end()
			}
			if c.take(r); len(c.failed) >= c.failures {
				stop()
			}
		case <-progress.C:
			fmt.Fprintf(c.out, "%s, %d failed\n", c.rate(), len(c.failed))
			c.nameSlow()
		}
	}
}

func (c *collector) take(r seedResult) {
	delete(c.running, r.seed)
	c.done++
	c.sum.Add(r.Stats)
	c.virtual += r.Virtual
	c.slowest = max(c.slowest, r.Convergence)
	if r.Failure == nil {
		return
	}
	c.failed = append(c.failed, fmt.Sprintf("%d (%s)", r.seed, r.Failure.Check))
	one := c.settings
	one.one.Seed = r.seed
	one.shrink = one.shrink && len(c.failed) <= c.failures
	report(one, r.Result, c.out)
}

func (c *collector) rate() string {
	d := time.Since(c.begin)
	return fmt.Sprintf("%d seeds from %d in %s, %.1f a second, %s of virtual time",
		c.done, c.start, d.Round(time.Second), float64(c.done)/d.Seconds(), c.virtual.Round(time.Second))
}

func (c *collector) nameSlow() {
	for _, seed := range slices.Sorted(maps.Keys(c.running)) {
		if d := time.Since(c.running[seed]); d >= slowSeed {
			fmt.Fprintf(c.out, "seed %d has been running for %s\n", seed, d.Round(time.Second))
		}
	}
}

func (c *collector) end() error {
	fmt.Fprintf(c.out, "%s; slowest convergence %.1f s\n%s\n", c.rate(), c.slowest.Seconds(), account(c.sum))
	if c.done < c.seeds {
		fmt.Fprintf(c.out, "ended early; --start %d goes on\n", c.start+c.done)
	}
	if len(c.failed) > 0 {
		fmt.Fprintf(c.out, "%d failed: %s\n", len(c.failed), strings.Join(c.failed, ", "))
		return errFailed
	}
	fmt.Fprintln(c.out, "no guarantee was violated")
	return nil
}
