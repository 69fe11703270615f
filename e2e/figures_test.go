package e2e

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/cmd/bench"
	"github.com/meridiandb/meridian/e2e/cluster"
)

var (
	// figures makes TestFigures measure.
	figures = flag.Bool("e2e.figures", false, "measure how cost grows with the work; see bench/README.md")
	// figureFor is how long each load is measured.
	figureFor = flag.Duration("e2e.figures-for", 5*time.Second, "how long each load of -e2e.figures is measured")
	// figureLeast and figureDocs are the fewest and the most documents.
	figureLeast = flag.Int("e2e.figures-docs-least", 1000, "the fewest documents of -e2e.figures")
	figureDocs  = flag.Int("e2e.figures-docs", 1_000_000, "the most documents of -e2e.figures")
)

// TestFigures prints tables and judges nothing: figures of a machine that does
// other things too are not worth a verdict.
func TestFigures(t *testing.T) {
	if !*figures {
		t.Skip("measures for half an hour: -e2e.figures")
	}
	for _, f := range []struct {
		name string
		make func(t *testing.T) table
	}{
		{"latency", latencyFigures},
		{"wire", wireFigures},
		{"regions", regionFigures},
		{"catchup", catchUpFigures},
		{"sizes", sizeFigures},
		{"elements", elementFigures},
		{"feeds", feedFigures},
		{"documents", documentFigures},
	} {
		t.Run(f.name, func(t *testing.T) { fmt.Println(f.make(t)) })
	}
}

// A table is printed as Markdown.
type table struct {
	title string
	rows  [][]string // the first is the head
}

func newTable(title string, head ...string) table { return table{title, [][]string{head}} }

func (tb *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case float64:
			row[i] = strconv.FormatFloat(c, 'f', decimals(c), 64)
		default:
			row[i] = fmt.Sprint(c)
		}
	}
	tb.rows = append(tb.rows, row)
	fmt.Fprintln(os.Stderr, row)
}

// decimals keeps about three digits.
func decimals(v float64) int {
	switch {
	case v >= 100:
		return 0
	case v >= 10:
		return 1
	}
	return 2
}

func (tb table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n### %s\n\n", tb.title)
	for i, row := range tb.rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			fmt.Fprintf(&b, "|%s\n", strings.Repeat("---|", len(row)))
		}
	}
	return b.String()
}

// register is the load of 200-byte registers, document that of one field of 1 KB.
func register(records int) bench.Config {
	return bench.Config{Workload: "update", Type: bench.TypeRegister, Size: 200, Fields: 1, Records: records, Keys: bench.KeysUniform}
}

func document(records int) bench.Config {
	return bench.Config{Workload: "update", Size: 1000, Fields: 10, Records: records, Keys: bench.KeysUniform}
}

