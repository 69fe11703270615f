package core

import (
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/store"
)

// place writes what was set aside of a document where it belongs.
func (c *Core) place(d *oldDoc, col *Collection) error {
	key := store.DocKey{Collection: col.Incarnation, ID: d.key.ID}
	if h := col.Home(key.ID); h != nil && h.Strict() {
		if err := CheckHome(c.cfg.Region, c.replica, col, h); err != nil {
			return fmt.Errorf("%w: %w", errUnplaced, err)
		}
	}
	e, err := c.load(key, col.Settings.Type)
	if err != nil {
		return err
	}
	if col.Settings.Type == crdt.TypeAutomerge {
		return c.placeHistory(d, col, e)
	}
	merged := e.state.Clone()
	apply := merged.Apply
	if r, ok := merged.(crdt.Rebaser); ok {
		apply = r.Rebase
	}
	for i, ch := range d.changes {
		m := *d.mutation(i)
		m.Collection = col.Incarnation
		if err := apply(ch.Header, m); err != nil {
			return fmt.Errorf("%w: %w", errUnplaced, err)
		}
	}
	resolve := c.catalog.Resolve(col, key.ID)
	view := merged.View(resolve)
	if !e.state.Heads().Known() && d.state != nil && !d.born() {
		if col.Settings.Delete == crdt.DeleteWins && d.state.Heads().Visible() {
			return errDeleted
		}
		view = d.state.View(resolve) // the others have forgotten it: a write brings it back whole
	}
	before := e.state.View(resolve)
	if !view.Exists {
		switch deleted := !d.damaged && (d.state == nil || !d.state.Heads().Visible()); {
		case !deleted:
			return errDeleted // also if a deletion of this store takes what the others have: it was not its last word
		case before.Exists:
			return c.placeEdit(d, col, e, crdt.Edit{Kind: crdt.EditDelete}, seesAll)
		}
		return nil // both sides have deleted it
	}
	if d.swallowed(merged) {
		if err := c.putAside(d, col, errDeleted); err != nil {
			return err
		}
	}
	if col.Settings.Type == crdt.TypeRegister {
		return c.placeVersions(d, col, e, merged, before)
	}
	return c.placeFields(d, col, e, view, before)
}

// born reports whether the document did not exist for who made its first change that was set aside.
func (d *oldDoc) born() bool { return d.mutation(0).Fresh }

// swallowed reports whether a deletion that wins has taken from the document what the
// store showed of it; it may have been written anew since.
func (d *oldDoc) swallowed(merged crdt.State) bool {
	if d.state == nil {
		return false
	}
	left := merged.Heads().Dots()
	return slices.ContainsFunc(d.state.Heads().All(), func(h crdt.Head) bool {
		return h.Delete == crdt.NotDelete && d.has(h.Dot) && !slices.Contains(left, h.Dot)
	})
}

// A beside is a conflict of a JSON document, of which versions are to be written beside
// what is there.
type beside struct {
	path     value.Pointer
	versions []crdt.Version
	covers   []crdt.Dot // what the old changes had seen of what is there
	sees     sight
}

// placeFields writes the difference that the old changes make to a JSON document.
func (c *Core) placeFields(d *oldDoc, col *Collection, e *entry, view, before crdt.View) error {
	target := view.Value
	var besides []beside
	for i := range view.Conflicts {
		b, shown, err := c.besideOf(d, col, e.key.ID, &view.Conflicts[i], before)
		if err != nil {
			return err
		}
		if len(b.versions) == 0 {
			continue
		}
		if target, err = value.ApplyJSONPatch(target, []value.Op{{Op: "replace", Path: b.path, Value: shown}}); err != nil {
			return fmt.Errorf("%w: %w", errUnplaced, err)
		}
		besides = append(besides, b)
	}
	target, incs, err := increments(col, target, before)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnplaced, err)
	}
	if len(incs) > 0 {
		if err := c.placeEdit(d, col, e, crdt.Edit{Kind: crdt.EditOps, Ops: incs}, seesOld); err != nil {
			return err
		}
	}
	if !before.Exists || !value.Equal(target, before.Value) {
		if err := c.placeEdit(d, col, e, crdt.Edit{Kind: crdt.EditPut, Value: uncounted(target, before.Value)}, seesOld); err != nil {
			return err
		}
	}
	for _, b := range besides {
		for _, v := range b.versions {
			c.rebasing.counts.Conflicts++
			edit := crdt.Edit{Kind: crdt.EditResolve, Path: b.path, Value: v.Value, Covers: b.covers, Beside: true}
			if err := c.placeEdit(d, col, e, edit, b.sees); err != nil {
				return err
			}
			b.covers = nil // they are gone
		}
	}
	return nil
}

