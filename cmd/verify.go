package cmd

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/api/client"
)

// maxVerifyWait is what a region takes for the time to wait.
const maxVerifyWait = 30 * time.Second

func newVerify(a *app) *cobra.Command {
	var (
		wait                   time.Duration
		cluster, quiet, asJSON bool
	)
	c := &cobra.Command{
		Use:   "verify --cluster|DIR",
		Short: "Check that all regions have the same documents, or a stopped store",
		Long: `With --cluster compare the documents of all regions, by digests that each region keeps up to
date as it writes. Regions can be compared when they hold the same changes, or where they hold
the same versions of documents; while changes are on their way between them this command
waits. It says for each region:

  same       it has the same documents, at the vector that is named
  different  it has other documents where it should have the same: something is damaged
  unknown    it could not be compared: it lacks changes, or has others, or is not heard

With DIR check the data folder of a region that does not run: the checksums of the files and
of each document, that the digests are those of the documents, that the log has all changes from
where it was cut up to what the region holds and each is the one that was written, and the
conflict log. Nothing is changed. It says so if the region was taking a snapshot of another
one; it goes on with that at its next start, so nothing is wrong then.

The exit status is 0 only if nothing is wrong, and with --cluster all regions are the same.`,
		Example: `  meridian verify --cluster --wait 10s
  meridian verify --cluster --json | jq '.regions[] | {region, verdict}'
  meridian verify data/us-east`,
		GroupID: groupClient,
		Args:    rangeArgs(0, "DIR"),
	}
	t := a.addTarget(c)
	c.Flags().BoolVar(&cluster, "cluster", false, "compare the regions")
	c.Flags().DurationVar(&wait, "wait", 5*time.Second, "with --cluster: how long to wait for changes that are on their way, at most 30s")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		switch {
		case cluster == (len(args) == 1):
			return usagef(c, "give either --cluster or the data folder of a region that does not run")
		case wait < 0 || wait > maxVerifyWait:
			return usagef(c, "--wait must be 0s to %v", maxVerifyWait)
		case !cluster:
			return a.verifyStore(c.Context(), args[0], quiet, asJSON)
		}
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		return a.verifyCluster(c.Context(), cl, wait, asJSON)
	}
	return c
}

func (a *app) verifyCluster(ctx context.Context, cl *client.Client, wait time.Duration, asJSON bool) error {
	s, err := cl.Convergence(ctx, wait)
	if err != nil {
		return err
	}
	if asJSON {
		err = a.printJSON(s.Raw)
	} else {
		err = a.printConvergence(cl, s)
	}
	if err == nil && s.Verdict != client.VerdictSame {
		err = errSilent
	}
	return err
}

func (a *app) printConvergence(cl *client.Client, s *client.Convergence) error {
	fmt.Fprintf(a.out, "%s (%s) has %s with the digest %s, by %d changes.\n\n", printable(s.Region), cl.Addr(),
		count(int(s.Documents), "document"), printable(s.Digest.Digest), changesIn(s.Vector))
	tab := newTable("REGION", "VERDICT", "BY", "CHANGES", "AT")
	for i := range s.Regions {
		r := &s.Regions[i]
		by, at := "its report", unknown
		if r.Reachable {
			by = "asking it"
		}
		if r.At != nil {
			at = r.At.Local().Format(time.DateTime)
		}
		tab.add(r.Region, r.Verdict, by, fmt.Sprint(changesIn(r.Vector)), at)
	}
	if err := a.printTable(tab); err != nil {
		return err
	}
	for i := range s.Regions {
		for _, d := range s.Regions[i].Differences {
			fmt.Fprintf(a.out, "\n%s has %s in part %d of %s, and %s is %s where it is %s here.", printable(s.Regions[i].Region),
				count(int(d.There.Documents), "document"), d.Bucket, printable(or(d.Collection)), "their digest",
				printable(d.There.Digest), printable(d.Here.Digest))
		}
	}
	fmt.Fprintln(a.out)
	switch s.Verdict {
	case client.VerdictSame:
		fmt.Fprintln(a.out, "All regions have the same documents.")
	case client.VerdictDifferent:
		fmt.Fprintln(a.out, "Documents differ where they should not. Stop the regions one after the other and check them by \"meridian verify DIR\".")
	default:
		fmt.Fprintln(a.out, "Not all regions could be compared. Look at \"meridian status\", or wait longer with --wait.")
	}
	return nil
}

func changesIn(v client.Vector) uint64 {
	var n uint64
	for _, seq := range v {
		n += seq
	}
	return n
}
