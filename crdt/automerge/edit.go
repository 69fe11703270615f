package automerge

import (
	"errors"
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
	"github.com/meridiandb/meridian/crdt/value"
)

// Prepare turns an edit into a mutation that carries at most one change, but for
// an import.
//
// An edit on a document that does not exist: a put, a merge patch, operations
// and an import make one; a JSON patch, a deletion and a resolution are
// ErrNotFound.
//
// An edit that is based on an older version is made to that version, by an actor
// of its own, and Automerge merges it with what came since. One that brings its
// base along as a value, or whose base has been deleted, is merged by value.
func (s *State) Prepare(e crdt.Edit, hd crdt.Header, resolve crdt.Resolve, l crdt.Limits) (crdt.Mutation, error) {
	if l.Siblings <= 0 {
		l.Siblings = crdt.DefaultLimits.Siblings
	}
	if l.State <= 0 {
		l.State = crdt.DefaultLimits.State
	}
	if err := checkEdit(&e, l); err != nil {
		return crdt.Mutation{}, err
	}
	if e.Kind == crdt.EditDelete || e.Kind == crdt.EditResolve && e.Value == nil && e.Mode != crdt.NotDelete && len(e.Path) == 0 {
		return s.prepareDelete(e)
	}
	m := crdt.Mutation{Type: crdt.TypeAutomerge, Fresh: !s.heads.Visible()}
	if !m.Fresh {
		m.Context = s.heads.Dots()
	}
	cs, err := s.prepare(e, hd, resolve, l, &m)
	if err != nil {
		return crdt.Mutation{}, err
	}
	if len(m.Context) > crdt.MaxContext {
		return crdt.Mutation{}, fmt.Errorf("%w: there are %d concurrent versions, more than one write can cover; resolve at most %d at a time",
			crdt.ErrTooManySiblings, len(m.Context), crdt.MaxContext)
	}
	m.Payload = encodePayload(cs)
	if len(m.Payload) > MaxPayload {
		return crdt.Mutation{}, fmt.Errorf("%w: the change takes %d bytes, at most %d are allowed", crdt.ErrTooLarge, len(m.Payload), MaxPayload)
	}
	size := len(m.Payload)
	if !m.Fresh {
		size += len(s.live.snapshot) + len(s.live.tail) + entrySize*s.live.changes()
	}
	if size > l.State {
		return crdt.Mutation{}, fmt.Errorf("%w: its history would take %d bytes, at most %d are allowed; write what it shows to a new document",
			crdt.ErrTooLarge, size, l.State)
	}
	return m, nil
}

// entrySize is what an entry takes in the encoding, about.
const entrySize = 8

func checkEdit(e *crdt.Edit, l crdt.Limits) error {
	vs := []any{e.Value}
	if e.HasBaseValue {
		vs = append(vs, e.BaseValue)
	}
	for _, o := range e.Ops {
		vs = append(vs, o.Value)
	}
	for _, v := range vs {
		if err := value.Check(v, l.Value); err != nil {
			return valueRefusal(err)
		}
	}
	switch e.Kind {
	case crdt.EditPut, crdt.EditMergePatch:
		if _, ok := e.Value.(map[string]any); !ok {
			return errRoot
		}
		if _, ok := e.BaseValue.(map[string]any); !ok && e.HasBaseValue {
			return errRoot
		}
	case crdt.EditResolve, crdt.EditJSONPatch, crdt.EditOps, crdt.EditDelete, crdt.EditImport:
	default:
		return refuse("an Automerge document knows no edit of kind %d", e.Kind)
	}
	if _, ok := e.Base.(*State); e.Base != nil && !ok {
		return refuse("the base is not an Automerge document")
	}
	return nil
}

var errRoot = fmt.Errorf("%w: a document is a JSON object", crdt.ErrRefused)

// valueRefusal turns an error of package value into one of package crdt.
func valueRefusal(err error) error {
	sentinel := crdt.ErrRefused
	switch {
	case errors.Is(err, value.ErrTooLarge), errors.Is(err, value.ErrTooDeep):
		sentinel = crdt.ErrTooLarge
	case errors.Is(err, value.ErrPatchPath), errors.Is(err, value.ErrPatchTest):
		sentinel = crdt.ErrConflict
	}
	return fmt.Errorf("%w: %w", sentinel, err)
}

