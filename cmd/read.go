package cmd

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/api/client"
)

const typesUsage = `show counters, sets and texts as {"$counter": 5} and the like, not as plain JSON`

const readHelp = `--read asks for an answer that is not older than what other regions hold, when they are
asked: "quorum" (more than half of them), "all", so many, or those that are named. If
they do not answer in time (--wait) the command fails. "home" has the document's home
answer, which knows its last write.`

// addRead adds the flags of reads across regions.
func addRead(c *cobra.Command, o *client.ReadOptions) {
	c.Flags().BoolVar(&o.Types, "types", false, typesUsage)
	c.Flags().StringVar(&o.Read, "read", "", "be as new as these `regions`: local, quorum, all, a number, names, or home")
	c.Flags().DurationVar(&o.Wait, "wait", 0, "how long the region may wait for others, in whole seconds (default 2s)")
	c.Flags().BoolVar(&o.Fallback, "fallback", false, "let another region answer that has what was written before, if this one has not (after --wait)")
}

func newGet(a *app) *cobra.Command {
	var versions, include, asJSON bool
	var o client.ReadOptions
	c := &cobra.Command{
		Use:   "get COLLECTION ID",
		Short: "Read a document",
		Long: `Read a document, as the region shows it. Its JSON goes to standard output.

The ETag, which --include shows, names the version that was read: "put", "patch" and
"delete" take it by --if-match, to write only if it still is the present one, or by
--base, to have an edit of it merged with what others have written since.

` + readHelp,
		Example: `  meridian get carts c1
  meridian get carts c1 --include
  meridian get carts c1 --json | jq -r .etag
  meridian get carts c1 --addr 10.0.0.1:8080,10.1.0.1:8080     # the nearest of two`,
		GroupID: groupClient,
		Args:    exactArgs("COLLECTION", "ID"),
	}
	t := a.addTarget(c)
	addRead(c, &o)
	c.Flags().BoolVar(&versions, nameVersions, false, `show all concurrent versions, as "meridian versions" does`)
	c.Flags().BoolVarP(&include, "include", "i", false, "show the ETag, the region and conflicts, before the document")
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		if versions {
			return a.showVersions(c, cl, args[0], args[1], o, asJSON)
		}
		d, err := cl.GetWith(c.Context(), args[0], args[1], o)
		if err != nil {
			return err
		}
		if asJSON {
			return a.printJSON(gotDocument{d.Document, args[0], d.Region, d.Staleness.Milliseconds(), d.Policy, d.Conflicts, d.Regions})
		}
		if include {
			a.printIncluded(d)
		}
		return a.printDocument(d.Value)
	}
	return c
}

// gotDocument is what get prints for programs.
type gotDocument struct {
	client.Document
	Collection  string `json:"collection"`
	Region      string `json:"region"`
	StalenessMs int64  `json:"staleness_ms"`
	Policy      string `json:"policy,omitempty"`
	Conflicts   int    `json:"conflicts,omitempty"`
	// Read are the regions that the answer is as new as, with --read.
	Read []string `json:"read,omitempty"`
}

func (a *app) printIncluded(d *client.Read) {
	fmt.Fprintf(a.out, "ETag: %s\nRegion: %s\nStaleness: %v\n", printable(d.ETag), printable(d.Region), d.Staleness)
	if len(d.Regions) > 0 {
		fmt.Fprintf(a.out, "Read: %s\n", printable(strings.Join(d.Regions, ", ")))
	}
	if d.Conflicts > 0 {
		fmt.Fprintf(a.out, "Conflicts: %d, settled by %s\n", d.Conflicts, printable(d.Policy))
	}
	fmt.Fprintln(a.out)
}

// listPage is how many documents are asked for at a time.
const listPage = 500

func newList(a *app) *cobra.Command {
	var (
		prefix        string
		limit         int
		types, asJSON bool
	)
	c := &cobra.Command{
		Use:   "list [COLLECTION]",
		Short: "List documents, or collections",
		Long: `List the documents of a collection in the order of their ids, all of them unless there
is a --limit. Without a collection list the collections.

With --json each document is a line of its own: {"id", "etag", "value"}. However long the
list is, it shows the collection as it was at one moment.`,
		Example: `  meridian list
  meridian list carts
  meridian list carts --prefix eu: --limit 20
  meridian list carts --json | jq -c 'select(.value.paid)'`,
		GroupID: groupClient,
		Args:    rangeArgs(0, "COLLECTION"),
	}
	t := a.addTarget(c)
	c.Flags().StringVar(&prefix, "prefix", "", "only documents whose ids start with this `text`")
	c.Flags().IntVar(&limit, "limit", 0, "at most so many documents; 0 means all")
	c.Flags().BoolVar(&types, "types", false, typesUsage)
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		if limit < 0 {
			return usagef(c, "--limit must not be negative")
		}
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		if len(args) == 0 {
			return a.listCollections(c, cl, asJSON)
		}
		return a.listDocuments(c, cl, args[0], client.ListOptions{Prefix: prefix, Types: types}, limit, asJSON)
	}
	return c
}

