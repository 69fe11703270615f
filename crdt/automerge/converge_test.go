package automerge_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge"
	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
	"github.com/meridiandb/meridian/crdt/internal/causaltest"
	"github.com/meridiandb/meridian/crdt/value"
)

// A world is what a history happens in: clients that hold a replica of the
// document themselves and send their changes to any region.
type world struct {
	clients []*client
	deletes bool
	imports bool
	forks   bool
	trims   bool
}

// A client edits a document of its own.
type client struct {
	doc   *lib.Doc
	actor string
	old   []byte // what it was once
}

func (c *client) reload(b []byte) {
	d, err := lib.Load(b)
	if err != nil {
		panic(err)
	}
	if c.doc != nil {
		c.doc.Free()
	}
	c.doc = d
	if err := d.SetActor([]byte(c.actor)); err != nil {
		panic(err)
	}
}

func (c *client) write(t *rapid.T) {
	k := rapid.SampledFrom([]string{"a", "b", "t"}).Draw(t, "client key")
	o, err := c.doc.PutObject(lib.Place{Key: k}, lib.Text)
	if err == nil {
		err = c.doc.Splice(o, 0, 0, fmt.Sprint("client ", rapid.IntRange(0, 9).Draw(t, "client text")))
	}
	if err == nil {
		_, err = c.doc.Commit(1)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.doc.Release()
}

// edit draws an edit of a region that has s.
func (w *world) edit(t *rapid.T, s *automerge.State, past []*automerge.State) crdt.Edit {
	if w.imports && rapid.IntRange(0, 2).Draw(t, "client?") == 0 {
		return w.clientEdit(t, s)
	}
	v := func() any {
		return rapid.SampledFrom([]any{int64(1), "one two", "two three", "", nil, value.Counter(1), []any{int64(1), "x"}, []any{"x", map[string]any{"id": int64(1)}},
			map[string]any{"a": int64(1)}, map[string]any{"b": "deep"}}).Draw(t, "value")
	}
	object := func() map[string]any {
		m := map[string]any{}
		for _, k := range []string{"a", "b", "t"} {
			if rapid.Bool().Draw(t, k) {
				m[k] = v()
			}
		}
		return m
	}
	e := crdt.Edit{Kind: crdt.EditPut, Value: object()}
	switch n := rapid.IntRange(0, 11).Draw(t, "edit"); {
	case n < 2 && w.deletes:
		return crdt.Edit{Kind: crdt.EditDelete, Mode: rapid.SampledFrom([]crdt.DeleteMode{1, 1, 2}).Draw(t, "mode")}
	case n < 5:
		e = crdt.Edit{Kind: crdt.EditMergePatch, Value: object()}
	case n < 7:
		e = crdt.Edit{Kind: crdt.EditOps, Ops: []value.Op{{Op: "splice", Path: value.Pointer{"t"}, Insert: "typed"}}}
	case n < 8:
		e = crdt.Edit{Kind: crdt.EditOps, Ops: []value.Op{{Op: "inc", Path: value.Pointer{"b"}, Value: int64(2), HasValue: true}}}
	case n < 10:
		if cs := s.View(nil).Conflicts; len(cs) > 0 && cs[0].Path != "" {
			c := rapid.SampledFrom(cs).Draw(t, "conflict")
			p, err := value.ParsePointer(c.Path)
			if err != nil {
				t.Fatal(err)
			}
			e = crdt.Edit{Kind: crdt.EditResolve, Path: p, Value: v()}
			for _, x := range c.Versions {
				if rapid.Bool().Draw(t, "covers") {
					e.Covers = append(e.Covers, x.Dot)
				}
			}
			return e
		}
	}
	switch n := rapid.IntRange(0, 5).Draw(t, "base"); {
	case n == 0 && len(past) > 0:
		e.Base = rapid.SampledFrom(past).Draw(t, "past")
	case n == 1 && e.Kind == crdt.EditPut:
		e.HasBaseValue, e.BaseValue = true, object()
	}
	return e
}

func (w *world) clientEdit(t *rapid.T, s *automerge.State) crdt.Edit {
	c := rapid.SampledFrom(w.clients).Draw(t, "client")
	if saved, err := s.Export(); err != nil {
		t.Fatal(err)
	} else if saved != nil && rapid.Bool().Draw(t, "pull") {
		cs, err := validate.Parse(saved, validate.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for _, ch := range cs {
			// One that it has made otherwise is refused. What follows on that one must not
			// come: the library would keep it for later, and not read what it saves of that.
			if !slices.ContainsFunc(ch.Deps, func(h validate.Hash) bool { return !c.doc.Has(h) }) {
				_ = c.doc.Apply(ch.Raw)
			}
		}
	}
	now, err := c.doc.Save()
	if err != nil {
		t.Fatal(err)
	}
	if c.old == nil || rapid.IntRange(0, 4).Draw(t, "keep") == 0 {
		c.old = now
	} else if w.forks && rapid.IntRange(0, 4).Draw(t, "go back") == 0 {
		c.reload(c.old)
	}
	c.write(t)
	raw, err := c.doc.Save()
	if err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "as changes") {
		cs, err := c.doc.Changes()
		if err != nil {
			t.Fatal(err)
		}
		raw = slices.Concat(cs...)
	}
	return crdt.Edit{Kind: crdt.EditImport, Raw: raw}
}

// A twin is a document that is trimmed, and read again from its bytes, beside
// one that is not, with all that they are made of.
type twin struct {
	t       *rapid.T
	trimmed *automerge.State
	whole   *automerge.State
	changes []*crdt.Change
	past    []*automerge.State
}

func (w *twin) Heads() *crdt.Heads { return w.whole.Heads() }

func (w *twin) Trims() bool { return w.trimmed.Trims() }

func (w *twin) Trim(stable crdt.Vector) bool {
	before := w.trimmed.Digest()
	changed := w.trimmed.Trim(stable)
	if w.trimmed.Digest() != before {
		w.t.Fatalf("trimming changed the digest")
	}
	b, err := w.trimmed.AppendBinary(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.trimmed, err = automerge.Decode(b); err != nil {
		w.t.Fatal(err)
	}
	if again, _ := w.trimmed.AppendBinary(nil); !bytes.Equal(b, again) {
		w.t.Fatalf("it is written otherwise when it is read again")
	}
	w.compare()
	return changed
}

func (w *twin) Apply(hd crdt.Header, m crdt.Mutation) error {
	w.past = append(w.past, w.whole.Clone().(*automerge.State))
	w.changes = append(w.changes, &crdt.Change{Header: hd, Mutations: []crdt.Mutation{m}})
	if err := w.trimmed.Apply(hd, m); err != nil {
		return err
	}
	if err := w.whole.Apply(hd, m); err != nil {
		return err
	}
	w.compare()
	return nil
}

func describe(s *automerge.State) string {
	v := s.View(nil)
	if !v.Exists {
		return "none"
	}
	out := typed(v.Value)
	for _, c := range v.Conflicts {
		out += fmt.Sprintf("\n%s shows %d of", c.Path, c.Shown)
		for _, x := range c.Versions {
			out += fmt.Sprintf(" %v:%s", x.Dot, typed(x.Value))
		}
	}
	return out
}

func (w *twin) compare() {
	w.t.Helper()
	if got, want := describe(w.trimmed), describe(w.whole); got != want {
		w.t.Fatalf("trimmed shows\n%s\nuntrimmed\n%s", got, want)
	}
	if w.trimmed.Digest() != w.whole.Digest() {
		w.t.Fatalf("trimming changed the digest")
	}
	if !w.whole.Heads().Visible() {
		return
	}
	if got, want := w.whole.DocumentHeads(), living(w.changes); !slices.Equal(got, want) {
		w.t.Fatalf("heads %v, by definition %v", got, want)
	}
}

// living works out the Automerge heads from the definition in the package's
// documentation.
func living(changes []*crdt.Change) []automerge.Hash {
	type by struct {
		change *crdt.Change
		covers map[crdt.Dot]bool
	}
	type change struct {
		c         *validate.Change
		carriers  []by
		first     *crdt.Change // the least carrier that no other outlives
		uncovered bool
		lives     bool
		followed  bool
	}
	var order []*change
	known := map[automerge.Hash]*change{}
	for _, ch := range changes {
		m := ch.Mutations[0]
		killed := slices.ContainsFunc(changes, func(d *crdt.Change) bool {
			return d.Mutations[0].Delete == crdt.DeleteWins && !ch.Deps.Contains(d.Dot)
		})
		if killed || m.Delete != crdt.NotDelete {
			continue
		}
		b := by{ch, map[crdt.Dot]bool{}}
		for _, f := range changes {
			if f.Mutations[0].Fresh && f.Deps.Contains(ch.Dot) {
				b.covers[f.Dot] = true
			}
		}
		for _, c := range payload(m.Payload) {
			x := known[c.Hash]
			if x == nil {
				x = &change{c: c}
				known[c.Hash] = x
				order = append(order, x)
			}
			x.carriers = append(x.carriers, b)
			x.uncovered = x.uncovered || len(b.covers) == 0
		}
	}
	subset := func(a, b map[crdt.Dot]bool) bool {
		for d := range a {
			if !b[d] {
				return false
			}
		}
		return len(a) < len(b)
	}
	for _, x := range order {
		for _, b := range x.carriers {
			outlived := slices.ContainsFunc(x.carriers, func(o by) bool { return subset(o.covers, b.covers) })
			if ch := b.change; !outlived && (x.first == nil || ch.Stamp < x.first.Stamp || ch.Stamp == x.first.Stamp && ch.Dot.Compare(x.first.Dot) < 0) {
				x.first = ch
			}
		}
	}
	less := func(a, b *change) bool {
		if a.first.Stamp != b.first.Stamp {
			return a.first.Stamp < b.first.Stamp
		}
		if c := a.first.Dot.Compare(b.first.Dot); c != 0 {
			return c < 0
		}
		return bytes.Compare(a.c.Hash[:], b.c.Hash[:]) < 0
	}
	// closure marks what keep says and what that depends on.
	closure := func(keep func(x *change) bool) {
		for _, x := range order {
			x.lives = keep(x)
		}
		for changed := true; changed; {
			changed = false
			for _, x := range order {
				for _, d := range x.c.Deps {
					if x.lives && !known[d].lives {
						known[d].lives, changed = true, true
					}
				}
			}
		}
	}
	closure(func(x *change) bool { return x.uncovered })
	accepted := map[automerge.Hash]bool{}
	taken := map[string]bool{}
	place := func(x *change) string { return fmt.Sprint(x.c.Actor(), " ", x.c.Seq) }
	for {
		var next *change
		for _, x := range order {
			ready := !slices.ContainsFunc(x.c.Deps, func(d automerge.Hash) bool { return !accepted[d] })
			if x.lives && ready && !taken[place(x)] && (next == nil || less(x, next)) {
				next = x
			}
		}
		if next == nil {
			break
		}
		accepted[next.c.Hash], taken[place(next)] = true, true
	}
	closure(func(x *change) bool { return x.uncovered && accepted[x.c.Hash] })
	var heads []automerge.Hash
	for _, x := range order {
		for _, d := range x.c.Deps {
			known[d].followed = known[d].followed || x.lives
		}
	}
	for _, x := range order {
		if x.lives && !x.followed {
			heads = append(heads, x.c.Hash)
		}
	}
	slices.SortFunc(heads, func(a, b automerge.Hash) int { return bytes.Compare(a[:], b[:]) })
	return heads
}

// payload reads a mutation's changes.
func payload(b []byte) []*validate.Change {
	r := crdt.NewReader(b)
	if r.Byte() != 1 {
		panic("format")
	}
	var out []*validate.Change
	for range r.Count(1<<20, 1) {
		c, err := validate.ParseChange(r.Bytes(1<<24), validate.Limits{})
		if err != nil {
			panic(err)
		}
		out = append(out, c)
	}
	return out
}

func expected(err error) bool {
	return errors.Is(err, crdt.ErrConflict) || errors.Is(err, crdt.ErrNotFound) || errors.Is(err, crdt.ErrRefused)
}

func (w *world) write(t *rapid.T, doc causaltest.Doc, hd crdt.Header) (crdt.Mutation, bool) {
	p := doc.(*twin)
	e := w.edit(t, p.whole, p.past)
	e.ID, e.Collection = "d", crdt.Dot{Replica: causaltest.ReplicaID(9), Seq: 1}
	m, err := p.trimmed.Prepare(e, hd, nil, crdt.DefaultLimits)
	other, err2 := p.whole.Prepare(e, hd, nil, crdt.DefaultLimits)
	forgot := p.whole.Heads().Known() && !p.trimmed.Heads().Known()
	switch {
	case err != nil && !expected(err):
		t.Fatalf("%+v: %v", e, err)
	case forgot:
	case (err == nil) != (err2 == nil):
		t.Fatalf("%+v: trimmed says %v, untrimmed %v", e, err, err2)
	case err == nil && (!bytes.Equal(m.Payload, other.Payload) || m.Fresh != other.Fresh):
		t.Fatalf("%+v: trimmed writes\n%x\nuntrimmed\n%x", e, m.Payload, other.Payload)
	}
	return m, err == nil
}

func (w *world) run(t *rapid.T) {
	for i := range w.clients {
		w.clients[i] = &client{actor: fmt.Sprintf("client %d........", i)}
		w.clients[i].reload(nil)
	}
	defer func() {
		for _, c := range w.clients {
			c.doc.Free()
		}
	}()
	automerge.SetMemoryBudget(rapid.SampledFrom([]int{0, 50_000, 1 << 20}).Draw(t, "budget"))
	h := causaltest.Run(t, causaltest.Settings{
		Replicas: rapid.IntRange(2, 4).Draw(t, "replicas"), Steps: 40, Trim: w.trims,
		New:  func() causaltest.Doc { return &twin{t: t, trimmed: automerge.New(), whole: automerge.New()} },
		Edit: w.write,
	})
	h.CheckStamps(t)
	h.Settle(t)
	docs := []*twin{h.Replay(t).(*twin)}
	for _, r := range h.Replicas {
		docs = append(docs, r.Doc.(*twin))
	}
	for _, d := range docs[1:] {
		if describe(d.whole) != describe(docs[0].whole) || d.whole.Digest() != docs[0].whole.Digest() {
			t.Fatalf("one shows\n%s\nanother\n%s", describe(docs[0].whole), describe(d.whole))
		}
	}
	h.TrimAll()
	checkCondensed(t, docs[0].whole)
}

// checkCondensed compares a document without its history with what it shows, and
// condenses it again, which changes nothing.
func checkCondensed(t interface{ Fatalf(string, ...any) }, s *automerge.State) {
	view := s.View(newest)
	b, err := s.Condense(newest)
	if err != nil || (b != nil) != view.Exists {
		t.Fatalf("condensed: %d bytes, %v, of %v", len(b), err, view)
	}
	if b == nil {
		return
	}
	c := automerge.New()
	hd := crdt.Header{Dot: crdt.Dot{Replica: causaltest.ReplicaID(7), Seq: 1}, Stamp: 1}
	m, err := c.Prepare(crdt.Edit{Kind: crdt.EditImport, Raw: b, ID: "new"}, hd, newest, crdt.DefaultLimits)
	if err == nil {
		err = c.Apply(hd, m)
	}
	if err != nil {
		t.Fatalf("what is condensed is not taken in: %v", err)
	}
	if got := c.View(newest); !value.Equal(got.Value, view.Value) || len(got.Conflicts) > 0 {
		t.Fatalf("%v\nis condensed to\n%v", view.Value, got)
	}
	if again, err := c.Condense(newest); err != nil || !bytes.Equal(again, b) {
		t.Fatalf("condensed again it is\n%x, %v, not\n%x", again, err, b)
	}
	if changes, ops := c.Extent(); changes != 1 {
		t.Fatalf("%d changes of %d operations", changes, ops)
	}
}

func histories(t *testing.T, trims bool) {
	defer automerge.SetMemoryBudget(automerge.DefaultMemoryBudget)
	for name, w := range map[string]world{
		"edits": {}, "deletions": {deletes: true}, "clients": {imports: true, deletes: true},
		"clients that go back": {imports: true, deletes: true, forks: true},
	} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				w := w
				w.trims, w.clients = trims, make([]*client, 2)
				w.run(t)
			})
		})
	}
}

// TestI05_AllOrdersComeToTheSame compares documents with what lives by
// definition, after every change in random causal histories.
func TestI05_AllOrdersComeToTheSame(t *testing.T) { histories(t, false) }

// TestI14_TrimmingChangesNothing does so while replicas drop what is stable and
// are read again from their bytes, beside the same without.
func TestI14_TrimmingChangesNothing(t *testing.T) { histories(t, true) }
