package document

import (
	"iter"
	"maps"
	"slices"

	"github.com/meridiandb/meridian/crdt/value"
)

// An owner marks the parts of a tree that one Doc may change in place. A fork
// of a document has an owner of its own and copies each part before it changes
// it, so that forks are cheap and the original stays as it is.
type owner struct {
	// handOver says that the original is not used any more if all goes well,
	// and may lend its lookup tables.
	handOver bool
}

// A slot is a place for a value: a map's entry or a list's element. Concurrent
// writers may have put several things there, also of several kinds.
type slot struct {
	own     *owner
	scalars []scalar // sorted by tag
	m       *mapNode
	l       *list
	s       *setNode
	c       *counter
	// sum is the digest of the entry of a map that the slot is, 0 if it is not
	// known. Whoever changes what a slot shows has taken it from its owner for that.
	sum entrySum
}

// A scalar is one of the concurrent values of a multi-value register: null, a
// boolean, a number, a string or a text.
type scalar struct {
	mark
	v any
}

// A mapNode is identified by its path, so maps that two writers create merge.
// It is there while it has presence or anything below it is.
type mapNode struct {
	own      *owner
	presence []mark
	children map[string]*slot
	// order has the names of the children, and of some that were, in order; nil if it is
	// not known. Maps that come of another share it.
	order []string
}

// A setNode is an add-wins set.
type setNode struct {
	own      *owner
	presence []mark
	members  map[string]member // by canonical bytes
}

type member struct {
	v     any
	marks []mark
}

func (o *owner) slot(s *slot) *slot {
	switch {
	case s == nil:
		return &slot{own: o}
	case s.own == o:
		s.sum = entrySum{}
		return s
	}
	c := *s
	c.own, c.sum = o, entrySum{}
	return &c
}

// mapOf returns the map of s for change; s must be o's.
func (o *owner) mapOf(s *slot) *mapNode {
	switch {
	case s.m == nil:
		s.m = &mapNode{own: o, children: map[string]*slot{}}
	case s.m.own != o:
		s.m = &mapNode{own: o, presence: s.m.presence, children: maps.Clone(s.m.children), order: s.m.order}
	}
	return s.m
}

// setOf returns the set of s for change; s must be o's.
func (o *owner) setOf(s *slot) *setNode {
	switch {
	case s.s == nil:
		s.s = &setNode{own: o, members: map[string]member{}}
	case s.s.own != o:
		s.s = &setNode{own: o, presence: s.s.presence, members: maps.Clone(s.s.members)}
	}
	return s.s
}

func (s *slot) addScalar(m mark, v any) {
	i, _ := slices.BinarySearchFunc(s.scalars, m, func(a scalar, b mark) int { return a.tag.compare(b.tag) })
	s.scalars = slices.Insert(slices.Clip(s.scalars), i, scalar{m, v})
}

// empty reports whether nothing is in s, not even what only awaits trimming.
func (s *slot) empty() bool {
	return len(s.scalars) == 0 && s.m == nil && s.l == nil && s.s == nil && s.c == nil
}

// alive reports whether s shows anything.
func (s *slot) alive() bool {
	return s != nil && (len(s.scalars) > 0 || s.m.alive() || s.l.alive() || s.s.alive() || s.c.alive())
}

func (m *mapNode) empty() bool { return len(m.presence) == 0 && len(m.children) == 0 }

func (m *mapNode) alive() bool {
	if m == nil || len(m.presence) > 0 {
		return m != nil
	}
	for _, c := range m.children {
		if c.alive() {
			return true
		}
	}
	return false
}

// set puts a child into m, which is its caller's; one that is empty is taken out.
func (m *mapNode) set(key string, c *slot) {
	if c.empty() {
		delete(m.children, key) // an update takes out first what it replaces
		return
	}
	n := len(m.children)
	m.children[key] = c
	if len(m.children) > n && m.order != nil {
		if _, ok := slices.BinarySearch(m.order, key); !ok {
			m.order = nil
		}
	}
}

// all returns the names and slots of all children, shown or not, in order.
func (m *mapNode) all() iter.Seq2[string, *slot] {
	if m.order == nil || len(m.order) > 2*len(m.children) {
		m.order = slices.AppendSeq(make([]string, 0, len(m.children)), maps.Keys(m.children))
		slices.Sort(m.order)
	}
	return func(yield func(string, *slot) bool) {
		for _, k := range m.order {
			if c := m.children[k]; c != nil && !yield(k, c) {
				return
			}
		}
	}
}

func (m *mapNode) child(key string) *slot {
	if m == nil {
		return nil
	}
	return m.children[key]
}

