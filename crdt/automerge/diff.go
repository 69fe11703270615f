package automerge

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
	"github.com/meridiandb/meridian/crdt/value"
)

// edit makes an edit in the transaction.
func (x *session) edit(e crdt.Edit) error {
	switch e.Kind {
	case crdt.EditPut:
		return x.diffMap(x.root, nil, e.Value.(map[string]any), false)
	case crdt.EditMergePatch:
		return x.mergePatch(x.root, nil, e.Value.(map[string]any))
	case crdt.EditJSONPatch:
		return each(e.Ops, x.jsonPatchOp)
	case crdt.EditOps:
		return each(e.Ops, x.ownOp)
	default: // a resolution of the whole document
		return x.setRoot(e.Value)
	}
}

func each(ops []value.Op, do func(o *value.Op) error) error {
	for i := range ops {
		if err := do(&ops[i]); err != nil {
			return fmt.Errorf("operation %d (%q): %w", i, ops[i].Op, err)
		}
	}
	return nil
}

// setRoot makes the whole document show v, and settles its conflicts.
func (x *session) setRoot(v any) error {
	m, ok := v.(map[string]any)
	if !ok {
		return errRoot
	}
	return x.diffMap(x.root, nil, m, true)
}

// diff makes p show v by as few operations as it takes. What shows v already
// stays as it is, with its conflicts, unless settle is set.
//
// Plain JSON does not say what is a counter or a date, so it need not: over a
// counter, an integer is an increment by the difference; over anything else that
// is shown as v, v is no change.
func (x *session) diff(p place, v any, settle bool) error {
	s := p.slot()
	switch {
	case s == nil:
		return x.put(p, v)
	case settle && s.conflict:
		return x.put(p, v)
	case s.node == nil:
		return x.diffScalar(p, s, v)
	}
	n := s.node
	switch v := v.(type) {
	case map[string]any:
		if n.kind == lib.Map {
			return x.diffMap(n, p.at, v, settle)
		}
	case []any:
		if n.kind == lib.List {
			return x.diffList(n, p.at, v, settle)
		}
	case string:
		if n.kind == lib.Text {
			return x.diffText(n, v)
		}
	case value.Text:
		if n.kind == lib.Text {
			return x.diffText(n, string(v))
		}
	}
	return x.put(p, v)
}

func (x *session) diffScalar(p place, s *slot, v any) error {
	if was, ok := s.scalar.(value.Counter); ok && !s.computed {
		if n, ok := v.(int64); ok {
			return x.countTo(p, was, n)
		}
	}
	if value.Equal(s.scalar, v) {
		return nil
	}
	return x.put(p, v)
}

// countTo makes a counter that shows was show n.
func (x *session) countTo(p place, was value.Counter, n int64) error {
	delta := n - int64(was)
	switch {
	case delta == 0 && n == int64(was):
		return nil
	case (delta > 0) != (n > int64(was)):
		return x.put(p, value.Counter(n)) // too far for one increment
	}
	return x.increment(p, was, delta)
}

// checkInc refuses an increment that would take a counter out of its range.
func checkInc(was, delta int64) error {
	if delta > 0 && was > math.MaxInt64-delta || delta < 0 && was < math.MinInt64-delta {
		return refuse("%d more would take the counter, which is at %d, out of the range of 64-bit integers", delta, was)
	}
	return nil
}

func (x *session) diffMap(n *node, at value.Pointer, v map[string]any, settle bool) error {
	if err := x.load(n, at); err != nil {
		return err
	}
	for _, k := range sortedKeys(n.keys) {
		if _, ok := v[k]; !ok && !value.Reserved(k) {
			if err := x.remove(place{node: n, at: child(at, k), key: k}); err != nil {
				return err
			}
		}
	}
	for _, k := range sortedKeys(v) {
		if err := x.diff(place{node: n, at: child(at, k), key: k}, v[k], settle); err != nil {
			return err
		}
	}
	return nil
}

// diffText turns one text into the other by one splice.
func (x *session) diffText(n *node, v string) error {
	if n.text == v {
		return nil
	}
	was, is := []rune(n.text), []rune(v)
	start := 0
	for start < len(was) && start < len(is) && was[start] == is[start] {
		start++
	}
	end := 0
	for end < len(was)-start && end < len(is)-start && was[len(was)-1-end] == is[len(is)-1-end] {
		end++
	}
	return x.splice(n, start, len(was)-start-end, string(is[start:len(is)-end]))
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
		case value.Text:
			return name + "=" + string(id)
		case int64:
			return name + "#" + strconv.FormatInt(id, 10)
		}
	}
	return ""
}

// matched reports whether two elements are taken for the same one.
func matched(a, b any) bool {
	if id := identity(a); id != "" {
		return id == identity(b)
	}
	return value.Equal(a, b)
}

// diffList turns one list into the other. Elements that are equal or have the
// same identity stay; of what is left between them, as many as go and come at
// one place become each other, and the rest is removed or inserted. Automerge
// has no moves.
func (x *session) diffList(n *node, at value.Pointer, v []any, settle bool) error {
	whole, err := x.render(n, at)
	if err != nil {
		return err
	}
	was, is := plainList(whole.([]any)), plainList(v)
	edits := value.DiffSequence(len(was), len(is), func(i, j int) bool { return matched(was[i], is[j]) })
	// From the end, so that what comes before keeps its index.
	i, j := len(was), len(is)
	stay := func(to int) error {
		for i > to {
			i, j = i-1, j-1
			if !settle && value.Equal(was[i], v[j]) {
				continue
			}
			if err := x.diff(place{node: n, at: child(at, strconv.Itoa(i)), index: i}, v[j], settle); err != nil {
				return err
			}
		}
		return nil
	}
	for _, e := range slices.Backward(edits) {
		if err := stay(e.A + e.Delete); err != nil {
			return err
		}
		if err := x.replaceRun(n, at, e, was, is, v, settle); err != nil {
			return err
		}
		i, j = e.A, e.B
	}
	return stay(0)
}

func plainList(l []any) []any { return value.Plain(l).([]any) }

// replaceRun makes one edit of a list.
func (x *session) replaceRun(n *node, at value.Pointer, e value.Edit, was, is, v []any, settle bool) error {
	both := min(e.Delete, e.Insert)
	for k := e.Delete - 1; k >= both; k-- {
		if err := x.remove(place{node: n, at: child(at, strconv.Itoa(e.A+k)), index: e.A + k}); err != nil {
			return err
		}
	}
	for k := both; k < e.Insert; k++ {
		p := place{node: n, at: child(at, strconv.Itoa(e.A+k)), index: e.A + k, insert: true}
		if err := x.put(p, v[e.B+k]); err != nil {
			return err
		}
	}
	for k := both - 1; k >= 0; k-- {
		p := place{node: n, at: child(at, strconv.Itoa(e.A+k)), index: e.A + k}
		var err error
		if identity(was[e.A+k]) != identity(is[e.B+k]) {
			err = x.put(p, v[e.B+k])
		} else {
			err = x.diff(p, v[e.B+k], settle)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
