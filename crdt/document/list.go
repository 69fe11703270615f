package document

import (
	"cmp"
	"maps"
	"slices"

	"github.com/meridiandb/meridian/crdt"
)

// deadness says whether a list position or counter cell is shown, and if not,
// how far the wait for the stability of its death has come (see trim.go).
type deadness uint8

const (
	live       deadness = iota
	deadOpen            // died since the last barrier was set
	deadClosed          // died before it
)

// A list is a Fugue tree of positions (Weidner, Kleppmann: The Art of the Fugue,
// 2023): the order is that of an in-order walk. Elements are apart from
// positions, so that an element can move (Kleppmann: Moving Elements in List
// CRDTs, 2020): a move makes a new position, and of an element's positions the
// newest counts.
//
// An author attaches new positions to live ones only, and in a way that depends
// on live ones only (see anchor): dead positions need to be kept only until
// everybody has seen them dead (design rule 8).
type list struct {
	own      *owner
	presence []mark
	// nodes holds parents before children, so that loops stand for recursion: a
	// list that was appended to is as deep as it is long.
	nodes []*node
	// rootKid is as a node's kids. several holds the children of a parent that
	// has more than one on a side, by key.
	rootKid int32
	several map[bucket][]int32

	// What follows is derived and rebuilt when it is missing.
	links  []link        // the order: of node i at i+1; 0 is before the first and after the last
	index  map[tag]int32 // by position
	moved  map[tag]int32 // elements that are not at the position of their own tag
	misses int           // lookups that had to search
}

// A link says which nodes come before and after another; -1 is none.
type link struct{ prev, next int32 }

// A bucket is a side of a parent.
type bucket struct {
	parent int32
	right  bool
}

// A node is a position.
type node struct {
	own    *owner
	id     tag
	stamp  crdt.Stamp // of id
	key    tag        // orders siblings on one side: id, or that of a contracted parent
	parent int32      // -1 is the root
	right  bool       // side of the parent; always set below the root
	dead   deadness
	kids   [2]int32 // any child on the left and right, or -1
	elem   tag      // valid if slot is not nil
	slot   *slot    // content of the element; nil if the element is elsewhere or gone
}

var noKids = [2]int32{-1, -1}

func newList(o *owner) *list { return &list{own: o, rootKid: -1} }

func (o *owner) listOf(s *slot) *list {
	switch {
	case s.l == nil:
		s.l = newList(o)
	case s.l.own != o:
		old := s.l
		l := &list{own: o, presence: old.presence, nodes: slices.Clone(old.nodes), rootKid: old.rootKid,
			several: maps.Clone(old.several), links: slices.Clone(old.links), misses: old.misses}
		if o.handOver {
			l.index, l.moved, old.index, old.moved = old.index, old.moved, nil, nil
		}
		s.l = l
	}
	return s.l
}

func (o *owner) node(l *list, i int32) *node {
	if n := l.nodes[i]; n.own != o {
		c := *n
		c.own = o
		l.nodes[i] = &c
	}
	return l.nodes[i]
}

func (l *list) clone(o *owner) *list {
	c := newList(o)
	c.presence = slices.Clone(l.presence)
	c.rootKid, c.several = l.rootKid, maps.Clone(l.several)
	c.nodes = make([]*node, len(l.nodes))
	nodes := make([]node, len(l.nodes))
	for i, n := range l.nodes {
		nodes[i] = *n
		nodes[i].own = o
		nodes[i].slot = n.slot.clone(o)
		c.nodes[i] = &nodes[i]
	}
	return c
}

func (l *list) empty() bool { return len(l.presence) == 0 && len(l.nodes) == 0 }

func (l *list) alive() bool {
	return l != nil && (len(l.presence) > 0 || slices.ContainsFunc(l.nodes, func(n *node) bool { return n.dead == live }))
}

// searches is how many lookups are made by search before a table is built.
const searches = 8

// position returns the node with this id, or -1.
func (l *list) position(t tag) int32 {
	if !l.indexed() {
		return int32(slices.IndexFunc(l.nodes, func(n *node) bool { return n.id == t }))
	}
	if i, ok := l.index[t]; ok {
		return i
	}
	return -1
}

