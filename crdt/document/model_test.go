package document

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/internal/causaltest"
	"github.com/meridiandb/meridian/crdt/value"
)

// A model says what a set of changes means, by definition: it gathers everything
// that was ever added and everything that was ever removed, and what remains is
// what there is. The order of the changes plays no part. It keeps all, forgets
// nothing, and knows nothing of how Doc does it, but for the operations' codec.
type model struct {
	marks     []modelMark
	incs      []modelInc
	positions []modelPosition
	removed   map[tag]bool
	floors    map[tag]uint64 // per cell, the seq up to which it is reset
	heads     []crdt.Head
}

type modelMark struct {
	path path
	kind kind
	mark mark
	v    any // of a scalar or a set's member; unset for presence
	hasV bool
}

type modelInc struct {
	path  path
	cell  tag
	dot   crdt.Dot
	stamp crdt.Stamp
	delta int64
}

type modelPosition struct {
	path   path // of the list
	mark   mark
	parent tag
	right  bool
	elem   tag
}

func newModel(changes []*crdt.Change) *model {
	m := &model{removed: map[tag]bool{}, floors: map[tag]uint64{}, heads: causaltest.Heads(changes)}
	var effective []*crdt.Change
	for _, c := range changes {
		lost := func(d *crdt.Change) bool {
			return d.Mutations[0].Delete == crdt.DeleteWins && d != c && !c.Deps.Contains(d.Dot)
		}
		if c.Mutations[0].Delete == crdt.NotDelete && !slices.ContainsFunc(changes, lost) {
			effective = append(effective, c)
		}
	}
	for _, c := range effective {
		w := modelWriter{m: m, c: c}
		if err := decodeOps(c.Header, c.Mutations[0].Payload, w.op); err != nil {
			panic(err)
		}
	}
	for _, c := range effective {
		if !c.Mutations[0].Fresh {
			continue
		}
		for _, x := range m.marks {
			if c.Deps.Contains(x.mark.tag.dot) {
				m.removed[x.mark.tag] = true
			}
		}
		for _, x := range m.incs {
			if c.Deps.Contains(x.dot) {
				m.floors[x.cell] = max(m.floors[x.cell], x.dot.Seq)
			}
		}
	}
	return m
}

type modelWriter struct {
	m *model
	c *crdt.Change
	n uint32
}

func (w *modelWriter) next() mark {
	w.n++
	return mark{tag{w.c.Dot, w.n - 1}, w.c.Stamp}
}

func (w *modelWriter) op(o *op) error {
	p := slices.Clone(o.path)
	switch o.code {
	case opRemove:
		for _, r := range o.remove.tags {
			for n := r.from; n <= r.to; n++ {
				w.m.removed[tag{r.dot, n}] = true
			}
		}
		for _, c := range o.remove.cells {
			w.m.floors[c.tag] = max(w.m.floors[c.tag], c.seq)
		}
	case opPut:
		w.put(p, o.values[0])
	case opPresence:
		w.m.marks = append(w.m.marks, modelMark{path: p, kind: o.kind, mark: w.next()})
	case opInc:
		cell := o.cell
		if cell == (tag{}) {
			cell = w.next().tag
		}
		w.m.incs = append(w.m.incs, modelInc{p, cell, w.c.Dot, w.c.Stamp, o.delta})
	case opInsert:
		w.run(p, o.parent, o.right, o.values)
	case opMove:
		w.m.positions = append(w.m.positions, modelPosition{p, w.next(), o.parent, o.right, o.elem})
	case opAdd:
		for _, v := range o.values {
			w.m.marks = append(w.m.marks, modelMark{path: p, kind: kindSet, mark: w.next(), v: v, hasV: true})
		}
	}
	return nil
}

func (w *modelWriter) run(p path, parent tag, right bool, vs []any) {
	for _, v := range vs {
		id := mark{tag{w.c.Dot, w.n}, w.c.Stamp}
		w.m.positions = append(w.m.positions, modelPosition{p, id, parent, right, id.tag})
		w.put(p.element(id.tag, -1), v)
		parent, right = id.tag, true
	}
}

