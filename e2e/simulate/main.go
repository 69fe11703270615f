// Command simulate runs seeds of the deterministic simulation.
//
//	go run ./e2e/simulate --seeds 10000            as many seeds as that
//	go run ./e2e/simulate --minutes 5 --start 1e6  as many as there is time for
//	go run ./e2e/simulate --seed 42 --trace        one seed, and what happened
//
// A failure is reported with the least that still fails and the command that
// replays it; the exit status is 1 then.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/meridiandb/meridian/e2e/sim"
)

func main() {
	debug.SetGCPercent(gcPercent)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
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
	fmt.Fprintf(out, "%+v\ntrace hash %s\n", res.Stats, res.Hash)
	if res.Failure == nil {
		return nil
	}
	report(s, res, out)
	return errFailed
}

// report prints a failure and, unless it is not wanted, the least that fails.
func report(s settings, res sim.Result, out io.Writer) {
	fmt.Fprintf(out, "FAILED seed %d: %v\n", s.one.Seed, res.Failure)
	o := s.one
	o.Trace = nil
	if s.shrink {
		var tries int
		o, res, tries = sim.Shrink(o, res)
		fmt.Fprintf(out, "shrunk in %d runs to %d regions, %d actions, faults %v: %v\n", tries, res.Regions, len(res.Actions), res.Faults, res.Failure)
	}
	fmt.Fprintf(out, "replay: %s\n", command(o, s.badger))
}

func command(o sim.Options, badger bool) string {
	c := "go run ./e2e/simulate " + o.Args()
	if badger {
		c += " --badger"
	}
	return c + " --trace"
}

// progressEvery is how often the rate is printed.
const progressEvery = 5 * time.Second

func runMany(ctx context.Context, s settings, out io.Writer) error {
	begin := time.Now()
	if s.minutes > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(s.minutes*float64(time.Minute)))
		defer cancel()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	seeds, results := make(chan uint64), make(chan seedResult)
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
	return collect(s, results, stop, begin, out)
}

type seedResult struct {
	seed uint64
	sim.Result
}

func collect(s settings, results <-chan seedResult, stop func(), begin time.Time, out io.Writer) error {
	var sum sim.Stats
	var virtual, slowest time.Duration
	done, failed, last := 0, 0, begin
	rate := func() string {
		d := time.Since(begin)
		return fmt.Sprintf("%d seeds in %s, %.1f a second", done, d.Round(time.Second), float64(done)/d.Seconds())
	}
	for r := range results {
		done++
		sum.Add(r.Stats)
		virtual += r.Virtual
		slowest = max(slowest, r.Convergence)
		if r.Failure != nil {
			if failed++; failed <= s.failures {
				one := s
				one.one.Seed = r.seed
				report(one, r.Result, out)
			}
			if failed >= s.failures {
				stop()
			}
		}
		if time.Since(last) >= progressEvery {
			last = time.Now()
			fmt.Fprintf(out, "%s, at seed %d, %d failed\n", rate(), r.seed, failed)
		}
	}
	fmt.Fprintf(out, "%s; %s of virtual time, slowest convergence %.1f s\n%+v\n", rate(), virtual.Round(time.Second), slowest.Seconds(), sum)
	if failed > 0 {
		fmt.Fprintf(out, "%s failed\n", strconv.Itoa(failed))
		return errFailed
	}
	fmt.Fprintln(out, "no guarantee was violated")
	return nil
}
