// Package conflictlog keeps the records of conflicts in a region's store, and
// finds them again.
//
// All of it is meta records, written in the batch of the change that a record
// is about:
//
//	conflict/state          counters
//	conflict/r/SEQ          a record
//	conflict/i/ID           the seq of the record that goes, or went, by an id
//	conflict/d/DOCUMENT     which conflicts stand in a document at present
//	conflict/u/REV          the seq of the record that a change was of
//	conflict/a/BLOCK        which seqs of a block are there: a bitmap
//	conflict/b/BLOCK/sSTATE, …/cCOLLECTION, …/rREGION
//	                        which of them have a state, collection or region
//
// Seqs and revs are dense, so a page newest first is a walk down the bitmaps and
// a read per record, however many there are and whatever they are filtered
// by. The bitmaps of a block may say too much of what has changed since, never
// too little: a record is looked at before it is listed.
package conflictlog

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strconv"

	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

// The names of meta records.
const (
	prefix        = "conflict/"
	stateName     = prefix + "state"
	recordPrefix  = prefix + "r/"
	idPrefix      = prefix + "i/"
	docPrefix     = prefix + "d/"
	changePrefix  = prefix + "u/"
	blockPrefix   = prefix + "a/"
	indexPrefix   = prefix + "b/"
	indexState    = "/s"
	indexColl     = "/c"
	indexRegion   = "/r"
	numberFormat  = "%012x"
	blockFormat   = "%08x"
	blockNameSize = 8
)

func recordName(seq uint64) string { return recordPrefix + fmt.Sprintf(numberFormat, seq) }
func changeName(rev uint64) string { return changePrefix + fmt.Sprintf(numberFormat, rev) }
func idName(id journal.ID) string  { return idPrefix + string(id[:]) }
func blockName(b uint64) string    { return blockPrefix + fmt.Sprintf(blockFormat, b) }
func indexName(b uint64, kind, value string) string {
	return indexPrefix + fmt.Sprintf(blockFormat, b) + kind + value
}

func dotBytes(d crdt.Dot) string {
	return string(binary.BigEndian.AppendUint64(slices.Clone(d.Replica[:]), d.Seq))
}

func docName(k store.DocKey) string { return docPrefix + dotBytes(k.Collection) + k.ID }

// blockSize is the number of seqs in a block.
const blockSize = 512

// A bitmap says which seqs of a block are in a set.
type bitmap [blockSize / 64]uint64

func place(seq uint64) (block uint64, bit int) { return seq / blockSize, int(seq % blockSize) }

func (m *bitmap) set(bit int)   { m[bit/64] |= 1 << (bit % 64) }
func (m *bitmap) clear(bit int) { m[bit/64] &^= 1 << (bit % 64) }

func (m *bitmap) and(o *bitmap) {
	for i := range m {
		m[i] &= o[i]
	}
}

func (m *bitmap) or(o *bitmap) {
	for i := range m {
		m[i] |= o[i]
	}
}

func (m *bitmap) count() (n int) {
	for _, w := range m {
		n += bits.OnesCount64(w)
	}
	return n
}

// highest returns the greatest bit below limit, or -1.
func (m *bitmap) highest(limit int) int {
	for bit := limit - 1; bit >= 0; {
		w := m[bit/64] & (^uint64(0) >> (63 - bit%64))
		if w != 0 {
			return bit/64*64 + bits.Len64(w) - 1
		}
		bit = bit/64*64 - 1
	}
	return -1
}

// lowest returns the least bit not below from, or -1.
func (m *bitmap) lowest(from int) int {
	for bit := from; bit < blockSize; bit = bit/64*64 + 64 {
		if w := m[bit/64] >> (bit % 64); w != 0 {
			return bit + bits.TrailingZeros64(w)
		}
	}
	return -1
}