func (w *modelWriter) put(p path, v any) {
	own := func(k kind) { w.m.marks = append(w.m.marks, modelMark{path: p, kind: k, mark: w.next()}) }
	switch v := v.(type) {
	case map[string]any:
		own(kindMap)
		for _, k := range sortedKeys(v) {
			w.put(p.key(k), v[k])
		}
	case []any:
		own(kindList)
		w.run(p, tag{}, true, v)
	case value.Set:
		own(kindSet)
		for _, x := range v {
			w.m.marks = append(w.m.marks, modelMark{path: p, kind: kindSet, mark: w.next(), v: x, hasV: true})
		}
	case value.Counter:
		own(kindCounter)
		if v != 0 {
			w.m.incs = append(w.m.incs, modelInc{p, w.next().tag, w.c.Dot, w.c.Stamp, int64(v)})
		}
	default:
		w.m.marks = append(w.m.marks, modelMark{path: p, kind: kindScalar, mark: w.next(), v: v, hasV: true})
	}
}

func below(p, prefix path) bool {
	return len(p) >= len(prefix) && slices.EqualFunc(p[:len(prefix)], prefix, sameStep)
}

// lives returns the marks at and below a place, increments included, each with
// the kind by which it makes the place at p live.
func (m *model) lives(p path) map[kind][]mark {
	out := map[kind][]mark{}
	at := func(q path, k kind, x mark) {
		switch {
		case len(q) == len(p):
		case q[len(p)].isElem:
			k = kindList
		default:
			k = kindMap
		}
		out[k] = append(out[k], x)
	}
	for _, x := range m.marks {
		if below(x.path, p) && !m.removed[x.mark.tag] {
			at(x.path, x.kind, x.mark)
		}
	}
	for _, x := range m.incs {
		if below(x.path, p) && x.dot.Seq > m.floors[x.cell] {
			at(x.path, kindCounter, mark{tag{x.dot, 0}, x.stamp})
		}
	}
	return out
}

func (m *model) at(p path, k kind) []modelMark {
	var out []modelMark
	for _, x := range m.marks {
		if len(x.path) == len(p) && below(x.path, p) && x.kind == k && !m.removed[x.mark.tag] {
			out = append(out, x)
		}
	}
	slices.SortFunc(out, func(a, b modelMark) int { return a.mark.tag.compare(b.mark.tag) })
	return out
}

// sum is what all increments at p add up to that no reset has seen.
func (m *model) sum(p path) int64 {
	var n int64
	for _, x := range m.incs {
		if len(x.path) == len(p) && below(x.path, p) && x.dot.Seq > m.floors[x.cell] {
			n += x.delta
		}
	}
	return n
}

type modelView struct {
	m         *model
	conflicts []string
}

type modelAlt struct {
	kind kind
	mark mark
	v    any
	sub  []string
}

func (w *modelView) slot(p path, at value.Pointer) (any, bool) {
	lives := w.m.lives(p)
	scalars := w.m.at(p, kindScalar)
	counts := len(lives[kindCounter]) > 0
	onTop := false
	if counts && len(w.m.at(p, kindCounter)) == 0 {
		for _, x := range scalars {
			_, isInt := x.v.(int64)
			onTop = onTop || isInt
		}
	}
	var alts []modelAlt
	for _, x := range scalars {
		v := x.v
		if n, ok := v.(int64); ok && onTop {
			v = value.Counter(n + w.m.sum(p))
		}
		alts = append(alts, modelAlt{kind: kindScalar, mark: x.mark, v: v})
	}
	for _, k := range []kind{kindMap, kindList, kindSet, kindCounter} {
		if len(lives[k]) == 0 || k == kindCounter && onTop {
			continue
		}
		sub := modelView{m: w.m}
		a := modelAlt{kind: k, v: sub.kind(p, k, at)}
		a.sub = sub.conflicts
		for _, x := range lives[k] {
			a.mark = newest(a.mark, x)
		}
		alts = append(alts, a)
	}
	if len(alts) == 0 {
		return nil, false
	}
	slices.SortStableFunc(alts, func(a, b modelAlt) int { return a.mark.compare(b.mark) })
	shown := alts[len(alts)-1]
	same := true
	for _, a := range alts {
		same = same && a.kind == kindScalar && value.Equal(a.v, shown.v)
	}
	if len(alts) > 1 && !same {
		line := at.String() + ":"
		for _, a := range alts {
			line += fmt.Sprintf(" %v %s", a.mark.tag.dot, text(a.v))
		}
		w.conflicts = append(w.conflicts, line)
	}
	w.conflicts = append(w.conflicts, shown.sub...)
	return shown.v, true
}

