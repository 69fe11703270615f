package document

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// A step leads from a slot to one below it: to a map's entry by key, or to a
// list's element by the element's tag. A path is steps from the root.
type step struct {
	key    string
	elem   tag
	isElem bool
	hint   int32 // where the element's node may be found, or -1; not encoded
}

type path []step

func (p path) key(k string) path {
	return append(slices.Clip(p), step{key: k})
}

func (p path) element(t tag, hint int32) path {
	return append(slices.Clip(p), step{elem: t, isElem: true, hint: hint})
}

// String is an unambiguous name of the path, for use as a key.
func (p path) String() string {
	var b strings.Builder
	for _, s := range p {
		if s.isElem {
			fmt.Fprintf(&b, "[%s.%d]", s.elem.dot, s.elem.n)
		} else {
			fmt.Fprintf(&b, "%d:%s", len(s.key), s.key)
		}
	}
	return b.String()
}

// An opcode says what an operation does. Their numbers are part of the format.
type opcode byte

const (
	opRemove   opcode = 1 + iota // marks and cells in and below the slot
	opPut                        // a value beside what is in the slot
	opPresence                   // a presence mark for a kind of container
	opInc                        // add to a cell of the writer's replica
	opInsert                     // a run of elements
	opMove                       // an element to a new position
	opAdd                        // members of a set
)

// An op is one operation of a mutation. The tags of the marks that it makes are
// not in it: they are numbered through the mutation in the order of making.
type op struct {
	code   opcode
	path   path
	remove removal
	values []any // one of opPut, members of opAdd, elements of opInsert
	kind   kind
	cell   tag // opInc; the zero tag asks for a new one
	delta  int64
	elem   tag // opMove
	parent tag // opInsert, opMove; zero is the list's root
	right  bool
	// Where parent and elem may be found, or -1; not encoded.
	parentHint, elemHint int32
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{crdt.ErrCorrupt}, args...)...)
}

// An applier applies operations of one mutation to a document that may be
// changed in place: a fork. An operation that fails leaves it broken.
type applier struct {
	doc   *Doc
	own   *owner
	dot   crdt.Dot
	stamp crdt.Stamp
	n     uint32 // of the next tag
	// apart says that what an operation builds on may not be in the document, see Rebase.
	apart bool
}

func (a *applier) next() mark {
	m := mark{tag{a.dot, a.n}, a.stamp}
	a.n++
	return m
}

func (a *applier) do(o *op) error {
	root, err := a.at(a.doc.root, o.path, o)
	if err == nil {
		a.doc.root = root
	}
	return err
}

// at applies o to the slot that lies p below s, and returns s as it is then.
func (a *applier) at(s *slot, p path, o *op) (*slot, error) {
	if len(p) == 0 {
		return a.here(s, o)
	}
	s = a.own.slot(s)
	if p[0].isElem {
		if s.l == nil {
			return nil, corrupt("path into a list that is not there")
		}
		l := a.own.listOf(s)
		i := l.element(p[0].elem, p[0].hint)
		if i < 0 {
			return nil, corrupt("path to an element that is not there")
		}
		c, err := a.at(l.nodes[i].slot, p[1:], o)
		if err != nil {
			return nil, err
		}
		a.own.node(l, i).slot = c
		a.refresh(l, i)
		return s, nil
	}
	c, err := a.at(s.m.child(p[0].key), p[1:], o)
	if err != nil {
		return nil, err
	}
	a.setChild(s, p[0].key, c)
	return s, nil
}

func (a *applier) setChild(s *slot, key string, c *slot) {
	m := a.own.mapOf(s)
	m.set(key, c)
	if m.empty() {
		s.m = nil
	}
}

// refresh notes whether node i is alive after a change in it.
func (a *applier) refresh(l *list, i int32) {
	n := l.nodes[i]
	switch alive := n.slot.alive(); {
	case alive && n.dead != live:
		a.own.node(l, i).dead = live
	case !alive && n.dead == live:
		a.own.node(l, i).dead = deadOpen
		a.doc.garbage = true
	}
}

