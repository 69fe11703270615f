package document

import (
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

func conflict(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{crdt.ErrConflict}, args...)...)
}

// mergePatch applies an RFC 7386 merge patch to the map at pl. What the patch
// names is settled by it.
func (ed *editor) mergePatch(pl place, patch map[string]any) error {
	for _, k := range sortedKeys(patch) {
		child := pl.key(k)
		members, isMap := patch[k].(map[string]any)
		var err error
		switch sh := ed.show(child); {
		case patch[k] == nil && sh.ok:
			err = ed.unset(pl, k)
		case patch[k] == nil:
		case isMap && sh.ok && sh.kind == kindMap && !sh.computed:
			err = ed.mergePatch(child, members)
		case isMap:
			var old any
			if sh.computed {
				old = sh.value
			}
			err = ed.replace(child, value.ApplyMergePatch(old, members))
		default:
			err = ed.diff(child, patch[k], true)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// step goes from the place pl to what the token names there. It reports false if
// there is no such thing; then pl may still be a map that could have it.
func (ed *editor) step(pl place, token string) (place, bool, error) {
	sh := ed.show(pl)
	if len(pl.path) == 0 {
		sh = shown{ok: true, alt: alt{kind: kindMap}}
	}
	if sh.computed {
		// The policy's own value has no parts that could be edited. It becomes a
		// version first, over those that it was made of.
		if err := ed.replace(pl, sh.value); err != nil {
			return place{}, false, err
		}
	}
	switch {
	case !sh.ok:
	case sh.kind == kindMap:
		child := pl.key(token)
		return child, ed.b.find(child.path).alive(), nil
	case sh.kind == kindList:
		nodes := ed.list(pl).shown()
		if i, ok := value.ParseIndex(token); ok && i < len(nodes) {
			return pl.element(ed.list(pl), nodes[i], token), true, nil
		}
	}
	return place{}, false, nil
}

// follow goes as far along a pointer as there is something, and tells how many
// tokens that is.
func (ed *editor) follow(p value.Pointer) (pl place, n int, err error) {
	for n < len(p) {
		next, ok, err := ed.step(pl, p[n])
		if err != nil || !ok {
			return pl, n, err
		}
		pl = next
		n++
	}
	return pl, n, nil
}

// lookup follows a pointer to its end.
func (ed *editor) lookup(p value.Pointer) (place, error) {
	pl, n, err := ed.follow(p)
	if err == nil && n < len(p) {
		err = conflict("there is nothing at %q", p[:n+1].String())
	}
	return pl, err
}

// whole is what the document shows.
func (ed *editor) whole() map[string]any {
	r := renderer{resolve: ed.resolve}
	return r.mapValue(ed.b.root.m)
}

// get returns what is shown at a pointer.
func (ed *editor) get(p value.Pointer) (any, error) {
	if len(p) == 0 {
		return ed.whole(), nil
	}
	pl, err := ed.lookup(p)
	if err != nil {
		return nil, err
	}
	v, _ := ed.value(pl)
	return v, nil
}

// setRoot makes the whole document show v.
func (ed *editor) setRoot(v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return errRoot
	}
	return ed.diffMap(place{}, m, true)
}

func (ed *editor) jsonPatchOp(o *value.Op) error {
	switch o.Op {
	case "test":
		v, err := ed.get(o.Path)
		if err == nil && !value.Same(v, o.Value) {
			err = conflict("the test failed: %q has another value", o.Path.String())
		}
		return err
	case "add":
		return ed.addAt(o.Path, o.Value)
	case "remove":
		return ed.removeAt(o.Path)
	case "replace":
		if len(o.Path) == 0 {
			return ed.setRoot(o.Value)
		}
		pl, err := ed.lookup(o.Path)
		if err != nil {
			return err
		}
		return ed.diff(pl, o.Value, true)
	case "copy":
		v, err := ed.get(o.From)
		if err != nil {
			return err
		}
		if ed.copied += value.Size(v); ed.copied > value.MaxPatchCopy {
			return fmt.Errorf("%w: a patch may copy at most %d bytes", crdt.ErrTooLarge, value.MaxPatchCopy)
		}
		return ed.addAt(o.Path, v)
	case "move":
		return ed.moveAt(o.From, o.Path)
	}
	return fmt.Errorf("%w: unknown operation", crdt.ErrRefused)
}

// parent returns the place that holds what p names, and what it shows.
func (ed *editor) parent(p value.Pointer) (place, kind, error) {
	pl, err := ed.lookup(p[:len(p)-1])
	if err != nil {
		return place{}, 0, err
	}
	if len(pl.path) == 0 {
		return pl, kindMap, nil
	}
	sh := ed.show(pl)
	if sh.computed {
		if err := ed.replace(pl, sh.value); err != nil {
			return place{}, 0, err
		}
	}
	if sh.kind != kindMap && sh.kind != kindList {
		return place{}, 0, conflict("%q is neither an object nor a list", pl.at.String())
	}
	return pl, sh.kind, nil
}

// index reads the last token of p as an index of the list at pl of which n
// elements count, and one more if end is set.
func index(p value.Pointer, n int, end bool) (int, error) {
	token := p[len(p)-1]
	if end && token == value.EndOfList {
		return n, nil
	}
	i, ok := value.ParseIndex(token)
	if !ok {
		return 0, conflict("%q is a list, and %q is no index", p[:len(p)-1].String(), token)
	}
	if i > n || i == n && !end {
		return 0, conflict("index %d of %q is out of range: the list has %d elements", i, p[:len(p)-1].String(), n)
	}
	return i, nil
}

func (ed *editor) addAt(p value.Pointer, v any) error {
	if len(p) == 0 {
		return ed.setRoot(v)
	}
	pl, k, err := ed.parent(p)
	if err != nil {
		return err
	}
	if k == kindMap {
		return ed.diff(pl.key(p[len(p)-1]), v, true)
	}
	return ed.insertAt(pl, p, v)
}

// insertAt inserts v into the list at pl, at the index that p ends in.
func (ed *editor) insertAt(pl place, p value.Pointer, v any) error {
	nodes := ed.list(pl).shown()
	i, err := index(p, len(nodes), true)
	if err != nil {
		return err
	}
	prev := int32(-1)
	if i > 0 {
		prev = nodes[i-1]
	}
	if err := ed.checkDepth(pl, []any{v}, 1); err != nil {
		return err
	}
	_, err = ed.insert(pl, prev, []any{v})
	return err
}

func (ed *editor) removeAt(p value.Pointer) error {
	if len(p) == 0 {
		return fmt.Errorf("%w: the root cannot be removed; delete the document", crdt.ErrRefused)
	}
	pl, k, err := ed.parent(p)
	if err != nil {
		return err
	}
	if k == kindMap {
		name := p[len(p)-1]
		if !ed.b.find(pl.key(name).path).alive() {
			return conflict("there is nothing at %q", p.String())
		}
		return ed.unset(pl, name)
	}
	return ed.deleteAt(pl, p)
}

// deleteAt deletes the element of the list at pl that p ends in.
func (ed *editor) deleteAt(pl place, p value.Pointer) error {
	nodes := ed.list(pl).shown()
	i, err := index(p, len(nodes), false)
	if err != nil {
		return err
	}
	if err := ed.clear(pl.element(ed.list(pl), nodes[i], p[len(p)-1])); err != nil {
		return err
	}
	return ed.keep(pl, kindList)
}

// moveAt moves a value; an element within its list stays the same element.
func (ed *editor) moveAt(from, to value.Pointer) error {
	if slices.Equal(from, to) {
		_, err := ed.get(from)
		return err
	}
	if len(from) == len(to) && slices.Equal(from[:len(from)-1], to[:len(to)-1]) {
		pl, k, err := ed.parent(from)
		if err != nil {
			return err
		}
		if k == kindList {
			return ed.moveWithin(pl, from, to)
		}
	}
	v, err := ed.get(from)
	if err != nil {
		return err
	}
	if err := ed.removeAt(from); err != nil {
		return err
	}
	return ed.addAt(to, v)
}

func (ed *editor) moveWithin(pl place, from, to value.Pointer) error {
	nodes := ed.list(pl).shown()
	i, err := index(from, len(nodes), false)
	if err != nil {
		return err
	}
	j, err := index(to, len(nodes)-1, true)
	if err != nil || i == j {
		return err
	}
	prev := int32(-1)
	if rest := slices.Delete(slices.Clone(nodes), i, i+1); j > 0 {
		prev = rest[j-1]
	}
	_, err = ed.move(pl, nodes[i], prev)
	return err
}
