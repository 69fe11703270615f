package automerge

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
	"github.com/meridiandb/meridian/crdt/value"
)

// mergePatch applies an RFC 7386 merge patch to the map n. What the patch names
// is settled by it.
func (x *session) mergePatch(n *node, at value.Pointer, patch map[string]any) error {
	if err := x.load(n, at); err != nil {
		return err
	}
	for _, k := range sortedKeys(patch) {
		p := place{node: n, at: child(at, k), key: k}
		s := p.slot()
		members, isMap := patch[k].(map[string]any)
		var err error
		switch {
		case patch[k] == nil && s != nil:
			err = x.remove(p)
		case patch[k] == nil:
		case isMap && s != nil && s.node != nil && s.node.kind == lib.Map:
			err = x.mergePatch(s.node, p.at, members)
		case isMap:
			var old any
			if s != nil && s.computed {
				old = s.scalar
			}
			err = x.put(p, value.ApplyMergePatch(old, members))
		default:
			err = x.diff(p, patch[k], true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// settled makes the policy's own value at p one that can be edited.
func (x *session) settled(p place) (*slot, error) {
	s := p.slot()
	if s == nil || !s.computed {
		return s, nil
	}
	err := x.put(p, s.scalar)
	return p.slot(), err
}

// step goes from the object n, which is at at, to what the token names there. It
// reports false if there is no such thing; for a map, p is then where it would be.
func (x *session) step(n *node, at value.Pointer, token string) (p place, ok bool, err error) {
	if err := x.load(n, at); err != nil {
		return place{}, false, err
	}
	p = place{node: n, at: child(at, token)}
	switch n.kind {
	case lib.Map:
		p.key = token
		_, ok = n.keys[token]
	case lib.List:
		var i int
		if i, ok = value.ParseIndex(token); ok && i < len(n.list) {
			p.index = i
		} else {
			return place{}, false, nil
		}
	default:
		return place{}, false, nil
	}
	return p, ok, nil
}

// find follows a pointer to a container, and tells how many tokens there are
// things for.
func (x *session) find(ptr value.Pointer) (n *node, at place, depth int, err error) {
	n = x.root
	for depth < len(ptr) {
		p, ok, err := x.step(n, ptr[:depth], ptr[depth])
		if err != nil || !ok {
			return n, p, depth, err
		}
		depth++
		s := p.slot()
		if depth < len(ptr) {
			if s, err = x.settled(p); err != nil {
				return nil, p, depth, err
			}
		}
		if at = p; depth == len(ptr) {
			return s.node, at, depth, nil
		}
		if s.node == nil {
			return nil, p, depth, nil
		}
		n = s.node
	}
	return n, at, depth, nil
}

// lookup follows a pointer, which is not that of the root, to its slot.
func (x *session) lookup(ptr value.Pointer) (place, error) {
	_, p, depth, err := x.find(ptr)
	if err == nil && depth < len(ptr) {
		err = conflict("there is nothing at %q", ptr[:depth+1].String())
	}
	return p, err
}

// get returns what is shown at a pointer.
func (x *session) get(ptr value.Pointer) (any, error) {
	if len(ptr) == 0 {
		return x.render(x.root, nil)
	}
	p, err := x.lookup(ptr)
	if err != nil {
		return nil, err
	}
	return x.value(p.slot(), ptr)
}

// container returns the map or list that holds what ptr names.
func (x *session) container(ptr value.Pointer) (*node, error) {
	if len(ptr) == 1 {
		return x.root, x.load(x.root, nil)
	}
	up := ptr[:len(ptr)-1]
	p, err := x.lookup(up)
	if err != nil {
		return nil, err
	}
	s, err := x.settled(p)
	if err != nil {
		return nil, err
	}
	if s.node == nil || s.node.kind == lib.Text {
		return nil, conflict("%q is neither an object nor a list", up.String())
	}
	return s.node, x.load(s.node, up)
}

// index reads the last token of ptr as an index of a list of n elements, or one
// beyond if end is set.
func index(ptr value.Pointer, n int, end bool) (int, error) {
	token, list := ptr[len(ptr)-1], ptr[:len(ptr)-1]
	if end && token == value.EndOfList {
		return n, nil
	}
	i, ok := value.ParseIndex(token)
	if !ok {
		return 0, conflict("%q is a list, and %q is no index", list.String(), token)
	}
	if i > n || i == n && !end {
		return 0, conflict("index %d of %q is out of range: the list has %d elements", i, list.String(), n)
	}
	return i, nil
}

func (x *session) jsonPatchOp(o *value.Op) error {
	switch o.Op {
	case "test":
		v, err := x.get(o.Path)
		if err == nil && !value.Same(v, o.Value) {
			err = conflict("the test failed: %q has another value", o.Path.String())
		}
		return err
	case "add":
		return x.addAt(o.Path, o.Value)
	case "remove":
		return x.removeAt(o.Path)
	case "replace":
		if len(o.Path) == 0 {
			return x.setRoot(o.Value)
		}
		p, err := x.lookup(o.Path)
		if err != nil {
			return err
		}
		return x.diff(p, o.Value, true)
	case "copy":
		v, err := x.get(o.From)
		if err != nil {
			return err
		}
		if x.copied += value.Size(v); x.copied > value.MaxPatchCopy {
			return fmt.Errorf("%w: a patch may copy at most %d bytes", crdt.ErrTooLarge, value.MaxPatchCopy)
		}
		return x.addAt(o.Path, v)
	case "move":
		return x.moveAt(o.From, o.Path)
	}
	return refuse("unknown operation")
}

func (x *session) addAt(ptr value.Pointer, v any) error {
	if len(ptr) == 0 {
		return x.setRoot(v)
	}
	n, err := x.container(ptr)
	if err != nil {
		return err
	}
	if n.kind == lib.Map {
		return x.diff(place{node: n, at: ptr, key: ptr[len(ptr)-1]}, v, true)
	}
	return x.insertAt(n, ptr, v)
}

// insertAt inserts v into the list n, at the index that ptr ends in.
func (x *session) insertAt(n *node, ptr value.Pointer, v any) error {
	i, err := index(ptr, len(n.list), true)
	if err != nil {
		return err
	}
	return x.put(place{node: n, at: ptr, index: i, insert: true}, v)
}

func (x *session) removeAt(ptr value.Pointer) error {
	if len(ptr) == 0 {
		return refuse("the root cannot be removed; delete the document")
	}
	n, err := x.container(ptr)
	if err != nil {
		return err
	}
	p := place{node: n, at: ptr, key: ptr[len(ptr)-1]}
	if n.kind == lib.Map {
		if p.slot() == nil {
			return conflict("there is nothing at %q", ptr.String())
		}
		return x.remove(p)
	}
	p.key = ""
	if p.index, err = index(ptr, len(n.list), false); err != nil {
		return err
	}
	return x.remove(p)
}

// moveAt moves a value: it is taken out and made again.
func (x *session) moveAt(from, to value.Pointer) error {
	v, err := x.get(from)
	if err != nil || slices.Equal(from, to) {
		return err
	}
	if err := x.removeAt(from); err != nil {
		return err
	}
	return x.addAt(to, v)
}

// ownOp applies one operation of application/vnd.meridian.ops+json. Where an
// object on the way to the place is missing, set, inc, insert and splice make it.
func (x *session) ownOp(o *value.Op) error {
	switch o.Op {
	case "set":
		if len(o.Path) == 0 {
			return x.setRoot(o.Value)
		}
		return x.make(o.Path, o.Value, func(p place) error { return x.diff(p, o.Value, true) })
	case "unset":
		return x.unsetAt(o.Path)
	case "inc":
		return x.incAt(o)
	case "insert":
		return x.insertOp(o)
	case "delete", "move":
		if len(o.Path) < 2 {
			return errRoot
		}
		n, err := x.container(o.Path)
		if err != nil {
			return err
		}
		if n.kind != lib.List {
			return conflict("%q is not a list", o.Path[:len(o.Path)-1].String())
		}
		if o.Op == "delete" {
			return x.removeAt(o.Path)
		}
		return x.moveAt(o.From, o.Path)
	case "splice":
		return x.spliceAt(o)
	case "add", "remove":
		return refuse("Automerge has no sets; %q needs a collection of type \"document\"", o.Op)
	}
	return refuse("unknown operation")
}

// make calls f with the place that ptr names if something is shown there, and
// otherwise puts v there, after making the objects that are missing on the way.
func (x *session) make(ptr value.Pointer, v any, f func(place) error) error {
	n, p, depth, err := x.find(ptr)
	switch {
	case err != nil:
		return err
	case depth == len(ptr):
		return f(p)
	case n == nil || n.kind == lib.Text:
		return conflict("%q is not an object", ptr[:depth].String())
	case n.kind == lib.List:
		return conflict("%q is a list and has no element %q", ptr[:depth].String(), ptr[depth])
	}
	for k := len(ptr) - 1; k > depth; k-- {
		v = map[string]any{ptr[k]: v}
	}
	return x.put(place{node: n, at: ptr[:depth+1], key: ptr[depth]}, v)
}

func (x *session) unsetAt(ptr value.Pointer) error {
	if len(ptr) == 0 {
		return refuse("the root cannot be unset; delete the document")
	}
	n, p, depth, err := x.find(ptr)
	switch {
	case err != nil:
		return err
	case depth < len(ptr)-1: // what is not there need not be unset
		return nil
	case depth == len(ptr)-1:
		if n != nil && n.kind == lib.List {
			return conflict("%q is a list: use \"delete\" for its elements", ptr[:depth].String())
		}
		return nil
	case p.node.kind == lib.List:
		return conflict("%q is a list: use \"delete\" for its elements", ptr[:depth-1].String())
	}
	return x.remove(p)
}

func (x *session) incAt(o *value.Op) error {
	delta, ok := o.Value.(int64)
	switch {
	case !ok:
		return refuse("a counter is incremented by an integer")
	case o.Min != nil || o.Max != nil:
		return refuse("\"min\" and \"max\" need bounded counters, which Automerge does not have")
	case len(o.Path) == 0:
		return errRoot
	}
	return x.make(o.Path, value.Counter(delta), func(p place) error {
		s, err := x.settled(p)
		if err != nil {
			return err
		}
		was, ok := s.scalar.(value.Counter)
		if !ok {
			return conflict("%q is not a counter; make it one by writing {\"$counter\": n}", p.at.String())
		}
		if err := checkInc(int64(was), delta); err != nil || delta == 0 {
			return err
		}
		return x.increment(p, was, delta)
	})
}

func (x *session) insertOp(o *value.Op) error {
	if len(o.Path) < 2 {
		return errRoot
	}
	list := o.Path[:len(o.Path)-1]
	if i, err := index(o.Path, 0, true); err == nil && i == 0 {
		// The first element of a list that may not be there.
		there := false
		err := x.make(list, []any{o.Value}, func(place) error { there = true; return nil })
		if err != nil || !there {
			return err
		}
	}
	n, err := x.container(o.Path)
	if err != nil {
		return err
	}
	if n.kind != lib.List {
		return conflict("%q is not a list", list.String())
	}
	return x.insertAt(n, o.Path, o.Value)
}

// spliceAt edits a text. Index and count are in Unicode code points.
func (x *session) spliceAt(o *value.Op) error {
	if len(o.Path) == 0 {
		return errRoot
	}
	text := func(p place) error {
		s, err := x.settled(p)
		if err != nil {
			return err
		}
		if str, ok := s.scalar.(string); ok && s.node == nil && !s.computed {
			// A string that is not collaborative, as other clients can make it.
			if err := x.put(p, str); err != nil {
				return err
			}
			s = p.slot()
		}
		if s.node == nil || s.node.kind != lib.Text {
			return conflict("%q is not a text", p.at.String())
		}
		if n := utf8.RuneCountInString(s.node.text); o.Index > n || o.Delete > n-o.Index {
			return conflict("%q has %d characters, fewer than the splice needs", p.at.String(), n)
		}
		return x.splice(s.node, o.Index, o.Delete, o.Insert)
	}
	if o.Index > 0 || o.Delete > 0 {
		p, err := x.lookup(o.Path)
		if err != nil {
			return err
		}
		return text(p)
	}
	return x.make(o.Path, o.Insert, text)
}