func (m *bitmap) encode() []byte {
	if *m == (bitmap{}) {
		return nil
	}
	b := make([]byte, 0, blockSize/8)
	for _, w := range m {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return b
}

func decodeBitmap(b []byte) (m bitmap, err error) {
	if b == nil {
		return m, nil
	}
	if len(b) != blockSize/8 {
		return m, corrupt("a bitmap of %d bytes", len(b))
	}
	for i := range m {
		m[i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return m, nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: conflict log: %s", store.ErrCorrupt, fmt.Sprintf(format, args...))
}

func encodeNumber(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func decodeNumber(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, corrupt("a number of %d bytes", len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

func parseBlock(name string) (uint64, error) {
	if len(name) != len(blockPrefix)+blockNameSize {
		return 0, corrupt("a block named %.40q", name)
	}
	n, err := strconv.ParseUint(name[len(blockPrefix):], 16, 64)
	if err != nil {
		return 0, corrupt("a block named %.40q", name)
	}
	return n, nil
}

// state is what the log keeps of itself.
type state struct {
	seq, rev uint64 // the last that were given out
	bytes    int64  // of the records
	standing uint64 // documents with conflicts that stand at present
	last     int64  // the time of the last change, in Unix milliseconds
}

const stateFormat = 1

func (s *state) encode() []byte {
	b := []byte{stateFormat}
	for _, n := range []uint64{s.seq, s.rev, uint64(s.bytes), s.standing, uint64(s.last)} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func decodeState(b []byte) (s state, err error) {
	if b == nil {
		return s, nil
	}
	r := crdt.NewReader(b)
	if f := r.Byte(); f != stateFormat {
		return s, corrupt("format %d is not known here", f)
	}
	s.seq, s.rev, s.bytes = r.Uvarint(), r.Uvarint(), int64(r.Uvarint())
	s.standing, s.last = r.Uvarint(), int64(r.Uvarint())
	if err := r.Done(); err != nil {
		return s, corrupt("%v", err)
	}
	return s, nil
}

// A Standing is a conflict that stands in a document at present.
type Standing struct {
	// Seq is its record's; 0 if the record was dropped to keep the log within
	// its bounds.
	Seq  uint64
	ID   journal.ID
	Path string
	Dots []crdt.Dot // in canonical order of the versions
}

const (
	standingFormat = 1
	// maxStanding and maxDots bound what is decoded.
	maxStanding = 1 << 12
	maxDots     = 1 << 20
	maxPath     = 1 << 20
)

func encodeStanding(all []Standing) []byte {
	if len(all) == 0 {
		return nil
	}
	b := []byte{standingFormat}
	b = binary.AppendUvarint(b, uint64(len(all)))
	for i := range all {
		s := &all[i]
		b = binary.AppendUvarint(b, s.Seq)
		b = append(b, s.ID[:]...)
		b = binary.AppendUvarint(b, uint64(len(s.Path)))
		b = append(b, s.Path...)
		b = binary.AppendUvarint(b, uint64(len(s.Dots)))
		for _, d := range s.Dots {
			b = append(b, d.Replica[:]...) // as crdt.Reader reads a dot
			b = binary.AppendUvarint(b, d.Seq)
		}
	}
	return b
}

func decodeStanding(b []byte) ([]Standing, error) {
	if b == nil {
		return nil, nil
	}
	r := crdt.NewReader(b)
	if f := r.Byte(); f != standingFormat {
		return nil, corrupt("format %d is not known here", f)
	}
	all := make([]Standing, r.Count(maxStanding, 16))
	for i := range all {
		s := &all[i]
		s.Seq = r.Uvarint()
		s.ID = journal.ID(r.Fixed(len(s.ID)))
		s.Path = string(r.Bytes(maxPath))
		s.Dots = make([]crdt.Dot, r.Count(maxDots, 17))
		for k := range s.Dots {
			s.Dots[k] = r.Dot()
		}
	}
	if err := r.Done(); err != nil {
		return nil, corrupt("%v", err)
	}
	return all, nil
}
