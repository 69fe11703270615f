package cmd

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/api/client"
)

const conditionsHelp = `--if-match makes the write conditional: it is refused if the document is another version
by now. This is checked by the region that takes the write, and holds there.
--base says instead which older version was edited: what others have written since is
kept, and merged with the edit.`

// addConditions adds the flags of preconditions.
func addConditions(c *cobra.Command, o *client.WriteOptions) {
	c.Flags().StringVar(&o.IfMatch, "if-match", "", "write only if the document has this `ETag` (* if there is one)")
	c.Flags().StringVar(&o.IfNoneMatch, "if-none-match", "", "write only if the document does not have this `ETag` (* if there is none)")
}

func addBase(c *cobra.Command, o *client.WriteOptions) {
	c.Flags().StringVar(&o.Base, "base", "", "the `ETag` of the older version that the edit was made on")
}

const acksHelp = `--acks waits until other regions hold the write durably too: so many in all, "majority",
"all", or those that are named. If they do not in time (--wait) the write stands where it
is, goes on to the others, and the command says so and fails.`

// addAcks adds the flags of waiting for other regions.
func addAcks(c *cobra.Command, o *client.WriteOptions) {
	c.Flags().StringVar(&o.Acks, "acks", "", "wait until these `regions` hold the write: a number, majority, all, or names")
	c.Flags().DurationVar(&o.Wait, "wait", 0, "how long the region may wait, in whole seconds (default 2s)")
}

// addKey adds the flag of the idempotency key. Without it the command makes one
// of its own, so that it can repeat a write whose answer does not come.
func addKey(c *cobra.Command, o *client.WriteOptions) {
	o.Repeat = true
	c.Flags().StringVar(&o.Key, "idempotency-key", "", "make the write once under this `key`, however often the command is run within a day")
}

// checkAcks makes an error of acknowledgements that have not come.
func checkAcks(r *client.Receipt, o *client.WriteOptions) error {
	if !r.Pending {
		return nil
	}
	asked := o.Acks
	if asked == "" {
		asked = "as many regions as the collection asks for"
	}
	return advise(fmt.Errorf("the write is durable in %s and stands, but was not acknowledged in time by %s", strings.Join(r.Acked, ", "), asked),
		`Do not write again: it goes on to the others by itself. "meridian status" shows how far they are behind.`)
}

func checkConditions(c *cobra.Command, o *client.WriteOptions) error {
	for flag, tag := range map[string]*string{"if-match": &o.IfMatch, "if-none-match": &o.IfNoneMatch, "base": &o.Base} {
		switch n := len(*tag); {
		case n == 0, *tag == "*" && flag != "base", n > 1 && (*tag)[n-1] == '"':
		case (*tag)[0] != '"' && (*tag)[n-1] != '"':
			*tag = `"` + *tag + `"` // the quotes, which shells eat
		default:
			return usagef(c, "--%s %s is no ETag", flag, *tag)
		}
	}
	return nil
}

// written is what a write prints for programs.
type written struct {
	Collection string `json:"collection"`
	*client.Receipt
}

// finishWrite prints the receipt of a write.
func (a *app) finishWrite(collection string, r *client.Receipt, o *client.WriteOptions, asJSON bool) error {
	if asJSON {
		if err := a.printJSON(written{collection, r}); err != nil {
			return err
		}
		return checkAcks(r, o)
	}
	verb := "updated"
	if r.Created {
		verb = "created"
	}
	fmt.Fprintf(a.out, "%s %s/%s in %s, ETag %s\n", verb, printable(collection), printable(r.ID), printable(where(r)), printable(r.ETag))
	return checkAcks(r, o)
}

// where names the regions that are known to hold a write.
func where(r *client.Receipt) string {
	if len(r.Acked) > 0 {
		return strings.Join(r.Acked, ", ")
	}
	return r.Region
}

func newPut(a *app) *cobra.Command {
	var (
		o      client.WriteOptions
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "put COLLECTION ID [JSON|FILE|-]",
		Short: "Write a document",
		Long: `Write a whole document: a JSON object, given as it is, in a file, or on standard input.
The region compares it with the present version, and only the differences become
operations, so that edits that others make elsewhere at the same time survive.

` + conditionsHelp + "\n\n" + acksHelp,
		Example: `  meridian put carts c1 '{"items": ["tea"], "likes": {"$counter": 0}}'
  meridian put carts c1 cart.json --if-none-match '*'      # only if there is none
  meridian get carts c1 | jq '.paid = true' | meridian put carts c1 -`,
		GroupID: groupClient,
		Args:    rangeArgs(2, "COLLECTION", "ID", "JSON"),
	}
	t := a.addTarget(c)
	addConditions(c, &o)
	addBase(c, &o)
	addAcks(c, &o)
	addKey(c, &o)
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := checkConditions(c, &o); err != nil {
			return err
		}
		doc, err := a.readInput(c, args[2:])
		if err != nil {
			return err
		}
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		r, err := cl.Put(c.Context(), args[0], args[1], doc, o)
		if err != nil {
			return err
		}
		return a.finishWrite(args[0], r, &o, asJSON)
	}
	return c
}

