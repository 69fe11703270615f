package document

import (
	"errors"
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// fewOps is how many operations most edits need at the most: a value is removed,
// and another one put in its place.
const fewOps = 2

// Prepare implements [crdt.State].
//
// An edit on a document that does not exist: a put, a merge patch and operations
// make one; a JSON patch, a deletion and a resolution are ErrNotFound.
//
// An edit that is based on an older version is made to that version, and only
// its differences become operations. What it removes is what that version had;
// what has come since stays. Where it edits inside a list element that has been
// deleted since, the element is inserted again as the edit leaves it, and where
// a neighbour in a list is gone, the nearest one before it that still lives
// takes its place: no operation refers to what its writer's region sees dead. If
// the document itself was deleted since, it is written anew as the edit leaves
// it; but where the deletion wins over edits, that is ErrConflict.
func (d *Doc) Prepare(e crdt.Edit, hd crdt.Header, resolve crdt.Resolve, l crdt.Limits) (crdt.Mutation, error) {
	if err := checkEdit(&e, l); err != nil {
		return crdt.Mutation{}, err
	}
	if e.Kind == crdt.EditDelete || e.Kind == crdt.EditResolve && e.Value == nil && e.Mode != crdt.NotDelete && len(e.Path) == 0 {
		return d.prepareDelete(e)
	}
	ed := &editor{hd: hd, resolve: resolve, limits: l, ops: make([]op, 0, fewOps)}
	m := crdt.Mutation{Type: crdt.TypeDocument, Context: d.heads.Dots()}
	var err error
	switch {
	case d.heads.Visible():
		err = d.prepareOver(ed, e, &m)
	default:
		m.Fresh = true
		err = d.prepareFresh(ed, e)
	}
	for i := 0; i < len(e.Transfers) && err == nil; i++ {
		ed.b, ed.dual = ed.p, false
		err = ed.transfer(e.Transfers[i])
	}
	if err != nil {
		return crdt.Mutation{}, err
	}
	if m.Payload, err = encodeOps(hd, ed.ops); err != nil {
		return crdt.Mutation{}, fmt.Errorf("prepare: %w", err)
	}
	if err := d.checkLimits(ed, &m); err != nil {
		return crdt.Mutation{}, err
	}
	if len(m.Payload) > 0 {
		d.prepared = &prepared{hd.Dot, m.Payload, ed.p}
	}
	return m, nil
}

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
			return refused(err)
		}
	}
	switch e.Kind {
	case crdt.EditPut:
		if _, ok := e.Value.(map[string]any); !ok {
			return errRoot
		}
		if _, ok := e.BaseValue.(map[string]any); !ok && e.HasBaseValue {
			return errRoot
		}
	case crdt.EditMergePatch:
		if _, ok := e.Value.(map[string]any); !ok {
			return errRoot
		}
	case crdt.EditResolve, crdt.EditJSONPatch, crdt.EditOps, crdt.EditDelete:
	default:
		return fmt.Errorf("%w: a document knows no edit of kind %d", crdt.ErrRefused, e.Kind)
	}
	if e.Base != nil {
		if _, ok := e.Base.(*Doc); !ok {
			return fmt.Errorf("%w: the base is not a document", crdt.ErrRefused)
		}
	}
	return checkHidden(e)
}

var errRoot = fmt.Errorf("%w: a document is a JSON object", crdt.ErrRefused)

// refused turns an error of package value into one of package crdt.
func refused(err error) error {
	sentinel := crdt.ErrRefused
	switch {
	case errors.Is(err, value.ErrTooLarge), errors.Is(err, value.ErrTooDeep):
		sentinel = crdt.ErrTooLarge
	case errors.Is(err, value.ErrPatchPath), errors.Is(err, value.ErrPatchTest):
		sentinel = crdt.ErrConflict
	}
	return fmt.Errorf("%w: %w", sentinel, err)
}

func (d *Doc) prepareDelete(e crdt.Edit) (crdt.Mutation, error) {
	m := crdt.Mutation{Type: crdt.TypeDocument, Delete: e.Mode, Context: d.heads.Dots()}
	if m.Delete != crdt.DeleteEditWins && m.Delete != crdt.DeleteWins {
		return crdt.Mutation{}, fmt.Errorf("%w: unknown delete mode %d", crdt.ErrRefused, m.Delete)
	}
	if !d.heads.Visible() {
		return crdt.Mutation{}, crdt.ErrNotFound
	}
	return m, d.cover(e, &m)
}

// cover makes the heads in e.Covers, if there are any, m's context.
func (d *Doc) cover(e crdt.Edit, m *crdt.Mutation) error {
	if e.Kind != crdt.EditResolve || len(e.Covers) == 0 {
		return nil
	}
	for _, c := range e.Covers {
		if !slices.Contains(m.Context, c) {
			return fmt.Errorf("%w: %v is not a version of the document", crdt.ErrConflict, c)
		}
	}
	m.Context = slices.Clone(e.Covers)
	slices.SortFunc(m.Context, crdt.Dot.Compare)
	m.Context = slices.Compact(m.Context)
	return nil
}