// keys returns the names of the children that show anything, in order.
func (m *mapNode) keys() []string {
	if m == nil {
		return nil
	}
	keys := make([]string, 0, len(m.children))
	for k, c := range m.children {
		if c.alive() {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

func (s *setNode) empty() bool { return len(s.presence) == 0 && len(s.members) == 0 }
func (s *setNode) alive() bool { return s != nil && !s.empty() }

// sorted returns the members in canonical order.
func (s *setNode) sorted() []member {
	ms := make([]member, 0, len(s.members))
	for _, m := range s.members {
		ms = append(ms, m)
	}
	slices.SortFunc(ms, func(a, b member) int { return value.Compare(a.v, b.v) })
	return ms
}

func (s *setNode) value() value.Set {
	out := value.Set{}
	for _, m := range s.sorted() {
		out = append(out, m.v)
	}
	return out
}

// memberKey identifies a member of a set.
func memberKey(v any) string { return string(value.AppendBinary(nil, v)) }

// A kind is what a slot can hold beside others.
type kind uint8

// The kinds. Their numbers are part of the payload's format.
const (
	kindScalar kind = iota
	kindMap
	kindList
	kindSet
	kindCounter
)

// seen gathers everything in a slot that a writer who replaces it has seen.
type seen struct {
	tags  []tag
	cells []cellRef
}

func (g *seen) marks(marks []mark) {
	for _, m := range marks {
		g.tags = append(g.tags, m.tag)
	}
}

func (g *seen) slot(s *slot) {
	if s == nil {
		return
	}
	for _, x := range s.scalars {
		g.tags = append(g.tags, x.tag)
	}
	for _, k := range []kind{kindMap, kindList, kindSet, kindCounter} {
		g.kind(s, k)
	}
}

// kind gathers what s holds of one kind other than scalars.
func (g *seen) kind(s *slot, k kind) {
	switch {
	case k == kindMap && s.m != nil:
		g.marks(s.m.presence)
		for _, c := range s.m.children {
			g.slot(c)
		}
	case k == kindList && s.l != nil:
		g.marks(s.l.presence)
		for _, n := range s.l.nodes {
			if n.dead == live {
				g.slot(n.slot)
			}
		}
	case k == kindSet && s.s != nil:
		g.marks(s.s.presence)
		for _, m := range s.s.members {
			g.marks(m.marks)
		}
	case k == kindCounter && s.c != nil:
		g.marks(s.c.presence)
		for i := range s.c.cells {
			if c := &s.c.cells[i]; c.live() {
				g.cells = append(g.cells, cellRef{c.tag, c.seq, c.total})
			}
		}
	}
}

func (g *seen) removal() removal {
	slices.SortFunc(g.cells, func(a, b cellRef) int { return a.tag.compare(b.tag) })
	return removal{tags: newTagSet(g.tags), cells: g.cells}
}

// newest returns the newest mark of one kind in s; that of a kind is the newest
// anywhere in it.
func (s *slot) newest(k kind) mark {
	var best mark
	switch {
	case k == kindScalar:
		for _, x := range s.scalars {
			best = newest(best, x.mark)
		}
	case k == kindMap && s.m != nil:
		best = newestOf(s.m.presence)
		for _, c := range s.m.children {
			best = newest(best, c.newestOfAll())
		}
	case k == kindList && s.l != nil:
		best = newestOf(s.l.presence)
		for _, n := range s.l.nodes {
			if n.dead == live {
				best = newest(best, n.slot.newestOfAll())
			}
		}
	case k == kindSet && s.s != nil:
		best = newestOf(s.s.presence)
		for _, m := range s.s.members {
			best = newest(best, newestOf(m.marks))
		}
	case k == kindCounter && s.c != nil:
		best = newestOf(s.c.presence)
		for i := range s.c.cells {
			if c := &s.c.cells[i]; c.live() {
				best = newest(best, c.last())
			}
		}
	}
	return best
}

func (s *slot) newestOfAll() mark {
	best := s.newest(kindScalar)
	for _, k := range []kind{kindMap, kindList, kindSet, kindCounter} {
		best = newest(best, s.newest(k))
	}
	return best
}

// clone returns a deep copy.
func (s *slot) clone(o *owner) *slot {
	if s == nil {
		return nil
	}
	c := &slot{own: o, scalars: slices.Clone(s.scalars)}
	if s.m != nil {
		c.m = &mapNode{own: o, presence: slices.Clone(s.m.presence), children: make(map[string]*slot, len(s.m.children))}
		for k, x := range s.m.children {
			c.m.children[k] = x.clone(o)
		}
	}
	if s.l != nil {
		c.l = s.l.clone(o)
	}
	if s.s != nil {
		c.s = &setNode{own: o, presence: slices.Clone(s.s.presence), members: make(map[string]member, len(s.s.members))}
		for k, m := range s.s.members {
			c.s.members[k] = member{m.v, slices.Clone(m.marks)}
		}
	}
	if s.c != nil {
		c.c = &counter{own: o, presence: slices.Clone(s.c.presence), cells: slices.Clone(s.c.cells)}
	}
	return c
}