func newPatch(a *app) *cobra.Command {
	var (
		o                          client.WriteOptions
		merge, jsonPatch, ops, out bool
	)
	c := &cobra.Command{
		Use:   "patch COLLECTION ID [JSON|FILE|-]",
		Short: "Edit a document",
		Long: `Edit a document by a patch, given as it is, in a file, or on standard input:

  --merge       a JSON merge patch (RFC 7396), the default: members are set, null removes
  --json-patch  a JSON Patch (RFC 6902): a list of add, remove, replace, move, copy, test
  --ops         operations: inc a counter; insert, delete and move elements of lists; add
                and remove members of sets; set and unset fields

` + conditionsHelp + "\n\n" + acksHelp,
		Example: `  meridian patch carts c1 '{"paid": true, "note": null}'
  meridian patch carts c1 --json-patch '[{"op": "test", "path": "/paid", "value": false},
                                         {"op": "replace", "path": "/paid", "value": true}]'
  meridian patch carts c1 --ops '[{"op": "inc", "path": "/likes", "value": 1},
                                  {"op": "insert", "path": "/items/0", "value": "milk"}]'`,
		GroupID: groupClient,
		Args:    rangeArgs(2, "COLLECTION", "ID", "JSON"),
	}
	t := a.addTarget(c)
	c.Flags().BoolVar(&merge, "merge", false, "the patch is a JSON merge patch (the default)")
	c.Flags().BoolVar(&jsonPatch, "json-patch", false, "the patch is a JSON Patch")
	c.Flags().BoolVar(&ops, "ops", false, "the patch is a list of operations")
	addConditions(c, &o)
	addBase(c, &o)
	addAcks(c, &o)
	addKey(c, &o)
	addJSONFlag(c, &out)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := exclusive(c, "merge", "json-patch", "ops"); err != nil {
			return err
		}
		if err := checkConditions(c, &o); err != nil {
			return err
		}
		kind := client.MergePatch
		switch {
		case jsonPatch:
			kind = client.JSONPatch
		case ops:
			kind = client.Operations
		}
		patch, err := a.readInput(c, args[2:])
		if err != nil {
			return err
		}
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		r, err := cl.Patch(c.Context(), args[0], args[1], kind, patch, o)
		if err != nil {
			return err
		}
		return a.finishWrite(args[0], r, &o, out)
	}
	return c
}

// deleted is what delete prints for programs.
type deleted struct {
	Collection string `json:"collection"`
	ID         string `json:"id"`
	Deleted    bool   `json:"deleted"`
	Region     string `json:"region"`
	// Acked and Pending are those of client.Receipt.
	Acked   []string `json:"acked,omitempty"`
	Pending bool     `json:"pending,omitempty"`
}

func newDelete(a *app) *cobra.Command {
	var (
		o      client.WriteOptions
		asJSON bool
	)
	c := &cobra.Command{
		Use:   "delete COLLECTION ID",
		Short: "Delete a document",
		Long: `Delete a document. An edit that another region takes at the same time, without having
seen the deletion, brings the document back whole, unless the collection's setting
"delete" is "wins".

` + acksHelp,
		Example: `  meridian delete carts c1
  meridian delete carts c1 --if-match "$(meridian get carts c1 --json | jq -r .etag)"`,
		GroupID: groupClient,
		Args:    exactArgs("COLLECTION", "ID"),
	}
	t := a.addTarget(c)
	addConditions(c, &o)
	addAcks(c, &o)
	addKey(c, &o)
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := checkConditions(c, &o); err != nil {
			return err
		}
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		r, err := cl.Delete(c.Context(), args[0], args[1], o)
		if err != nil {
			return err
		}
		if asJSON {
			if err := a.printJSON(deleted{args[0], args[1], true, r.Region, r.Acked, r.Pending}); err != nil {
				return err
			}
		} else {
			fmt.Fprintf(a.out, "deleted %s/%s in %s\n", printable(args[0]), printable(args[1]), printable(where(r)))
		}
		return checkAcks(r, &o)
	}
	return c
}
