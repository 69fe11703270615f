package register

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// Prepare turns an edit into a mutation.
func (s *State) Prepare(e crdt.Edit, _ crdt.Header, resolve crdt.Resolve, l crdt.Limits) (crdt.Mutation, error) {
	if l.Siblings <= 0 {
		l.Siblings = crdt.DefaultLimits.Siblings
	}
	if l.State <= 0 {
		l.State = crdt.DefaultLimits.State
	}
	m, err := s.prepare(e, resolve, l)
	if err == nil {
		err = s.checkSize(m, l)
	}
	if err != nil {
		return crdt.Mutation{}, err
	}
	return m, nil
}

func (s *State) prepare(e crdt.Edit, resolve crdt.Resolve, l crdt.Limits) (crdt.Mutation, error) {
	switch e.Kind {
	case crdt.EditPut:
		context, err := s.context(e, resolve)
		if err != nil {
			return crdt.Mutation{}, err
		}
		return s.write(e.Value, e.Encoded, context, l)
	case crdt.EditMergePatch, crdt.EditJSONPatch, crdt.EditOps:
		return s.patch(e, resolve, l)
	case crdt.EditDelete:
		if e.Mode == crdt.NotDelete {
			return crdt.Mutation{}, fmt.Errorf("%w: a deletion without a mode", crdt.ErrRefused)
		}
		return s.delete(e.Mode, s.heads.Dots())
	case crdt.EditResolve:
		context, err := s.covers(e)
		if err != nil {
			return crdt.Mutation{}, err
		}
		if e.Mode != crdt.NotDelete {
			return s.delete(e.Mode, context)
		}
		return s.write(e.Value, nil, context, l)
	default:
		return crdt.Mutation{}, fmt.Errorf("%w: a register knows no edit of kind %d", crdt.ErrRefused, e.Kind)
	}
}

// context names the heads that a put or patch replaces: all, or those of the
// version that it is based on. What came since becomes its sibling.
func (s *State) context(e crdt.Edit, resolve crdt.Resolve) ([]crdt.Dot, error) {
	dots := s.heads.Dots()
	switch {
	case e.Base != nil:
		base := e.Base.Heads().Dots()
		return slices.DeleteFunc(dots, func(d crdt.Dot) bool {
			_, found := slices.BinarySearchFunc(base, d, crdt.Dot.Compare)
			return !found
		}), nil
	case e.HasBaseValue:
		if _, err := checkValue(e.BaseValue, crdt.DefaultLimits.Value); err != nil {
			return nil, fmt.Errorf("base: %w", err)
		}
		if view := s.View(resolve); view.Exists && value.Equal(view.Value, e.BaseValue) {
			return dots, nil
		}
		seen := dots[:0]
		for i, v := range s.versions {
			if value.Equal(s.value(i), e.BaseValue) {
				seen = append(seen, v.dot)
			}
		}
		return seen, nil
	}
	return dots, nil
}

// covers checks the versions that a resolution names.
func (s *State) covers(e crdt.Edit) ([]crdt.Dot, error) {
	if len(e.Path) > 0 {
		return nil, fmt.Errorf("%w: a register has conflicts of the whole document only, not at %q", crdt.ErrConflict, e.Path.String())
	}
	covers := slices.Clone(e.Covers)
	slices.SortFunc(covers, crdt.Dot.Compare)
	covers = slices.Compact(covers)
	if len(covers) == 0 && !e.Beside {
		return nil, fmt.Errorf("%w: name the versions that the resolution covers", crdt.ErrConflict)
	}
	present := s.heads.Dots()
	for _, d := range covers {
		if _, found := slices.BinarySearchFunc(present, d, crdt.Dot.Compare); !found {
			return nil, fmt.Errorf("%w: version %v is not there (any more); read the versions again", crdt.ErrConflict, d)
		}
	}
	return covers, nil
}

func (s *State) patch(e crdt.Edit, resolve crdt.Resolve, l crdt.Limits) (crdt.Mutation, error) {
	base := crdt.State(s)
	if e.Base != nil {
		base = e.Base
	}
	view := base.View(resolve)
	if !view.Exists {
		return crdt.Mutation{}, crdt.ErrNotFound
	}
	var v any
	var err error
	switch e.Kind {
	case crdt.EditMergePatch:
		v = value.ApplyMergePatch(view.Value, e.Value)
	case crdt.EditJSONPatch:
		v, err = value.ApplyJSONPatch(view.Value, e.Ops)
	default:
		v, err = applyOps(view.Value, e.Ops)
	}
	if err != nil {
		return crdt.Mutation{}, refusal(err)
	}
	context, err := s.context(e, resolve)
	if err != nil {
		return crdt.Mutation{}, err
	}
	return s.write(v, nil, context, l)
}

// applyOps does what a register can of Meridian's own operations: there is
// nothing in it that could merge with what happens elsewhere.
func applyOps(v any, ops []value.Op) (any, error) {
	v = value.Clone(v)
	for i, op := range ops {
		var ok bool
		switch op.Op {
		case "set":
			v, ok = edit(v, op.Path, value.Clone(op.Value), false)
		case "unset":
			v, ok = edit(v, op.Path, nil, true)
		default:
			return nil, fmt.Errorf("%w: operation %d (%q) needs a collection of type \"document\"; a register has \"set\" and \"unset\", or takes a JSON patch",
				crdt.ErrRefused, i, op.Op)
		}
		if !ok {
			return nil, fmt.Errorf("%w: operation %d (%q): no such place: %q", crdt.ErrConflict, i, op.Op, op.Path.String())
		}
	}
	return v, nil
}

