package document

import (
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// An editor turns an edit into operations. It works on two documents: b is what
// the edit is made to, p the present; without a base they are one. Paths and
// indices are those of b; every operation that is made is applied to both.
type editor struct {
	hd      crdt.Header
	resolve crdt.Resolve
	limits  crdt.Limits
	b, p    *Doc
	dual    bool // b and p differ
	ops     []op
	n       uint32 // of the next tag
	ghosts  uint32 // of the next tag that exists in b only
	// missing are the elements of b that were edited and are dead in p.
	missing []missing
	// owed are increments of cells that b does not hold, by what stands for them
	// in b.
	owed   map[tag]op
	copied int // bytes, by "copy"
}

type missing struct {
	list path
	elem tag
}

// ghost is the dot of what exists in b only. No replica has the zero id.
var ghost = crdt.Dot{Seq: 1}

func (ed *editor) edit(e crdt.Edit) error {
	switch e.Kind {
	case crdt.EditPut:
		return ed.diffMap(place{}, e.Value.(map[string]any), false)
	case crdt.EditMergePatch:
		return ed.mergePatch(place{}, e.Value.(map[string]any))
	case crdt.EditJSONPatch:
		return ed.each(e.Ops, ed.jsonPatchOp)
	case crdt.EditOps:
		return ed.each(e.Ops, ed.ownOp)
	default:
		return ed.resolution(e)
	}
}

func (ed *editor) each(ops []value.Op, do func(o *value.Op) error) error {
	for i := range ops {
		if err := do(&ops[i]); err != nil {
			return fmt.Errorf("operation %d (%q): %w", i, ops[i].Op, err)
		}
	}
	return nil
}

// A place is a slot of b, by its path and as a JSON pointer.
type place struct {
	path path
	at   value.Pointer
}

func (pl place) key(k string) place {
	return place{pl.path.key(k), append(slices.Clip(pl.at), k)}
}

func (pl place) element(l *list, i int32, token string) place {
	return place{pl.path.element(l.nodes[i].elem, i), append(slices.Clip(pl.at), token)}
}

// find returns the slot at p, or nil.
func (d *Doc) find(p path) *slot {
	s := d.root
	for _, st := range p {
		switch {
		case s == nil:
			return nil
		case !st.isElem:
			s = s.m.child(st.key)
		default:
			i := s.l.element(st.elem, st.hint)
			if i < 0 {
				return nil
			}
			s = s.l.nodes[i].slot
		}
	}
	return s
}

// do makes an operation: in the present, in b, and in the mutation. forB, if not
// nil, is what it is in b.
func (ed *editor) do(o op, forB *op) error {
	if k := ed.dead(o.path); k >= 0 {
		if o.code != opRemove {
			ed.miss(o.path[:k], o.path[k].elem)
		}
		if forB != nil {
			o = *forB
		}
		return ed.inBase(o)
	}
	if ed.dual {
		if forB == nil {
			c := o
			forB = &c
		}
		a := applier{doc: ed.b, own: ed.b.own, dot: ed.hd.Dot, stamp: ed.hd.Stamp, n: ed.n}
		if err := a.do(forB); err != nil {
			return err
		}
		o.remove = o.remove.real()
	}
	if o.code == opRemove && len(o.remove.tags) == 0 && len(o.remove.cells) == 0 {
		return nil
	}
	return ed.inPresent(o)
}

// place sets where a position that is to come behind node prev (-1: the start)
// goes. The element at skip is the one that moves there, if any.
func (l *list) place(o *op, prev, skip int32) {
	if l == nil {
		o.right = true
		return
	}
	parent, right := l.anchor(prev, l.after(prev, skip))
	o.right, o.parentHint, o.parent = right, parent, tag{}
	if parent >= 0 {
		o.parent = l.nodes[parent].id
	}
}

// show returns what the slot at pl shows.
func (ed *editor) show(pl place) shown {
	r := renderer{resolve: ed.resolve, at: pl.at}
	return r.pick(ed.b.find(pl.path))
}

// value renders what the slot at pl shows.
func (ed *editor) value(pl place) (any, bool) {
	r := renderer{resolve: ed.resolve, at: pl.at}
	return r.slot(ed.b.find(pl.path))
}

// put adds v beside what is at pl.
func (ed *editor) put(pl place, v any) error {
	if err := ed.checkDepth(pl, []any{v}, 0); err != nil {
		return err
	}
	if err := ed.do(op{code: opPut, path: pl.path, values: []any{v}}, nil); err != nil {
		return err
	}
	if s := ed.p.find(pl.path); s != nil && len(s.scalars) > 1 && ed.limits.Siblings > 0 && len(s.alts()) > ed.limits.Siblings {
		return fmt.Errorf("%w: %q would have %d concurrent values, at most %d are allowed; resolve it first",
			crdt.ErrTooManySiblings, pl.at.String(), len(s.alts()), ed.limits.Siblings)
	}
	return nil
}

// clear removes what is at pl.
func (ed *editor) clear(pl place) error {
	var g seen
	g.slot(ed.b.find(pl.path))
	return ed.remove(pl, g)
}

func (ed *editor) remove(pl place, g seen) error {
	if len(g.tags) == 0 && len(g.cells) == 0 {
		return nil
	}
	r := g.removal()
	if err := ed.takeBack(r.cells); err != nil {
		return err
	}
	return ed.do(op{code: opRemove, path: pl.path, remove: r}, nil)
}

// replace puts v in the place of all that is at pl.
func (ed *editor) replace(pl place, v any) error {
	if err := ed.clear(pl); err != nil {
		return err
	}
	return ed.put(pl, v)
}

// keep makes a mark for a container that has lost its last part and would be
// gone otherwise: {"a": {"b": 1}} without b is {"a": {}}.
func (ed *editor) keep(pl place, k kind) error {
	s := ed.b.find(pl.path)
	if len(pl.path) == 0 {
		return nil
	}
	if s != nil {
		switch k {
		case kindMap:
			if s.m.alive() {
				return nil
			}
		case kindList:
			if s.l.alive() {
				return nil
			}
		case kindSet:
			if s.s.alive() {
				return nil
			}
		case kindCounter, kindScalar:
			return nil
		}
	}
	return ed.do(op{code: opPresence, path: pl.path, kind: k}, nil)
}

// checkDepth refuses values that would come to lie too deep, a number of steps
// below pl.
func (ed *editor) checkDepth(pl place, vs []any, below int) error {
	limit := ed.limits.Value.MaxDepth
	if limit <= 0 {
		limit = value.DefaultMaxDepth
	}
	limit = min(limit, maxDepth)
	for _, v := range vs {
		if len(pl.path)+below+value.Depth(v) > limit {
			return refused(&value.Error{Err: value.ErrTooDeep, Detail: fmt.Sprintf("at most %d levels are allowed", limit),
				Pointer: pl.at.String(), Offset: -1})
		}
	}
	return nil
}

// unset removes the entry k of the map at pl.
func (ed *editor) unset(pl place, k string) error {
	if err := ed.clear(pl.key(k)); err != nil {
		return err
	}
	return ed.keep(pl, kindMap)
}

// insert adds a run of values to the list at pl behind node prev of b (-1: the
// start), and returns the last one's node.
func (ed *editor) insert(pl place, prev int32, vs []any) (int32, error) {
	o := op{code: opInsert, path: pl.path, values: vs, parentHint: -1}
	forB := o
	ed.list(pl).place(&forB, prev, -1)
	if !ed.dual {
		o = forB
	} else {
		l, at := ed.present(pl, prev, tag{})
		l.place(&o, at, -1)
	}
	if err := ed.do(o, &forB); err != nil {
		return 0, err
	}
	return int32(len(ed.list(pl).nodes) - 1), nil
}

// list returns the list at pl in b, or nil.
func (ed *editor) list(pl place) *list {
	if s := ed.b.find(pl.path); s != nil {
		return s.l
	}
	return nil
}

// move takes the element at node i of the list at pl to behind node prev, and
// returns its new node. An element that is dead in the present stays dead.
func (ed *editor) move(pl place, i, prev int32) (int32, error) {
	b := ed.list(pl)
	elem := b.nodes[i].elem
	o := op{code: opMove, path: pl.path, elem: elem, elemHint: i, parentHint: -1}
	forB := o
	b.place(&forB, prev, i)
	if !ed.dual {
		o = forB
	} else {
		l, at := ed.present(pl, prev, elem)
		k := l.element(elem, i)
		if k < 0 || l.nodes[k].dead != live {
			if err := ed.inBase(forB); err != nil {
				return 0, err
			}
			return int32(len(ed.list(pl).nodes) - 1), nil
		}
		l.place(&o, at, k)
	}
	if err := ed.do(o, &forB); err != nil {
		return 0, err
	}
	return int32(len(ed.list(pl).nodes) - 1), nil
}