func (a *applier) here(s *slot, o *op) (*slot, error) {
	s = a.own.slot(s)
	switch o.code {
	case opRemove:
		s, _ = a.remove(s, &o.remove)
		if o.remove.tooFar {
			return nil, corrupt("reset of increments that are not there")
		}
	case opPut:
		a.put(s, o.values[0])
	case opPresence:
		a.presence(s, o.kind)
	case opInc:
		return s, a.inc(s, o)
	case opInsert:
		l := a.own.listOf(s)
		parent, err := l.parentOf(o)
		right := o.right
		if err != nil && a.apart {
			parent, right, err = -1, true, nil
			if all := l.shown(); len(all) > 0 {
				parent = all[len(all)-1]
			}
		}
		if err != nil {
			return nil, err
		}
		a.insert(l, parent, right, o.values)
	case opMove:
		return s, a.move(s, o)
	case opAdd:
		a.add(a.own.setOf(s), o.values)
	}
	return s, nil
}

// put adds v to s. The first tag that it uses is that of v's own mark, whatever
// v is.
func (a *applier) put(s *slot, v any) {
	switch v := v.(type) {
	case map[string]any:
		a.presence(s, kindMap)
		m := a.own.mapOf(s)
		for _, k := range sortedKeys(v) {
			c := a.own.slot(m.children[k])
			a.put(c, v[k])
			m.set(k, c)
		}
	case []any:
		a.presence(s, kindList)
		a.insert(a.own.listOf(s), -1, true, v)
	case value.Set:
		a.presence(s, kindSet)
		a.add(a.own.setOf(s), v)
	case value.Counter:
		a.presence(s, kindCounter)
		if v != 0 {
			m := a.next()
			a.addCell(a.own.counterOf(s), cell{tag: m.tag, seq: a.dot.Seq, stamp: a.stamp, total: int64(v)})
		}
	default:
		s.addScalar(a.next(), v)
	}
}

func (a *applier) presence(s *slot, k kind) {
	m := a.next()
	switch k {
	case kindMap:
		x := a.own.mapOf(s)
		x.presence = addMark(x.presence, m)
	case kindList:
		x := a.own.listOf(s)
		x.presence = addMark(x.presence, m)
	case kindSet:
		x := a.own.setOf(s)
		x.presence = addMark(x.presence, m)
	case kindCounter:
		x := a.own.counterOf(s)
		x.presence = addMark(x.presence, m)
	case kindScalar:
	}
}

func (a *applier) add(s *setNode, members []any) {
	for _, v := range members {
		k := memberKey(v)
		m := s.members[k]
		// The writer's own value is not to change what it has become part of.
		s.members[k] = member{value.Clone(v), addMark(m.marks, a.next())}
	}
}

func (a *applier) addCell(c *counter, x cell) {
	i, _ := c.find(x.tag)
	c.cells = slices.Insert(c.cells, i, x)
}

func (a *applier) inc(s *slot, o *op) error {
	c := a.own.counterOf(s)
	if o.cell == (tag{}) {
		a.addCell(c, cell{tag: a.next().tag, seq: a.dot.Seq, stamp: a.stamp, total: o.delta})
		return nil
	}
	i, found := c.find(o.cell)
	switch {
	case !found && a.apart:
		a.addCell(c, cell{tag: o.cell, seq: a.dot.Seq, stamp: a.stamp, total: o.delta})
		return nil
	case !found:
		return corrupt("increment of a cell that is not there")
	case o.cell.dot.Replica != a.dot.Replica || c.cells[i].seq > a.dot.Seq:
		return corrupt("increment of another replica's cell")
	}
	x := &c.cells[i]
	x.seq, x.stamp, x.dead = a.dot.Seq, a.stamp, live
	x.total += o.delta
	return nil
}

func (l *list) parentOf(o *op) (int32, error) {
	if o.parent == (tag{}) {
		return -1, nil
	}
	i := o.parentHint
	if i < 0 || int(i) >= len(l.nodes) || l.nodes[i].id != o.parent {
		i = l.position(o.parent)
	}
	if i < 0 {
		return 0, corrupt("a list position that is not there")
	}
	return i, nil
}

// insert adds a run of elements: the first at the given place, each other one
// to the right of the one before. An element's tag is that of its value's mark.
// It returns the last one's node.
func (a *applier) insert(l *list, parent int32, right bool, values []any) int32 {
	l.nodes = slices.Grow(l.nodes, len(values))
	for _, v := range values {
		id := tag{a.dot, a.n}
		s := a.own.slot(nil)
		a.put(s, v)
		parent = l.add(a.own, &node{id: id, stamp: a.stamp, key: id, parent: parent, right: right, elem: id, slot: s})
		right = true
	}
	return parent
}

