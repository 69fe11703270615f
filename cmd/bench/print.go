package bench

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// String is the report for people.
func (r *Report) String() string {
	var b bytes.Buffer
	c := &r.Config
	w, _ := workloadOf(c.Workload)
	fmt.Fprintf(&b, "Workload %s: %s.\n", w.Name, w.About)
	fmt.Fprintf(&b, "%d documents%s (%s), chosen %s.\n", c.Records, w.documentSize(c), c.Type, c.Keys)
	how := "each sends when it was answered"
	if c.Rate > 0 {
		how = fmt.Sprintf("%.6g requests due per second", c.Rate)
	}
	fmt.Fprintf(&b, "%s%s; %d clients, to %s, %s; %.3g s after %v.\n\n",
		plural(len(r.Regions), "region"), shape(c), c.Clients, map[string]string{ToAll: "all regions", ToFirst: "the first"}[c.To], how, r.Seconds, c.Warmup)
	r.printOperations(&b)
	r.printVisible(&b)
	r.printFeeds(&b)
	r.printRegions(&b)
	if r.Checked != "" {
		fmt.Fprintf(&b, "\nChecked: %s.\n", r.Checked)
	}
	return b.String()
}

// documentSize tells how large documents are, where that is a setting.
func (w *Workload) documentSize(c *Config) string {
	if w.documents {
		return ""
	}
	return fmt.Sprintf(" of %d bytes in %s", c.Size, plural(c.Fields, "field"))
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func shape(c *Config) string {
	if len(c.Addrs) > 0 || c.Regions < 2 {
		return ""
	}
	return " in a " + c.Topology + " on this machine"
}

// A grid prints aligned columns.
type grid struct{ *tabwriter.Writer }

func newGrid(b *bytes.Buffer, header ...string) grid {
	g := grid{tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)}
	g.row(header...)
	return g
}

func (g grid) row(cells ...string) { fmt.Fprintln(g, strings.Join(cells, "\t")) }

func (g grid) end() { _ = g.Flush() } // into a buffer

func ms(v float64) string { return fmt.Sprintf("%.2f", v) }

func (r *Report) printOperations(b *bytes.Buffer) {
	g := newGrid(b, "OPERATION", "COUNT", "PER SECOND", "MEAN MS", "P50", "P90", "P99", "P99.9", "MAX")
	all := r.Operations
	if len(all) != 1 {
		all = append(all[:len(all):len(all)], r.Total)
	}
	for _, o := range all {
		g.row(o.Name, fmt.Sprint(o.Count), fmt.Sprintf("%.0f", o.PerSecond), ms(o.Mean), ms(o.P50), ms(o.P90), ms(o.P99), ms(o.P999), ms(o.Max))
	}
	g.end()
	for _, kind := range r.failures() {
		fmt.Fprintf(b, "failed: %d × %s\n", r.Failed[kind], kind)
	}
	if l := r.Late; l != nil {
		fmt.Fprintf(b, "free clients woke late by %s ms at the median, %s ms at p99; that is left out above\n", ms(l.P50), ms(l.P99))
	}
}

func (r *Report) printVisible(b *bytes.Buffer) {
	if len(r.Visible) > 0 {
		fmt.Fprintln(b)
		g := newGrid(b, "VISIBLE", "WRITES", "MS AFTER ACKNOWLEDGEMENT P50", "P99", "MAX", "AFTER SENDING P50", "P99", "MAX")
		for _, v := range r.Visible {
			a, s := v.Acknowledged, v.Sent
			g.row(v.From+" → "+v.To, fmt.Sprint(a.Count), ms(a.P50), ms(a.P99), ms(a.Max), ms(s.P50), ms(s.P99), ms(s.Max))
		}
		g.end()
		if r.Unfollowed > 0 {
			fmt.Fprintf(b, "%d writes were lost sight of\n", r.Unfollowed)
		}
	}
	if r.Conflicts > 0 {
		fmt.Fprintf(b, "\nConflicts: %d were seen, in all regions together.\n", r.Conflicts)
	}
	if p := r.Replication; p != nil {
		fmt.Fprintf(b, "\nReplication: %.0f changes per second became visible in all regions; %d were on their way at the end, for %.2f s.\n",
			p.VisiblePerSecond, p.Backlog, p.DrainSeconds)
		fmt.Fprintf(b, "Traffic per change, of all links: %.0f bytes of messages in %.0f bytes of packets, for %.0f bytes of JSON.\n",
			p.FrameBytes, p.WireBytes, p.Payload)
	}
}

func (r *Report) printFeeds(b *bytes.Buffer) {
	f := r.Feeds
	if f == nil {
		return
	}
	fmt.Fprintf(b, "\nFeeds: %s, to which %.0f changes per second were delivered.\n", plural(f.Readers, "reader"), f.PerSecond)
	g := newGrid(b, "DELIVERED", "CHANGES", "MS AFTER SENDING MEAN", "P50", "P90", "P99", "P99.9", "MAX")
	for _, d := range f.Deliveries {
		g.row(d.From+" → "+d.To, fmt.Sprint(d.Count), ms(d.Mean), ms(d.P50), ms(d.P90), ms(d.P99), ms(d.P999), ms(d.Max))
	}
	g.end()
	if f.Interrupted > 0 {
		fmt.Fprintf(b, "feeds were interrupted %d times, and went on where they had been\n", f.Interrupted)
	}
}

func (r *Report) printRegions(b *bytes.Buffer) {
	fmt.Fprintln(b)
	g := newGrid(b, "REGION", "CPUS", "RSS", "PEAK", "HEAP", "ALLOCATIONS/OP", "BYTES/OP", "COLLECTIONS", "DISK", "WRITTEN PER BYTE")
	for i := range r.Regions {
		p := &r.Regions[i]
		if !p.Process {
			g.row(p.Region, "-", "-", "-", "-", "-", "-", "-", mib(p.DiskBytes), "-")
			continue
		}
		written := "-"
		if p.Written > 0 {
			written = fmt.Sprintf("%.1f", p.Written)
		}
		g.row(p.Region, fmt.Sprintf("%.2f", p.CPU), mib(p.RSSBytes), mib(p.PeakRSSBytes), mib(int64(p.HeapBytes)),
			fmt.Sprintf("%.0f", p.Allocations), fmt.Sprintf("%.0f", p.AllocatedBytes), fmt.Sprint(p.Collections), mib(p.DiskBytes), written)
	}
	g.end()
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// String is one line.
func (p Progress) String() string {
	switch {
	case p.Total > 0:
		return fmt.Sprintf("%s: %d of %d %s", p.Phase, p.Done, p.Total, cmp.Or(p.Unit, "documents"))
	case p.Phase == phaseDraining:
		return fmt.Sprintf("%s: %d changes on their way", p.Phase, p.Lag)
	}
	line := fmt.Sprintf("%s: %v of %v, %.0f/s, p50 %.2f ms, p99 %.2f ms", p.Phase, p.Elapsed.Round(time.Second), p.Of,
		p.Rate, p.P50.Seconds()*1000, p.P99.Seconds()*1000)
	if p.Failed > 0 {
		line += fmt.Sprintf(", %d failed", p.Failed)
	}
	return line
}