// prepareOver edits a document that exists.
func (d *Doc) prepareOver(ed *editor, e crdt.Edit, m *crdt.Mutation) error {
	ed.p = d.fork(false)
	ed.b = ed.p
	switch base, _ := e.Base.(*Doc); {
	case base != nil:
		m.Context = base.heads.Dots()
		ed.dual = true
		if ed.b = base.fork(false); !base.heads.Visible() {
			ed.b.clear()
		}
		if n := d.newHeads(m.Context); ed.limits.Siblings > 0 && n > ed.limits.Siblings {
			return fmt.Errorf("%w: the document would have %d concurrent versions, at most %d are allowed; resolve it first",
				crdt.ErrTooManySiblings, n, ed.limits.Siblings)
		}
	case e.HasBaseValue && e.Kind == crdt.EditPut:
		b, err := ed.rewind(e.BaseValue.(map[string]any))
		if err != nil {
			return err
		}
		ed.b, ed.dual = b, true
	case e.Kind == crdt.EditResolve && len(e.Path) == 0:
		if err := d.cover(e, m); err != nil {
			return err
		}
	}
	if err := ed.edit(e); err != nil {
		return err
	}
	return ed.revive()
}

// newHeads is how many heads there are once those in context are superseded.
func (d *Doc) newHeads(context []crdt.Dot) int {
	n := 1
	for _, h := range d.heads.All() {
		if !slices.Contains(context, h.Dot) {
			n++
		}
	}
	return n
}

// prepareFresh writes a document where there is none.
func (d *Doc) prepareFresh(ed *editor, e crdt.Edit) error {
	base, _ := e.Base.(*Doc)
	if base != nil && !base.heads.Visible() {
		base = nil
	}
	var whole map[string]any
	switch {
	case base != nil || e.HasBaseValue && e.Kind == crdt.EditPut:
		for _, h := range d.heads.All() {
			if h.Delete == crdt.DeleteWins && (base == nil || !slices.Contains(base.heads.Dots(), h.Dot)) {
				return fmt.Errorf("%w: the document was deleted since the version that the edit is based on", crdt.ErrConflict)
			}
		}
		var err error
		if whole, err = ed.aside(base, e); err != nil {
			return err
		}
	case e.Kind == crdt.EditJSONPatch || e.Kind == crdt.EditResolve:
		return crdt.ErrNotFound
	}
	ed.p = d.fork(false)
	// What is hidden goes. Its marks need no naming, but its counters' cells do:
	// elsewhere they may have been added to concurrently.
	var g seen
	g.slot(ed.p.root)
	if len(g.cells) > 0 {
		ed.ops = append(ed.ops, op{code: opRemove, remove: removal{cells: g.removal().cells}})
	}
	ed.p.leave(ed.hd)
	ed.b = ed.p
	if whole != nil {
		e = crdt.Edit{Kind: crdt.EditPut, Value: whole}
	}
	return ed.edit(e)
}

// aside makes the edit to an older version and returns what that gives.
func (ed *editor) aside(base *Doc, e crdt.Edit) (map[string]any, error) {
	if base == nil || e.Kind == crdt.EditPut {
		return e.Value.(map[string]any), nil
	}
	f := base.fork(false)
	side := &editor{hd: ed.hd, resolve: ed.resolve, limits: ed.limits, b: f, p: f}
	if err := side.edit(e); err != nil {
		return nil, err
	}
	r := renderer{resolve: ed.resolve}
	return r.mapValue(f.root.m), nil
}

// checkLimits refuses an edit after which the document is beyond its limits,
// unless it makes the document smaller.
func (d *Doc) checkLimits(ed *editor, m *crdt.Mutation) error {
	if len(m.Payload) > crdt.MaxChangeBytes/2 {
		return fmt.Errorf("%w: the change takes %d bytes, at most %d are allowed", crdt.ErrTooLarge, len(m.Payload), crdt.MaxChangeBytes/2)
	}
	size := d.size + grown(m.Payload)
	limit := ed.limits.Value
	if limit.MaxBytes <= 0 {
		limit.MaxBytes = value.DefaultMaxBytes
	}
	if limit.MaxItems <= 0 {
		limit.MaxItems = value.DefaultMaxItems
	}
	state := ed.limits.State
	if state <= 0 {
		state = crdt.DefaultLimits.State
	}
	err := error(nil)
	if size > state {
		enc, _ := ed.p.AppendBinary(nil)
		if len(enc) > state {
			err = fmt.Errorf("%w: its state would take %d bytes, at most %d are allowed", crdt.ErrTooLarge, len(enc), state)
		}
	}
	// JSON takes up to six times what the encoding does, which has at least
	// three bytes for each item.
	if err == nil && (6*size > limit.MaxBytes || size > 3*limit.MaxItems) {
		limit.MaxDepth = maxDepth // checked where values are put
		r := renderer{resolve: ed.resolve}
		if err = value.Check(r.mapValue(ed.p.root.m), limit); err != nil {
			err = refused(err)
		}
	}
	if err != nil && ed.p.smaller(d) {
		return nil
	}
	return err
}

func (d *Doc) smaller(than *Doc) bool {
	a, _ := d.AppendBinary(nil)
	b, _ := than.AppendBinary(nil)
	return len(a) < len(b)
}
