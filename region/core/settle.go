package core

import (
	"errors"
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// settle writes what the callback has answered: an ordinary change over the
// versions that it was shown (I7).
func (c *Core) settle(d *desk, q *inquiry, a conflict.Answer) error {
	if err := c.writable(); err != nil {
		return c.callFailed(d, q, fmt.Errorf("its answer cannot be written here now: %w", err), false)
	}
	if !c.decides(d.col, q.document) {
		d.drop(q) // whoever does now asks again
		return nil
	}
	e, f, err := c.inquired(d, q)
	if err != nil {
		return err
	}
	// A field goes with all that is in it: not before the callback has seen that.
	if f == nil || a.Kind == conflict.AnswerDelete && f.Path != "" && len(f.Versions) != len(q.dots) {
		d.drop(q)
		return c.step(q.id, fmt.Sprintf("asked the callback (try %d), but when it answered, %s, other versions stood there", q.attempt, a.Kind))
	}
	ch, err := c.answer(d, e, f, q, a)
	if errors.Is(err, errStore) {
		return err
	}
	if err != nil {
		return c.callFailed(d, q, fmt.Errorf("its answer cannot be written: %w", err), false)
	}
	said := map[conflict.AnswerKind]string{
		conflict.AnswerValue: "which answered with a value", conflict.AnswerKeep: "which left the versions as they are",
		conflict.AnswerDelete: "which answered to delete it",
	}[a.Kind]
	if a.Reason != "" {
		said += fmt.Sprintf(": %q", a.Reason)
	}
	if err := c.step(q.id, fmt.Sprintf("asked the callback (try %d), %s", q.attempt, said)); err != nil {
		return err
	}
	encoded, err := c.encode(ch)
	if err != nil {
		return storeError(err) // it was checked before
	}
	d.drop(q)
	if n := c.callbackCount(d.col.Name); a.Kind == conflict.AnswerKeep {
		n.Kept++
	} else {
		n.Answered++
	}
	return c.commitOwn(ch, encoded)
}

// answer makes the change that an answer asks for.
func (c *Core) answer(d *desk, e *entry, f *crdt.Resolved, q *inquiry, a conflict.Answer) (*crdt.Change, error) {
	if err := a.Check(&conflict.Question{Path: f.Path}); err != nil {
		return nil, err
	}
	hd := c.header(0, e.state.Heads().MaxStamp())
	m := crdt.Mutation{Type: d.col.Settings.Type, Context: q.dots, Payload: []byte(f.Path), Decision: crdt.DecisionKeep}
	if a.Kind != conflict.AnswerKeep {
		edit, err := answerEdit(d.col, e.state, f, q, a)
		if err != nil {
			return nil, err
		}
		if m, err = e.state.Prepare(edit, hd, c.catalog.Resolve(d.col, q.document), c.cfg.Limits.Doc); err != nil {
			return nil, err
		}
		m.Decision = crdt.DecisionAnswer
	}
	m.Collection, m.ID = d.col.Incarnation, q.document
	ch := &crdt.Change{Header: hd, Mutations: []crdt.Mutation{m}}
	_, err := c.encode(ch)
	return ch, err
}

func answerEdit(col *Collection, s crdt.State, f *crdt.Resolved, q *inquiry, a conflict.Answer) (crdt.Edit, error) {
	path, err := value.ParsePointer(f.Path)
	if err != nil {
		return crdt.Edit{}, storeError(err)
	}
	edit := crdt.Edit{Kind: crdt.EditResolve, Path: path, Covers: q.dots, Collection: col.Incarnation, ID: q.document}
	switch {
	case a.Kind == conflict.AnswerValue:
		edit.Value = a.Value
		for i := range slices.Backward(f.Versions) {
			// What it says is a version's value: then that is written, types and all.
			if v := &f.Versions[i]; !v.Deleted && slices.Contains(q.dots, v.Dot) && value.Same(v.Value, a.Value) {
				edit.Value = v.Value
				break
			}
		}
	case len(path) == 0:
		edit.Mode = col.Settings.Delete
	default:
		op := "unset"
		if parent, ok := value.Find(s.View(newest).Value, path[:len(path)-1]); ok {
			if _, list := parent.([]any); list {
				op = "delete"
			}
		}
		return crdt.Edit{Kind: crdt.EditOps, Ops: []value.Op{{Op: op, Path: path}}, Collection: col.Incarnation, ID: q.document}, nil
	}
	return edit, nil
}

// keep applies a change that leaves versions as they are: nothing of the document
// changes but that their conflict is decided.
func (c *Core) keep(e *entry, hd crdt.Header, m *crdt.Mutation) error {
	if err := c.recall(e); err != nil {
		return err
	}
	if err := e.state.Apply(hd, *m); err != nil {
		return err
	}
	e.record = nil
	c.touch(e.key)
	c.cost += e.size
	if !e.dirty {
		e.dirty = true
		c.dirty = append(c.dirty, e)
	}
	for i := range e.watched.now {
		s := &e.watched.now[i]
		if s.changed || s.Seq == 0 || s.Path != string(m.Payload) || slices.ContainsFunc(s.Dots, func(d crdt.Dot) bool { return !slices.Contains(m.Context, d) }) {
			continue
		}
		// Its record tells now that it was decided.
		s.changed, e.watched.changed = true, true
	}
	return nil
}