// measure puts a load on a cluster of its own.
func measure(t *testing.T, cfg bench.Config) *bench.Report {
	t.Helper()
	cfg.Program, cfg.Collection = cluster.Binary(t), "figures"
	cfg.Duration, cfg.Warmup = *figureFor, *figureFor/4
	r, err := bench.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// on puts a load on regions that are there.
func on(t *testing.T, cfg bench.Config, nodes ...*cluster.Node) *bench.Report {
	t.Helper()
	for _, n := range nodes {
		cfg.Addrs = append(cfg.Addrs, n.URL())
	}
	return measure(t, cfg)
}

const mib = 1 << 20

func median(v []float64) float64 { return slices.Sorted(slices.Values(v))[len(v)/2] }

// visible is the median over all pairs of regions of how soon a write is visible
// elsewhere, by which quantile pick takes.
func visible(r *bench.Report, pick func(l bench.Latency) float64) float64 {
	var all []float64
	for _, v := range r.Visible {
		all = append(all, pick(v.Acknowledged))
	}
	if len(all) == 0 {
		return 0
	}
	return median(all)
}

func p50(l bench.Latency) float64 { return l.P50 }
func p99(l bench.Latency) float64 { return l.P99 }

// syncTime is how long the disk takes to make four kilobytes durable.
func syncTime(t *testing.T) (half, most float64) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "sync"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var took []float64
	for range 500 {
		start := time.Now()
		if _, err := f.WriteAt(make([]byte, 4096), 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		took = append(took, float64(time.Since(start).Microseconds())/1000)
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100]
}

// latencyFigures measures what a request takes at half of what can be had.
func latencyFigures(t *testing.T) table {
	half, most := syncTime(t)
	tb := newTable(fmt.Sprintf("Latency at half load (ms; a sync of the disk takes %.2f, p99 %.2f)", half, most),
		"load", "at most, per second", "at half: p50", "p99", "p99.9")
	read := register(10_000)
	read.Workload = "C"
	for _, l := range []struct {
		name string
		cfg  bench.Config
	}{{"write, register of 200 B", register(10_000)}, {"update of a field in 1 KB", document(10_000)}, {"read of 200 B", read}} {
		full := measure(t, l.cfg)
		l.cfg.Rate = full.Total.PerSecond / 2
		r := measure(t, l.cfg)
		tb.add(l.name, full.Total.PerSecond, r.Total.P50, r.Total.P99, r.Total.P999)
	}
	slow := register(10_000)
	slow.Regions, slow.Rate, slow.Samples, slow.Clients = 3, 50, 50, 8
	r := measure(t, slow)
	tb.add("50 writes/s in three regions", "", r.Total.P50, r.Total.P99, r.Total.P999)
	tb.add("… visible in another, since the answer", "", visible(r, p50), visible(r, p99), "")
	return tb
}

// wireFigures measures what goes over the links for a write.
func wireFigures(t *testing.T) table {
	tb := newTable("Bytes on the links of three regions for a replicated write of 200 B, all links together",
		"topology", "writes/s", "document", "messages", "packets")
	for _, kind := range []string{cluster.Mesh, cluster.Ring, cluster.Star} {
		for _, rate := range []float64{50, 1000} {
			cfg := register(1000)
			cfg.Regions, cfg.Topology, cfg.Rate = 3, kind, rate
			r := measure(t, cfg)
			tb.add(kind, rate, r.Replication.Payload, r.Replication.FrameBytes, r.Replication.WireBytes)
		}
	}
	return tb
}

func regionFigures(t *testing.T) table {
	tb := newTable("Regions (300 writes/s in all, mesh, ring and star)",
		"regions", "topology", "write p50, ms", "p99", "visible p50, ms", "p99", "packets, B per write", "CPUs of all", "RSS of one, MiB")
	for _, n := range []int{2, 3, 5, 9} {
		for _, kind := range []string{cluster.Mesh, cluster.Ring, cluster.Star} {
			if n == 2 && kind != cluster.Mesh {
				continue
			}
			cfg := register(1000)
			cfg.Regions, cfg.Topology, cfg.Rate, cfg.Samples = n, kind, 300, 50
			r := measure(t, cfg)
			cpu := 0.0
			for _, reg := range r.Regions {
				cpu += reg.CPU
			}
			tb.add(n, kind, r.Total.P50, r.Total.P99, visible(r, p50), visible(r, p99), r.Replication.WireBytes, cpu, r.Regions[0].RSSBytes/mib)
		}
	}
	return tb
}

// catchUpFigures compares how fast a region writes with how fast another, that was
// away, takes that in.
func catchUpFigures(t *testing.T) table {
	tb := newTable("Catch-up of a region that was away", "written meanwhile", "live, writes/s", "catch-up, changes/s", "ratio")
	c := cluster.Start(t, cluster.Options{Regions: cluster.Regions[:2], Args: []string{"--catch-up-rate", "-1"}})
	a, b := c.Nodes[0], c.Nodes[1]
	for range 3 {
		before := sum(a.MustCluster(t).Vector)
		b.Stop(t)
		cfg := register(10_000)
		r := on(t, cfg, a)
		want := sum(a.MustCluster(t).Vector)
		b.Start(t)
		var start time.Time
		for deadline := time.Now().Add(cluster.Patience); ; {
			held := sum(b.MustCluster(t).Vector)
			if start.IsZero() && held > before {
				start, before = time.Now(), held
			}
			if held >= want {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d after a minute", held, want)
			}
		}
		rate := float64(want-before) / time.Since(start).Seconds()
		tb.add(want-before, r.Total.PerSecond, rate, rate/r.Total.PerSecond)
	}
	return tb
}

func sum(vector map[string]uint64) (n uint64) {
	for _, seq := range vector {
		n += seq
	}
	return n
}

func sizeFigures(t *testing.T) table {
	tb := newTable("Sizes of documents (updates of one of ten fields, 100/s)",
		"bytes", "p50, ms", "p99", "CPU per write, ms", "allocated per write, KB", "written to the disk per byte", "RSS, MiB")
	for _, n := range []int{200, 1000, 5000, 20_000, 50_000, 200_000} {
		cfg := document(min(1000, 20_000_000/n))
		cfg.Size, cfg.Rate = n, 100
		r := measure(t, cfg)
		reg := r.Regions[0]
		tb.add(n, r.Total.P50, r.Total.P99, reg.CPU*1000/r.Total.PerSecond, reg.AllocatedBytes/1000, reg.Written, reg.RSSBytes/mib)
	}
	return tb
}

// elementFigures measures a push to the end of a list.
func elementFigures(t *testing.T) table {
	tb := newTable("Elements of a list (a push to its end and a removal of its first, one after the other)",
		"elements", "p50, ms", "p99", "region's CPU per write, ms")
	c := cluster.Start(t, cluster.Options{Regions: cluster.Regions[:1]})
	n := c.Nodes[0]
	for _, elements := range []int{1, 10, 100, 1000, 10_000} {
		id := strconv.Itoa(elements)
		n.Put(t, "lists", id, `{"list":[`+strings.TrimSuffix(strings.Repeat(`"element",`, elements), ",")+`]}`)
		patch := `[{"op":"insert","path":"/list/-","value":"element"},{"op":"delete","path":"/list/0"}]`
		var took []float64
		cpu := cpuOf(t, n)
		for deadline := time.Now().Add(*figureFor); time.Now().Before(deadline); {
			start := time.Now()
			n.Patch(t, "lists", id, "application/vnd.meridian.ops+json", patch)
			took = append(took, float64(time.Since(start).Microseconds())/1000)
		}
		slices.Sort(took)
		tb.add(elements, median(took), took[len(took)*99/100], (cpuOf(t, n)-cpu)*1000/float64(len(took)))
	}
	return tb
}

// cpuOf is how many seconds of CPU a region's process has used.
func cpuOf(t *testing.T, n *cluster.Node) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID()))
	if err != nil {
		t.Skip("the CPU time of a process is read from /proc:", err)
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	ticks := 0.0
	for _, f := range fields[11:13] {
		v, err := strconv.ParseFloat(f, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += v
	}
	return ticks / 100
}

// feedFigures measures writes while others read the feed.
func feedFigures(t *testing.T) table {
	tb := newTable("Readers of the change feed (200 writes/s)", "readers", "write p50, ms", "p99", "CPUs", "RSS, MiB", "events read per second")
	for _, readers := range []int{1, 10, 100, 1000} {
		c := cluster.Start(t, cluster.Options{Regions: cluster.Regions[:1]})
		n := c.Nodes[0]
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var mu sync.Mutex
		events := 0
		client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 0}}
		for range readers {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.URL()+"/v1/changes", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", "text/event-stream")
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != http.StatusOK {
				t.Fatal(res.Status)
			}
			wg.Go(func() {
				defer res.Body.Close()
				seen := 0
				for lines := bufio.NewScanner(res.Body); lines.Scan(); {
					if strings.HasPrefix(lines.Text(), "data:") {
						seen++
					}
				}
				mu.Lock()
				defer mu.Unlock()
				events += seen
			})
		}
		cfg := register(100)
		cfg.Rate, cfg.Clients = 200, 8
		r := on(t, cfg, n)
		cancel()
		wg.Wait()
		client.CloseIdleConnections()
		tb.add(readers, r.Total.P50, r.Total.P99, r.Regions[0].CPU, r.Regions[0].RSSBytes/mib, float64(events)/(r.Seconds*5/4))
	}
	return tb
}

