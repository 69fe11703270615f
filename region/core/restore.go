package core

import (
	"errors"
	"fmt"
	"time"

	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/store"
)

// Errors of restoring a version of a conflict.
var (
	// ErrUnknownConflict: the region's log has no such conflict, or not any more (HTTP 404).
	ErrUnknownConflict = errors.New("unknown conflict")
	// ErrMoved: what was in conflict is settled and was in a list, whose elements
	// may have moved since: a condition has to say which version of the document
	// is meant (HTTP 409).
	ErrMoved = errors.New("the place may have moved")
)

// Restore asks to write a version of a conflict back, over all that is there
// now. It is an ordinary change, and is answered by its Receipt.
type Restore struct {
	Conflict journal.ID
	Dot      crdt.Dot
	If       Condition
	// Await is for how long acknowledgements of other regions will be waited for.
	Await time.Duration
	// Request names the client's request, if it gave an idempotency key.
	Request RequestID
}

func (c *Core) restore(ask Restore) (Receipt, error) {
	if err := c.mayWrite(); err != nil {
		return Receipt{}, err
	}
	if receipt, done, err := c.repeated(ask.Request, ask.Await); done || err != nil {
		return receipt, err
	}
	r, err := c.conflicts.Find(ask.Conflict)
	if err != nil {
		return Receipt{}, storeError(err)
	}
	if r == nil {
		return Receipt{}, fmt.Errorf("%w: %v", ErrUnknownConflict, ask.Conflict)
	}
	col := c.catalog.byDot[r.Collection]
	if col == nil || col.Deleted {
		return Receipt{}, fmt.Errorf("%w: %s was deleted", ErrUnknownCollection, r.Name)
	}
	e, err := c.load(store.DocKey{Collection: r.Collection, ID: r.Document}, col.Settings.Type)
	if err != nil {
		return Receipt{}, err
	}
	// The record may change within this step, and be filed again at its end.
	if err := c.recall(e); err != nil {
		return Receipt{}, err
	}
	edit, err := c.restoring(r, e, ask)
	if err != nil {
		return Receipt{}, err
	}
	stood := r.Settled == nil && r.Kind != journal.Overruled
	receipt, err := c.write(Write{Docs: []DocWrite{{
		Collection: col.Incarnation.String(), ID: r.Document, Edit: edit, If: ask.If,
	}}, Await: ask.Await, Request: ask.Request})
	if err != nil || stood {
		return receipt, err // the conflict ends by the write
	}
	r.State = journal.Undone
	r.Settled = &journal.Settlement{
		By: receipt.Dot, Stamp: receipt.Stamp, Region: c.cfg.Region,
		Deleted: edit.Kind == crdt.EditDelete, Restored: ask.Dot,
	}
	e.watched.ended = append(e.watched.ended, r)
	return receipt, nil
}

// restoring makes the edit that brings a version back.
func (c *Core) restoring(r *journal.Record, e *entry, ask Restore) (crdt.Edit, error) {
	v := r.Version(ask.Dot)
	if v == nil {
		return crdt.Edit{}, fmt.Errorf("%w: conflict %v has no version %v", ErrInvalid, r.ID, ask.Dot)
	}
	if v.Deleted {
		return crdt.Edit{Kind: crdt.EditDelete}, nil
	}
	x, err := KeptValue(r, ask.Dot, e.state, c.changeOf)
	if err != nil {
		return crdt.Edit{}, err
	}
	visible := e.state.Heads().Visible()
	if r.Whole() {
		if !visible {
			return crdt.Edit{Kind: crdt.EditPut, Value: x}, nil
		}
		return crdt.Edit{Kind: crdt.EditResolve, Value: x, Covers: e.state.Heads().Dots()}, nil
	}
	path, err := value.ParsePointer(r.Path)
	if err != nil {
		return crdt.Edit{}, storeError(err)
	}
	for i := range e.watched.now {
		if s := &e.watched.now[i]; s.ID == r.ID || s.Seq == r.Seq {
			if path, err = value.ParsePointer(s.Path); err != nil {
				return crdt.Edit{}, storeError(err)
			}
			return crdt.Edit{Kind: crdt.EditResolve, Path: path, Value: x}, nil
		}
	}
	if !visible {
		return crdt.Edit{}, fmt.Errorf("%w: it was deleted since; write it again first", crdt.ErrNotFound)
	}
	if len(ask.If.Match) == 0 && throughList(e.state.View(newest).Value, path) {
		return crdt.Edit{}, fmt.Errorf("%w: the conflict at %q is settled, and elements of the list may have moved since; look at the document, and send the ETag of what you saw as If-Match",
			ErrMoved, r.Path)
	}
	return crdt.Edit{Kind: crdt.EditOps, Ops: []value.Op{{Op: "set", Path: path, Value: x}}}, nil
}

// throughList reports whether a path goes through an element of a list.
func throughList(v any, path value.Pointer) bool {
	for i := range path {
		at, ok := value.Find(v, path[:i])
		if _, list := at.([]any); ok && list {
			return true
		}
	}
	return false
}
