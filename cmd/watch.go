package cmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/api/client"
)

func newWatchChanges(a *app) *cobra.Command {
	var (
		o      client.ChangeOptions
		count  int
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "watch [COLLECTION]",
		Short: "Print changes as they happen",
		Long: `Print each change of a collection, or of all of them, when the region holds it, until
interrupted: in an order in which nothing comes before what it was written having seen.
Documents are shown as they are when they are read, which may be newer than the change.

When the connection is lost it comes back, to the next nearest region if there are
several, and goes on where it was. With --json each change is a line of its own; its
"cursor" is what --since takes, in any region. So is the token of a list or export:
read that first, and then all that has changed since.`,
		Example: `  meridian watch
  meridian watch carts --json
  meridian watch carts --since 0                      # from the beginning`,
		GroupID: groupClient,
		Args:    rangeArgs(0, "COLLECTION"),
	}
	t := a.addTarget(c)
	c.Flags().StringVar(&o.Cursor, "since", "", "begin behind this `cursor`, \"0\" for the beginning; the default is the present")
	c.Flags().IntVar(&count, "count", 0, "end after so many changes; 0 means never")
	c.Flags().BoolVar(&o.Types, "types", false, typesUsage)
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		if len(args) > 0 {
			o.Collection = args[0]
		}
		o.Lost = func(err error) { fmt.Fprintf(a.err, "meridian: %v; trying again\n", err) }
		printed := 0
		_, err = cl.WatchChanges(c.Context(), o, func(x *client.Change) error {
			if err := a.printChange(x, asJSON); err != nil {
				return err
			}
			if printed++; printed == count {
				return client.ErrStop
			}
			return nil
		})
		if errors.Is(err, context.Canceled) {
			return c.Context().Err()
		}
		return err
	}
	return c
}

func (a *app) printChange(x *client.Change, asJSON bool) error {
	if asJSON {
		return a.printJSON(x.Raw)
	}
	for _, d := range x.Docs {
		what := string(d.Value)
		if d.Deleted {
			what = "deleted"
		}
		if _, err := fmt.Fprintf(a.out, "%s  %s  %s/%s  %s\n", localTime(x.Time), printable(x.Region), printable(d.Collection), printable(d.ID), printable(what)); err != nil {
			return err
		}
	}
	return nil
}
