package core

import (
	"cmp"
	"slices"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/core/conflictlog"
)

// MaxConflictPaths is how many places of one document are recorded as being in
// conflict at a time, the first in the order of their paths. The document itself
// tells of all of them.
const MaxConflictPaths = 64

// watched is what an entry knows of the conflicts in its document.
type watched struct {
	known  bool
	stored int // how many stand in the store
	now    []standing
	// ended are records of conflicts that ended in this step.
	ended   []*journal.Record
	changed bool
}

// standing is a conflict that stands in a document.
type standing struct {
	conflictlog.Standing
	// changed says that the record is to be made, or to be brought up to date.
	changed bool
	past    []journal.ID // ids that it had in the log
	found   crdt.Resolved
}

// lost is a write that a deletion takes away on arrival.
type lost struct {
	head  crdt.Head
	value any
}

// overrules returns what a deletion that wins is about to take away though its
// writer had not seen it.
func (c *Core) overrules(e *entry, col *Collection, hd crdt.Header, m *crdt.Mutation) []lost {
	if m.Delete != crdt.DeleteWins || col == nil {
		return nil
	}
	var out []lost
	for _, h := range e.state.Heads().All() {
		if h.Delete == crdt.NotDelete && !hd.Deps.Contains(h.Dot) {
			out = append(out, lost{head: h})
		}
	}
	if len(out) == 0 {
		return nil
	}
	view := e.state.View(newest)
	versions := e.state.Versions()
	for i := range out {
		out[i].value = view.Value
		if k := slices.IndexFunc(versions, func(v crdt.Version) bool { return v.Dot == out[i].head.Dot }); k >= 0 && versions[k].Value != nil {
			out[i].value = versions[k].Value
		}
	}
	return out
}

// watch looks at what a mutation has done to the conflicts of its document.
func (c *Core) watch(e *entry, col *Collection, hd crdt.Header, m *crdt.Mutation, taken []lost) error {
	if col == nil {
		return nil
	}
	heads := e.state.Heads().All()
	for _, l := range taken {
		c.overruled(e, col, crdt.Head{Dot: hd.Dot, Stamp: hd.Stamp, Delete: m.Delete}, l.head, l.value)
	}
	if m.Delete == crdt.NotDelete && !slices.ContainsFunc(heads, func(h crdt.Head) bool { return h.Dot == hd.Dot }) {
		if err := c.swallowed(e, col, hd, m); err != nil {
			return err
		}
	}
	if err := c.recall(e); err != nil {
		return err
	}
	if len(heads) < 2 && len(e.watched.now) == 0 {
		return nil
	}
	c.cost += e.size
	found, view := conflictsIn(e.state, newest)
	c.reconcile(e, col, ending{hd, m.Decision == crdt.DecisionAnswer}, found, view)
	if len(e.watched.now) > 0 {
		c.touch(e.key)
	}
	return nil
}

// recall reads what stands in a document, where anything does.
func (c *Core) recall(e *entry) error {
	if e.watched.known {
		return nil
	}
	e.watched.known = true
	if e.fresh || c.conflicts.Idle() {
		return nil
	}
	all, err := c.conflicts.Standing(e.key)
	if err != nil {
		return storeError(err)
	}
	e.watched.stored = len(all)
	for i := range all {
		e.watched.now = append(e.watched.now, standing{Standing: all[i]})
	}
	return nil
}

// newest is the policy by which conflicts are looked for: which there are does
// not depend on the policy that shows them.
func newest(c crdt.Conflict) crdt.Outcome {
	return crdt.Outcome{Shown: len(c.Versions) - 1}
}

// ConflictsIn returns all conflicts of a document under a policy, in the order
// of their paths: also those within versions that are not shown, which the view
// leaves out.
func ConflictsIn(s crdt.State, resolve crdt.Resolve) ([]crdt.Resolved, crdt.View) {
	return conflictsIn(s, resolve)
}

