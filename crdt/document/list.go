package document

import (
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
	nodes    []*node
	rootKids int

	// What follows is derived and rebuilt when it is missing.
	order  []int32       // all nodes in list order
	index  map[tag]int32 // by position
	moved  map[tag]int32 // elements that are not at the position of their own tag
	misses int           // lookups that had to search
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
	kids   [2]int32 // number of left and right children
	elem   tag      // valid if slot is not nil
	slot   *slot    // content of the element; nil if the element is elsewhere or gone
}

func (o *owner) listOf(s *slot) *list {
	switch {
	case s.l == nil:
		s.l = &list{own: o}
	case s.l.own != o:
		old := s.l
		l := &list{own: o, presence: old.presence, rootKids: old.rootKids,
			nodes: slices.Clone(old.nodes), order: slices.Clone(old.order), misses: old.misses}
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
	c := &list{own: o, presence: slices.Clone(l.presence), rootKids: l.rootKids, nodes: make([]*node, len(l.nodes))}
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
	n.own = o
	siblings := l.rootKids
	if n.parent < 0 {
		l.rootKids++
	} else {
		p := o.node(l, n.parent)
		siblings = int(p.kids[side(n.right)])
		p.kids[side(n.right)]++
	}
	l.nodes = append(l.nodes, n)
	l.enter(i)
	if l.order == nil {
		return i
	}
	if siblings > 0 {
		l.order = nil
		return i
	}
	// An only child comes right before or after its parent.
	at := 0
	if n.parent >= 0 {
		at = l.rank(n.parent)
		if n.right {
			at++
		}
	}
	l.order = slices.Insert(l.order, at, i)
	return i
}

// rank is the place of a node in the order.
func (l *list) rank(i int32) int {
	order := l.sorted()
	for k := len(order) - 1; k >= 0; k-- { // most edits are near the end
		if order[k] == i {
			return k
		}
	}
	return -1
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
			slices.SortFunc(s, func(x, y int32) int {
				if c := l.nodes[x].key.compare(l.nodes[y].key); c != 0 {
					return c
				}
				return l.nodes[x].id.compare(l.nodes[y].id)
			})
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

// sorted returns all nodes in list order.
func (l *list) sorted() []int32 {
	if l.order == nil && len(l.nodes) > 0 {
		l.order = make([]int32, 0, len(l.nodes)+8)
		l.walk(false, func(i int32) { l.order = append(l.order, i) })
	}
	return l.order
}

// shown returns the live nodes in list order.
func (l *list) shown() []int32 {
	if l == nil {
		return nil
	}
	out := make([]int32, 0, len(l.nodes))
	for _, i := range l.sorted() {
		if l.nodes[i].dead == live {
			out = append(out, i)
		}
	}
	return out
}

// after returns the first live node behind i (-1: the start) other than skip, or -1.
func (l *list) after(i, skip int32) int32 {
	if l == nil {
		return -1
	}
	from := 0
	if i >= 0 {
		from = l.rank(i) + 1
	}
	for _, k := range l.sorted()[from:] {
		if l.nodes[k].dead == live && k != skip {
			return k
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
