package bulk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

// exportPage is how many documents are asked for at a time.
const exportPage = 500

// ExportOptions of an export. A zero field means its default.
type ExportOptions struct {
	// Collection is read. Needed.
	Collection string
	// Prefix of the ids.
	Prefix string
	// Plain shows counters, sets and texts as plain JSON. They are then that
	// when they are imported again.
	Plain bool
	// RetryFor is for how long a region that does not answer, or asks to wait, is
	// tried again. Default DefaultRetryFor.
	RetryFor time.Duration
	// Progress, if set, is called now and then, and Retry before a wait.
	Progress func(ExportSummary)
	Retry    func(err error, wait time.Duration)
}

// An ExportSummary says what an export has done.
type ExportSummary struct {
	Documents int   `json:"documents"`
	Bytes     int64 `json:"bytes"`
}

// Export writes a line for each document of a collection, in the order of the
// ids: {"id": …, "value": …}. Import takes it with Options.Exported. It is the
// collection as it was at one moment, shortly after the beginning.
func Export(ctx context.Context, c *client.Client, out io.Writer, o ExportOptions) (ExportSummary, error) {
	var sum ExportSummary
	if o.RetryFor == 0 {
		o.RetryFor = DefaultRetryFor
	}
	w := bufio.NewWriterSize(out, readBuffer)
	list := client.ListOptions{Prefix: o.Prefix, Limit: exportPage, Types: !o.Plain, At: client.AtNow}
	for {
		var page *client.Page
		err := retry(ctx, o.RetryFor, o.Retry, func() (err error) {
			page, err = c.List(ctx, o.Collection, list)
			return err
		})
		if err != nil {
			return sum, errors.Join(err, w.Flush())
		}
		for i := range page.Docs {
			n, err := writeExported(w, &page.Docs[i])
			if err != nil {
				return sum, err
			}
			sum.Documents++
			sum.Bytes += int64(n)
		}
		if o.Progress != nil {
			o.Progress(sum)
		}
		if page.Cursor == "" {
			return sum, w.Flush()
		}
		list.Cursor, list.At = page.Cursor, page.At
	}
}

// exported is a line of an export.
type exported struct {
	ID    string          `json:"id"`
	Value json.RawMessage `json:"value"`
}

func writeExported(w io.Writer, d *client.Document) (int, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(exported{d.ID, d.Value}); err != nil {
		return 0, err
	}
	return w.Write(b.Bytes())
}