// edit sets or unsets what is at path in v, in place. Members can be added and
// removed, elements of lists only replaced.
func edit(v any, path value.Pointer, x any, unset bool) (any, bool) {
	if len(path) == 0 {
		return x, !unset
	}
	parent, _ := value.Find(v, path[:len(path)-1])
	last := path[len(path)-1]
	switch parent := parent.(type) {
	case map[string]any:
		if !unset {
			parent[last] = x
			return v, true
		}
		_, ok := parent[last]
		delete(parent, last)
		return v, ok
	case []any:
		i, ok := value.ParseIndex(last)
		if ok = ok && i < len(parent) && !unset; ok {
			parent[i] = x
		}
		return v, ok
	}
	return v, false
}

// Encode returns the binary form of a value that a register takes. The error is what
// Prepare says of others.
func Encode(v any, l value.Limits) ([]byte, error) {
	size, err := checkValue(v, l)
	if err != nil {
		return nil, err
	}
	return value.AppendBinary(make([]byte, 0, size), v), nil
}

// write makes a mutation that puts v in the place of the heads in context. encoded is
// v if it was encoded before.
func (s *State) write(v any, encoded []byte, context []crdt.Dot, l crdt.Limits) (crdt.Mutation, error) {
	if encoded == nil {
		var err error
		if encoded, err = Encode(v, l.Value); err != nil {
			return crdt.Mutation{}, err
		}
	}
	m := crdt.Mutation{
		Type: crdt.TypeRegister, Context: context,
		Fresh:   !s.heads.Visible(),
		Payload: encoded,
	}
	if m.Fresh {
		// All that the writer's region knows of is deleted, and Fresh covers that
		// in every region alike, whether it has forgotten the deletion or not.
		m.Context = nil
	}
	covered := 0
	for _, v := range s.versions {
		if _, found := slices.BinarySearchFunc(context, v.dot, crdt.Dot.Compare); found {
			covered++
		}
	}
	s.made = m.Payload
	if covered == 0 && len(s.versions) >= l.Siblings {
		return crdt.Mutation{}, fmt.Errorf("%w: there are %d concurrent versions and this would be one more; resolve some first",
			crdt.ErrTooManySiblings, len(s.versions))
	}
	return m, nil
}

func (s *State) delete(mode crdt.DeleteMode, context []crdt.Dot) (crdt.Mutation, error) {
	if !s.heads.Visible() {
		return crdt.Mutation{}, crdt.ErrNotFound
	}
	return crdt.Mutation{Type: crdt.TypeRegister, Context: context, Delete: mode}, nil
}

// checkSize holds the state after m to its limits.
func (s *State) checkSize(m crdt.Mutation, l crdt.Limits) error {
	if len(m.Context) > crdt.MaxContext {
		return fmt.Errorf("%w: there are %d concurrent versions, more than one write can cover; resolve at most %d at a time",
			crdt.ErrTooManySiblings, len(m.Context), crdt.MaxContext)
	}
	size := len(m.Payload)
	for _, v := range s.versions {
		if _, covered := slices.BinarySearchFunc(m.Context, v.dot, crdt.Dot.Compare); !covered {
			size += len(v.raw)
		}
	}
	if m.Delete == crdt.NotDelete && size > l.State {
		return fmt.Errorf("%w: %d bytes with all its concurrent versions, at most %d are allowed", crdt.ErrTooLarge, size, l.State)
	}
	return nil
}

// checkValue lets values through that every region can read, and tells about how many
// bytes they have.
func checkValue(v any, l value.Limits) (size int, err error) {
	if l.MaxDepth <= 0 {
		l.MaxDepth = value.DefaultMaxDepth
	}
	if l.MaxItems <= 0 {
		l.MaxItems = value.DefaultMaxItems
	}
	l.MaxDepth, l.MaxItems = min(l.MaxDepth, MaxDepth), min(l.MaxItems, MaxItems)
	plain, size, err := value.CheckPlain(v, l)
	if err != nil {
		return 0, refusal(err)
	}
	if !plain {
		at, name := findTyped(v, nil)
		return 0, fmt.Errorf("%w: %s at %q: a register keeps plain JSON; counters, sets and text need a collection of type \"document\"",
			crdt.ErrRefused, name, at.String())
	}
	return size, nil
}

// refusal adds what package crdt calls an error of package value.
func refusal(err error) error {
	switch {
	case errors.Is(err, crdt.ErrRefused), errors.Is(err, crdt.ErrConflict):
		return err
	case errors.Is(err, value.ErrPatchPath), errors.Is(err, value.ErrPatchTest):
		return fmt.Errorf("%w: %w", crdt.ErrConflict, err)
	case errors.Is(err, value.ErrTooLarge):
		return fmt.Errorf("%w: %w", crdt.ErrTooLarge, err)
	}
	return fmt.Errorf("%w: %w", crdt.ErrRefused, err)
}

// hasTyped reports whether v is or contains a typed value.
func hasTyped(v any) bool {
	switch v := v.(type) {
	case value.Counter, value.Set, value.Text:
		return true
	case []any:
		return slices.ContainsFunc(v, hasTyped)
	case map[string]any:
		for _, m := range v {
			if hasTyped(m) {
				return true
			}
		}
	}
	return false
}

// findTyped returns the first typed value in v, if any, and its name in JSON.
func findTyped(v any, at value.Pointer) (value.Pointer, string) {
	if !hasTyped(v) {
		return nil, ""
	}
	switch v := v.(type) {
	case value.Counter:
		return at, "$counter"
	case value.Set:
		return at, "$set"
	case value.Text:
		return at, "$text"
	case []any:
		i := slices.IndexFunc(v, hasTyped)
		return findTyped(v[i], append(at, fmt.Sprint(i)))
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if hasTyped(v[name]) {
				return findTyped(v[name], append(at, name))
			}
		}
	}
	return nil, ""
}
