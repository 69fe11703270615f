package document

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// diff makes the slot at pl show v, by as few operations as it takes. What shows
// v already stays as it is, with its conflicts, unless settle is set: then a
// conflict is settled to v.
//
// Plain JSON does not say what is a counter or a set, so it need not: over a
// counter, an integer is an increment by the difference; over a set, an array is
// its members; over a text, a string with the same characters is no change.
func (ed *editor) diff(pl place, v any, settle bool) error {
	sh := ed.show(pl)
	switch {
	case !sh.ok:
		return ed.put(pl, v)
	case sh.computed:
		if !settle && value.Equal(sh.value, v) {
			return nil
		}
		return ed.replace(pl, v)
	}
	if isContainer(sh.kind) && (kindOf(v) == sh.kind || sh.kind == kindSet && plainSet(v)) {
		if settle && sh.conflict {
			if err := ed.clearOthers(pl, sh.kind); err != nil {
				return err
			}
		}
		switch v := v.(type) {
		case map[string]any:
			return ed.diffMap(pl, v, settle)
		case value.Set:
			return ed.diffSet(pl, v)
		case []any:
			if sh.kind == kindSet {
				return ed.diffSet(pl, value.NewSet(slices.Clone(v)))
			}
			return ed.diffList(pl, v, settle)
		}
	}
	if isContainer(sh.kind) {
		return ed.replace(pl, v)
	}
	settle = settle && sh.conflict
	switch was := sh.value.(type) {
	case value.Counter:
		if n, ok := v.(int64); ok && !settle {
			return ed.count(pl, was, n)
		}
	case value.Text:
		if s, ok := v.(string); ok && s == string(was) && !settle {
			return nil
		}
	}
	if !settle && value.Equal(sh.value, v) {
		return nil
	}
	return ed.replace(pl, v)
}

func isContainer(k kind) bool { return k == kindMap || k == kindList || k == kindSet }

// plainSet reports whether v is an array that can be the members of a set.
func plainSet(v any) bool {
	a, ok := v.([]any)
	return ok && !typed(a)
}

// clearOthers removes what is at pl beside the given kind.
func (ed *editor) clearOthers(pl place, keep kind) error {
	s := ed.b.find(pl.path)
	var g seen
	for _, x := range s.scalars {
		g.tags = append(g.tags, x.tag)
	}
	for _, k := range []kind{kindMap, kindList, kindSet, kindCounter} {
		if k != keep {
			g.kind(s, k)
		}
	}
	return ed.remove(pl, g)
}

// count makes a counter that shows was show n.
func (ed *editor) count(pl place, was value.Counter, n int64) error {
	delta := n - int64(was)
	if (delta > 0) != (n > int64(was)) && delta != 0 {
		return ed.replace(pl, value.Counter(n)) // too far for one increment
	}
	if delta == 0 {
		return nil
	}
	return ed.inc(pl, delta)
}

// inc adds to the cell of the writer's replica.
func (ed *editor) inc(pl place, delta int64) error {
	o := op{code: opInc, path: pl.path, delta: delta}
	p, b := ed.p.find(pl.path), ed.b.find(pl.path)
	if p != nil {
		o.cell, _ = p.c.ownCell(ed.hd.Dot.Replica)
	}
	if ed.dual && ed.dead(pl.path) < 0 && !sameCell(p, b, o.cell) {
		return ed.incUnseen(o)
	}
	return ed.do(o, nil)
}

// sameCell reports whether a cell is the same in two slots, or in neither.
func sameCell(p, b *slot, t tag) bool {
	if t == (tag{}) {
		return true
	}
	if b == nil || b.c == nil {
		return false
	}
	i, _ := p.c.find(t)
	k, ok := b.c.find(t)
	return ok && p.c.cells[i] == b.c.cells[k]
}

func (ed *editor) diffMap(pl place, v map[string]any, settle bool) error {
	var m *mapNode
	if s := ed.b.find(pl.path); s != nil {
		m = s.m
	}
	for _, k := range m.keys() {
		if _, ok := v[k]; !ok && (len(pl.path) > 0 || k != hidden) {
			if err := ed.clear(pl.key(k)); err != nil {
				return err
			}
		}
	}
	for _, k := range sortedKeys(v) {
		if err := ed.diff(pl.key(k), v[k], settle); err != nil {
			return err
		}
	}
	return ed.keep(pl, kindMap)
}

func (ed *editor) diffSet(pl place, v value.Set) error {
	var g seen
	old := ed.b.find(pl.path).s
	for _, m := range old.sorted() {
		if !v.Contains(m.v) {
			g.marks(m.marks)
		}
	}
	var added []any
	for _, x := range v {
		if _, ok := old.members[memberKey(x)]; !ok {
			added = append(added, x)
		}
	}
	if err := ed.remove(pl, g); err != nil {
		return err
	}
	if len(added) > 0 {
		if err := ed.checkDepth(pl, added, 1); err != nil {
			return err
		}
		if err := ed.do(op{code: opAdd, path: pl.path, values: added}, nil); err != nil {
			return err
		}
	}
	return ed.keep(pl, kindSet)
}

// identity returns what tells an object in a list from others whatever else
// changes in it: the first of its members id, _id and key that is a string or an
// integer. It is "" for anything without one.
func identity(v any) string {
	m, ok := v.(map[string]any)
	if !ok {
		return ""
	}
	for _, name := range []string{"id", "_id", "key"} {
		switch id := m[name].(type) {
		case string:
			return name + "=" + id
		case int64:
			return name + "#" + strconv.FormatInt(id, 10)
		}
	}
	return ""
}

