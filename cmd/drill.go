package cmd

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/api/client"
	"github.com/meridiandb/meridian/cmd/drill"
)

const drillLong = `Cut a link of a cluster that is running for a while, write on all sides of it, and say what
came of it:

  writes      how many each region acknowledged while the link was cut, and how fast
  conflicts   how many came about, in the drill's documents and in all others
  lag         how far behind the regions fell, in changes and seconds
  converged   how soon after the cut all regions had the same changes
  documents   whether all have the same documents, by their digests
  lost        acknowledged writes that a region lacks in the end: there should be none

--link us-east:eu-west cuts one link; where there are others, changes go around it. --link
eu-west cuts all links of a region. The regions at --addr are written to and compared; all of
them should be given, and those that cut must run with --fault-injection.

The link comes back when the time is over, when the drill is interrupted, and by itself half a
minute later if the drill cannot reach the region any more. The writes go to a collection of
their own and are deleted afterwards, unless --keep is given or something was lost.

The exit status is 0 only if all regions converged, have the same documents and lost nothing.`

const drillExample = `  meridian drill --addr 10.0.0.1:8080,10.1.0.1:8080,10.2.0.1:8080 --link eu-west --for 1m
  meridian drill --addr 10.0.0.1:8080,10.1.0.1:8080 --writes 200 --json | jq .converge_seconds`

func newDrill(a *app) *cobra.Command {
	var (
		cfg           drill.Config
		quiet, asJSON bool
	)
	c := &cobra.Command{
		Use:     "drill [flags]",
		Short:   "Cut a link of a running cluster, and say what came of it",
		Long:    drillLong,
		Example: drillExample,
		GroupID: groupServe,
		Args:    exactArgs(),
	}
	f := c.Flags()
	f.StringSliceVar(&cfg.Addrs, addrFlag, nil, "the `addresses` of the regions, host:port or URLs (or "+envName(addrFlag)+")")
	f.StringVar(&cfg.Link, "link", "", "the `link` to cut, such as us-east:eu-west, or eu-west for all of its links (default that of the first two)")
	f.DurationVar(&cfg.For, "for", drill.DefaultFor, "how long")
	f.IntVar(&cfg.Writes, "writes", drill.DefaultWrites, "how `many` writes a second are made in each region; 0 is none")
	f.StringVar(&cfg.Collection, "collection", drill.DefaultCollection, "the `collection` that they go to")
	f.BoolVar(&cfg.Keep, "keep", false, "leave their documents there")
	f.DurationVar(&cfg.Patience, "patience", drill.DefaultPatience, "how long the regions may take to converge")
	f.BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	addJSONFlag(c, &asJSON)
	f.SortFlags = false
	markSettings(c, addrFlag)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := loadSettings(c); err != nil {
			return err
		}
		line := a.newLine(quiet)
		cfg.Progress, cfg.Note = line.show, line.note
		r, err := drill.Run(c.Context(), cfg)
		line.end()
		if err != nil {
			return drillError(c, err)
		}
		if asJSON {
			err = a.printJSON(r)
		} else {
			err = a.printDrill(r)
		}
		if err == nil && !r.Passed {
			err = errSilent
		}
		return err
	}
	return c
}

func drillError(c *cobra.Command, err error) error {
	var p *client.ProblemError
	switch {
	case errors.Is(err, drill.ErrConfig):
		return usageError{c, err}
	case errors.As(err, &p) && p.Name() == "fault-injection-off":
		return advise(err, `Links are cut by the regions themselves: start them with --fault-injection, as "meridian demo" does.`)
	}
	return err
}

func (a *app) printDrill(r *drill.Report) error {
	fmt.Fprintf(a.out, "%s of %s was cut for %.1f s.\n\n", printable(r.Link), printable(r.Cluster), r.CutSeconds)
	tab := newTable("REGION", "ACKNOWLEDGED", "REFUSED", "UNANSWERED", "P50", "P99", "MAX")
	for _, w := range r.Writes {
		tab.add(w.Region, fmt.Sprint(w.Acknowledged), fmt.Sprint(w.Refused), fmt.Sprint(w.Unanswered), millis(w.P50Ms), millis(w.P99Ms), millis(w.MaxMs))
	}
	if err := a.printTable(tab); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	for _, w := range r.Writes {
		if w.Error != "" {
			fmt.Fprintf(a.out, "the last error of %s: %s\n", printable(w.Region), printable(w.Error))
		}
	}
	made := make([]string, 0, len(r.Conflicts))
	for _, x := range r.Conflicts {
		made = append(made, fmt.Sprintf("%d in %s", x.Conflicts, printable(x.Collection)))
	}
	text := fmt.Sprint(r.ConflictsMade)
	if len(made) > 0 {
		text += ": " + strings.Join(made, ", ")
	}
	facts := newTable("conflicts", text)
	facts.add("peak lag", fmt.Sprintf("%d changes, %.1f s, from %s to %s", r.Peak.Changes, r.Peak.Seconds, or(r.Peak.From), or(r.Peak.To)))
	if r.Converged {
		facts.add("converged", fmt.Sprintf("%.3f s after the cut", r.ConvergeSeconds))
	} else {
		facts.add("converged", "NO: a region still lacks changes")
	}
	facts.add("documents", map[string]string{
		client.VerdictSame: "the same in all regions", client.VerdictDifferent: `DIFFERENT: see "meridian verify --cluster"`,
	}[r.Documents])
	if r.Documents == client.VerdictUnknown {
		facts.rows[len(facts.rows)-1][1] = "could not be compared: others go on writing, or a region is not heard"
	}
	facts.add("acknowledged writes lost", fmt.Sprint(r.Lost))
	if err := a.printTable(facts); err != nil {
		return err
	}
	for _, x := range r.Examples {
		fmt.Fprintf(a.out, "  %s\n", printable(x))
	}
	if len(r.NotChecked) > 0 {
		fmt.Fprintf(a.out, "not looked at, for want of their addresses: %s\n", printable(strings.Join(r.NotChecked, ", ")))
	}
	if r.Passed {
		fmt.Fprintln(a.out, "\nPassed.")
	} else {
		fmt.Fprintf(a.out, "\nFAILED. The drill's documents are in the collection %s.\n", printable(r.Collection))
	}
	return nil
}

func millis(ms float64) string {
	return time.Duration(ms * float64(time.Millisecond)).Round(10 * time.Microsecond).String()
}