func (s *State) prepareDelete(e crdt.Edit) (crdt.Mutation, error) {
	m := crdt.Mutation{Type: crdt.TypeAutomerge, Delete: e.Mode, Context: s.heads.Dots()}
	if m.Delete != crdt.DeleteEditWins && m.Delete != crdt.DeleteWins {
		return crdt.Mutation{}, refuse("unknown delete mode %d", m.Delete)
	}
	if !s.heads.Visible() {
		return crdt.Mutation{}, crdt.ErrNotFound
	}
	return m, s.cover(e, &m)
}

// cover makes the heads in e.Covers, if there are any, m's context.
func (s *State) cover(e crdt.Edit, m *crdt.Mutation) error {
	if e.Kind != crdt.EditResolve || len(e.Covers) == 0 {
		return nil
	}
	for _, c := range e.Covers {
		if !slices.Contains(m.Context, c) {
			return conflict("%v is not a version of the document", c)
		}
	}
	m.Context = slices.Clone(e.Covers)
	slices.SortFunc(m.Context, crdt.Dot.Compare)
	m.Context = slices.Compact(m.Context)
	return nil
}

// prepare makes the changes of an edit.
func (s *State) prepare(e crdt.Edit, hd crdt.Header, resolve crdt.Resolve, l crdt.Limits, m *crdt.Mutation) ([]*validate.Change, error) {
	if e.Kind == crdt.EditImport {
		return s.prepareImport(e, hd)
	}
	base, _ := e.Base.(*State)
	if base != nil && !base.heads.Visible() {
		// Its writer saw no document, so it is as if it had none to be based on.
		base, e.HasBaseValue, e.BaseValue = nil, true, map[string]any{}
		if e.Kind != crdt.EditPut {
			e.HasBaseValue = false
		}
	}
	switch {
	case m.Fresh:
		return s.prepareFresh(base, e, hd, resolve, l)
	case base != nil && s.holds(base):
		return s.prepareOn(base, e, hd, resolve, l, m)
	case base != nil:
		var err error
		if e, err = base.byValue(e, hd, resolve, l); err != nil {
			return nil, err
		}
	case e.Kind == crdt.EditResolve && len(e.Path) == 0:
		if err := s.cover(e, m); err != nil {
			return nil, err
		}
	}
	if e.HasBaseValue && e.Kind == crdt.EditPut {
		e.Value = merge3(value.Plain(e.BaseValue), untyped(e.Value, e.BaseValue), value.Plain(s.View(resolve).Value))
	}
	if e.Kind == crdt.EditResolve && len(e.Path) > 0 {
		return s.prepareResolve(e, hd, resolve, l)
	}
	return one(s.live, s.actor(e, hd, false), e, hd, resolve, l)
}

// one makes an edit to what c holds, as one change or none.
func one(c *content, actor []byte, e crdt.Edit, hd crdt.Header, resolve crdt.Resolve, l crdt.Limits) ([]*validate.Change, error) {
	x, err := open(c, actor, resolve, l.Value)
	if err != nil {
		return nil, err
	}
	if err := x.edit(e); err != nil {
		x.abandon()
		return nil, err
	}
	ch, err := x.commit(hd.Stamp)
	if err != nil || ch == nil {
		return nil, err
	}
	return []*validate.Change{ch}, nil
}

// holds reports whether all that base showed lives here.
func (s *State) holds(base *State) bool {
	if slices.Equal(base.live.heads, s.live.heads) {
		return true
	}
	h, err := s.live.open()
	if err != nil {
		return false
	}
	defer s.live.give(h)
	return !slices.ContainsFunc(base.live.heads, func(x Hash) bool { return !h.doc.Has(x) })
}

// prepareOn makes an edit to an older version that is part of this one.
func (s *State) prepareOn(base *State, e crdt.Edit, hd crdt.Header, resolve crdt.Resolve, l crdt.Limits, m *crdt.Mutation) ([]*validate.Change, error) {
	m.Context = base.heads.Dots()
	n := 1
	for _, h := range s.heads.All() {
		if !slices.Contains(m.Context, h.Dot) {
			n++
		}
	}
	if n > l.Siblings {
		return nil, fmt.Errorf("%w: the document would have %d concurrent versions, at most %d are allowed; resolve it first",
			crdt.ErrTooManySiblings, n, l.Siblings)
	}
	if slices.Equal(base.live.heads, s.live.heads) {
		return one(s.live, s.actor(e, hd, false), e, hd, resolve, l)
	}
	return one(base.live, onceActor(e, hd), e, hd, resolve, l)
}

