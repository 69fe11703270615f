package cmd

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/api/client"
)

func newHome(a *app) *cobra.Command {
	var (
		prefix        string
		force, asJSON bool
	)
	c := &cobra.Command{
		Use:   "home COLLECTION [REGION]",
		Short: "Show or move the region that takes a collection's writes",
		Long: `Show the homes of a collection, or make REGION its home: the one region that takes its
writes. Others pass them on, so an id is taken once, and an edit is made on the last
version, wherever it was asked for.

The present home hands over all that it took, so it has to be reached. A first home
needs every region, which has to stop taking writes; until then it is "claimed". A home
whose store was restored gets it back the same way, by its own name.

--force takes it from a home that is gone for good. What that one took and nobody else
has is lost; if it comes back, it stands beside what was written since.`,
		Example: `  meridian home seats
  meridian home seats eu-west
  meridian home seats ap-south --prefix ap:
  meridian home seats ap-south --force`,
		GroupID: groupClient,
		Args:    homeArgs,
	}
	t := a.addTarget(c)
	c.Flags().StringVar(&prefix, "prefix", "", "of the documents whose ids start with this `text`, not of the whole collection")
	c.Flags().BoolVar(&force, "force", false, "do not ask the present home; what it took may be lost")
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 1 && (force || c.Flags().Changed("prefix")) {
			return usagef(c, "--force and --prefix go with REGION")
		}
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		if len(args) == 1 {
			return a.showHomes(c, cl, args[0], asJSON)
		}
		m, err := cl.MoveHome(c.Context(), args[0], prefix, args[1], force)
		if err != nil {
			return err
		}
		if asJSON {
			return a.printJSON(m.Raw)
		}
		return a.printMove(m)
	}
	return c
}

func homeArgs(c *cobra.Command, args []string) error {
	if len(args) == 2 {
		return nil
	}
	return exactArgs("COLLECTION")(c, args)
}

func (a *app) showHomes(c *cobra.Command, cl *client.Client, collection string, asJSON bool) error {
	homes, err := cl.Homes(c.Context(), collection)
	if err != nil {
		return err
	}
	if asJSON {
		if homes == nil {
			homes = []client.Home{}
		}
		return a.printJSON(homes)
	}
	if len(homes) == 0 {
		fmt.Fprintf(a.out, "%s has no home: every region takes its writes.\n", printable(collection))
		return nil
	}
	tab := newTable("PREFIX", "REGION", "MODE", "STATE", "EPOCH")
	for _, h := range homes {
		prefix := "(all)"
		if h.Prefix != "" {
			prefix = h.Prefix
		}
		tab.add(prefix, h.Region, h.Mode, h.State, strconv.FormatUint(h.Epoch, 10))
	}
	return a.printTable(tab)
}

func (a *app) printMove(m *client.HomeMove) error {
	what := printable(m.Collection)
	if m.Home.Prefix != "" {
		what += " with ids that start with " + printable(m.Home.Prefix)
	}
	if m.Home.State == "granted" {
		fmt.Fprintf(a.out, "%s is the home of %s.\n", m.Home.Region, what)
	} else {
		fmt.Fprintf(a.out, "%s becomes the home of %s when all regions know; until then nobody takes its writes.\n", m.Home.Region, what)
	}
	l := m.MayLose
	if l == nil {
		return nil
	}
	heard := "never since this region's start"
	if l.LastHeard != nil {
		heard = l.LastHeard.Format("2006-01-02 15:04:05 MST")
	}
	fmt.Fprintf(a.out, "Of the changes of %s, %d are held here, of %d that were heard of (last %s). What it took beyond may be lost.\n",
		l.Region, l.Held, l.Reported, heard)
	return nil
}
