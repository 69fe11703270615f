package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/api/client"
)

// What --probe takes.
const (
	probeReady = "ready"
	probeLive  = "live"
)

func newStatus(a *app) *cobra.Command {
	var (
		probe  string
		wait   time.Duration
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how it stands with the regions and their links",
		Long: `Show the cluster as one region sees it. For each other region:

  LINK     up, silent (a connection on which nothing is heard) or down
  RTT      the round trip on the direct link
  LAG      the changes held here that it is not known to hold, and for how long
  MISSING  the changes that it holds and that have not arrived here
  CLOCK    its clock minus the clock here
  HEARD    when news of it last came, over any path

With --probe say instead whether a region is ready for requests, or its process alive, by
the exit status: 0 or 1. Of several addresses all must be.`,
		Example: `  meridian status
  meridian status --addr 10.0.0.1:8080 --json | jq '.regions[] | {region, lag}'
  meridian status --probe ready --wait 30s     # in a script: wait until it is up`,
		GroupID: groupClient,
		Args:    exactArgs(),
	}
	t := a.addTarget(c)
	c.Flags().StringVar(&probe, "probe", "", "say by the exit status whether the region is `ready or live`")
	c.Flags().DurationVar(&wait, "wait", 0, "with --probe: how long to try before giving up")
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if probe != "" {
			if probe != probeReady && probe != probeLive {
				return usagef(c, "--probe %q: choose ready or live", probe)
			}
			all, err := t.clients(c)
			if err != nil {
				return err
			}
			return a.probe(c.Context(), all, probe, wait, asJSON)
		}
		if wait != 0 {
			return usagef(c, "--wait goes with --probe")
		}
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		s, err := cl.Cluster(c.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return a.printJSON(s.Raw)
		}
		return a.printStatus(cl, s, time.Now())
	}
	return c
}

// probeEvery is how often a region is asked while it is waited for.
const probeEvery = 50 * time.Millisecond

// probed is what a probe prints for programs.
type probed struct {
	Addr   string `json:"addr"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"`
}

func (a *app) probe(ctx context.Context, all []*client.Client, what string, wait time.Duration, asJSON bool) error {
	deadline, cancel := context.WithTimeout(ctx, max(wait, 0))
	defer cancel()
	var failed error
	for _, cl := range all {
		err := probeUntil(ctx, deadline, cl, what)
		p := probed{Addr: cl.Addr(), OK: err == nil}
		if err != nil {
			failed, p.Reason = errSilent, err.Error()
		}
		switch {
		case asJSON:
			if err := a.printJSON(p); err != nil {
				return err
			}
		case err == nil:
			fmt.Fprintf(a.out, "%s is %s\n", p.Addr, what)
		default:
			fmt.Fprintf(a.out, "%s is not %s: %s\n", p.Addr, what, printable(p.Reason))
		}
	}
	return failed
}

// probeUntil asks at least once, and then until the deadline.
func probeUntil(ctx, deadline context.Context, cl *client.Client, what string) error {
	ask := cl.Ready
	if what == probeLive {
		ask = cl.Live
	}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		once, cancel := context.WithTimeout(ctx, client.ProbeTimeout)
		err := ask(once)
		cancel()
		if err == nil {
			return nil
		}
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %v", client.ProbeTimeout)
		}
		select {
		case <-deadline.Done():
			return err
		case <-tick.C:
		}
	}
}

func (a *app) printStatus(cl *client.Client, s *client.Cluster, now time.Time) error {
	shape := shapeText(s.Topology)
	var held uint64
	for _, seq := range s.Vector {
		held += seq
	}
	fmt.Fprintf(a.out, "Cluster %s, %s, %s, seen from %s (%s), which holds %d changes in %s.\n",
		printable(s.Cluster), count(len(s.Regions)+1, "region"), shape, printable(s.Region), cl.Addr(),
		held, byteSize(s.Storage.Records+s.Storage.Journal))
	if s.Problem != "" {
		fmt.Fprintf(a.out, "It takes no writes: %s\n", printable(s.Problem))
	}
	for _, alarm := range s.Alarms {
		fmt.Fprintf(a.out, "ALARM: %s\n", printable(alarm))
	}
	if s.Snapshot != nil {
		fmt.Fprintln(a.out, snapshotLine(s.Snapshot))
	}
	if s.Inbox.Changes > 0 {
		fmt.Fprintf(a.out, "%d changes wait here for others that they depend on.\n", s.Inbox.Changes)
	}
	if len(s.Regions) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	tab := newTable("REGION", "LINK", "RTT", "LAG", "MISSING", "CLOCK", "HEARD", "ADDRESS")
	for i := range s.Regions {
		tab.add(regionRow(&s.Regions[i], now)...)
	}
	if err := a.printTable(tab); err != nil {
		return err
	}
	gap := "\n"
	for i := range s.Regions {
		if r := &s.Regions[i]; r.Link.LastError != "" {
			fmt.Fprintf(a.out, "%sLink with %s: %s\n", gap, printable(r.Region), printable(r.Link.LastError))
			gap = ""
		}
	}
	return nil
}

// shapeText says which shape the links have.
func shapeText(t client.Topology) string {
	shape := t.Kind
	if t.Hub != "" {
		shape += " around " + t.Hub
	}
	if len(t.Deputies) > 0 {
		shape += ", or " + strings.Join(t.Deputies, ", ")
	}
	return printable(shape)
}

// snapshotLine says how far a region has got that copies another one.
func snapshotLine(s *client.Snapshot) string {
	from := "another region"
	if s.Region != "" {
		from = printable(s.Region)
	}
	line := fmt.Sprintf("It takes a snapshot of %s: %d documents, %s", from, s.Documents, byteSize(int64(s.Bytes)))
	switch {
	case s.Replaying:
		return line + ", all of them; it catches up with what was written meanwhile."
	case s.TotalBytes > s.Bytes:
		line += fmt.Sprintf(" of about %s", byteSize(int64(s.TotalBytes)))
	}
	if s.BytesPerSecond > 0 {
		line += fmt.Sprintf(", %s/s", byteSize(int64(s.BytesPerSecond)))
	}
	if s.SecondsLeft > 0 {
		line += fmt.Sprintf(", about %v left", time.Duration(s.SecondsLeft*float64(time.Second)).Round(time.Second))
	}
	return line + "."
}

// unknown stands for what is not known.
const unknown = "-"

func regionRow(r *client.Region, now time.Time) []string {
	rtt, clock, heard := unknown, unknown, "never"
	if r.Link.State != "down" {
		rtt = fmt.Sprintf("%.1f ms", r.Link.RTTMs)
		clock = fmt.Sprintf("%+.1f ms", r.ClockOffsetMs)
	}
	if r.LastHeard != nil {
		heard = fmt.Sprintf("%.1f s ago", max(now.Sub(*r.LastHeard), 0).Seconds())
	}
	lag := fmt.Sprint(r.Lag)
	if r.Lag > 0 {
		lag += fmt.Sprintf(" (%.1f s)", r.LagSeconds)
	}
	return []string{r.Region, r.Link.State, rtt, lag, fmt.Sprint(r.Missing), clock, heard, or(r.Link.Address)}
}

func or(s string) string {
	if strings.TrimSpace(s) == "" {
		return unknown
	}
	return s
}

// byteSize writes a number of bytes for people.
func byteSize(n int64) string {
	const step = 1024
	f, units := float64(n), "KMGTPE"
	if n < step {
		return fmt.Sprintf("%d bytes", n)
	}
	i := -1
	for ; f >= step && i < len(units)-1; i++ {
		f /= step
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}
