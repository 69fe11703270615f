package document

import (
	"encoding/binary"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// stateFormat is the version of a state's encoding.
const stateFormat = 1

// maxSlots is the greatest depth of slots in a state: a path and a value below it.
const maxSlots = maxPath + maxDepth + 1

// How a tag is written: as a step from the one before, or by its change, which
// is written in full once and is a number afterwards.
const (
	tagNext    = 0 // same change, next number
	tagSame    = 1 // the very same tag
	tagStamped = 2 // of a change that follows, with its stamp
	tagBare    = 3 // of a change that follows, without its stamp
	tagKnown   = 4 // of the change with number code - tagKnown
)

// Flags of an encoded slot.
const (
	slotScalar = 1 << iota // one
	slotScalars
	slotMap
	slotList
	slotSet
	slotCounter
	slotMask = 1<<iota - 1
)

// Flags of an encoded list position; the lower bits are its deadness.
const (
	nodeRight = 4 << iota
	nodeKey   // differs from its id
	nodeElem  // holds an element
	nodeMoved // which is not that of its id
	nodeMask  = 8<<iota - 1
)

// Flags of an encoded cell; the lower bits are its deadness.
const (
	cellFloor = 4
	cellMask  = 7
)

// stateWriter encodes a state in one walk. Replicas and changes are numbered
// as they come up.
type stateWriter struct {
	b        []byte
	replicas numbering[crdt.ReplicaID]
	seqs     []uint64 // of each replica, the one last written
	changes  numbering[crdt.Dot]
	stamped  []bool // whether each change was written with its stamp
	last     tag
	stamp    crdt.Stamp
	memory   int // see Doc.memory
}

// A numbering numbers what is added to it from 0. What is added again has its last number.
type numbering[K comparable] struct {
	keys  []K
	index map[K]int // once they are more than a few
}

// fewKeys are looked through faster than a map is made.
const fewKeys = 16

func (n *numbering[K]) find(k K) (number int, ok bool) {
	if n.index != nil {
		number, ok = n.index[k]
		return number, ok
	}
	for i := len(n.keys) - 1; i >= 0; i-- {
		if n.keys[i] == k {
			return i, true
		}
	}
	return 0, false
}

func (n *numbering[K]) add(k K) {
	n.keys = append(n.keys, k)
	switch {
	case n.index != nil:
		n.index[k] = len(n.keys) - 1
	case len(n.keys) > fewKeys:
		n.index = make(map[K]int, 2*len(n.keys))
		for i, k := range n.keys {
			n.index[k] = i
		}
	}
}

func (w *stateWriter) uint(n uint64) { w.b = binary.AppendUvarint(w.b, n) }
func (w *stateWriter) int(n int64)   { w.b = binary.AppendVarint(w.b, n) }

func (w *stateWriter) tag(t tag, stamp crdt.Stamp, stamped bool) {
	change, known := w.changes.find(t.dot)
	known = known && (w.stamped[change] || !stamped)
	switch {
	case known && t == w.last:
		w.uint(tagSame)
		return
	case known && t.dot == w.last.dot && t.n == w.last.n+1:
		w.uint(tagNext)
		w.last = t
		return
	case known:
		w.uint(tagKnown + uint64(change))
	default:
		w.change(t.dot, stamp, stamped)
	}
	w.uint(uint64(t.n))
	w.last = t
}

func (w *stateWriter) change(d crdt.Dot, stamp crdt.Stamp, stamped bool) {
	if stamped {
		w.uint(tagStamped)
	} else {
		w.uint(tagBare)
	}
	rep, known := w.replicas.find(d.Replica)
	if !known {
		w.uint(0)
		w.b = append(w.b, d.Replica[:]...)
		rep = len(w.seqs)
		w.replicas.add(d.Replica)
		w.seqs = append(w.seqs, 0)
	} else {
		w.uint(uint64(rep) + 1)
	}
	w.int(int64(d.Seq - w.seqs[rep]))
	w.seqs[rep] = d.Seq
	if stamped {
		w.int(int64(stamp - w.stamp))
		w.stamp = stamp
	}
	w.changes.add(d)
	w.stamped = append(w.stamped, stamped)
}

func (w *stateWriter) marks(ms []mark) {
	w.uint(uint64(len(ms)))
	for _, m := range ms {
		w.tag(m.tag, m.stamp, true)
	}
}

func (w *stateWriter) slot(s *slot) {
	w.memory += slotMemory
	flags := byte(0)
	set := func(on bool, f byte) {
		if on {
			flags |= f
		}
	}
	set(len(s.scalars) == 1, slotScalar)
	set(len(s.scalars) > 1, slotScalars)
	set(s.m != nil, slotMap)
	set(s.l != nil, slotList)
	set(s.s != nil, slotSet)
	set(s.c != nil, slotCounter)
	w.b = append(w.b, flags)
	if len(s.scalars) > 1 {
		w.uint(uint64(len(s.scalars)))
	}
	for _, x := range s.scalars {
		w.tag(x.tag, x.stamp, true)
		w.b = value.AppendBinary(w.b, x.v)
	}
	if s.m != nil {
		w.mapNode(s.m)
	}
	if s.l != nil {
		w.list(s.l)
	}
	if s.s != nil {
		w.marks(s.s.presence)
		w.uint(uint64(len(s.s.members)))
		w.memory += nodeMemory * len(s.s.members)
		for _, m := range s.s.sorted() {
			w.b = value.AppendBinary(w.b, m.v)
			w.marks(m.marks)
		}
	}
	if s.c != nil {
		w.counter(s.c)
	}
}

func (w *stateWriter) mapNode(m *mapNode) {
	w.marks(m.presence)
	w.uint(uint64(len(m.children)))
	for k, c := range m.all() {
		w.uint(uint64(len(k)))
		w.b = append(w.b, k...)
		w.slot(c)
	}
}

// list writes the positions parents first, so that a parent is a short way back.
func (w *stateWriter) list(l *list) {
	w.memory += nodeMemory * len(l.nodes)
	w.marks(l.presence)
	w.uint(uint64(len(l.nodes)))
	number := make([]uint64, len(l.nodes)) // from 1; 0 is the root
	next := uint64(0)
	l.walk(true, func(i int32) {
		n := l.nodes[i]
		next++
		number[i] = next
		parent := uint64(0)
		if n.parent >= 0 {
			parent = number[n.parent]
		}
		w.uint(next - parent)
		flags := byte(n.dead)
		if n.right {
			flags |= nodeRight
		}
		if n.key != n.id {
			flags |= nodeKey
		}
		if n.slot != nil {
			flags |= nodeElem
			if n.elem != n.id {
				flags |= nodeMoved
			}
		}
		w.b = append(w.b, flags)
		if n.key != n.id {
			w.tag(n.key, 0, false)
		}
		w.tag(n.id, n.stamp, true)
		if n.slot != nil {
			if n.elem != n.id {
				w.tag(n.elem, 0, false)
			}
			w.slot(n.slot)
		}
	})
}

func (w *stateWriter) counter(c *counter) {
	w.marks(c.presence)
	w.uint(uint64(len(c.cells)))
	for i := range c.cells {
		x := &c.cells[i]
		flags := byte(x.dead)
		if x.floorSeq > 0 {
			flags |= cellFloor
		}
		w.b = append(w.b, flags)
		w.tag(x.tag, 0, false)
		w.tag(x.last().tag, x.stamp, true)
		w.int(x.total)
		if x.floorSeq > 0 {
			w.uint(x.floorSeq)
			w.int(x.floorTotal)
		}
	}
}

// AppendBinary implements [crdt.State].
func (d *Doc) AppendBinary(b []byte) ([]byte, error) {
	start := len(b)
	b = append(b, stateFormat)
	b, err := d.heads.AppendBinary(b)
	if err != nil {
		return nil, err
	}
	w := stateWriter{b: b}
	flags := byte(0)
	if d.garbage {
		flags = 1
	}
	w.b = append(w.b, flags)
	w.uint(uint64(len(d.barrier)))
	for _, x := range d.barrier {
		w.tag(tag{dot: x}, 0, false)
	}
	w.slot(d.root)
	d.size, d.memory = len(w.b)-start, w.memory
	return w.b, nil
}

// stateReader decodes what stateWriter writes.
type stateReader struct {
	r        *crdt.Reader
	replicas []crdt.Dot // with the sequence number last read
	changes  []mark     // with tag number 0; stamp is 0 if not known
	stamped  []bool
	last     mark
	lastKnow bool // last has its stamp
	stamp    crdt.Stamp
	memory   int // see Doc.memory
}

func (d *stateReader) tag(stamped bool) mark {
	switch code := d.r.Uvarint(); code {
	case tagSame:
	case tagNext:
		d.last.tag.n++
	case tagStamped, tagBare:
		d.last = d.change(code == tagStamped)
		d.lastKnow = code == tagStamped
		d.last.tag.n = number(d.r)
	default:
		if code-tagKnown >= uint64(len(d.changes)) {
			d.r.Fail("bad reference to a change")
			return mark{}
		}
		d.last, d.lastKnow = d.changes[code-tagKnown], d.stamped[code-tagKnown]
		d.last.tag.n = number(d.r)
	}
	if d.last.tag.dot.IsZero() || stamped && !d.lastKnow {
		d.r.Fail("a tag without its stamp")
	}
	return d.last
}

func (d *stateReader) change(stamped bool) mark {
	i := d.r.Uvarint()
	switch {
	case i > uint64(len(d.replicas)):
		d.r.Fail("bad reference to a replica")
		return mark{}
	case i == 0:
		d.replicas = append(d.replicas, crdt.Dot{Replica: d.r.Replica()})
		i = uint64(len(d.replicas))
	}
	rep := &d.replicas[i-1]
	rep.Seq += uint64(d.r.Varint())
	m := mark{tag: tag{dot: *rep}}
	if rep.Seq == 0 || rep.Replica.IsZero() {
		d.r.Fail("bad dot")
	}
	if stamped {
		d.stamp += crdt.Stamp(d.r.Varint())
		m.stamp = d.stamp
	}
	d.changes, d.stamped = append(d.changes, m), append(d.stamped, stamped)
	return m
}

func (d *stateReader) marks() []mark {
	n := d.r.Count(maxItems, 1)
	if n == 0 {
		return nil
	}
	ms := make([]mark, 0, min(n, 16))
	for range n {
		m := d.tag(true)
		if k := len(ms); k > 0 && ms[k-1].tag.compare(m.tag) >= 0 {
			d.r.Fail("marks out of order")
		}
		if d.r.Err() != nil {
			return nil
		}
		ms = append(ms, m)
	}
	return ms
}

func (d *stateReader) value() any {
	v, rest, err := value.DecodeBinary(d.r.Rest(), wireLimits)
	switch {
	case d.r.Err() != nil:
		return nil
	case err != nil:
		d.r.Fail(err.Error())
		return nil
	}
	*d.r = *crdt.NewReader(rest)
	return v
}

func (d *stateReader) slot(own *owner, depth int) *slot {
	d.memory += slotMemory
	s := own.slot(nil)
	flags := d.r.Byte()
	if flags > slotMask || flags&(slotScalar|slotScalars) == slotScalar|slotScalars || depth > maxSlots {
		d.r.Fail("bad slot")
		return s
	}
	n := int(flags & slotScalar)
	if flags&slotScalars != 0 {
		if n = d.r.Count(maxItems, 2); n < 2 {
			d.r.Fail("bad count of values")
		}
	}
	for i := range n {
		x := scalar{mark: d.tag(true)}
		x.v = d.value()
		if kindOf(x.v) != kindScalar || i > 0 && s.scalars[i-1].tag.compare(x.tag) >= 0 {
			d.r.Fail("bad value")
		}
		if d.r.Err() != nil {
			return s
		}
		s.scalars = append(s.scalars, x)
	}
	if flags&slotMap != 0 {
		s.m = d.mapNode(own, depth)
	}
	if flags&slotList != 0 {
		s.l = d.list(own, depth)
	}
	if flags&slotSet != 0 {
		s.s = d.set(own)
	}
	if flags&slotCounter != 0 {
		s.c = d.counter(own)
	}
	return s
}

func (d *stateReader) mapNode(own *owner, depth int) *mapNode {
	presence := d.marks()
	n := d.r.Count(maxItems, 2)
	m := &mapNode{own: own, presence: presence, children: make(map[string]*slot, min(n, 256))}
	prev := ""
	for i := range n {
		k := checkedKey(d.r, d.r.Bytes(maxItems))
		if i > 0 && k <= prev {
			d.r.Fail("names out of order")
		}
		if d.r.Err() != nil {
			return m
		}
		prev = k
		c := d.slot(own, depth+1)
		if c.empty() {
			d.r.Fail("empty slot")
		}
		m.set(k, c)
	}
	if m.empty() {
		d.r.Fail("empty map")
	}
	return m
}

func (d *stateReader) list(own *owner, depth int) *list {
	l := newList(own)
	l.presence = d.marks()
	n := d.r.Count(maxItems, 3)
	d.memory += nodeMemory * n
	var nodes []node // in blocks, to save allocations
	for i := range n {
		if len(nodes) == 0 {
			nodes = make([]node, min(n-i, 64))
		}
		l.nodes = append(l.nodes, &nodes[0])
		d.node(own, l, depth)
		nodes = nodes[1:]
		if d.r.Err() != nil {
			return l
		}
	}
	if l.empty() {
		d.r.Fail("empty list")
	}
	l.group()
	return l
}

func (d *stateReader) node(own *owner, l *list, depth int) {
	i := len(l.nodes) - 1
	n := l.nodes[i]
	n.own = own
	back := d.r.Uvarint()
	flags := d.r.Byte()
	if back == 0 || back > uint64(i)+1 || flags > nodeMask || flags&(nodeMoved|nodeElem) == nodeMoved {
		d.r.Fail("bad list position")
		return
	}
	n.parent = int32(i - int(back))
	n.right = flags&nodeRight != 0
	n.dead = deadness(flags & 3)
	if flags&nodeKey != 0 {
		n.key = d.tag(false).tag
	}
	m := d.tag(true)
	n.id, n.stamp = m.tag, m.stamp
	if flags&nodeKey == 0 {
		n.key = n.id
	} else if n.key == n.id {
		d.r.Fail("needless key")
	}
	if n.parent < 0 && !n.right {
		d.r.Fail("nothing is left of the root")
	}
	if flags&nodeElem != 0 {
		n.elem = n.id
		if flags&nodeMoved != 0 {
			if n.elem = d.tag(false).tag; n.elem == n.id {
				d.r.Fail("needless element")
			}
		}
		n.slot = d.slot(own, depth+1)
	}
	if n.dead > deadClosed || (n.dead == live) != n.slot.alive() {
		d.r.Fail("bad deadness")
	}
}

func (d *stateReader) set(own *owner) *setNode {
	s := &setNode{own: own, presence: d.marks()}
	n := d.r.Count(maxItems, 3)
	d.memory += nodeMemory * n
	s.members = make(map[string]member, min(n, 256))
	var prev any
	for i := range n {
		m := member{v: d.value()}
		m.marks = d.marks()
		if d.r.Err() != nil {
			return s
		}
		if len(m.marks) == 0 || typed(m.v) || i > 0 && value.Compare(prev, m.v) >= 0 {
			d.r.Fail("bad member of a set")
			return s
		}
		prev = m.v
		s.members[memberKey(m.v)] = m
	}
	if s.empty() {
		d.r.Fail("empty set")
	}
	return s
}

func (d *stateReader) counter(own *owner) *counter {
	c := &counter{own: own, presence: d.marks()}
	n := d.r.Count(maxItems, 4)
	for i := range n {
		flags := d.r.Byte()
		x := cell{tag: d.tag(false).tag, dead: deadness(flags & 3)}
		last := d.tag(true)
		x.seq, x.stamp = last.tag.dot.Seq, last.stamp
		x.total = d.r.Varint()
		if flags&cellFloor != 0 {
			x.floorSeq, x.floorTotal = d.r.Uvarint(), d.r.Varint()
		}
		if flags > cellMask || x.dead > deadClosed || (x.dead == live) != x.live() ||
			last.tag.n != 0 || last.tag.dot.Replica != x.tag.dot.Replica || x.seq < x.tag.dot.Seq ||
			(flags&cellFloor != 0) != (x.floorSeq > 0) || x.floorSeq > x.seq ||
			i > 0 && d.r.Err() == nil && c.cells[i-1].tag.compare(x.tag) >= 0 {
			d.r.Fail("bad cell")
		}
		if d.r.Err() != nil {
			return c
		}
		c.cells = append(c.cells, x)
	}
	if c.empty() {
		d.r.Fail("empty counter")
	}
	return c
}

// Decode reads what AppendBinary writes. It keeps nothing of b. Errors wrap
// [crdt.ErrCorrupt].
func Decode(b []byte) (*Doc, error) {
	r := crdt.NewReader(b)
	if f := r.Byte(); r.Err() == nil && f != stateFormat {
		return nil, corrupt("document format %d is not known here", f)
	}
	own := &owner{}
	doc := &Doc{own: own, size: len(b), heads: r.Heads()}
	d := stateReader{r: r}
	flags := r.Byte()
	if flags > 1 {
		r.Fail("bad flags")
	}
	doc.garbage = flags == 1
	for range r.Count(maxItems, 2) {
		if r.Err() != nil {
			break
		}
		doc.barrier = append(doc.barrier, d.tag(false).tag.dot)
	}
	doc.root = d.slot(own, 0)
	if doc.root.scalars != nil || doc.root.l != nil || doc.root.s != nil || doc.root.c != nil {
		r.Fail("the root is a map and nothing else")
	}
	if err := r.Done(); err != nil {
		return nil, err
	}
	doc.memory = d.memory
	return doc, nil
}