// conflictsIn returns all conflicts of a document, also those within versions
// that are not shown, and the view.
func conflictsIn(s crdt.State, resolve crdt.Resolve) ([]crdt.Resolved, crdt.View) {
	var all []crdt.Resolved
	view := s.View(func(c crdt.Conflict) crdt.Outcome {
		out := resolve(c)
		if c.Path != "" {
			all = append(all, crdt.Resolved{Conflict: c, Outcome: out})
		}
		return out
	})
	for _, r := range view.Conflicts {
		// Those of the whole document are complete only here.
		if r.Path == "" {
			all = append(all, r)
		}
	}
	// What nobody wrote could not be named.
	all = slices.DeleteFunc(all, func(r crdt.Resolved) bool {
		return slices.ContainsFunc(r.Versions, func(v crdt.Version) bool { return v.Dot.IsZero() })
	})
	slices.SortStableFunc(all, func(a, b crdt.Resolved) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), a.Versions[0].Dot.Compare(b.Versions[0].Dot))
	})
	return all, view
}

// bounded leaves of the conflicts in a document those that are recorded: those
// that stand already, and of new ones as many as there is room for.
func (w *watched) bounded(found []crdt.Resolved) []crdt.Resolved {
	room := MaxConflictPaths
	if len(found) <= room {
		return found
	}
	stands := make([]bool, len(found))
	for i := range found {
		dots := dotsOf(&found[i].Conflict)
		if room > 0 && slices.ContainsFunc(w.now, func(s standing) bool {
			return s.Path == found[i].Path && slices.ContainsFunc(s.Dots, func(d crdt.Dot) bool { return slices.Contains(dots, d) })
		}) {
			stands[i] = true
			room--
		}
	}
	var out []crdt.Resolved
	for i := range found {
		if !stands[i] && room == 0 {
			continue
		}
		if !stands[i] {
			room--
		}
		out = append(out, found[i])
	}
	return out
}

func dotsOf(c *crdt.Conflict) []crdt.Dot {
	out := make([]crdt.Dot, len(c.Versions))
	for i := range c.Versions {
		out[i] = c.Versions[i].Dot
	}
	return out
}

// reconcile compares what stands in a document with what stood before the
// mutation. A conflict goes on under a new id when its place moves within a
// list, when a further version comes, or when a newer one comes from a side that
// has not seen the others; it ends when a write covers so much of it that fewer
// versions are left, or none.
func (c *Core) reconcile(e *entry, col *Collection, by ending, found []crdt.Resolved, view crdt.View) {
	w := &e.watched
	old := w.now
	if found = w.bounded(found); slices.EqualFunc(old, found, sameConflict) {
		return
	}
	now := make([]standing, len(found))
	for i := range found {
		f := &now[i]
		f.Path, f.Dots, f.found = found[i].Path, dotsOf(&found[i].Conflict), found[i]
		f.ID = journal.IDOf(e.key.Collection, e.key.ID, f.Path, f.Dots)
	}
	w.changed = true
	matched := make([]bool, len(now))
	rest := old[:0:0]
	take := func(i int, o *standing) {
		f := &now[i]
		matched[i] = true
		f.Seq, f.past, f.changed = o.Seq, o.past, o.changed
		if f.ID != o.ID {
			f.changed = true
			if !o.changed {
				f.past = append(slices.Clip(o.past), o.ID)
			}
		}
	}
	match := func(pass func(o, f *standing) bool) {
		for k := range old {
			o := &old[k]
			i := 0
			for i < len(now) && (matched[i] || !pass(o, &now[i])) {
				i++
			}
			if i < len(now) {
				take(i, o)
			} else {
				rest = append(rest, *o)
			}
		}
		old, rest = rest, nil
	}
	match(func(o, f *standing) bool { return o.ID == f.ID })
	match(func(o, f *standing) bool { return slices.Equal(o.Dots, f.Dots) })
	match(func(o, f *standing) bool { return o.Path == f.Path && len(f.Dots) >= len(o.Dots) && overlap(o, f) })
	for i := range now {
		if !matched[i] {
			now[i].changed = true
		}
	}
	for k := range old {
		var next journal.ID
		if i := slices.IndexFunc(now, func(f standing) bool { return f.Path == old[k].Path && overlap(&old[k], &f) }); i >= 0 {
			next = now[i].ID
		}
		c.end(e, col, &old[k], by, next, view)
	}
	w.now = now
}

