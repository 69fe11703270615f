package document

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"sync"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// digester writes what every replica with the same changes holds: nothing dead,
// and nothing of how a list's positions hang together, which trimming changes.
//
// A map's entries are written as the sum of their hashes, and each entry
// remembers its own until it is changed: so a write costs what it changes, and
// not what the document has.
type digester struct{ b []byte }

// What is digested is thrown away, so its buffer is used again.
var digesters = sync.Pool{New: func() any { return new(digester) }}

// maxDigester is the largest buffer that is kept.
const maxDigester = 64 << 10

func (w *digester) release() {
	if cap(w.b) <= maxDigester {
		w.b = w.b[:0]
		digesters.Put(w)
	}
}

// An entrySum is the hash of a map's entry, of its name and all below it. The zero
// one is not known.
type entrySum struct{ hi, lo uint64 }

// entry returns the hash of the entry key of a map, which shows something.
func (w *digester) entry(key string, s *slot) entrySum {
	if s.sum != (entrySum{}) {
		return s.sum
	}
	start := len(w.b)
	w.uint(uint64(len(key)))
	w.b = append(w.b, key...)
	w.slot(s)
	full := sha256.Sum256(w.b[start:])
	w.b = w.b[:start]
	s.sum = entrySum{binary.BigEndian.Uint64(full[:]), binary.BigEndian.Uint64(full[8:])}
	return s.sum
}

// entries writes how many entries a map shows, and the sum of their hashes.
func (w *digester) entries(m *mapNode) {
	n := uint64(0)
	var sum entrySum
	for key, s := range m.children {
		if !s.alive() {
			continue
		}
		e := w.entry(key, s)
		var carry uint64
		n++
		sum.lo, carry = bits.Add64(sum.lo, e.lo, 0)
		sum.hi, _ = bits.Add64(sum.hi, e.hi, carry)
	}
	w.uint(n)
	w.b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(w.b, sum.hi), sum.lo)
}

func (w *digester) uint(n uint64) { w.b = binary.AppendUvarint(w.b, n) }

func (w *digester) tag(t tag) {
	w.b = append(w.b, t.dot.Replica[:]...)
	w.uint(t.dot.Seq)
	w.uint(uint64(t.n))
}

func (w *digester) marks(ms []mark) {
	w.uint(uint64(len(ms)))
	for _, m := range ms {
		w.tag(m.tag)
		w.uint(uint64(m.stamp))
	}
}

func (w *digester) slot(s *slot) {
	w.uint(uint64(len(s.scalars)))
	for _, x := range s.scalars {
		w.marks([]mark{x.mark})
		w.b = value.AppendBinary(w.b, x.v)
	}
	if s.m.alive() {
		w.uint(uint64(kindMap))
		w.marks(s.m.presence)
		w.entries(s.m)
	}
	if s.l.alive() {
		nodes := s.l.shown()
		w.uint(uint64(kindList))
		w.marks(s.l.presence)
		w.uint(uint64(len(nodes)))
		for _, i := range nodes {
			n := s.l.nodes[i]
			w.tag(n.id)
			w.tag(n.elem)
			w.slot(n.slot)
		}
	}
	if s.s.alive() {
		w.uint(uint64(kindSet))
		w.marks(s.s.presence)
		w.uint(uint64(len(s.s.members)))
		for _, m := range s.s.sorted() {
			w.b = value.AppendBinary(w.b, m.v)
			w.marks(m.marks)
		}
	}
	if s.c.alive() {
		w.uint(uint64(kindCounter))
		w.marks(s.c.presence)
		for i := range s.c.cells {
			if c := &s.c.cells[i]; c.live() {
				w.tag(c.tag)
				for _, n := range []uint64{c.seq, uint64(c.stamp), uint64(c.total), c.floorSeq, uint64(c.floorTotal)} {
					w.uint(n)
				}
			}
		}
	}
	w.uint(0)
}

// Digest implements [crdt.State]. That of a document that does not exist is
// zero: a deleted one is forgotten when its deletion is stable.
func (d *Doc) Digest() (sum [crdt.DigestSize]byte) {
	if !d.heads.Visible() {
		return sum
	}
	w := digesters.Get().(*digester)
	defer w.release()
	for _, h := range d.heads.All() {
		w.marks([]mark{{tag{dot: h.Dot}, h.Stamp}})
		w.uint(uint64(h.Delete))
	}
	w.uint(0)
	w.slot(d.root)
	full := sha256.Sum256(w.b)
	return [crdt.DigestSize]byte(full[:crdt.DigestSize])
}