// element returns the node that holds the element, or -1. The hint is tried first.
func (l *list) element(t tag, hint int32) int32 {
	if l == nil {
		return -1
	}
	if hint >= 0 && int(hint) < len(l.nodes) && l.holds(hint, t) {
		return hint
	}
	if !l.indexed() {
		for i := range l.nodes {
			if l.holds(int32(i), t) {
				return int32(i)
			}
		}
		return -1
	}
	if i, ok := l.moved[t]; ok {
		return i
	}
	if i, ok := l.index[t]; ok && l.holds(i, t) {
		return i
	}
	return -1
}

func (l *list) holds(i int32, t tag) bool { return l.nodes[i].slot != nil && l.nodes[i].elem == t }

func (l *list) indexed() bool {
	if l.index == nil && l.misses < searches {
		l.misses++
		return false
	}
	if l.index == nil {
		l.index, l.moved = make(map[tag]int32, len(l.nodes)), map[tag]int32{}
		for i := range l.nodes {
			l.enter(int32(i))
		}
	}
	return true
}

// enter puts node i into the lookup tables, if there are any.
func (l *list) enter(i int32) {
	if l.index == nil {
		return
	}
	n := l.nodes[i]
	l.index[n.id] = i
	if n.slot != nil && n.elem != n.id {
		l.moved[n.elem] = i
	}
}

func side(right bool) int {
	if right {
		return 1
	}
	return 0
}

// add appends n, whose parent is there, and returns its index; l must be o's.
func (l *list) add(o *owner, n *node) int32 {
	i := int32(len(l.nodes))
	n.own, n.kids = o, noKids
	l.nodes = append(l.nodes, n)
	l.enter(i)
	siblings := l.adopt(o, i)
	if l.links == nil {
		return i
	}
	l.links = append(l.links, link{})
	switch at := slices.Index(siblings, i); {
	case siblings == nil && n.right: // an only child comes right before or after its parent
		l.link(n.parent, i)
	case siblings == nil:
		l.link(l.links[n.parent+1].prev, i)
	case at > 0:
		l.link(l.end(siblings[at-1], true), i)
	default:
		l.link(l.links[l.end(siblings[1], false)+1].prev, i)
	}
	return i
}

// adopt makes node i a child of its parent, and returns all on its side by key,
// or nil if there are no others.
func (l *list) adopt(o *owner, i int32) []int32 {
	n := l.nodes[i]
	kid := l.rootKid
	if n.parent >= 0 {
		kid = l.nodes[n.parent].kids[side(n.right)]
	}
	if kid < 0 {
		if n.parent < 0 {
			l.rootKid = i
		} else {
			o.node(l, n.parent).kids[side(n.right)] = i
		}
		return nil
	}
	b := bucket{n.parent, n.right}
	all := l.several[b]
	if all == nil {
		all = []int32{kid}
	}
	at, _ := slices.BinarySearchFunc(all, i, l.compareKeys)
	all = slices.Insert(slices.Clip(all), at, i)
	if l.several == nil {
		l.several = map[bucket][]int32{}
	}
	l.several[b] = all
	return all
}

// group notes the children of all nodes anew, in place.
func (l *list) group() {
	l.rootKid, l.several = -1, nil
	kids, start := l.children()
	for p := range len(l.nodes) + 1 {
		for k, right := range []bool{false, true} {
			all := kids[start[2*p+k]:start[2*p+k+1]]
			kid := int32(-1)
			if len(all) > 0 {
				kid = all[0]
			}
			if p > 0 {
				l.nodes[p-1].kids[k] = kid
			} else if right {
				l.rootKid = kid
			}
			if len(all) > 1 {
				if l.several == nil {
					l.several = map[bucket][]int32{}
				}
				l.several[bucket{int32(p - 1), right}] = slices.Clip(all)
			}
		}
	}
}

func (l *list) compareKeys(x, y int32) int {
	return cmp.Or(l.nodes[x].key.compare(l.nodes[y].key), l.nodes[x].id.compare(l.nodes[y].id))
}

