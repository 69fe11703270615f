package cmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/cmd/bench"
)

const benchLong = `Put load on regions and measure it: latency, throughput, how soon writes are visible in
the other regions, what goes over the links, and what the regions take of their machines.
Without --addr a cluster of --regions processes is made on this machine for the run, and
removed afterwards.

Workloads:
%s
Clients send their next request when the last one was answered (a closed loop), or, with
--rate, when it is due, whether or not the earlier ones were answered; latencies then
count from when a request was due, so that a region that stalls cannot hide it.

Visibility: --samples writes a second are followed, besides the load. Each is a PUT in one
region and, as soon as it is acknowledged, a GET with its token in each of the others.
The time until that is answered includes the round trip of the GET.

Feeds: the workload feed writes documents that say when they were sent, and --readers change
feeds, spread over all regions, tell how long that was ago. At the end every reader must have
had every write that was acknowledged.

What the clients take of the machine counts: on the same machine as the regions, or on few
processors, figures tell more about each other than by themselves. --compare shows what
has changed since a report that --out wrote.

With --addr the documents stay in the collection when the run is over.`

const benchExample = `  meridian bench                                     # one region, workload A
  meridian bench --regions 3 --workload update --duration 30s
  meridian bench --regions 3 --rate 2000 --out before.json
  meridian bench --workload feed --readers 1000 --rate 20
  meridian bench --regions 3 --rate 2000 --compare before.json
  meridian bench --addr 10.0.0.1:8080,10.1.0.1:8080 --workload B --records 1000000
  meridian bench --type register --fields 1 --size 200 --workload insert --json`

func newBench(a *app) *cobra.Command {
	var (
		cfg                   bench.Config
		out, compare          string
		quiet, asJSON, logged bool
	)
	c := &cobra.Command{
		Use:     "bench [flags]",
		Short:   "Measure latency, throughput, replication and their cost",
		Long:    fmt.Sprintf(benchLong, workloadList()),
		Example: benchExample,
		GroupID: groupServe,
		Args:    exactArgs(),
	}
	f := c.Flags()
	f.StringVar(&cfg.Workload, "workload", "A", "the `mixture` of requests, see above")
	f.StringSliceVar(&cfg.Addrs, addrFlag, nil, "the `addresses` of regions that are running, host:port or URLs")
	f.IntVar(&cfg.Regions, "regions", 1, fmt.Sprintf("how `many` regions the local cluster has, 1 to %d", bench.MaxRegions))
	f.StringVar(&cfg.Topology, "topology", "mesh", "the `shape` of the local cluster's links: mesh, ring or star")
	f.StringVar(&cfg.Data, "data", "", "keep the local cluster's stores in this `folder` (default a temporary one)")
	f.IntVar(&cfg.Clients, "clients", bench.DefaultClients, "how `many` clients send requests, one at a time each")
	f.StringVar(&cfg.To, "to", bench.ToAll, "`which` regions they talk to: all or first")
	f.Float64Var(&cfg.Rate, "rate", 0, "how many `requests` are due per second, of all clients together; 0 is a closed loop")
	f.DurationVar(&cfg.Duration, "duration", bench.DefaultDuration, "how long is measured")
	f.DurationVar(&cfg.Warmup, "warmup", bench.DefaultWarmup, "how long the load runs before that")
	f.IntVar(&cfg.Records, "records", 0, "how many `documents` there are at first (default 10,000; fewer for conflict, counter and list)")
	f.IntVar(&cfg.Size, "size", bench.DefaultSize, "the `bytes` of a document")
	f.IntVar(&cfg.Fields, "fields", bench.DefaultFields, "in how many `fields` they are")
	f.StringVar(&cfg.Keys, "keys", "", "how documents are chosen: uniform, zipfian or latest (default that of the workload)")
	f.IntVar(&cfg.Batch, "batch", bench.DefaultBatch, "how many `documents` a request of the workload batch writes")
	f.IntVar(&cfg.Readers, "readers", 0, fmt.Sprintf("how `many` change feeds follow the workload feed (default %d)", bench.DefaultReaders))
	f.StringVar(&cfg.Type, "type", bench.TypeDocument, "the collection's `type`: document or register")
	f.StringVar(&cfg.Collection, "collection", "bench", "the `collection`; it is made if it is not there")
	f.StringVar(&cfg.Acks, "acks", "", "what writes wait for: a `number` of regions, majority, all or names")
	f.Float64Var(&cfg.Samples, "samples", bench.DefaultSamples, "how many `writes` per second are followed into the other regions; 0 is none")
	f.Uint64Var(&cfg.Seed, "seed", 1, "the `number` that keys and values are drawn from")
	f.StringVar(&out, "out", "", "also write the report, as JSON, to this `file`")
	f.StringVar(&compare, "compare", "", "show what has changed since the report in this `file`")
	f.BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	f.BoolVar(&logged, "verbose", false, "show on standard error what the local cluster logs")
	addJSONFlag(c, &asJSON)
	f.SortFlags = false
	markSettings(c, addrFlag)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := loadSettings(c); err != nil {
			return err
		}
		for _, local := range []string{"regions", "topology", "data", "verbose"} {
			if len(cfg.Addrs) > 0 && f.Changed(local) {
				return usagef(c, "--%s is for a local cluster, and --addr names one that is running", local)
			}
		}
		old, err := oldReport(c, compare)
		if err != nil {
			return err
		}
		if err := cfg.Validate(); err != nil {
			return usageError{c, err}
		}
		if cfg.Program, err = os.Executable(); err != nil {
			return err
		}
		if logged {
			cfg.Log = a.err
		}
		line := a.newLine(quiet)
		cfg.Progress = func(p bench.Progress) { line.show(p.String()) }
		report, err := bench.Run(c.Context(), cfg)
		line.end()
		if err != nil {
			return benchError(c, err)
		}
		return a.printBench(report, old, out, asJSON)
	}
	return c
}