func sameConflict(s standing, f crdt.Resolved) bool {
	return s.Path == f.Path && slices.EqualFunc(s.Dots, f.Versions, func(d crdt.Dot, v crdt.Version) bool { return d == v.Dot })
}

func overlap(a, b *standing) bool {
	return slices.ContainsFunc(a.Dots, func(d crdt.Dot) bool { return slices.Contains(b.Dots, d) })
}

// An ending is a change that may settle conflicts.
type ending struct {
	crdt.Header
	answer bool // of the callback
}

// end closes the record of a conflict that a write has settled.
func (c *Core) end(e *entry, col *Collection, s *standing, by ending, next journal.ID, view crdt.View) {
	r, err := c.recordOf(e, col, s)
	if err != nil || r == nil {
		c.keepError(err)
		return
	}
	r.Settled = &journal.Settlement{
		By: by.Dot, Stamp: by.Stamp, Region: c.catalog.Region(by.Dot.Replica), Deleted: !view.Exists, Answer: by.answer, Next: next,
	}
	r.State = journal.ByWrite
	if d := restoredBy(r, view); !by.answer && next.IsZero() && !d.IsZero() {
		r.State, r.Settled.Restored = journal.Undone, d
	}
	e.watched.ended = append(e.watched.ended, r)
}

// recordOf returns the record of a conflict that stood until now: the one in the
// log, or a new one if it has not got there yet.
func (c *Core) recordOf(e *entry, col *Collection, s *standing) (*journal.Record, error) {
	if !s.changed {
		if s.Seq == 0 {
			return nil, nil // it was dropped
		}
		return c.conflicts.Record(s.Seq)
	}
	r, err := c.startRecord(e, col, s)
	if r != nil {
		r.Show(s.found.Conflict, c.outcome(col, e.key.ID, &s.found), c.catalog.Region)
	}
	return r, err
}

// startRecord returns the record in the log, under its new id, or a new one.
func (c *Core) startRecord(e *entry, col *Collection, s *standing) (*journal.Record, error) {
	r := &journal.Record{}
	if s.Seq > 0 {
		var err error
		if r, err = c.conflicts.Record(s.Seq); r == nil || err != nil {
			return nil, err
		}
		r.Past = append(r.Past, s.past...)
		r.Past = r.Past[max(0, len(r.Past)-journal.MaxPast):]
	} else if len(s.past) > 0 {
		return nil, nil // dropped
	}
	r.ID, r.Collection, r.Name, r.Document = s.ID, col.Incarnation, col.Name, e.key.ID
	r.Type, r.Policy, r.Kind = e.state.Type().String(), PolicyAt(col, s.Path), ""
	return r, nil
}

// PolicyAt describes the policy that decides conflicts at a path.
func PolicyAt(col *Collection, path string) journal.Policy {
	return journal.PolicyOf(conflict.At(col.Settings.Resolver(), path))
}

// outcome asks the collection's policy about a conflict by itself.
func (c *Core) outcome(col *Collection, id string, f *crdt.Resolved) crdt.Outcome {
	writes := crdt.Conflict{Path: f.Path}
	var places []int
	for i := range f.Versions {
		if !f.Versions[i].Deleted {
			writes.Versions, places = append(writes.Versions, f.Versions[i]), append(places, i)
		}
	}
	// No policy is asked about a deletion: which wins is in the deletion.
	if len(writes.Versions) < 2 || len(writes.Versions) < len(f.Versions) && col.Settings.Type != crdt.TypeRegister {
		return f.Outcome
	}
	out := c.catalog.Resolve(col, id)(writes)
	if out.Shown >= 0 && out.Shown < len(places) {
		out.Shown = places[out.Shown]
	}
	return out
}

