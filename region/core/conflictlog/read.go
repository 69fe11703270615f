package conflictlog

import (
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

// A Filter says which records are wanted. What is not set does not matter.
type Filter struct {
	// Collections are incarnations, any of which will do.
	Collections []crdt.Dot
	State       journal.State
	// Region is one that wrote a version.
	Region string
	// Since is the time before which the conflict was not seen here.
	Since time.Time
}

// Matches reports whether a record is wanted.
func (f *Filter) Matches(r *journal.Record) bool {
	return (len(f.Collections) == 0 || slices.Contains(f.Collections, r.Collection)) &&
		(f.State == "" || f.State == r.State) &&
		(f.Region == "" || slices.Contains(r.Regions(), f.Region)) &&
		(f.Since.IsZero() || r.Seen >= f.Since.UnixMilli())
}

// List returns the newest records that match, at most limit, and whether there
// are more. With before, only those whose seq is below it: it is the seq of the
// last one on the page before.
func List(r store.Reader, f Filter, before uint64, limit int) (out []*journal.Record, more bool, err error) {
	var blocks []block
	var all []bitmap
	for e, err := range r.MetaRange(blockPrefix, "") {
		if err != nil {
			return nil, false, err
		}
		n, err := parseBlock(e.Name)
		if err != nil {
			return nil, false, err
		}
		m, err := decodeBitmap(e.Value)
		if err != nil {
			return nil, false, err
		}
		blocks, all = append(blocks, block{number: n}), append(all, m)
	}
	for i := len(blocks) - 1; i >= 0; i-- {
		start := blocks[i].number * blockSize
		if before > 0 && start >= before {
			continue
		}
		bits := all[i]
		if err := f.narrow(r, blocks[i].number, &bits); err != nil {
			return nil, false, err
		}
		bit := blockSize
		if before > 0 && before-start < blockSize {
			bit = int(before - start)
		}
		for bit = bits.highest(bit); bit >= 0; bit = bits.highest(bit) {
			record, err := readRecord(r, start+uint64(bit))
			switch {
			case err != nil:
				return nil, false, err
			case record == nil:
				continue
			case !f.Since.IsZero() && record.Seen < f.Since.UnixMilli():
				return out, false, nil // all that follow are older
			case !f.Matches(record):
				continue
			case len(out) == limit:
				return out, true, nil
			}
			out = append(out, record)
		}
	}
	return out, false, nil
}

// narrow leaves of a block's seqs those that may match.
func (f *Filter) narrow(r store.Reader, number uint64, bits *bitmap) error {
	read := func(name string) (bitmap, error) {
		b, err := r.Meta(name)
		if err != nil {
			return bitmap{}, err
		}
		return decodeBitmap(b)
	}
	if len(f.Collections) > 0 {
		var either bitmap
		for _, c := range f.Collections {
			m, err := read(indexName(number, indexColl, dotBytes(c)))
			if err != nil {
				return err
			}
			either.or(&m)
		}
		bits.and(&either)
	}
	for _, x := range []struct{ kind, value string }{{indexState, string(f.State)}, {indexRegion, f.Region}} {
		if x.value == "" || *bits == (bitmap{}) {
			continue
		}
		m, err := read(indexName(number, x.kind, x.value))
		if err != nil {
			return err
		}
		bits.and(&m)
	}
	return nil
}

func readRecord(r store.Reader, seq uint64) (*journal.Record, error) {
	b, err := r.Meta(recordName(seq))
	if b == nil || err != nil {
		return nil, err
	}
	return journal.DecodeRecord(b)
}

// Find returns the record that goes, or went, by an id, nil if there is none.
func Find(r store.Reader, id journal.ID) (*journal.Record, error) {
	b, err := r.Meta(idName(id))
	if b == nil || err != nil {
		return nil, err
	}
	seq, err := decodeNumber(b)
	if err != nil {
		return nil, err
	}
	return readRecord(r, seq)
}

// StandingIn returns what stands in a document.
func StandingIn(r store.Reader, k store.DocKey) ([]Standing, error) {
	b, err := r.Meta(docName(k))
	if err != nil {
		return nil, err
	}
	return decodeStanding(b)
}

// LastChange is the rev of the last change of a record.
func LastChange(r store.Reader) (uint64, error) {
	b, err := r.Meta(stateName)
	if err != nil {
		return 0, err
	}
	s, err := decodeState(b)
	return s.rev, err
}

// Changes returns the records that changed after a rev, as they are now and
// each once, in the order of their last changes, at most limit, and the rev up
// to which that is all. It reports false if what changed is not kept any more.
func Changes(r store.Reader, after uint64, limit int) (out []*journal.Record, upTo uint64, ok bool, err error) {
	last, err := LastChange(r)
	if err != nil {
		return nil, after, false, err
	}
	if after > last || last-after > ChangesKept {
		return nil, after, false, nil
	}
	for after < last && len(out) < limit {
		after++
		b, err := r.Meta(changeName(after))
		if err != nil {
			return nil, after, false, err
		}
		if b == nil {
			continue
		}
		seq, err := decodeNumber(b)
		if err != nil {
			return nil, after, false, err
		}
		record, err := readRecord(r, seq)
		if err != nil {
			return nil, after, false, err
		}
		if record != nil && record.Rev == after { // else it comes later, or was dropped
			out = append(out, record)
		}
	}
	return out, after, true, nil
}

// DocumentsIn returns the ids of documents of a collection in which conflicts
// stand, at most limit, in order after the id after.
func DocumentsIn(r store.Reader, collection crdt.Dot, after string, limit int) ([]string, error) {
	under := docPrefix + dotBytes(collection)
	var ids []string
	start := ""
	if after != "" {
		start = under + after
	}
	for e, err := range r.MetaRange(under, start) {
		if err != nil {
			return nil, err
		}
		if ids = append(ids, strings.TrimPrefix(e.Name, under)); len(ids) == limit {
			break
		}
	}
	return ids, nil
}
