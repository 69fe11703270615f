package cmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/api/client"
)

func newConflicts(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "conflicts",
		Short: "See what was written concurrently, why one is shown, and take it back",
		Long: `Each region keeps a log of the conflicts that it saw: what was written concurrently, what
the policy of the collection made of it and why, and how it ended. Versions that are not
shown are not lost: any of them can be brought back.

States: open (the policy leaves the choice to you), resolved-by-policy, resolved-by-write
(a later write has covered the versions), undone (a version that was not shown was brought
back).`,
		Example: `  meridian conflicts list --collection carts
  meridian conflicts show 5933c008e3af375bab61c6ac
  meridian conflicts preview 5933c008e3af375bab61c6ac lww
  meridian conflicts restore 5933c008e3af375bab61c6ac eu-west`,
		GroupID: groupClient,
		Args:    cobra.ArbitraryArgs,
		RunE:    showHelp,
	}
	c.AddCommand(newConflictsList(a), newConflictsShow(a), newConflictsPreview(a), newConflictsRestore(a), newConflictsWatch(a))
	return c
}

// addConflictFilter adds the flags that narrow the log.
func addConflictFilter(c *cobra.Command, o *client.ConflictOptions) {
	c.Flags().StringVar(&o.Collection, "collection", "", "only those in this `collection`")
	c.Flags().StringVar(&o.State, "state", "", "only those in this `state`: open, resolved-by-policy, resolved-by-write or undone")
	c.Flags().StringVar(&o.Region, "region", "", "only those of which this `region` wrote a version")
}

func newConflictsList(a *app) *cobra.Command {
	var (
		o      client.ConflictOptions
		limit  int
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "list",
		Short: "List conflicts, the newest first",
		Long: `List the conflicts that the region saw, the newest first. The id of a conflict is the same
in every region.`,
		Example: `  meridian conflicts list
  meridian conflicts list --state open --since 24h
  meridian conflicts list --collection carts --region eu-west --json | jq -r .id`,
		Args: exactArgs(),
	}
	t := a.addTarget(c)
	addConflictFilter(c, &o)
	c.Flags().StringVar(&o.Since, "since", "", "only those seen since this `time`: 2026-03-01T12:00:00Z, or how long ago, such as 24h")
	c.Flags().IntVar(&limit, "limit", 50, "at most so many; 0 means all")
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if limit < 0 {
			return usagef(c, "--limit must not be negative")
		}
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		return a.listConflicts(c.Context(), cl, o, limit, asJSON)
	}
	return c
}

func (a *app) listConflicts(ctx context.Context, cl *client.Client, o client.ConflictOptions, limit int, asJSON bool) error {
	tab := newTable("ID", "STATE", "SEEN", "PLACE", "REGIONS", "POLICY", "SHOWN")
	for listed := 0; ; {
		o.Limit = listPage
		if limit > 0 {
			o.Limit = min(listPage, limit-listed)
		}
		p, err := cl.Conflicts(ctx, o)
		if err != nil {
			return err
		}
		for i := range p.Conflicts {
			x := &p.Conflicts[i]
			if asJSON {
				if err := a.printJSON(x.Raw); err != nil {
					return err
				}
				continue
			}
			tab.add(x.ID, x.State, localTime(x.Seen), placeOf(x), strings.Join(regionsOf(x), ","), x.Policy, shownOf(x))
		}
		listed += len(p.Conflicts)
		if o.Cursor = p.Cursor; o.Cursor == "" || listed == limit {
			break
		}
	}
	if asJSON {
		return nil
	}
	if len(tab.rows) == 1 {
		fmt.Fprintln(a.out, "There are no such conflicts.")
		return nil
	}
	return a.printTable(tab)
}

// placeOf names what a conflict is about.
func placeOf(x *client.LoggedConflict) string {
	place := x.Collection + "/" + x.Document
	if x.Path != "" {
		place += " " + x.Path
	}
	return place
}

func regionsOf(x *client.LoggedConflict) []string {
	var out []string
	for i := range x.Versions {
		out = append(out, x.Versions[i].Region)
	}
	return out
}

// shownOf says whose version was shown.
func shownOf(x *client.LoggedConflict) string {
	for i := range x.Versions {
		if v := &x.Versions[i]; v.Shown {
			return v.Region
		}
	}
	if x.Kind == "overruled" {
		return "the deletion"
	}
	return "the policy's own"
}

func newConflictsShow(a *app) *cobra.Command {
	var types, asJSON bool
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Explain a conflict",
		Long: `Explain a conflict: what was written where and when, that none had seen the other, which
version the policy showed and why, how it stands now, and what the collection's present
policy would show if it has changed since.`,
		Example: `  meridian conflicts show 5933c008e3af375bab61c6ac`,
		Args:    exactArgs("ID"),
	}
	t := a.addTarget(c)
	c.Flags().BoolVar(&types, "types", false, typesUsage)
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		x, err := cl.Conflict(c.Context(), args[0], types)
		if err != nil {
			return err
		}
		if asJSON {
			return a.printJSON(x.Raw)
		}
		return a.printConflict(x)
	}
	return c
}