// end returns the first or the last node of the subtree of i.
func (l *list) end(i int32, right bool) int32 {
	for {
		kid := l.nodes[i].kids[side(right)]
		if kid < 0 {
			return i
		}
		if all := l.several[bucket{i, right}]; right && all != nil {
			kid = all[len(all)-1]
		} else if all != nil {
			kid = all[0]
		}
		i = kid
	}
}

// link puts node i behind node prev in the order.
func (l *list) link(prev, i int32) {
	next := l.links[prev+1].next
	l.links[i+1] = link{prev, next}
	l.links[prev+1].next = i
	l.links[next+1].prev = i
}

// children returns, for each parent and side, the children by key: those of
// bucket b are kids[start[b]:start[b+1]].
func (l *list) children() (kids, start []int32) {
	bucket := func(n *node) int { return int(n.parent+1)*2 + side(n.right) }
	start = make([]int32, 2*len(l.nodes)+4)
	for _, n := range l.nodes {
		start[bucket(n)+1]++
	}
	for b := 1; b < len(start); b++ {
		start[b] += start[b-1]
	}
	kids = make([]int32, len(l.nodes))
	next := slices.Clone(start)
	for i, n := range l.nodes {
		b := bucket(n)
		kids[next[b]] = int32(i)
		next[b]++
	}
	for b := range len(start) - 1 {
		if s := kids[start[b]:start[b+1]]; len(s) > 1 {
			slices.SortFunc(s, l.compareKeys)
		}
	}
	return kids, start
}

// walk visits all nodes, children of either side by key: left ones, the node,
// right ones, or with first set the node before both.
func (l *list) walk(first bool, visit func(i int32)) {
	kids, start := l.children()
	var stack []int32 // ^i stands for node i itself, its children being on the stack
	push := func(b int) {
		for k := start[b+1] - 1; k >= start[b]; k-- {
			stack = append(stack, kids[k])
		}
	}
	push(1)
	push(0)
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if i < 0 {
			visit(^i)
			continue
		}
		if first {
			visit(i)
		}
		push(int(i+1)*2 + 1)
		if !first {
			stack = append(stack, ^i)
		}
		push(int(i+1) * 2)
	}
}

// next returns the node behind node i (-1: the start) in the order, or -1.
func (l *list) next(i int32) int32 {
	l.sort()
	return l.links[i+1].next
}

// prev returns the node before node i in the order, or -1.
func (l *list) prev(i int32) int32 {
	l.sort()
	return l.links[i+1].prev
}

func (l *list) sort() {
	if l.links != nil {
		return
	}
	l.links = make([]link, len(l.nodes)+1, len(l.nodes)+8)
	l.links[0] = link{-1, -1}
	last := int32(-1)
	l.walk(false, func(i int32) {
		l.link(last, i)
		last = i
	})
}

// shown returns the live nodes in list order.
func (l *list) shown() []int32 {
	if l == nil {
		return nil
	}
	out := make([]int32, 0, len(l.nodes))
	for i := l.next(-1); i >= 0; i = l.next(i) {
		if l.nodes[i].dead == live {
			out = append(out, i)
		}
	}
	return out
}

// after returns the first live node behind i (-1: the start) other than skip, or -1.
func (l *list) after(i, skip int32) int32 {
	for i = l.next(i); i >= 0; i = l.next(i) {
		if l.nodes[i].dead == live && i != skip {
			return i
		}
	}
	return -1
}

// anchor says where a new position goes that is to come between a (-1: the
// start) and b (-1: the end), live neighbours: left of b if b is in the right
// subtree of a, else right of a. Everything that lies between the two is dead,
// and whichever of it there is, the new position comes between them: in the
// first case b's left subtree lies there, in the second all of a's right one.
// Whether b is below a does not change when dead positions are trimmed, so a
// trimmed and an untrimmed replica of the same document choose the same.
func (l *list) anchor(a, b int32) (parent int32, right bool) {
	if b >= 0 && (a < 0 || l.rightBelow(a, b)) {
		return b, false
	}
	return a, true
}

// rightBelow reports whether b is in the right subtree of a.
func (l *list) rightBelow(a, b int32) bool {
	for b > a { // parents have lower indices
		n := l.nodes[b]
		if n.parent == a {
			return n.right
		}
		b = n.parent
	}
	return false
}