// byValue makes an edit to an older version and turns it into a put that brings
// its base along.
func (s *State) byValue(e crdt.Edit, hd crdt.Header, resolve crdt.Resolve, l crdt.Limits) (crdt.Edit, error) {
	before := s.View(resolve).Value
	after := e.Value
	if e.Kind != crdt.EditPut {
		x, err := open(s.live, onceActor(e, hd), resolve, l.Value)
		if err != nil {
			return e, err
		}
		defer x.abandon()
		if err = x.edit(e); err == nil {
			after, err = x.render(x.root, nil)
		}
		if err != nil {
			return e, err
		}
	}
	return crdt.Edit{Kind: crdt.EditPut, Value: after, BaseValue: before, HasBaseValue: true, Collection: e.Collection, ID: e.ID}, nil
}

// prepareFresh writes a document where there is none.
func (s *State) prepareFresh(base *State, e crdt.Edit, hd crdt.Header, resolve crdt.Resolve, l crdt.Limits) ([]*validate.Change, error) {
	switch {
	case base != nil || e.HasBaseValue && e.Kind == crdt.EditPut:
		for _, h := range s.heads.All() {
			if h.Delete == crdt.DeleteWins && (base == nil || !slices.Contains(base.heads.Dots(), h.Dot)) {
				return nil, conflict("the document was deleted since the version that the edit is based on")
			}
		}
		if base != nil {
			var err error
			if e, err = base.byValue(e, hd, resolve, l); err != nil {
				return nil, err
			}
		}
	case e.Kind == crdt.EditJSONPatch || e.Kind == crdt.EditResolve:
		return nil, crdt.ErrNotFound
	}
	return one(&content{}, s.actor(e, hd, true), e, hd, resolve, l)
}

// CheckImport reports what is wrong with what a client brings by itself, before
// it is known what it extends.
func CheckImport(raw []byte) error {
	if _, err := validate.Parse(raw, importLimits); err != nil {
		return refusal(err)
	}
	return nil
}

// prepareImport takes in what a client brings: saved documents and changes.
func (s *State) prepareImport(e crdt.Edit, hd crdt.Header) ([]*validate.Change, error) {
	cs, err := validate.Parse(e.Raw, importLimits)
	if err != nil {
		return nil, refusal(err)
	}
	c := s.live
	if !s.heads.Visible() {
		c = &content{} // it brings all that it needs
	}
	h, err := c.open()
	if err != nil {
		return nil, err
	}
	fresh, err := s.admit(c, h, cs)
	if err == nil && s.heads.Visible() {
		if err = s.refuseForks(fresh, carrier{dot: hd.Dot, stamp: hd.Stamp}); err != nil {
			h.index.Rewind(h.index.Len() - len(fresh))
		}
	}
	if err != nil {
		c.give(h)
		return nil, err
	}
	var raw []byte
	heads, ops := c.heads, c.ops
	for _, ch := range fresh {
		raw = append(raw, ch.Raw...)
		heads = after(heads, ch)
		ops += len(ch.Ops)
	}
	if err = h.doc.Apply(raw); err == nil {
		err = sameHeads(h.doc, heads)
	}
	if err != nil {
		h.free()
		return nil, refuse("Automerge does not take it: %v", err)
	}
	give(h, heads, c.changes()+len(fresh), ops)
	return fresh, nil
}

// admit checks changes against the history that they extend, and returns those
// that are new, dependencies first.
func (s *State) admit(c *content, h *loaded, cs []*validate.Change) ([]*validate.Change, error) {
	if h.index == nil {
		h.index = validate.NewIndex(importLimits)
		all, err := c.all(h.doc)
		for _, ch := range all {
			if err == nil {
				err = h.index.AddTrusted(ch)
			}
		}
		if err != nil {
			h.index = nil
			return nil, err
		}
	}
	before := h.index.Len()
	var fresh []*validate.Change
	waiting := cs
	for len(waiting) > 0 {
		var later []*validate.Change
		var missing error
		for _, ch := range waiting {
			if h.index.Has(ch.Hash) {
				continue
			}
			err := checkKeys(ch)
			if err == nil {
				err = h.index.Add(ch)
			}
			switch {
			case err == nil:
				fresh = append(fresh, ch)
			case errors.Is(err, validate.ErrMissing):
				later, missing = append(later, ch), err
			default:
				h.index.Rewind(before)
				return nil, refusal(err)
			}
		}
		if len(later) == len(waiting) {
			h.index.Rewind(before)
			return nil, refusal(missing)
		}
		waiting = later
	}
	return fresh, nil
}

// checkKeys refuses what Meridian cannot show.
func checkKeys(c *validate.Change) error {
	for i := range c.Ops {
		if value.Reserved(c.Ops[i].Key) {
			return fmt.Errorf("%w: a member named %q", validate.ErrInvalid, c.Ops[i].Key)
		}
	}
	return nil
}