// besideOf says which versions of a conflict are to be written beside what is there, and
// what is to be there first: what others have written shows, or, if all is of the old
// changes, the first of them. The one that was shown comes last.
func (c *Core) besideOf(d *oldDoc, col *Collection, id string, x *crdt.Resolved, before crdt.View) (b beside, shown any, err error) {
	if b.path, err = value.ParsePointer(x.Path); err != nil {
		return b, nil, storeError(err)
	}
	b.sees = seesNone
	others := crdt.Conflict{Path: x.Path}
	for i, v := range x.Versions {
		switch {
		case before.Exists && !d.has(v.Dot):
			others.Versions = append(others.Versions, v)
		case i != x.Shown:
			b.versions = append(b.versions, v)
		}
	}
	if x.Shown >= 0 && (!before.Exists || d.has(x.Versions[x.Shown].Dot)) {
		b.versions = append(b.versions, x.Versions[x.Shown])
	}
	switch {
	case len(b.versions) == 0:
		return b, nil, nil
	case len(others.Versions) == 0:
		// None of them had seen the first, as little as each other.
		shown, b.versions = b.versions[0].Value, b.versions[1:]
		return b, shown, nil
	}
	b.sees = seesOld
	for i := range before.Conflicts {
		if before.Conflicts[i].Path != x.Path {
			continue
		}
		for _, v := range before.Conflicts[i].Versions {
			if !slices.ContainsFunc(others.Versions, func(o crdt.Version) bool { return o.Dot == v.Dot }) {
				b.covers = append(b.covers, v.Dot)
			}
		}
	}
	shown = others.Versions[len(others.Versions)-1].Value
	if len(others.Versions) > 1 {
		out := c.catalog.Resolve(col, id)(others)
		if shown = out.Value; out.Shown >= 0 {
			shown = others.Versions[out.Shown].Value
		}
	}
	return b, shown, nil
}

// increments takes the differences of counters with bounds out of what is to be written:
// they are within a share, or are not, and a PUT would give the counter another value.
func increments(col *Collection, target any, before crdt.View) (any, []value.Op, error) {
	var incs []value.Op
	for i := range col.Settings.Bounds {
		p := col.Settings.Bounds[i].Path
		now, ok := value.Find(before.Value, p)
		was, also := value.Find(target, p)
		n, counts := now.(value.Counter)
		m, still := was.(value.Counter)
		if !ok || !also || !counts || !still || n == m {
			continue
		}
		incs = append(incs, value.Op{Op: "inc", Path: p, Value: int64(m - n), HasValue: true})
		var err error
		if target, err = value.ApplyJSONPatch(target, []value.Op{{Op: "replace", Path: p, Value: n}}); err != nil {
			return nil, nil, err
		}
	}
	return target, incs, nil
}

// uncounted returns v with plain numbers where both it and the present have counters:
// these are increments by the difference then, and not counters anew.
func uncounted(v, present any) any {
	switch v := v.(type) {
	case value.Counter:
		if _, ok := present.(value.Counter); ok {
			return int64(v)
		}
	case map[string]any:
		now, _ := present.(map[string]any)
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[k] = uncounted(x, now[k])
		}
		return out
	}
	return v
}

// placeVersions writes the versions of a register that the old changes leave.
func (c *Core) placeVersions(d *oldDoc, col *Collection, e *entry, merged crdt.State, before crdt.View) error {
	left := merged.Heads().Dots()
	covers := slices.DeleteFunc(e.state.Heads().Dots(), func(x crdt.Dot) bool { return slices.Contains(left, x) })
	for _, v := range merged.Versions() {
		if !d.has(v.Dot) || v.Deleted {
			continue
		}
		edit := crdt.Edit{Kind: crdt.EditPut, Value: v.Value}
		if before.Exists {
			edit = crdt.Edit{Kind: crdt.EditResolve, Value: v.Value, Covers: covers, Beside: true}
			if len(covers) < len(e.state.Heads().Dots()) {
				c.rebasing.counts.Conflicts++
			}
		}
		if err := c.placeEdit(d, col, e, edit, seesAll); err != nil {
			return err
		}
		before.Exists, covers = true, nil
	}
	return nil
}

