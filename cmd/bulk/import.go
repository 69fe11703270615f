package bulk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meridiandb/meridian/api/client"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/core"
)

// Reasons why an import does not go on, besides ErrCheckpoint, a
// *LineError, and the errors of package client.
var (
	// ErrNoID: a document has no id.
	ErrNoID = errors.New("no id")
	// ErrLooksExported: the input looks as if Export had written it, and nobody
	// has said whether it did.
	ErrLooksExported = errors.New(`the first document has just the members "id" and "value", as "meridian export" writes them`)
)

// Existing says what becomes of a document that is there already, and differs.
type Existing string

// The choices for Existing.
const (
	Replace Existing = "replace" // it becomes what the input says
	Skip    Existing = "skip"    // it stays as it is
)

// Defaults and bounds of Options.
const (
	DefaultBatch       = 200
	MaxBatch           = core.DefaultWriteDocs
	DefaultMaxDocument = value.DefaultMaxBytes
	DefaultRetryFor    = time.Minute
	// maxBatchBytes ends a batch early. The API takes twice as much.
	maxBatchBytes = 4 << 20
	// readers is how many documents are read at a time to see whether they are
	// there already.
	readers = 8
	// skipAttempts is how often a batch is looked at again after somebody else
	// has made one of its documents meanwhile.
	skipAttempts = 10
)

// Options of an import. A zero field means its default.
type Options struct {
	// Collection takes the documents. Needed.
	Collection string
	// Member, if set, names the member of the input that is the array of documents.
	Member string
	// IDField is the member that has the id of a document. Default "id".
	IDField string
	// GenerateIDs makes ids of the content and the place of each document.
	GenerateIDs bool
	// Exported says that the input is what Export has written. GuessExported
	// refuses an input that looks so if Exported is not set.
	Exported, GuessExported bool
	// Existing says what becomes of documents that are there. Default Replace.
	Existing Existing
	// Batch is how many documents one change has. Default DefaultBatch.
	Batch int
	// MaxDocument bounds one document, in bytes. Default DefaultMaxDocument.
	MaxDocument int
	// Checkpoint names a file that says how far the import has come; what a
	// former run has imported is passed over.
	Checkpoint string
	// RetryFor is for how long a region that does not answer, or asks to wait, is
	// tried again. Default DefaultRetryFor.
	RetryFor time.Duration
	// Progress, if set, is called now and then, and Retry before a wait.
	Progress func(Summary)
	Retry    func(err error, wait time.Duration)
}

func (o Options) withDefaults() Options {
	if o.IDField == "" {
		o.IDField = exportedID
	}
	if o.Existing == "" {
		o.Existing = Replace
	}
	if o.Batch == 0 {
		o.Batch = DefaultBatch
	}
	if o.MaxDocument == 0 {
		o.MaxDocument = DefaultMaxDocument
	}
	if o.RetryFor == 0 {
		o.RetryFor = DefaultRetryFor
	}
	return o
}

// ids says where the ids come from, for the checkpoint.
func (o *Options) ids() string {
	switch {
	case o.Exported:
		return "export"
	case o.GenerateIDs:
		return "content and place"
	default:
		return "member " + o.IDField
	}
}

// A Summary says what an import has done.
type Summary struct {
	// Documents were read. They were Created, Updated, found Unchanged, Skipped
	// as Existing says, or Passed over as the checkpoint says.
	Documents int `json:"documents"`
	Created   int `json:"created"`
	Updated   int `json:"updated"`
	Unchanged int `json:"unchanged"`
	Skipped   int `json:"skipped"`
	Passed    int `json:"passed"`
	// Changes are the atomic changes made; Bytes were read of the input.
	Changes int   `json:"changes"`
	Bytes   int64 `json:"bytes"`
}

// Done is how many documents are as the input and the options want them.
func (s *Summary) Done() int { return s.Created + s.Updated + s.Unchanged + s.Skipped + s.Passed }

type importer struct {
	c   *client.Client
	o   Options
	pos *position
	sum Summary
	// fresh says that the collection was empty at the start, so that there is
	// nothing to compare with.
	fresh bool

	batch []document
	bytes int
	ids   map[string]bool // in the batch
}

// Import writes the documents of an input, a batch at a time, each batch as one
// atomic change. It stops at the first document that is wrong: what came before
// it is written, and the error says in which line it is.
func Import(ctx context.Context, c *client.Client, in io.Reader, o Options) (Summary, error) {
	m := &importer{c: c, o: o.withDefaults(), ids: map[string]bool{}}
	if err := m.start(ctx); err != nil {
		return m.sum, err
	}
	docs := newDocuments(in, m.o)
	err := m.run(ctx, docs)
	m.sum.Bytes = docs.scan.Read()
	m.progress()
	return m.sum, err
}

