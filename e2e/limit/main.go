// Limit measures how near Meridian comes to what its parts can do together: HTTP,
// Badger, QUIC. It runs a bare pipe of them, without any semantics, and Meridian,
// in turn, under the same load on the same machine, and prints the ratios.
//
//	go run ./e2e/limit
//	go run ./e2e/limit --rounds 5 --duration 30s --case write,read
//	go run ./e2e/limit --latency
//
// What it measures is what both can keep up. A process takes the memory that it is
// going to use from the system in its first seconds, page by page, and its first
// memory table is full after some; so both warm up before, and more than one table
// is written meanwhile.
//
// The pipe takes a PUT, commits the body and an entry of a log in one transaction
// of Badger for all writes that wait, answers, and sends what was committed over
// one QUIC stream to each of the others, which do the same with it. There are no
// versions, no causality, no merging, no checks, and one region cannot be told
// from the other's writes: it is what nobody who uses these parts can beat.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/meridiandb/meridian/cmd/bench"
)

const module = "github.com/meridiandb/meridian"

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) (status int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(args) > 0 && args[0] == "pipe" {
		err = pipeMain(ctx, args[1:])
	} else {
		err = measure(ctx, args)
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "limit:", err)
		return 1
	}
	return 0
}

// A figure is something that both are measured by.
type figure struct {
	name, unit string
	// load is Meridian's; the pipe's is limit if there is one, else the same.
	load  bench.Config
	limit *bench.Config
	// constant makes the pipe answer reads with a constant.
	constant bool
	regions  int
	value    func(*bench.Report) float64
	// goal is the share of the pipe's figure that Meridian is meant to reach.
	goal float64
}

func perSecond(r *bench.Report) float64 { return r.Total.PerSecond }

func visiblePerSecond(r *bench.Report) float64 { return r.Replication.VisiblePerSecond }

// figures are all there are. The writes of the pipe are always of 200 bytes.
func figures() []figure {
	write := bench.Config{Workload: "update", Type: bench.TypeRegister, Size: 200, Fields: 1, Clients: 64, Records: 10_000, Keys: bench.KeysUniform}
	update := write
	update.Type, update.Size, update.Fields = bench.TypeDocument, 1000, 10
	read := write
	read.Workload = "C"
	return []figure{
		{name: "write", unit: "durable writes of 200 bytes, a register", load: write, regions: 1, value: perSecond, goal: 0.70},
		{name: "update", unit: "durable updates of a field in 1 KB, a document", load: update, limit: &write, regions: 1, value: perSecond, goal: 0.55},
		{name: "read", unit: "reads of 200 bytes, against a constant answer", load: read, constant: true, regions: 1, value: perSecond, goal: 0.80},
		{name: "replicate", unit: "writes of 200 bytes visible in three regions", load: write, regions: 3, value: visiblePerSecond, goal: 0.60},
	}
}

func measure(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("limit", flag.ExitOnError)
	rounds := fs.Int("rounds", 3, "how often each is measured, in turn")
	duration := fs.Duration("duration", 10*time.Second, "how long each is measured")
	warmup := fs.Duration("warmup", 6*time.Second, "how long the load runs before that")
	latency := fs.Bool("latency", false, "also measure latencies, of both at half of what Meridian does at most")
	only := fs.String("case", "", "which figures: write, update, read, replicate (default all)")
	verbose := fs.Bool("v", false, "show each report")
	program := fs.String("meridian", "", "the program to measure (default this source)")
	if err := fs.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "limit-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if *program == "" {
		*program = filepath.Join(dir, "meridian")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", *program, module).CombinedOutput(); err != nil {
			return fmt.Errorf("build meridian: %w\n%s", err, out)
		}
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FIGURE\tPIPE/S\tMERIDIAN/S\tRATIO\tOF ROUNDS\tGOAL")
	latencies := newLatencyTable()
	c := comparison{program: *program, rounds: *rounds, duration: *duration, warmup: *warmup, verbose: *verbose}
	for _, f := range figures() {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), f.name) {
			continue
		}
		pipes, ours, err := c.run(ctx, f, 0)
		if err != nil {
			return err
		}
		most := values(ours, f.value)
		ratios := make([]float64, len(ours))
		for i := range ratios {
			ratios[i] = f.value(ours[i]) / f.value(pipes[i])
		}
		fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.0f %%\t%.0f–%.0f %%\t%.0f %%\n", f.unit, median(values(pipes, f.value)), median(most),
			100*median(ratios), 100*slices.Min(ratios), 100*slices.Max(ratios), 100*f.goal)
		if err := table.Flush(); err != nil {
			return err
		}
		if *latency {
			rate := median(most) / 2
			if pipes, ours, err = c.run(ctx, f, rate); err != nil {
				return err
			}
			latencies.add(f, rate, pipes, ours)
		}
	}
	return latencies.print()
}

// A comparison says how both are measured.
type comparison struct {
	program          string
	rounds           int
	duration, warmup time.Duration
	verbose          bool
}

// run measures the pipe and Meridian in turn, at a rate, or as fast as they are if that is 0.
func (c comparison) run(ctx context.Context, f figure, rate float64) (pipes, ours []*bench.Report, err error) {
	prepare := func(load bench.Config) bench.Config {
		load.Duration, load.Warmup, load.Rate, load.Collection = c.duration, c.warmup, rate, "limit"
		return load
	}
	load := prepare(f.load)
	limit := load
	if f.limit != nil {
		limit = prepare(*f.limit)
	}
	load.Regions, load.Program = f.regions, c.program
	for range c.rounds {
		theirs, err := runPipe(ctx, f, limit)
		if err != nil {
			return nil, nil, err
		}
		own, err := bench.Run(ctx, load)
		if err != nil {
			return nil, nil, err
		}
		if c.verbose {
			fmt.Fprintf(os.Stderr, "== %s: pipe\n%s\n== %s: meridian\n%s\n", f.name, theirs, f.name, own)
		}
		pipes, ours = append(pipes, theirs), append(ours, own)
	}
	return pipes, ours, nil
}

func values(reports []*bench.Report, value func(*bench.Report) float64) []float64 {
	out := make([]float64, len(reports))
	for i, r := range reports {
		out[i] = value(r)
	}
	return out
}

func median(v []float64) float64 {
	sorted := slices.Sorted(slices.Values(v))
	return sorted[len(sorted)/2]
}

// runPipe measures a pipe of as many processes as the figure has regions.
func runPipe(ctx context.Context, f figure, load bench.Config) (_ *bench.Report, err error) {
	pipes, err := startPipes(ctx, f.regions, f.constant)
	if err != nil {
		return nil, err
	}
	defer func() {
		if stopErr := pipes.stop(); err == nil {
			err = stopErr
		}
	}()
	load.Addrs = pipes.urls
	return bench.Run(ctx, load)
}
