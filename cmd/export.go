package cmd

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/cmd/bulk"
)

func newExport(a *app) *cobra.Command {
	var (
		o                    bulk.ExportOptions
		out                  string
		quiet, plain, asJSON bool
	)
	c := &cobra.Command{
		Use:   "export --collection COLLECTION [--out FILE]",
		Short: "Read all documents of a collection into a file",
		Long: `Export the documents of a collection as NDJSON, in the order of their ids: each line is
{"id": …, "value": …}. "meridian import --exported" takes it back. Counters, sets and texts
are written as such, {"$counter": 5}, so that they are the same again; --plain writes
plain JSON.

Without --out it goes to standard output, and so the summary to standard error. A file is
put in its place when it is complete. It is the collection as it was at one moment, when the
export began.`,
		Example: `  meridian export --collection carts --out carts.ndjson
  meridian export --collection carts --plain | jq -c .value
  meridian import carts.ndjson --collection carts2 --exported`,
		GroupID: groupBulk,
		Args:    exactArgs(),
	}
	t := a.addTarget(c)
	fs := c.Flags()
	fs.StringVar(&o.Collection, "collection", "", "the `collection` to read (needed)")
	fs.StringVar(&out, "out", "", "the `file` to write, in place of standard output")
	fs.StringVar(&o.Prefix, "prefix", "", "only documents whose ids start with this `text`")
	fs.BoolVar(&plain, "plain", false, "write counters, sets and texts as plain JSON")
	fs.DurationVar(&o.RetryFor, "retry-for", bulk.DefaultRetryFor, "how long to try again when the region does not answer")
	fs.BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	c.Flags().BoolVar(&asJSON, "json", false, "print the summary as JSON, for programs")
	c.RunE = func(c *cobra.Command, _ []string) error {
		switch {
		case o.Collection == "":
			return usagef(c, "--collection is missing")
		case o.RetryFor <= 0:
			return usagef(c, "--retry-for must be more than 0")
		}
		o.Plain = plain
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		show := a.newProgress(quiet || out == "" && isTerminal(a.out), "exporting", 0)
		o.Progress = func(s bulk.ExportSummary) { show.show(s.Documents, s.Bytes) }
		o.Retry = show.waiting
		start := time.Now()
		var s bulk.ExportSummary
		summary := a.err
		export := func(w io.Writer) (err error) {
			s, err = bulk.Export(c.Context(), cl, w, o)
			return err
		}
		if out == "" {
			err = export(a.out)
		} else {
			summary = a.out
			err = bulk.ReplaceFile(out, func(f *os.File) error { return export(f) })
		}
		show.end()
		if err != nil {
			return err
		}
		took := time.Since(start)
		if asJSON {
			sink := &app{out: summary}
			return sink.printJSON(exportedJSON{o.Collection, cl.Addr(), s, took.Seconds(), rate(s.Documents, took)})
		}
		if !quiet {
			fmt.Fprintf(summary, "%s: %s, %s, in %.1f s, %s/s, from %s\n", printable(o.Collection),
				count(s.Documents, "document"), byteSize(s.Bytes), took.Seconds(), thousands(rate(s.Documents, took)), cl.Addr())
		}
		return nil
	}
	return c
}

// exportedJSON is what export prints for programs.
type exportedJSON struct {
	Collection string `json:"collection"`
	Addr       string `json:"addr"`
	bulk.ExportSummary
	Seconds float64 `json:"seconds"`
	Rate    int     `json:"rate"`
}