func (m *importer) start(ctx context.Context) error {
	var cluster *client.Cluster
	err := m.retry(ctx, func() (err error) {
		cluster, err = m.c.Cluster(ctx)
		return err
	})
	if err != nil {
		return err
	}
	m.pos, err = openPosition(m.o.Checkpoint, checkpoint{
		Cluster: cluster.Cluster, Collection: m.o.Collection, IDs: m.o.ids(),
	})
	if err != nil {
		return err
	}
	var page *client.Page
	err = m.retry(ctx, func() (err error) {
		page, err = m.c.List(ctx, m.o.Collection, client.ListOptions{Limit: 1})
		return err
	})
	if errors.Is(err, client.ErrUnknownCollection) {
		page, err = &client.Page{}, nil
	}
	if err != nil {
		return err
	}
	m.fresh = len(page.Docs) == 0
	if m.fresh && m.pos.before.Records > 0 {
		return fmt.Errorf("%w: the collection is empty, although %s is about %d documents", ErrCheckpoint, m.o.Checkpoint, m.pos.before.Records)
	}
	return nil
}

func (m *importer) run(ctx context.Context, docs *documents) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		d, err := docs.next()
		m.sum.Bytes = docs.scan.Read()
		if err != nil {
			// What was read before it is still good.
			if ferr := m.flush(ctx); ferr != nil {
				return ferr
			}
			if errors.Is(err, io.EOF) {
				return m.pos.ended()
			}
			return err
		}
		if len(m.batch) == m.o.Batch || m.bytes+len(d.json) > maxBatchBytes || m.ids[d.id] {
			if err := m.flush(ctx); err != nil {
				return err
			}
		}
		passed, err := m.pos.pass(&d)
		if err != nil {
			return err
		}
		m.sum.Documents++
		if passed {
			m.sum.Passed++
			continue
		}
		d.raw = nil
		m.batch = append(m.batch, d)
		m.bytes += len(d.json)
		m.ids[d.id] = true
	}
}

func (m *importer) progress() {
	if m.o.Progress != nil {
		m.o.Progress(m.sum)
	}
}

// flush writes the batch and then the checkpoint.
func (m *importer) flush(ctx context.Context) error {
	if len(m.batch) == 0 {
		return nil
	}
	if err := m.write(ctx, m.batch); err != nil {
		return err
	}
	if err := m.pos.save(); err != nil {
		return fmt.Errorf("write the checkpoint: %w", err)
	}
	m.batch, m.bytes = m.batch[:0], 0
	clear(m.ids)
	m.progress()
	return nil
}

// write writes documents in one change. If the region refuses them, the change
// is cut in halves until it is known which document it refuses.
func (m *importer) write(ctx context.Context, batch []document) error {
	err := m.writeOnce(ctx, batch)
	if err == nil || !isRefusal(err) {
		return err
	}
	if len(batch) == 1 {
		return &LineError{batch[0].line, fmt.Errorf("document %d (%q): %w", batch[0].number, batch[0].id, err)}
	}
	half := len(batch) / 2
	if err := m.write(ctx, batch[:half]); err != nil {
		return err
	}
	return m.write(ctx, batch[half:])
}

func isRefusal(err error) bool {
	return errors.Is(err, client.ErrTooLarge) || errors.Is(err, client.ErrRefused) ||
		errors.Is(err, client.ErrConflict) || errors.Is(err, client.ErrMalformed)
}

func (m *importer) writeOnce(ctx context.Context, batch []document) error {
	for attempt := 1; ; attempt++ {
		puts, unchanged, skipped, err := m.compare(ctx, batch)
		if err != nil {
			return err
		}
		var receipts []client.Receipt
		if len(puts) > 0 {
			err = m.retry(ctx, func() (err error) {
				receipts, err = m.c.Batch(ctx, puts, client.WriteOptions{})
				return err
			})
		}
		if errors.Is(err, client.ErrPrecondition) && attempt < skipAttempts {
			continue // somebody else has made one of them since
		}
		if err != nil {
			return err
		}
		m.sum.Unchanged += unchanged
		m.sum.Skipped += skipped
		if len(puts) > 0 {
			m.sum.Changes++
		}
		for _, r := range receipts {
			if r.Created {
				m.sum.Created++
			} else {
				m.sum.Updated++
			}
		}
		return nil
	}
}

// compare says which documents are to be written, because they are not there as
// they should be.
func (m *importer) compare(ctx context.Context, batch []document) (puts []client.BatchPut, unchanged, skipped int, err error) {
	found := make([]json.RawMessage, len(batch))
	if !m.fresh || m.o.Existing == Skip {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(readers)
		for i := range batch {
			g.Go(func() error {
				return m.retry(gctx, func() error {
					d, err := m.c.Get(gctx, m.o.Collection, batch[i].id, true)
					if err == nil {
						found[i] = d.Value
					}
					if errors.Is(err, client.ErrNotFound) {
						return nil
					}
					return err
				})
			})
		}
		if err := g.Wait(); err != nil {
			return nil, 0, 0, err
		}
	}
	for i := range batch {
		switch {
		case found[i] != nil && bytes.Equal(bytes.TrimSpace(found[i]), batch[i].json):
			unchanged++
			continue
		case found[i] != nil && m.o.Existing == Skip:
			skipped++
			continue
		}
		put := client.BatchPut{Collection: m.o.Collection, ID: batch[i].id, Put: batch[i].json}
		if m.o.Existing == Skip {
			put.IfNoneMatch = "*"
		}
		puts = append(puts, put)
	}
	return puts, unchanged, skipped, nil
}

// retry repeats what can be repeated without harm.
func (m *importer) retry(ctx context.Context, do func() error) error {
	return retry(ctx, m.o.RetryFor, m.o.Retry, do)
}