// listDocuments prints page by page: a collection can be larger than memory.
func (a *app) listDocuments(c *cobra.Command, cl *client.Client, collection string, o client.ListOptions, limit int, asJSON bool) error {
	tab := newTable("ID", "ETAG", "VALUE")
	count := 0
	o.Limit = listPage
	if limit > 0 {
		o.Limit = min(o.Limit, limit)
	}
	if limit == 0 || limit > listPage {
		o.At = client.AtNow
	}
	for d, err := range cl.All(c.Context(), collection, o) {
		if err != nil {
			return err
		}
		if asJSON {
			if err := a.printJSON(d); err != nil {
				return err
			}
		} else {
			tab.add(d.ID, d.ETag, cell(d.Value))
		}
		if count++; count == limit {
			break
		}
		if len(tab.rows) > listPage {
			if err := a.printTable(tab); err != nil {
				return err
			}
			tab.rows = nil
		}
	}
	if asJSON {
		return nil
	}
	return a.printTable(tab)
}

func (a *app) listCollections(c *cobra.Command, cl *client.Client, asJSON bool) error {
	all, err := cl.Collections(c.Context())
	if err != nil {
		return err
	}
	tab := newTable("COLLECTION", "TYPE", "POLICY", "HELD BY", "CREATED")
	for _, col := range all {
		if asJSON {
			if err := a.printJSON(col.Raw); err != nil {
				return err
			}
			continue
		}
		name := col.Name
		if col.Shadowed {
			name = col.Incarnation + " (another " + col.Name + ")"
		}
		holders := "all"
		if len(col.Regions) > 0 {
			holders = strings.Join(col.Regions, ",")
		}
		tab.add(name, col.Type, strings.Trim(cell(col.Policy), `"`), holders, localTime(col.Created))
	}
	if asJSON {
		return nil
	}
	return a.printTable(tab)
}

const nameVersions = "versions"

func newVersions(a *app) *cobra.Command {
	var asJSON bool
	var o client.ReadOptions
	c := &cobra.Command{
		Use:   nameVersions + " COLLECTION ID",
		Short: "Show the concurrent versions of a document",
		Long: `Show the concurrent versions of a document: those that no later write has seen, where
and when each was written, which one a plain read shows, and why. Nothing of this is lost
until a later write covers it.

The ETag covers all versions: a put with --if-match and this ETag replaces them.

` + readHelp,
		Example: `  meridian versions carts c1
  meridian versions carts c1 --json | jq '.conflicts[].why'`,
		GroupID: groupClient,
		Args:    exactArgs("COLLECTION", "ID"),
	}
	t := a.addTarget(c)
	addRead(c, &o)
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		return a.showVersions(c, cl, args[0], args[1], o, asJSON)
	}
	return c
}

func (a *app) showVersions(c *cobra.Command, cl *client.Client, collection, id string, o client.ReadOptions, asJSON bool) error {
	v, err := cl.VersionsWith(c.Context(), collection, id, o)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(v)
	}
	state := "is deleted"
	if v.Exists {
		state = "has the ETag " + v.ETag
	}
	fmt.Fprintf(a.out, "%s/%s %s and %s.\n\n", printable(collection), printable(id), printable(state), count(len(v.Versions), "version"))
	if err := a.printTable(versionTable(v.Versions)); err != nil {
		return err
	}
	for _, con := range v.Conflicts {
		place := "the whole document"
		if con.Path != "" {
			place = strconv.Quote(con.Path)
		}
		fmt.Fprintf(a.out, "\nConflict at %s, policy %s: %s\n", place, printable(con.Policy), printable(con.Why))
		if con.Shown != nil {
			fmt.Fprintf(a.out, "Shown: %s\n", printable(cell(con.Shown)))
		}
		if err := a.printTable(versionTable(con.Versions)); err != nil {
			return err
		}
	}
	if v.Exists {
		fmt.Fprintln(a.out, "\nShown:")
		return a.printDocument(v.Shown)
	}
	return nil
}

func versionTable(all []client.Version) *table {
	tab := newTable("SHOWN", "REGION", "WRITTEN", "DOT", "VALUE")
	for _, v := range all {
		shown, value := "no", "(merged)"
		if v.Shown {
			shown = "yes"
		}
		switch {
		case v.Deleted:
			value = "(deleted)"
		case v.Value != nil:
			value = cell(v.Value)
		}
		tab.add(shown, v.Region, localTime(v.Time), v.Dot, value)
	}
	return tab
}

// localTime shows a time of the API to people.
func localTime(s string) string {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return s
	}
	return t.UTC().Format("2006-01-02 15:04:05.000")
}

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(n) + " " + noun + "s"
}
