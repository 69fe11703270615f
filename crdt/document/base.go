package document

import (
	"slices"

	"github.com/meridiandb/meridian/crdt"
)

// rewind returns the present as it would be if v were shown: parts that are the
// same keep their tags, others have tags that nothing else has. So an edit that
// is based on v removes of the present only what v shows too.
func (ed *editor) rewind(v map[string]any) (*Doc, error) {
	f := ed.p.fork(false)
	side := &editor{hd: ed.hd, resolve: ed.resolve, limits: ed.limits, b: f, p: f}
	side.hd.Dot = ghost
	if err := side.diffMap(place{}, v, false); err != nil {
		return nil, err
	}
	ed.ghosts = side.n
	return f, nil
}

// dead returns the index of the first step of p that leads to an element which
// does not live in the present, or -1.
func (ed *editor) dead(p path) int {
	if !ed.dual {
		return -1
	}
	s := ed.p.root
	for k, st := range p {
		if !st.isElem {
			if s != nil {
				s = s.m.child(st.key)
			}
			continue
		}
		if s == nil {
			return k
		}
		i := s.l.element(st.elem, st.hint)
		if i < 0 || s.l.nodes[i].dead != live {
			return k
		}
		s = s.l.nodes[i].slot
	}
	return -1
}

// inBase makes an operation in b only.
func (ed *editor) inBase(o op) error {
	a := applier{doc: ed.b, own: ed.b.own, dot: ghost, stamp: ed.hd.Stamp, n: ed.ghosts}
	err := a.do(&o)
	ed.ghosts = a.n
	return err
}

// real returns r without what exists in b only.
func (r removal) real() removal {
	fake := func(d crdt.Dot) bool { return d.Replica.IsZero() }
	return removal{
		tags:  slices.DeleteFunc(slices.Clone(r.tags), func(t tagRange) bool { return fake(t.dot) }),
		cells: slices.DeleteFunc(slices.Clone(r.cells), func(c cellRef) bool { return fake(c.tag.dot) }),
	}
}

func (ed *editor) miss(list path, elem tag) {
	if !slices.ContainsFunc(ed.missing, func(m missing) bool { return m.elem == elem }) {
		ed.missing = append(ed.missing, missing{slices.Clone(list), elem})
	}
}

// revive inserts the elements again that were edited in b and are dead in the
// present, as they are in b.
func (ed *editor) revive() error {
	again := map[tag]bool{}
	for _, m := range ed.missing {
		again[m.elem] = true
	}
	done := map[string]bool{}
	for _, m := range ed.missing {
		if name := m.list.String(); !done[name] {
			done[name] = true
			if err := ed.reviveIn(m.list, again); err != nil {
				return err
			}
		}
	}
	return nil
}

func (ed *editor) reviveIn(list path, again map[tag]bool) error {
	s := ed.b.find(list)
	if s == nil || ed.dead(list) >= 0 {
		return nil
	}
	prev := int32(-1) // in the present
	for _, i := range s.l.shown() {
		n := s.l.nodes[i]
		present := ed.p.find(list)
		if present == nil {
			present = &slot{}
		}
		if k := present.l.element(n.elem, -1); k >= 0 && present.l.nodes[k].dead == live {
			prev = k
			continue
		}
		if !again[n.elem] {
			continue
		}
		r := renderer{resolve: ed.resolve}
		v, _ := r.slot(n.slot)
		o := op{code: opInsert, path: list, values: []any{v}, right: true, parentHint: -1}
		present.l.place(&o, prev, -1)
		if err := ed.inPresent(o); err != nil {
			return err
		}
		prev = int32(len(ed.p.find(list).l.nodes) - 1)
	}
	return nil
}

// present finds in the present what corresponds to node prev of b: the list at
// pl, and in it the nearest neighbour from prev to the left that lives there,
// other than the element skip.
func (ed *editor) present(pl place, prev int32, skip tag) (l *list, at int32) {
	s := ed.p.find(pl.path)
	if s == nil || s.l == nil {
		return nil, -1
	}
	b := ed.list(pl)
	for k := prev; k >= 0; k = b.prev(k) {
		n := b.nodes[k]
		if n.dead != live || n.elem == skip {
			continue
		}
		if i := s.l.element(n.elem, k); i >= 0 && s.l.nodes[i].dead == live {
			return s.l, i
		}
	}
	return s.l, -1
}

// incUnseen adds to a cell that has increments which the base lacks. In b, which
// cannot hold the cell as it is then, the increment is a cell of its own.
func (ed *editor) incUnseen(o op) error {
	if err := ed.inPresent(o); err != nil {
		return err
	}
	if ed.owed == nil {
		ed.owed = map[tag]op{}
	}
	ed.owed[tag{ghost, ed.ghosts}] = o
	o.cell = tag{}
	return ed.inBase(o)
}

// takeBack undoes increments by incUnseen that are removed again. To name the
// cell as it is now would remove what the base lacks, too.
func (ed *editor) takeBack(cells []cellRef) error {
	for _, c := range cells {
		o, ok := ed.owed[c.tag]
		if !ok {
			continue
		}
		delete(ed.owed, c.tag)
		o.delta, o.cell = -o.delta, tag{}
		if p := ed.p.find(o.path); p != nil {
			o.cell, _ = p.c.ownCell(ed.hd.Dot.Replica)
		}
		if err := ed.inPresent(o); err != nil {
			return err
		}
	}
	return nil
}

// inPresent makes an operation in the present and in the mutation only.
func (ed *editor) inPresent(o op) error {
	a := applier{doc: ed.p, own: ed.p.own, dot: ed.hd.Dot, stamp: ed.hd.Stamp, n: ed.n}
	ed.ops = append(ed.ops, o)
	err := a.do(&ed.ops[len(ed.ops)-1])
	ed.n = a.n
	return err
}