func (w *modelView) kind(p path, k kind, at value.Pointer) any {
	switch k {
	case kindMap:
		names := map[string]bool{}
		for _, x := range w.m.marks {
			if below(x.path, p) && len(x.path) > len(p) && !x.path[len(p)].isElem {
				names[x.path[len(p)].key] = true
			}
		}
		for _, x := range w.m.incs {
			if below(x.path, p) && len(x.path) > len(p) && !x.path[len(p)].isElem {
				names[x.path[len(p)].key] = true
			}
		}
		out := map[string]any{}
		keys := make([]string, 0, len(names))
		for name := range names {
			keys = append(keys, name)
		}
		slices.Sort(keys)
		for _, name := range keys {
			if v, ok := w.slot(p.key(name), append(slices.Clone(at), name)); ok {
				out[name] = v
			}
		}
		return out
	case kindList:
		out := []any{}
		for _, e := range w.m.elements(p) {
			if v, ok := w.slot(p.element(e, -1), append(slices.Clone(at), strconv.Itoa(len(out)))); ok {
				out = append(out, v)
			}
		}
		return out
	case kindSet:
		var out []any
		for _, x := range w.m.at(p, kindSet) {
			if x.hasV {
				out = append(out, x.v)
			}
		}
		return value.NewSet(out)
	default:
		return value.Counter(w.m.sum(p))
	}
}

// elements returns the elements of a list in order, dead ones too.
func (m *model) elements(list path) []tag {
	var ps []modelPosition
	at := map[tag]mark{} // an element is at the newest of its positions
	for _, x := range m.positions {
		if len(x.path) == len(list) && below(x.path, list) {
			ps = append(ps, x)
			at[x.elem] = newest(at[x.elem], x.mark)
		}
	}
	var out []tag
	var walk func(parent tag, right bool)
	walk = func(parent tag, right bool) {
		var kids []modelPosition
		for _, x := range ps {
			if x.parent == parent && x.right == right {
				kids = append(kids, x)
			}
		}
		slices.SortFunc(kids, func(a, b modelPosition) int { return a.mark.tag.compare(b.mark.tag) })
		for _, x := range kids {
			walk(x.mark.tag, false)
			if at[x.elem] == x.mark {
				out = append(out, x.elem)
			}
			walk(x.mark.tag, true)
		}
	}
	walk(tag{}, true)
	return out
}

// describe says in one string what a model, or a document, shows.
func (m *model) describe() string {
	visible := false
	var heads []string
	slices.SortFunc(m.heads, func(a, b crdt.Head) int { return cmp.Or(cmp.Compare(a.Stamp, b.Stamp), a.Dot.Compare(b.Dot)) })
	for _, h := range m.heads {
		visible = visible || h.Delete == crdt.NotDelete
		heads = append(heads, fmt.Sprintf("%v %v", h.Dot, h.Delete != crdt.NotDelete))
	}
	if !visible {
		return "nothing"
	}
	w := modelView{m: m}
	v := w.kind(path{}, kindMap, nil)
	return fmt.Sprintf("%v\n%s\n%q", heads, text(v), w.conflicts)
}

func describe(d *Doc) string {
	v := d.View(nil)
	if !v.Exists {
		return "nothing"
	}
	var heads []string
	for _, h := range d.Versions() {
		heads = append(heads, fmt.Sprintf("%v %v", h.Dot, h.Deleted))
	}
	var conflicts []string
	for _, c := range v.Conflicts {
		if c.Path == "" {
			continue
		}
		line := c.Path + ":"
		for _, x := range c.Versions {
			line += fmt.Sprintf(" %v %s", x.Dot, text(x.Value))
		}
		conflicts = append(conflicts, line)
	}
	return fmt.Sprintf("%v\n%s\n%q", heads, text(v.Value), conflicts)
}