func (a *app) printConflict(x *client.ExplainedConflict) error {
	fmt.Fprintf(a.out, "%s\n%s, seen %s\n\n%s\n\n", printable(placeOf(&x.LoggedConflict)), printable(x.State), localTime(x.Seen), printable(x.Explanation))
	if err := a.printTable(conflictTable(x.Versions)); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	for i := range x.Versions {
		if r := x.Versions[i].Relation; r != "" {
			fmt.Fprintf(a.out, "%s.\n", printable(r))
		}
	}
	if x.Present.Hash != x.Recorded.Hash {
		fmt.Fprintf(a.out, "The policy is %s now: %s.\n", printable(x.Present.Name), printable(x.Present.Why))
	}
	switch {
	case x.Now.Value != nil:
		fmt.Fprintf(a.out, "Now there is: %s\n", printable(cell(x.Now.Value)))
	case !x.Now.Exists:
		fmt.Fprintln(a.out, "Now the document is deleted.")
	default:
		fmt.Fprintln(a.out, "Now there is nothing.")
	}
	return nil
}

func conflictTable(all []client.ConflictVersion) *table {
	tab := newTable("SHOWN", "REGION", "WRITTEN", "DOT", "VALUE")
	for i := range all {
		v := &all[i]
		shown, value := "no", "(merged)"
		if v.Shown {
			shown = "yes"
		}
		switch {
		case v.Deleted:
			value = "(deleted)"
		case v.Value != nil:
			value = cell(v.Value)
		case v.Size > 0:
			value = fmt.Sprintf("(%s bytes, not kept)", thousands(v.Size))
		}
		tab.add(shown, v.Region, localTime(v.Time), v.Dot, value)
	}
	return tab
}

func newConflictsPreview(a *app) *cobra.Command {
	var (
		collection string
		last       int
		asJSON     bool
	)
	c := &cobra.Command{
		Use:   "preview [ID] POLICY",
		Short: "Show what another policy would make of conflicts",
		Long: `Show what another policy would make of a conflict, or with --collection of the last ones
of a collection, compared with what stands now. Nothing is written.

POLICY is the name of a policy without settings, such as lww, JSON as it stands in a
collection's settings, or a file with that or with a script ("-" is standard input).`,
		Example: `  meridian conflicts preview 5933c008e3af375bab61c6ac '{"region-priority": ["eu-west"]}'
  meridian conflicts preview --collection carts --last 20 resolve.js`,
		Args: func(c *cobra.Command, args []string) error {
			if collection != "" {
				return exactArgs("POLICY")(c, args)
			}
			return exactArgs("ID", "POLICY")(c, args)
		},
	}
	t := a.addTarget(c)
	c.Flags().StringVar(&collection, "collection", "", "the last conflicts of this `collection`, in place of one")
	c.Flags().IntVar(&last, "last", 100, "how many of them")
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		if last < 1 {
			return usagef(c, "--last must be at least 1")
		}
		policy, err := a.readPolicy(c, args[len(args)-1:])
		if err != nil {
			return err
		}
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		if collection == "" {
			p, err := cl.PreviewConflict(c.Context(), args[0], policy)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(p)
			}
			return a.printPreview(p)
		}
		all, err := cl.PreviewConflicts(c.Context(), collection, policy, last)
		if err != nil {
			return err
		}
		if asJSON {
			return a.printJSON(all)
		}
		return a.printPreviews(all)
	}
	return c
}

func (a *app) printPreview(p *client.ConflictPreview) error {
	fmt.Fprintf(a.out, "%s: %s.\n", printable(p.Outcome.Name), printable(p.Outcome.Why))
	switch {
	case p.Unknown:
		fmt.Fprintln(a.out, "What it would show is not known: a version's value is not kept.")
	case !p.Changes:
		fmt.Fprintln(a.out, "It would show what is there now.")
	}
	if len(p.Diff) == 0 {
		return nil
	}
	fmt.Fprintln(a.out, "\nCompared with what is there now:")
	return a.printTable(diffTable(p.Diff))
}

func diffTable(ops []client.DiffOp) *table {
	tab := newTable("CHANGE", "PATH", "VALUE")
	for _, op := range ops {
		value := ""
		if op.Value != nil {
			value = cell(op.Value)
		}
		tab.add(op.Op, op.Path, value)
	}
	return tab
}