// matcher numbers the elements of two lists such that those with equal numbers
// are taken for the same element.
type matcher struct {
	numbers       map[string]int
	was, is       []int
	wasIDs, isIDs map[string]int
}

func match(was, is []any) *matcher {
	m := &matcher{numbers: map[string]int{}, wasIDs: ids(was), isIDs: ids(is)}
	m.was, m.is = m.number(was), m.number(is)
	return m
}

// ids counts how often each identity occurs.
func ids(list []any) map[string]int {
	n := map[string]int{}
	for _, v := range list {
		if id := identity(v); id != "" {
			n[id]++
		}
	}
	return n
}

// identified reports whether v is known by its identity: if that is its own in
// both lists. Other elements are known by what they are.
func (m *matcher) identified(v any) (string, bool) {
	id := identity(v)
	return id, id != "" && m.wasIDs[id] <= 1 && m.isIDs[id] <= 1
}

func (m *matcher) number(list []any) []int {
	out := make([]int, len(list))
	for i, v := range list {
		name, ok := m.identified(v)
		if ok {
			name = "i" + name
		} else {
			name = "v" + string(value.AppendBinary(nil, value.Plain(v)))
		}
		k, ok := m.numbers[name]
		if !ok {
			k = len(m.numbers)
			m.numbers[name] = k
		}
		out[i] = k
	}
	return out
}

// A pairing says for each element of a new list which element of the old one it
// is, or -1, and whether it stays where it was.
type pairing struct {
	from  []int
	moves []bool
	used  []bool // old elements that are somewhere in the new list
}

// pair matches two lists: what is the same in the same order stays; what is left
// over on both sides, and nowhere twice, moves; and where as many objects (or
// arrays) without identity have gone as have come, each becomes the other.
func pair(was, is []any) pairing {
	m := match(was, is)
	p := pairing{from: make([]int, len(is)), moves: make([]bool, len(is)), used: make([]bool, len(was))}
	edits := value.DiffSequence(len(was), len(is), func(i, j int) bool { return m.was[i] == m.is[j] })
	i, j := 0, 0
	gone, come := map[int][]int{}, map[int][]int{}
	for _, e := range append(edits, value.Edit{A: len(was), B: len(is)}) {
		for ; i < e.A; i, j = i+1, j+1 {
			p.from[j], p.used[i] = i, true
		}
		for ; i < e.A+e.Delete; i++ {
			gone[m.was[i]] = append(gone[m.was[i]], i)
		}
		for ; j < e.B+e.Insert; j++ {
			p.from[j] = -1
			come[m.is[j]] = append(come[m.is[j]], j)
		}
	}
	for k, from := range gone {
		if to := come[k]; len(from) == 1 && len(to) == 1 {
			p.from[to[0]], p.moves[to[0]], p.used[from[0]] = from[0], true, true
		}
	}
	for _, e := range edits {
		p.pairGap(m, was, is, e)
	}
	return p
}

func (p *pairing) pairGap(m *matcher, was, is []any, e value.Edit) {
	var from, to []int
	for i := e.A; i < e.A+e.Delete; i++ {
		if !p.used[i] {
			from = append(from, i)
		}
	}
	for j := e.B; j < e.B+e.Insert; j++ {
		if p.from[j] < 0 {
			to = append(to, j)
		}
	}
	if len(from) != len(to) {
		return
	}
	for k := range from {
		a, b := was[from[k]], is[to[k]]
		_, known := m.identified(a)
		_, knownToo := m.identified(b)
		if ka := kindOf(a); ka != kindOf(b) || ka != kindMap && ka != kindList || known || knownToo {
			return
		}
	}
	for k := range from {
		p.from[to[k]], p.used[from[k]] = from[k], true
	}
}

func (ed *editor) diffList(pl place, v []any, settle bool) error {
	r := renderer{resolve: ed.resolve, at: pl.at}
	nodes := ed.list(pl).shown()
	old := r.listValue(ed.list(pl))
	p := pair(old, v)
	var g seen
	for i, node := range nodes {
		if !p.used[i] {
			g.slot(ed.list(pl).nodes[node].slot)
		}
	}
	if err := ed.remove(pl, g); err != nil {
		return err
	}
	prev := int32(-1)
	at := make([]int32, len(v))
	for j := 0; j < len(v); {
		var err error
		switch i := p.from[j]; {
		case i < 0:
			run := j
			for run < len(v) && p.from[run] < 0 {
				run++
			}
			if err := ed.checkDepth(pl, v[j:run], 1); err != nil {
				return err
			}
			prev, err = ed.insert(pl, prev, v[j:run])
			j = run
		case p.moves[j]:
			prev, err = ed.move(pl, nodes[i], prev)
			at[j] = prev
			j++
		default:
			prev = nodes[i]
			at[j] = prev
			j++
		}
		if err != nil {
			return err
		}
	}
	for j, i := range p.from {
		if i >= 0 && (settle || !value.Equal(old[i], v[j])) {
			if err := ed.diff(pl.element(ed.list(pl), at[j], strconv.Itoa(i)), v[j], settle); err != nil {
				return err
			}
		}
	}
	return ed.keep(pl, kindList)
}

// checkInc refuses an increment that would take a counter out of its range.
func checkInc(was, delta int64) error {
	if delta > 0 && was > math.MaxInt64-delta || delta < 0 && was < math.MinInt64-delta {
		return fmt.Errorf("%w: %d more would take the counter, which is at %d, out of the range of 64-bit integers", crdt.ErrRefused, delta, was)
	}
	return nil
}