// documentFigures measures a store that grows: under load, idle, and at a start.
func documentFigures(t *testing.T) table {
	tb := newTable("Documents (1 KB; updates of a field and reads, 500/s each; then idle, and started again)",
		"documents", "loaded per second", "update p50, ms", "p99", "read p50, ms", "p99", "memory after the load, MiB", "mapped files", "disk",
		"idle from the 5th second on: CPU, %", "from the 60th on: CPU, %", "memory, MiB", "mapped files", "start, clean, s", "start after kill -9, s")
	for docs := *figureLeast; docs <= *figureDocs; docs *= 10 {
		c := cluster.Start(t, cluster.Options{Regions: cluster.Regions[:1]})
		n := c.Nodes[0]
		cfg := document(docs)
		cfg.Rate = 500
		w := on(t, cfg, n)
		read := cfg
		read.Workload = "C"
		r := on(t, read, n)
		taken, mapped := n.Memory(t)
		time.Sleep(5 * time.Second) // flushes and compactions end
		soon := idleCPU(t, n)
		time.Sleep(45 * time.Second)
		later := idleCPU(t, n)
		takenIdle, mappedIdle := n.Memory(t)
		n.Stop(t)
		clean := startTime(t, n)
		cfg.Records = min(docs, 1000)
		on(t, cfg, n) // something in the journal
		n.Kill(t)
		killed := startTime(t, n)
		tb.add(docs, float64(w.Loaded.Documents)/w.Loaded.Seconds, w.Total.P50, w.Total.P99, r.Total.P50, r.Total.P99,
			taken/mib, mapped/mib, r.Regions[0].DiskBytes/mib, soon, later, takenIdle/mib, mappedIdle/mib, clean, killed)
		n.Stop(t)
	}
	return tb
}

// idleCPU is what a region that nobody asks takes of a processor, in percent, over ten seconds.
func idleCPU(t *testing.T, n *cluster.Node) float64 {
	t.Helper()
	const seconds = 10
	before := cpuOf(t, n)
	time.Sleep(seconds * time.Second)
	return (cpuOf(t, n) - before) / seconds * 100
}

// startTime is how long a region takes from its start until it takes requests.
func startTime(t *testing.T, n *cluster.Node) float64 {
	t.Helper()
	start := time.Now()
	n.Start(t)
	return time.Since(start).Seconds()
}
