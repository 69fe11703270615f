package automerge

import (
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
	"github.com/meridiandb/meridian/crdt/value"
)

// prepareResolve writes a value over versions of the field at e.Path that the
// client names, or over all of them.
func (s *State) prepareResolve(e crdt.Edit, hd crdt.Header, resolve crdt.Resolve, l crdt.Limits) ([]*validate.Change, error) {
	x, err := open(s.live, s.actor(e, hd, false), resolve, l.Value)
	if err != nil {
		return nil, err
	}
	t, err := x.target(e.Path)
	if err != nil {
		x.abandon()
		return nil, err
	}
	some, err := t.named(e)
	if err != nil {
		x.abandon()
		return nil, err
	}
	if some == nil {
		// A value over all of them, even if it is what is shown.
		p, err := x.lookup(e.Path)
		if err == nil {
			if len(t.items) > 1 {
				err = x.put(p, e.Value)
			} else {
				err = x.diff(p, e.Value, true)
			}
		}
		if err != nil {
			x.abandon()
			return nil, err
		}
		c, err := x.commit(hd.Stamp)
		if err != nil || c == nil {
			return nil, err
		}
		return []*validate.Change{c}, nil
	}
	all, err := s.live.all(x.doc)
	x.abandon()
	if err != nil {
		return nil, err
	}
	return s.resolveSome(all, t, some, e, hd, resolve, l)
}

// A target is a place with all its values.
type target struct {
	object opID // that holds it; zero for the root
	kind   lib.Kind
	key    string
	items  []opID
	dots   []crdt.Dot // what brought each
}

type opID struct {
	ctr   uint64
	actor string
}

// target finds the place at a pointer, along what is shown.
func (x *session) target(ptr value.Pointer) (*target, error) {
	if _, err := x.lookup(ptr); err != nil {
		return nil, err
	}
	t := &target{kind: lib.Map}
	o := lib.Object{}
	for depth, token := range ptr {
		entries, err := x.doc.Children(o, t.kind, true)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(entries, func(e lib.Entry) bool { return e.Key == token })
		if t.kind == lib.List {
			i, _ = value.ParseIndex(token)
		}
		if i < 0 || i >= len(entries) {
			return nil, conflict("there is nothing at %q", ptr[:depth+1].String())
		}
		items := entries[i].Items
		if depth == len(ptr)-1 {
			t.key = token
			for _, it := range items {
				by, _ := x.reader.content.origin(it.Actor, it.Ctr)
				t.items, t.dots = append(t.items, opID{it.Ctr, it.Actor}), append(t.dots, by.dot)
			}
			return t, nil
		}
		x.reader.at = slices.Clone(ptr[:depth+1])
		p := picked{}
		if len(items) > 1 {
			if p, err = x.reader.pick(items); err != nil {
				return nil, err
			}
		}
		if p.item < 0 || items[p.item].Kind != lib.Map && items[p.item].Kind != lib.List {
			return nil, conflict("there is nothing at %q", ptr.String())
		}
		it := &items[p.item]
		o, t.kind, t.object = it.Object, it.Kind, opID{it.Ctr, it.Actor}
	}
	return nil, conflict("there is nothing at %q", ptr.String())
}

// named returns the items that e covers, nil for all of them.
func (t *target) named(e crdt.Edit) ([]opID, error) {
	for _, c := range e.Covers {
		if !slices.Contains(t.dots, c) {
			return nil, conflict("%v is not a version of %q", c, e.Path.String())
		}
	}
	var some []opID
	for i, d := range t.dots {
		if len(e.Covers) == 0 || slices.Contains(e.Covers, d) {
			some = append(some, t.items[i])
		}
	}
	if len(some) == len(t.items) {
		return nil, nil
	}
	return some, nil
}

// resolveSome writes over some of the values of a place. In Automerge, a write
// covers all the values that its past has; so it is made, by an actor of its
// own, to what the document was when it had just these.
func (s *State) resolveSome(all []*validate.Change, t *target, some []opID, e crdt.Edit, hd crdt.Header, resolve crdt.Resolve, l crdt.Limits) ([]*validate.Change, error) {
	past, err := s.pastOf(all, some)
	if err != nil {
		return nil, err
	}
	x, err := open(past, onceActor(e, hd), resolve, l.Value)
	if err != nil {
		return nil, err
	}
	p, ok, err := x.locate(lib.Object{}, lib.Map, opID{}, t, some)
	if err == nil && !ok {
		err = conflict("the versions of %q cannot be told apart any more; resolve all of them", e.Path.String())
	}
	if err == nil {
		_, err = x.write(p, e.Value)
	}
	if err != nil {
		x.abandon()
		return nil, err
	}
	c, err := x.commit(hd.Stamp)
	if err != nil || c == nil {
		return nil, err
	}
	return []*validate.Change{c}, nil
}

// pastOf returns what the changes that made the given operations had seen, and
// these themselves.
func (s *State) pastOf(all []*validate.Change, ids []opID) (*content, error) {
	byHash := make(map[Hash]*validate.Change, len(all))
	in := map[Hash]bool{}
	for _, c := range all {
		byHash[c.Hash] = c
		for _, id := range ids {
			if _, seq := s.live.origin(id.actor, id.ctr); c.Actor() == id.actor && c.Seq == seq {
				in[c.Hash] = true
			}
		}
	}
	// all has dependencies first.
	for _, c := range slices.Backward(all) {
		if in[c.Hash] {
			for _, d := range c.Deps {
				in[d] = true
			}
		}
	}
	past := &content{}
	for _, c := range all {
		if in[c.Hash] {
			past.tail = append(past.tail, c.Raw...)
			past.note(c, s.live.entry(c.Actor(), c.Seq).carriers)
		}
	}
	return past, nil
}

// locate finds the place in an older version: by its object, and there by the
// values that it has.
func (x *session) locate(o lib.Object, kind lib.Kind, id opID, t *target, some []opID) (lib.Place, bool, error) {
	entries, err := x.doc.Children(o, kind, true)
	if err != nil {
		return lib.Place{}, false, err
	}
	for i := range entries {
		e := &entries[i]
		if id == t.object && (kind == lib.List || e.Key == t.key) && sameItems(e.Items, some) {
			return lib.Place{Object: o, Key: e.Key, InList: kind == lib.List, Index: i}, true, nil
		}
		for _, it := range e.Items {
			if it.Kind != lib.Map && it.Kind != lib.List {
				continue
			}
			if p, ok, err := x.locate(it.Object, it.Kind, opID{it.Ctr, it.Actor}, t, some); ok || err != nil {
				return p, ok, err
			}
		}
	}
	return lib.Place{}, false, nil
}

func sameItems(items []lib.Item, ids []opID) bool {
	return len(items) == len(ids) && !slices.ContainsFunc(items, func(it lib.Item) bool {
		return !slices.Contains(ids, opID{it.Ctr, it.Actor})
	})
}
