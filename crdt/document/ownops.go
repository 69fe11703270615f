package document

import (
	"fmt"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// ownOp applies one operation of application/vnd.meridian.ops+json. Where an
// object on the way to the place is missing, set, inc, add and insert make it.
func (ed *editor) ownOp(o *value.Op) error {
	switch o.Op {
	case "set":
		if len(o.Path) == 0 {
			return ed.setRoot(o.Value)
		}
		put := func(pl place) error { return ed.put(pl, o.Value) }
		return ed.make(o.Path, put, func(pl place) error { return ed.diff(pl, o.Value, true) })
	case "unset":
		return ed.unsetAt(o.Path)
	case "inc":
		return ed.incAt(o)
	case "add":
		return ed.addMember(o)
	case "remove":
		return ed.removeMember(o)
	case "insert":
		return ed.insertOp(o)
	case "delete":
		pl, err := ed.listAt(o.Path)
		if err != nil {
			return err
		}
		return ed.deleteAt(pl, o.Path)
	case "move":
		pl, err := ed.listAt(o.Path)
		if err != nil {
			return err
		}
		return ed.moveWithin(pl, o.From, o.Path)
	case "splice":
		return fmt.Errorf("%w: \"splice\" edits the text of collections of type automerge; set the string instead", crdt.ErrRefused)
	}
	return fmt.Errorf("%w: unknown operation", crdt.ErrRefused)
}

// make calls f with the place that p names if something is shown there, and
// otherwise create, after making the objects that are missing on the way.
func (ed *editor) make(p value.Pointer, create, f func(place) error) error {
	pl := place{}
	for i, token := range p {
		next, ok, err := ed.step(pl, token)
		switch {
		case err != nil:
			return err
		case ok:
			pl = next
			continue
		case next.path == nil:
			if sh := ed.show(pl); sh.kind == kindList {
				return conflict("%q is a list and has no element %q", p[:i].String(), token)
			}
			return conflict("%q is not an object", p[:i].String())
		}
		if rest := p[i+1:]; len(rest) > 0 {
			empty := map[string]any{}
			for k := len(rest) - 2; k >= 0; k-- {
				empty = map[string]any{rest[k]: empty}
			}
			if err := ed.put(next, empty); err != nil {
				return err
			}
			for _, token := range rest {
				next = next.key(token)
			}
		}
		return create(next)
	}
	return f(pl)
}

func (ed *editor) unsetAt(p value.Pointer) error {
	if len(p) == 0 {
		return fmt.Errorf("%w: the root cannot be unset; delete the document", crdt.ErrRefused)
	}
	parent, n, err := ed.follow(p[:len(p)-1])
	if err != nil || n < len(p)-1 { // what is not there need not be unset
		return err
	}
	if len(parent.path) > 0 && ed.show(parent).kind == kindList {
		return conflict("%q is a list: use \"delete\" for its elements", parent.at.String())
	}
	pl, ok, err := ed.step(parent, p[len(p)-1])
	if err != nil || !ok {
		return err
	}
	return ed.unset(parent, pl.at[len(pl.at)-1])
}

func (ed *editor) incAt(o *value.Op) error {
	delta, ok := o.Value.(int64)
	switch {
	case !ok:
		return fmt.Errorf("%w: a counter is incremented by an integer", crdt.ErrRefused)
	case o.Min != nil || o.Max != nil:
		return fmt.Errorf("%w: \"min\" and \"max\" are for counters that have bounds, which the collection's setting \"bounds\" gives them", crdt.ErrRefused)
	case len(o.Path) == 0:
		return errRoot
	}
	// A counter that only increments have made has no mark of its own, so that
	// it counts on top of a number that somebody else sets concurrently.
	create := func(pl place) error {
		if delta == 0 {
			return ed.put(pl, value.Counter(0))
		}
		return ed.inc(pl, delta)
	}
	return ed.make(o.Path, create, func(pl place) error {
		sh := ed.show(pl)
		if sh.computed {
			if err := ed.replace(pl, sh.value); err != nil {
				return err
			}
			sh = ed.show(pl)
		}
		var was int64
		switch v := sh.value.(type) {
		case value.Counter:
			was = int64(v)
		case int64:
			if ed.b.find(pl.path).c.alive() {
				return conflict("%q is a counter and a number that was set concurrently; resolve it first", pl.at.String())
			}
			was = v
		default:
			return conflict("%q is neither a counter nor an integer", pl.at.String())
		}
		if err := checkInc(was, delta); err != nil {
			return err
		}
		if delta == 0 {
			return nil
		}
		return ed.inc(pl, delta)
	})
}

// addMember adds to a set. A member that is there already is added anew, so that
// it stays if somebody removes it concurrently.
func (ed *editor) addMember(o *value.Op) error {
	if typed(o.Value) {
		return fmt.Errorf("%w: the members of a set are plain values", crdt.ErrRefused)
	}
	if len(o.Path) == 0 {
		return errRoot
	}
	create := func(pl place) error { return ed.put(pl, value.Set{o.Value}) }
	return ed.make(o.Path, create, func(pl place) error {
		if err := ed.isSet(pl); err != nil {
			return err
		}
		var g seen
		if m, ok := ed.b.find(pl.path).s.members[memberKey(o.Value)]; ok {
			g.marks(m.marks)
		}
		if err := ed.checkDepth(pl, []any{o.Value}, 1); err != nil {
			return err
		}
		if err := ed.remove(pl, g); err != nil {
			return err
		}
		return ed.do(op{code: opAdd, path: pl.path, values: []any{o.Value}}, nil)
	})
}

func (ed *editor) removeMember(o *value.Op) error {
	pl, n, err := ed.follow(o.Path)
	if err != nil || n < len(o.Path) { // what is not there need not be removed
		return err
	}
	if err := ed.isSet(pl); err != nil {
		return err
	}
	var g seen
	m, ok := ed.b.find(pl.path).s.members[memberKey(o.Value)]
	if !ok {
		return nil
	}
	g.marks(m.marks)
	if err := ed.remove(pl, g); err != nil {
		return err
	}
	return ed.keep(pl, kindSet)
}

func (ed *editor) isSet(pl place) error {
	if len(pl.path) > 0 {
		sh := ed.show(pl)
		if sh.computed {
			if err := ed.replace(pl, sh.value); err != nil {
				return err
			}
		}
		if sh.kind == kindSet {
			return nil
		}
	}
	return conflict("%q is not a set; make it one by writing {\"$set\": […]}", pl.at.String())
}

// listAt returns the place of the list that an element's pointer names.
func (ed *editor) listAt(p value.Pointer) (place, error) {
	if len(p) == 0 {
		return place{}, errRoot
	}
	pl, k, err := ed.parent(p)
	if err == nil && k != kindList {
		err = conflict("%q is not a list", pl.at.String())
	}
	return pl, err
}

func (ed *editor) insertOp(o *value.Op) error {
	if len(o.Path) < 2 {
		return errRoot
	}
	list := o.Path[:len(o.Path)-1]
	if i, err := index(o.Path, 0, true); err == nil && i == 0 {
		// The first element of a list that may not be there.
		done := false
		create := func(pl place) error { return ed.put(pl, []any{o.Value}) }
		err := ed.make(list, create, func(pl place) error {
			if sh := ed.show(pl); sh.kind != kindList {
				return conflict("%q is not a list", list.String())
			}
			done = true
			return nil
		})
		if err != nil || !done {
			return err
		}
	}
	pl, err := ed.listAt(o.Path)
	if err != nil {
		return err
	}
	return ed.insertAt(pl, o.Path, o.Value)
}
