package cmd

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/cmd/bulk"
)

const importLong = `Import documents into a collection, from a file or from standard input (-): a JSON array
of objects, or objects one after the other, such as NDJSON. Which of these it is shows by
itself. Memory does not grow with the file.

Ids. The id of a document is its member --id-field, a text or an integer. With
--generate-ids it is made of the document's content and its place in the input, so that
the same input gets the same ids each time.

Running it again. Documents go in batches, and each batch is written as a whole or not at
all. If an import is interrupted, run the same command again: documents that are there
already as they should be are left alone, so nothing is written twice and no conflicts are
made. What others have changed since is replaced by the input, or kept with --existing
skip. With --resume FILE the import notes in FILE how far it has come, and passes over
that part when it is run again, without reading the collection; the input may have grown
at its end since.

The first document that is wrong ends the import, and the message says in which line it
is; what came before is written.`

const importExample = `  meridian import countries.json --collection countries --id-field alpha_2
  meridian import iso_639-3.json --collection languages --member 639-3 --id-field alpha_3
  zcat events.ndjson.gz | meridian import - --collection events --generate-ids
  meridian import big.ndjson --collection big --resume big.checkpoint
  meridian export --collection carts | meridian import - --collection carts2 --exported`

func newImport(a *app) *cobra.Command {
	var (
		o             bulk.Options
		existing      string
		quiet, asJSON bool
	)
	c := &cobra.Command{
		Use:     "import FILE|- --collection COLLECTION",
		Short:   "Write the documents of a file",
		Long:    importLong,
		Example: importExample,
		GroupID: groupBulk,
		Args:    exactArgs("FILE"),
	}
	t := a.addTarget(c)
	fs := c.Flags()
	fs.StringVar(&o.Collection, "collection", "", "the `collection` that takes the documents (needed)")
	fs.StringVar(&o.IDField, "id-field", "id", "the `member` of each document that is its id")
	fs.BoolVar(&o.GenerateIDs, "generate-ids", false, "make the ids of the documents' content and place")
	fs.StringVar(&o.Member, "member", "", "the input is an object, and the array of documents its member of this `name`")
	fs.BoolVar(&o.Exported, "exported", false, `the input was written by "meridian export": restore the ids and values`)
	fs.StringVar(&existing, "existing", string(bulk.Replace), "`what` becomes of documents that are there and differ: replace or skip")
	fs.IntVar(&o.Batch, "batch", bulk.DefaultBatch, fmt.Sprintf("how many documents are written at a time, at most %d", bulk.MaxBatch))
	fs.StringVar(&o.Checkpoint, "resume", "", "the `file` that notes how far the import has come")
	fs.DurationVar(&o.RetryFor, "retry-for", bulk.DefaultRetryFor, "how long to try again when the region does not answer")
	fs.BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	addJSONFlag(c, &asJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		o.Existing = bulk.Existing(existing)
		o.GuessExported = !fs.Changed("exported")
		if err := exclusive(c, "id-field", "generate-ids", "exported"); err != nil {
			return err
		}
		switch {
		case o.Collection == "":
			return usagef(c, "--collection is missing")
		case o.Batch < 1 || o.Batch > bulk.MaxBatch:
			return usagef(c, "--batch must be 1 to %d", bulk.MaxBatch)
		case o.Existing != bulk.Replace && o.Existing != bulk.Skip:
			return usagef(c, "--existing %q: choose %s or %s", existing, bulk.Replace, bulk.Skip)
		case o.RetryFor <= 0:
			return usagef(c, "--retry-for must be more than 0")
		case o.IDField == "":
			return usagef(c, "--id-field is empty; --generate-ids makes ids")
		}
		in, size, err := a.openBulk(c, args[0])
		if err != nil {
			return err
		}
		defer in.Close()
		return a.runImport(c, t, in, size, o, quiet, asJSON)
	}
	return c
}

// openBulk opens the input of an import. The size is 0 if it is not known.
func (a *app) openBulk(c *cobra.Command, path string) (io.ReadCloser, int64, error) {
	if path == "-" {
		return io.NopCloser(a.in), 0, nil
	}
	f, err := openInput(c, path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	if info.IsDir() {
		return nil, 0, errors.Join(usagef(c, "%s is a folder, not a file", path), f.Close())
	}
	if !info.Mode().IsRegular() {
		return f, 0, nil
	}
	return f, info.Size(), nil
}

// imported is what import prints for programs.
type imported struct {
	Collection string `json:"collection"`
	Addr       string `json:"addr"`
	bulk.Summary
	Seconds float64 `json:"seconds"`
	Rate    int     `json:"rate"`
	Error   string  `json:"error,omitempty"`
}

func (a *app) runImport(c *cobra.Command, t *target, in io.Reader, size int64, o bulk.Options, quiet, asJSON bool) error {
	cl, err := t.connect(c)
	if err != nil {
		return err
	}
	show := a.newProgress(quiet, "importing", size)
	o.Progress = func(s bulk.Summary) { show.show(s.Documents, s.Bytes) }
	o.Retry = show.waiting
	start := time.Now()
	s, err := bulk.Import(c.Context(), cl, in, o)
	took := time.Since(start)
	show.end()
	r := rate(s.Created+s.Updated, took)
	if asJSON {
		out := imported{Collection: o.Collection, Addr: cl.Addr(), Summary: s, Seconds: took.Seconds(), Rate: r}
		if err != nil {
			out.Error = err.Error()
		}
		if perr := a.printJSON(out); perr != nil {
			return perr
		}
	} else if err == nil || s.Done() > 0 {
		fmt.Fprintf(a.out, "%s: %s (%s created, %s updated, %s unchanged%s) in %.1f s, %s/s, by %s\n",
			printable(o.Collection), count(s.Done(), "document"), thousands(s.Created), thousands(s.Updated), thousands(s.Unchanged),
			also(s), took.Seconds(), thousands(r), cl.Addr())
	}
	return importAdvice(c, err, s)
}

// also names what is rarely there.
func also(s bulk.Summary) string {
	text := ""
	if s.Skipped > 0 {
		text += fmt.Sprintf(", %s skipped", thousands(s.Skipped))
	}
	if s.Passed > 0 {
		text += fmt.Sprintf(", %s imported before", thousands(s.Passed))
	}
	return text
}

// importAdvice says what to do when an import has ended early.
func importAdvice(c *cobra.Command, err error, s bulk.Summary) error {
	again := "Run the same command again to go on; what is done is not done twice."
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bulk.ErrLooksExported):
		return usagef(c, "%w: add --exported to restore the values under their ids, or --exported=false to import the lines as they are", err)
	case errors.Is(err, bulk.ErrNoID):
		return advise(err, "Name the member that is the id by --id-field, or have ids made by --generate-ids.")
	case errors.Is(err, bulk.ErrCheckpoint):
		return advise(err, "Remove the file named by --resume, or leave --resume out, to import all of the input.")
	case errors.As(err, new(*bulk.LineError)):
		return advise(err, "%s before it are imported. Correct it and run the command again.", count(s.Done(), "document"))
	case s.Done() > 0:
		return advise(err, "%s", again)
	}
	return err
}
