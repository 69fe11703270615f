package journal

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/meridiandb/meridian/crdt"
)

// format is the first byte of a stored record; JSON follows.
const format = 1

// Append appends the stored form.
func (r *Record) Append(b []byte) ([]byte, error) {
	buf := bytes.NewBuffer(append(b, format))
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("conflict %v: %w", r.ID, err)
	}
	return buf.Bytes(), nil
}

// DecodeRecord reads what Append writes.
func DecodeRecord(b []byte) (*Record, error) {
	if len(b) == 0 || b[0] != format {
		return nil, fmt.Errorf("%w: a conflict of a format that is not known here", crdt.ErrCorrupt)
	}
	r := &Record{}
	if err := json.Unmarshal(b[1:], r); err != nil {
		return nil, fmt.Errorf("%w: a conflict: %w", crdt.ErrCorrupt, err)
	}
	bad := r.ID.IsZero() || r.Collection.IsZero() || r.Settled != nil && r.Settled.By.IsZero()
	for i := range r.Versions {
		bad = bad || r.Versions[i].Dot.IsZero()
	}
	if bad {
		return nil, fmt.Errorf("%w: a conflict that names nothing", crdt.ErrCorrupt)
	}
	return r, nil
}