// placeHistory takes the old changes of an Automerge document in, as those of a
// client; if the document is not there any more, all that the store had of it.
func (c *Core) placeHistory(d *oldDoc, col *Collection, e *entry) error {
	var raw []byte
	deleted := crdt.NotDelete
	for i := range d.changes {
		m := d.mutation(i)
		if deleted = m.Delete; deleted != crdt.NotDelete || m.Decision == crdt.DecisionKeep {
			continue
		}
		b, err := automerge.Changes(m.Payload)
		if err != nil {
			return fmt.Errorf("%w: %w", errUnplaced, err)
		}
		raw = append(raw, b...)
	}
	visible := e.state.Heads().Visible()
	known := func(x crdt.Dot) bool { return slices.Contains(d.seen(e.state.Heads()), x) }
	switch {
	case deleted != crdt.NotDelete && !visible:
		return nil
	case deleted != crdt.NotDelete && (deleted == crdt.DeleteWins || !slices.ContainsFunc(e.state.Heads().Dots(), func(x crdt.Dot) bool { return !known(x) })):
		return c.placeEdit(d, col, e, crdt.Edit{Kind: crdt.EditDelete, Mode: deleted}, seesAll)
	case !visible && len(e.state.Heads().Wins()) > 0:
		return errDeleted
	case !visible && d.state != nil:
		if x, ok := d.state.(crdt.Exporter); ok {
			all, err := x.Export()
			if err != nil {
				return fmt.Errorf("%w: %w", errUnplaced, err)
			}
			raw = all
		}
	}
	if len(raw) == 0 {
		return nil
	}
	return c.placeEdit(d, col, e, crdt.Edit{Kind: crdt.EditImport, Raw: raw}, seesOld)
}

// seen are the heads that the old changes were based on.
func (d *oldDoc) seen(h *crdt.Heads) []crdt.Dot {
	var out []crdt.Dot
	for _, x := range h.Dots() {
		if slices.ContainsFunc(d.changes, func(ch *crdt.Change) bool {
			m := &ch.Mutations[0]
			return slices.Contains(m.Context, x) || m.Fresh && ch.Deps.Contains(x)
		}) {
			out = append(out, x)
		}
	}
	return out
}

// A sight is what of a document an edit counts as having seen.
type sight int

const (
	seesAll  sight = iota // what is there, as any other edit
	seesOld               // what the old changes had seen, and what was just written: the rest stays beside it
	seesNone              // nothing, so that all stays beside it
)

// placeEdit makes an edit of a document, in a change of its own.
func (c *Core) placeEdit(d *oldDoc, col *Collection, e *entry, edit crdt.Edit, sees sight) error {
	hd := c.header(0, max(e.state.Heads().MaxStamp(), c.forgottenStamp(e)))
	seen := d.seen(e.state.Heads())
	m, err := c.prepare(&DocWrite{Collection: col.Incarnation.String(), ID: e.key.ID, Edit: edit}, &target{col: col, entry: e}, hd)
	if err != nil {
		return err
	}
	switch {
	case m.Fresh || m.Delete != crdt.NotDelete || sees == seesAll:
	case sees == seesNone:
		m.Context = nil
	default:
		for _, x := range e.state.Heads().Dots() {
			if x.Replica == c.replica && x.Seq > d.begun && !slices.Contains(seen, x) {
				seen = append(seen, x) // what was just written
			}
		}
		slices.SortFunc(seen, crdt.Dot.Compare)
		m.Context = seen
	}
	ch := &crdt.Change{Header: hd, Mutations: []crdt.Mutation{m}}
	encoded, err := c.encode(ch)
	if err != nil {
		return err
	}
	c.rebasing.counts.Documents++
	return c.commitOwn(ch, encoded)
}

func (c *Core) forgottenStamp(e *entry) crdt.Stamp {
	if e.state.Heads().Known() {
		return 0
	}
	return c.forgotten
}