func (a *applier) move(s *slot, o *op) error {
	if s.l == nil {
		return corrupt("move in a list that is not there")
	}
	l := a.own.listOf(s)
	old := l.element(o.elem, o.elemHint)
	if old < 0 {
		return corrupt("move of an element that is not there")
	}
	parent, err := l.parentOf(o)
	if err != nil {
		return err
	}
	m := a.next()
	n := &node{id: m.tag, stamp: m.stamp, key: m.tag, parent: parent, right: o.right, dead: deadOpen}
	a.doc.garbage = true
	if from := a.own.node(l, old); m.compare(mark{from.id, from.stamp}) > 0 {
		n.elem, n.slot, n.dead = from.elem, from.slot, from.dead
		from.elem, from.slot = tag{}, nil
		if from.dead == live {
			from.dead = deadOpen
		} else {
			n.dead = deadOpen
		}
	}
	l.add(a.own, n)
	return nil
}

// remove takes what r names out of s and everything below. It returns s or what
// takes its place, and whether anything was taken.
func (a *applier) remove(s *slot, r *removal) (_ *slot, changed bool) {
	mine := func() {
		s, changed = a.own.slot(s), true
	}
	if i := slices.IndexFunc(s.scalars, func(x scalar) bool { return r.hits(x.tag) }); i >= 0 {
		mine()
		kept := slices.Clone(s.scalars[:i])
		for _, x := range s.scalars[i+1:] {
			if !r.hits(x.tag) {
				kept = append(kept, x)
			}
		}
		s.scalars = kept
	}
	if m := s.m; m != nil {
		if kept, ok := dropMarks(m.presence, r); ok {
			mine()
			a.own.mapOf(s).presence = kept
		}
		for k, c := range m.children {
			if c, ok := a.remove(c, r); ok {
				mine()
				a.setChild(s, k, c)
			}
		}
		if s.m != nil && s.m.empty() {
			mine()
			s.m = nil
		}
	}
	if l := s.l; l != nil {
		if kept, ok := dropMarks(l.presence, r); ok {
			mine()
			a.own.listOf(s).presence = kept
		}
		for i, n := range l.nodes {
			if n.dead != live {
				continue
			}
			if c, ok := a.remove(n.slot, r); ok {
				mine()
				own := a.own.listOf(s)
				a.own.node(own, int32(i)).slot = c
				a.refresh(own, int32(i))
			}
		}
		if s.l.empty() {
			mine()
			s.l = nil
		}
	}
	if s.s != nil && a.removeSet(&s, r) {
		changed = true
	}
	if s.c != nil && a.removeCounter(&s, r) {
		changed = true
	}
	return s, changed
}

func (a *applier) removeSet(s **slot, r *removal) (changed bool) {
	mine := func() *setNode {
		*s, changed = a.own.slot(*s), true
		return a.own.setOf(*s)
	}
	old := (*s).s
	if kept, ok := dropMarks(old.presence, r); ok {
		mine().presence = kept
	}
	for k, m := range old.members {
		kept, ok := dropMarks(m.marks, r)
		switch {
		case ok && len(kept) == 0:
			delete(mine().members, k)
		case ok:
			mine().members[k] = member{m.v, kept}
		}
	}
	if changed && (*s).s.empty() {
		(*s).s = nil
	}
	return changed
}

func (a *applier) removeCounter(s **slot, r *removal) (changed bool) {
	mine := func() *counter {
		*s, changed = a.own.slot(*s), true
		return a.own.counterOf(*s)
	}
	old := (*s).c
	if kept, ok := dropMarks(old.presence, r); ok {
		mine().presence = kept
	}
	for i := range old.cells {
		seq, total, ok := r.floor(&old.cells[i])
		switch {
		case !ok || seq <= old.cells[i].floorSeq:
			continue
		case seq > old.cells[i].seq:
			r.tooFar = true
			continue
		}
		x := &mine().cells[i]
		x.floorSeq, x.floorTotal = seq, total
		if !x.live() {
			x.dead = deadOpen
			a.doc.garbage = true
		}
	}
	if changed && (*s).c.empty() {
		(*s).c = nil
	}
	return changed
}