func (a *app) printPreviews(all *client.ConflictPreviews) error {
	fmt.Fprintf(a.out, "Of %s, %s would show something else.\n", count(all.Checked, "conflict"), strconv.Itoa(all.Changes))
	if all.Changes == 0 {
		return nil
	}
	tab := newTable("ID", "DOCUMENT", "CHANGE", "PATH", "VALUE")
	for i := range all.Conflicts {
		p := &all.Conflicts[i]
		for _, row := range diffTable(p.Diff).rows[1:] {
			tab.add(append([]string{p.ID, p.Document}, row...)...)
		}
	}
	fmt.Fprintln(a.out)
	return a.printTable(tab)
}

func newConflictsRestore(a *app) *cobra.Command {
	var (
		o      client.WriteOptions
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "restore ID VERSION",
		Short: "Bring back a version that is not shown",
		Long: `Write a version of a conflict back, over all that is there now. It is a write like any
other: it goes to all regions, and can be undone the same way.

VERSION is a dot from "meridian conflicts show", or the region that wrote the version.
--if-match is needed only where the conflict is settled and was inside a list, whose
elements may have moved.`,
		Example: `  meridian conflicts restore 5933c008e3af375bab61c6ac eu-west`,
		Args:    exactArgs("ID", "VERSION"),
	}
	t := a.addTarget(c)
	c.Flags().StringVar(&o.IfMatch, "if-match", "", "write only if the document has this `ETag` (* if there is one)")
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := checkConditions(c, &o); err != nil {
			return err
		}
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		x, err := cl.Conflict(c.Context(), args[0], false)
		if err != nil {
			return err
		}
		dot, err := versionOf(c, x, args[1])
		if err != nil {
			return err
		}
		r, err := cl.RestoreConflict(c.Context(), args[0], dot, o.IfMatch)
		if err != nil {
			return err
		}
		if asJSON {
			return a.printJSON(written{x.Collection, r})
		}
		etag := ""
		if r.ETag != "" {
			etag = ", ETag " + r.ETag
		}
		fmt.Fprintf(a.out, "restored %s of %s in %s%s\n", printable(dot), printable(placeOf(&x.LoggedConflict)), printable(r.Region), printable(etag))
		return nil
	}
	return c
}

// versionOf finds a version by its dot, or by the region that wrote it.
func versionOf(c *cobra.Command, x *client.ExplainedConflict, name string) (string, error) {
	var found []string
	for i := range x.Versions {
		if v := &x.Versions[i]; v.Dot == name || v.Region == name {
			found = append(found, v.Dot)
		}
	}
	switch len(found) {
	case 0:
		return "", usagef(c, "%q is neither a version of this conflict nor a region that wrote one; those are %s", name, strings.Join(regionsOf(&x.LoggedConflict), ", "))
	case 1:
		return found[0], nil
	}
	return "", usagef(c, "%s wrote several versions of this conflict; name one: %s", name, strings.Join(found, ", "))
}

func newConflictsWatch(a *app) *cobra.Command {
	var (
		o      client.ConflictOptions
		after  uint64
		count  int
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "watch",
		Short: "Print conflicts as they happen, and as they end",
		Long: `Print each conflict when the region sees it and when it changes, until interrupted. When
the connection is lost it comes back, and goes on where it was.

With --json each is a line of its own; its "change" is what --after takes.`,
		Example: `  meridian conflicts watch
  meridian conflicts watch --collection carts --state open --json`,
		Args: exactArgs(),
	}
	t := a.addTarget(c)
	addConflictFilter(c, &o)
	c.Flags().Uint64Var(&after, "after", 0, "begin after this `change` of the region's log, 0 for its start; the default is the present")
	c.Flags().IntVar(&count, "count", 0, "end after so many; 0 means never")
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, _ []string) error {
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		var from *uint64
		if c.Flags().Changed("after") {
			from = &after
		}
		return a.watchConflicts(c.Context(), cl, o, from, count, asJSON)
	}
	return c
}

// errEnough ends a watch.
var errEnough = errors.New("enough")

func (a *app) watchConflicts(ctx context.Context, cl *client.Client, o client.ConflictOptions, from *uint64, count int, asJSON bool) error {
	printed := 0
	for {
		var err error
		from, err = cl.WatchConflicts(ctx, o, from, func(x *client.LoggedConflict) error {
			if err := a.printEvent(x, asJSON); err != nil {
				return err
			}
			if printed++; printed == count {
				return errEnough
			}
			return nil
		})
		var unreachable *client.UnreachableError
		switch {
		case errors.Is(err, errEnough):
			return nil
		case from == nil || !errors.As(err, &unreachable) && !errors.Is(err, client.ErrUnavailable):
			return err // it never began, or will not
		}
		fmt.Fprintf(a.err, "meridian: %v; trying again\n", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(client.WatchRetry):
		}
	}
}

func (a *app) printEvent(x *client.LoggedConflict, asJSON bool) error {
	if asJSON {
		return a.printJSON(x.Raw)
	}
	_, err := fmt.Fprintf(a.out, "%s  %s  %s  %s: %s\n", localTime(x.Changed), x.ID, printable(x.State), printable(placeOf(x)), printable(x.Why))
	return err
}
