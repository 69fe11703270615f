package bulk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/google/uuid"

	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/core"
)

// A document is one that is to be written.
type document struct {
	number, line int
	id           string
	json         []byte // canonical, with types
	raw          []byte // as it was read, for the checkpoint
}

// generatedIDs is the namespace of the ids made for documents that bring none.
var generatedIDs = uuid.MustParse("5f0b6a0e-6a55-5d0c-9d5e-2f1f6d0a7c11")

// Members of a line that Export writes.
const (
	exportedID    = "id"
	exportedValue = "value"
)

// envelope is how much larger than its document such a line may be.
const envelope = 16 << 10

// documents reads the documents of an import.
type documents struct {
	scan  *Scanner
	o     Options
	limit int // of a record
}

func newDocuments(in io.Reader, o Options) *documents {
	limit := o.MaxDocument
	if o.Exported {
		limit += envelope
	}
	limit *= 2 // white space does not count later, but has to be held now
	return &documents{NewScanner(in, limit, o.Member), o, limit}
}

// next returns the next document, or io.EOF.
func (d *documents) next() (document, error) {
	r, err := d.scan.Next()
	if err != nil {
		return document{}, err
	}
	doc := document{number: r.Number, line: r.Line}
	m, err := value.ParseObject(r.JSON, value.Limits{MaxBytes: d.limit, MaxDepth: value.DefaultMaxDepth + 1})
	if err != nil {
		return doc, wrong(r, err)
	}
	if r.Number == 1 && d.o.GuessExported && !d.o.Exported && looksExported(m) {
		return doc, ErrLooksExported
	}
	if err := d.identify(&doc, m); err != nil {
		return doc, lineErrorf(r.Line, "document %d: %w", r.Number, err)
	}
	if len(doc.json) > d.o.MaxDocument {
		return doc, lineErrorf(r.Line, "document %d (%q) has %d bytes; at most %d are taken", r.Number, doc.id, len(doc.json), d.o.MaxDocument)
	}
	doc.raw = bytes.Clone(r.JSON)
	return doc, nil
}

// wrong finds the line of what is wrong within a record.
func wrong(r Record, err error) error {
	line := r.Line
	if e, ok := errors.AsType[*value.Error](err); ok && e.Offset > 0 {
		line += bytes.Count(r.JSON[:min(e.Offset, int64(len(r.JSON)))], []byte("\n"))
		e.Offset = -1 // of the record, which nobody can look up
	}
	return lineErrorf(line, "document %d: %w", r.Number, err)
}

// looksExported reports whether a document has just the members that Export writes.
func looksExported(m map[string]any) bool {
	_, hasID := m[exportedID].(string)
	_, hasValue := m[exportedValue].(map[string]any)
	return hasID && hasValue && len(m) == 2
}

// identify gives a document its id and its canonical form.
func (d *documents) identify(doc *document, m map[string]any) (err error) {
	body := m
	field := d.o.IDField
	if d.o.Exported {
		field = exportedID
		var ok bool
		if body, ok = m[exportedValue].(map[string]any); !ok {
			return fmt.Errorf("%q is missing or no object; is this what \"meridian export\" has written?", exportedValue)
		}
	}
	if err := value.Check(body, value.Limits{MaxBytes: d.limit}); err != nil {
		return err
	}
	doc.json = value.Append(nil, body, value.Options{Types: true})
	if d.o.GenerateIDs && !d.o.Exported {
		// The place in the input keeps equal documents apart, and the same input
		// gets the same ids when it is imported again.
		name := append(strconv.AppendInt(nil, int64(doc.number), 10), ':')
		doc.id = uuid.NewSHA1(generatedIDs, append(name, doc.json...)).String()
		return nil
	}
	v, ok := m[field]
	if !ok {
		return fmt.Errorf("it has no member %q: %w", field, ErrNoID)
	}
	switch v := v.(type) {
	case string:
		doc.id = v
	case int64:
		doc.id = strconv.FormatInt(v, 10)
	default:
		return fmt.Errorf("its member %q is neither a text nor an integer: %w", field, ErrNoID)
	}
	return core.CheckID(doc.id)
}