func workloadList() string {
	var b strings.Builder
	for _, w := range bench.Workloads {
		fmt.Fprintf(&b, "  %-9s %s\n", w.Name, w.About)
	}
	return b.String()
}

// oldReport reads the report to compare with, before anything is measured.
func oldReport(c *cobra.Command, path string) (*bench.Report, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // nothing is to be compared
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, usagef(c, "--compare: %w", err)
	}
	r, err := bench.ParseReport(b)
	if err != nil {
		return nil, usagef(c, "--compare %s: %w", path, err)
	}
	return r, nil
}

func benchError(c *cobra.Command, err error) error {
	if errors.Is(err, bench.ErrConfig) {
		return usageError{c, err}
	}
	return err
}

const reportMode = 0o644

func (a *app) printBench(r, old *bench.Report, out string, asJSON bool) error {
	if out != "" {
		b, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(out, append(b, '\n'), reportMode); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	if asJSON {
		return a.printJSON(r)
	}
	fmt.Fprint(a.out, r)
	if old != nil {
		fmt.Fprintf(a.out, "\n%s", r.Compare(old))
	}
	return nil
}

// A line shows what goes on: on a terminal in one line that is written again and
// again, otherwise in a line from time to time.
type line struct {
	a        *app
	terminal bool
	quiet    bool
	last     time.Time
}

func (a *app) newLine(quiet bool) *line {
	return &line{a: a, terminal: isTerminal(a.err), quiet: quiet, last: time.Now()}
}

func (l *line) show(text string) {
	switch {
	case l.quiet:
	case l.terminal:
		fmt.Fprintf(l.a.err, "\r\x1b[K%s", text)
	case time.Since(l.last) >= lineEvery:
		l.last = time.Now()
		fmt.Fprintln(l.a.err, text)
	}
}

// note tells of something that happened, in a line of its own.
func (l *line) note(text string) {
	if l.quiet {
		return
	}
	l.end()
	fmt.Fprintln(l.a.err, text)
}

func (l *line) end() {
	if l.terminal && !l.quiet {
		fmt.Fprint(l.a.err, "\r\x1b[K")
	}
}