// restoredBy returns the version that was not shown and is now in its place, if
// there is one.
func restoredBy(r *journal.Record, view crdt.View) crdt.Dot {
	var shown any
	hasShown := false
	if v := r.Version(r.Outcome.Shown); v != nil && v.Value != nil {
		if x, err := journal.Decode(v.Value); err == nil {
			shown, hasShown = x, true
		}
	}
	now, there := valueAt(view, r.Path)
	for i := range slices.Backward(r.Versions) {
		v := &r.Versions[i]
		if v.Dot == r.Outcome.Shown {
			continue
		}
		if v.Deleted {
			if !view.Exists && r.Kind == journal.Deletion {
				return v.Dot
			}
			continue
		}
		if v.Value == nil || !there {
			continue
		}
		x, err := journal.Decode(v.Value)
		if err == nil && sameValue(x, now) && !(hasShown && sameValue(shown, now)) {
			return v.Dot
		}
	}
	return crdt.Dot{}
}

func sameValue(a, b any) bool { return value.Equal(value.Plain(a), value.Plain(b)) }

func valueAt(view crdt.View, path string) (any, bool) {
	if !view.Exists {
		return nil, false
	}
	p, err := value.ParsePointer(path)
	if err != nil {
		return nil, false
	}
	return value.Find(view.Value, p)
}

// keepError keeps the first failure of the log within a step, which ends it.
func (c *Core) keepError(err error) {
	if err != nil && c.conflictErr == nil {
		c.conflictErr = storeError(err)
	}
}

// record brings the log up to date with what has happened to a document in
// this step.
func (c *Core) record(e *entry) error {
	w := &e.watched
	for _, r := range w.ended {
		if err := c.file(r); err != nil {
			return err
		}
	}
	w.ended = nil
	if !w.changed {
		return c.conflictErr
	}
	w.changed = false
	if col := c.catalog.byDot[e.key.Collection]; col != nil && slices.ContainsFunc(w.now, func(s standing) bool { return s.changed }) {
		// What stands is shown as readers see it: a script is asked once a step.
		if err := c.recordStanding(e, col); err != nil {
			return err
		}
	}
	all := make([]conflictlog.Standing, len(w.now))
	for i := range w.now {
		w.now[i].found = crdt.Resolved{}
		all[i] = w.now[i].Standing
	}
	c.conflicts.SetStanding(e.key, w.stored, all)
	w.stored = len(all)
	return c.conflictErr
}

func (c *Core) recordStanding(e *entry, col *Collection) error {
	resolved, _ := conflictsIn(e.state, c.catalog.Resolve(col, e.key.ID))
	for i := range e.watched.now {
		s := &e.watched.now[i]
		if !s.changed {
			continue
		}
		r, err := c.startRecord(e, col, s)
		if err != nil {
			return storeError(err)
		}
		if r != nil {
			f := &s.found
			if k := slices.IndexFunc(resolved, func(x crdt.Resolved) bool {
				return x.Path == s.Path && slices.Equal(dotsOf(&x.Conflict), s.Dots)
			}); k >= 0 {
				f = &resolved[k]
			}
			r.Show(f.Conflict, f.Outcome, c.catalog.Region)
			if err := c.file(r); err != nil {
				return err
			}
			s.Seq = r.Seq
		}
		s.changed, s.past = false, nil
	}
	return nil
}

// file puts a record into the log, and counts it if it is new.
func (c *Core) file(r *journal.Record) error {
	if r.Seq > 0 {
		if err := c.conflicts.Save(r); err != nil {
			return storeError(err)
		}
		return nil
	}
	// Replays cannot bring a conflict twice, since a change is applied once.
	if err := c.conflicts.Add(r); err != nil {
		return storeError(err)
	}
	c.counts.add(r)
	return nil
}
