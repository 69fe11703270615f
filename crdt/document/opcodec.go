package document

import (
	"encoding/binary"
	"errors"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// payloadFormat is the version of the operations' encoding.
const payloadFormat = 1

// Bounds of what is decoded, however a peer is set up. Local limits are lower.
const (
	// maxPath is the greatest number of steps from the root to a slot.
	maxPath = 256
	// maxDepth is the greatest depth of one value in an operation.
	maxDepth = 256
	// maxItems is the greatest number of items in one value in an operation.
	maxItems = 1 << 24
)

var wireLimits = value.Limits{MaxDepth: maxDepth, MaxItems: maxItems, MaxBytes: crdt.MaxChangeBytes}

// Flags of an operation that places list positions.
const (
	flagRight = 1 << iota
	flagRoot
)

// tagCoder turns tags into few bytes with the help of the change's header: a
// replica is an index into Deps (from 1; 0 is the change's own), a sequence
// number the distance to the one last written for that replica, at first to the
// newest that the writer had. So the header of a mutation must be the same when
// it is prepared, encoded and applied.
type tagCoder struct {
	hd   crdt.Header
	last []uint64
}

func newTagCoder(hd crdt.Header) tagCoder {
	c := tagCoder{hd: hd, last: make([]uint64, hd.Deps.Len()+1)}
	c.last[0] = hd.Dot.Seq
	for i := range hd.Deps.Len() {
		c.last[i+1] = hd.Deps.At(i).Seq
	}
	return c
}

func zigzag(n int64) uint64 { return uint64(n)<<1 ^ uint64(n>>63) }

var errNotSeen = errors.New("the document holds what is not in the change's Deps")

func (c *tagCoder) appendDot(b []byte, d crdt.Dot) ([]byte, error) {
	ref := 0
	if d.Replica != c.hd.Dot.Replica {
		for ref = 1; ref < len(c.last) && c.hd.Deps.At(ref-1).Replica != d.Replica; ref++ {
		}
		if ref == len(c.last) {
			return nil, errNotSeen
		}
	}
	b = binary.AppendUvarint(b, uint64(ref))
	b = binary.AppendUvarint(b, zigzag(int64(c.last[ref]-d.Seq)))
	c.last[ref] = d.Seq
	return b, nil
}

func (c *tagCoder) appendTag(b []byte, t tag) ([]byte, error) {
	b, err := c.appendDot(b, t.dot)
	return binary.AppendUvarint(b, uint64(t.n)), err
}

func (c *tagCoder) dot(r *crdt.Reader) crdt.Dot {
	ref := r.Uvarint()
	if ref >= uint64(len(c.last)) {
		r.Fail("bad replica reference")
		return crdt.Dot{}
	}
	d := crdt.Dot{Replica: c.hd.Dot.Replica, Seq: c.last[ref] - uint64(r.Varint())}
	limit := c.hd.Dot.Seq
	if ref > 0 {
		e := c.hd.Deps.At(int(ref) - 1)
		d.Replica, limit = e.Replica, e.Seq
		if d.Replica == c.hd.Dot.Replica {
			r.Fail("own replica by reference")
		}
	}
	if d.Seq == 0 || d.Seq > limit {
		r.Fail("a tag that its writer cannot have seen")
	}
	c.last[ref] = d.Seq
	return d
}

func number(r *crdt.Reader) uint32 {
	n := r.Uvarint()
	if n > 1<<32-1 {
		r.Fail("number of a tag out of bounds")
	}
	return uint32(n)
}

func (c *tagCoder) tag(r *crdt.Reader) tag {
	d := c.dot(r)
	return tag{d, number(r)}
}

// opWriter encodes the operations of one mutation.
type opWriter struct {
	tagCoder
	b    []byte
	err  error
	prev path
}

func (w *opWriter) uint(n uint64) { w.b = binary.AppendUvarint(w.b, n) }

func (w *opWriter) tag(t tag) {
	if b, err := w.appendTag(w.b, t); err != nil {
		w.err = err
	} else {
		w.b = b
	}
}

func (w *opWriter) dot(d crdt.Dot) {
	if b, err := w.appendDot(w.b, d); err != nil {
		w.err = err
	} else {
		w.b = b
	}
}

// path writes how many steps p has in common with the path before, and the others.
func (w *opWriter) path(p path) {
	same := 0
	for same < min(len(p), len(w.prev)) && sameStep(p[same], w.prev[same]) {
		same++
	}
	w.uint(uint64(same))
	w.uint(uint64(len(p) - same))
	for _, s := range p[same:] {
		if s.isElem {
			w.uint(1)
			w.tag(s.elem)
		} else {
			w.uint(uint64(len(s.key)) << 1)
			w.b = append(w.b, s.key...)
		}
	}
	w.prev = p
}

func sameStep(a, b step) bool { return a.key == b.key && a.elem == b.elem && a.isElem == b.isElem }

func (w *opWriter) values(vs []any) {
	w.uint(uint64(len(vs)))
	for _, v := range vs {
		w.b = value.AppendBinary(w.b, v)
	}
}

func (w *opWriter) place(o *op) {
	flags := byte(0)
	if o.right {
		flags |= flagRight
	}
	if o.parent == (tag{}) {
		w.b = append(w.b, flags|flagRoot)
		return
	}
	w.b = append(w.b, flags)
	w.tag(o.parent)
}

func (w *opWriter) op(o *op) {
	w.b = append(w.b, byte(o.code))
	w.path(o.path)
	switch o.code {
	case opRemove:
		w.uint(uint64(len(o.remove.tags)))
		for _, t := range o.remove.tags {
			w.dot(t.dot)
			w.uint(uint64(t.from))
			w.uint(uint64(t.to - t.from))
		}
		w.uint(uint64(len(o.remove.cells)))
		for _, c := range o.remove.cells {
			w.tag(c.tag)
			w.uint(c.seq - c.tag.dot.Seq)
			w.b = binary.AppendVarint(w.b, c.total)
		}
	case opPut:
		w.b = value.AppendBinary(w.b, o.values[0])
	case opPresence:
		w.b = append(w.b, byte(o.kind))
	case opInc:
		if o.cell == (tag{}) {
			w.b = append(w.b, 0)
		} else {
			w.b = append(w.b, 1)
			w.tag(o.cell)
		}
		w.b = binary.AppendVarint(w.b, o.delta)
	case opInsert:
		w.place(o)
		w.values(o.values)
	case opMove:
		w.tag(o.elem)
		w.place(o)
	case opAdd:
		w.values(o.values)
	}
}

// encodeOps encodes the operations of a mutation of the change with this header.
// Nothing is encoded as nothing.
func encodeOps(hd crdt.Header, ops []op) ([]byte, error) {
	if len(ops) == 0 {
		return nil, nil
	}
	w := opWriter{tagCoder: newTagCoder(hd), b: []byte{payloadFormat}}
	w.uint(uint64(len(ops)))
	for i := range ops {
		w.op(&ops[i])
	}
	return w.b, w.err
}

// opReader decodes what opWriter writes.
type opReader struct {
	tagCoder
	r    *crdt.Reader
	prev path
}

func (d *opReader) value() any {
	if d.r.Err() != nil {
		return nil
	}
	v, rest, err := value.DecodeBinary(d.r.Rest(), wireLimits)
	if err != nil {
		d.r.Fail(err.Error())
		return nil
	}
	*d.r = *crdt.NewReader(rest)
	return v
}

func (d *opReader) values() []any {
	n := d.r.Count(maxItems, 1)
	vs := make([]any, 0, n)
	for range n {
		vs = append(vs, d.value())
	}
	return vs
}

func (d *opReader) path() path {
	r := d.r
	same := r.Uvarint()
	if same > uint64(len(d.prev)) {
		r.Fail("bad path")
		return nil
	}
	n := r.Count(maxPath-int(same), 1)
	p := d.prev[:same]
	for range n {
		if k := r.Uvarint(); k == 1 {
			p = append(p, step{elem: d.tag(r), isElem: true, hint: -1})
		} else if k&1 == 0 {
			key := r.Fixed(int(min(k>>1, uint64(len(r.Rest())+1))))
			p = append(p, step{key: checkedKey(r, key)})
		} else {
			r.Fail("bad step")
		}
	}
	d.prev = p
	return p
}

func (d *opReader) place(o *op) {
	flags := d.r.Byte()
	o.right, o.parentHint = flags&flagRight != 0, -1
	switch {
	case flags > flagRight|flagRoot || flags == flagRoot:
		d.r.Fail("bad place in a list")
	case flags&flagRoot == 0:
		o.parent = d.tag(d.r)
	}
}

func (d *opReader) op(o *op) {
	r := d.r
	o.code = opcode(r.Byte())
	o.path = d.path()
	if len(o.path) == 0 && o.code != opRemove {
		r.Fail("the root is a map and nothing else")
	}
	switch o.code {
	case opRemove:
		d.removal(&o.remove)
	case opPut:
		o.values = []any{d.value()}
	case opPresence:
		if o.kind = kind(r.Byte()); o.kind < kindMap || o.kind > kindCounter {
			r.Fail("bad kind")
		}
	case opInc:
		switch r.Byte() {
		case 0:
		case 1:
			o.cell = d.tag(r)
		default:
			r.Fail("bad increment")
		}
		o.delta = r.Varint()
	case opInsert:
		d.place(o)
		if o.values = d.values(); len(o.values) == 0 {
			r.Fail("empty run")
		}
	case opMove:
		o.elem, o.elemHint = d.tag(r), -1
		d.place(o)
	case opAdd:
		o.values = d.values()
		for _, v := range o.values {
			if typed(v) {
				r.Fail("a set of typed values")
			}
		}
	default:
		r.Fail("unknown operation")
	}
}

func (d *opReader) removal(m *removal) {
	r := d.r
	n := r.Count(maxItems, 4)
	for i := range n {
		t := tagRange{dot: d.dot(r), from: number(r)}
		size := number(r)
		if t.to = t.from + size; t.to < t.from {
			r.Fail("bad range of tags")
		}
		if i > 0 && (tag{m.tags[i-1].dot, m.tags[i-1].to}).compare(tag{t.dot, t.from}) >= 0 {
			r.Fail("tags out of order")
		}
		if r.Err() != nil {
			return
		}
		m.tags = append(m.tags, t)
	}
	n = r.Count(maxItems, 4)
	for i := range n {
		c := cellRef{tag: d.tag(r)}
		c.seq = c.tag.dot.Seq + r.Uvarint()
		c.total = r.Varint()
		if c.seq < c.tag.dot.Seq || i > 0 && m.cells[i-1].tag.compare(c.tag) >= 0 {
			r.Fail("bad reset")
		}
		if r.Err() != nil {
			return
		}
		m.cells = append(m.cells, c)
	}
}

// decodeOps decodes a payload and hands over its operations one by one. Their
// paths are good until the next one only: a few bytes may name a long path, so
// that keeping all would take memory out of proportion.
func decodeOps(hd crdt.Header, b []byte, do func(o *op) error) error {
	if len(b) == 0 {
		return nil
	}
	d := opReader{tagCoder: newTagCoder(hd), r: crdt.NewReader(b)}
	if f := d.r.Byte(); f != payloadFormat {
		return corrupt("payload format %d is not known here", f)
	}
	var o op
	for range d.r.Count(maxItems, 3) {
		o = op{}
		if d.op(&o); d.r.Err() != nil {
			break
		}
		if err := do(&o); err != nil {
			return err
		}
	}
	return d.r.Done()
}
