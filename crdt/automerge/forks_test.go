package automerge_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge"
	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
)

// chain returns the changes that an actor makes to a new document, one for each number.
func chain(t *testing.T, actor string, numbers ...int64) []*validate.Change {
	t.Helper()
	d, err := lib.New()
	if err != nil {
		t.Fatal(err)
	}
	defer d.Free()
	if err := d.SetActor([]byte(actor)); err != nil {
		t.Fatal(err)
	}
	var out []*validate.Change
	for _, n := range numbers {
		if err := d.PutScalar(lib.Place{Key: actor}, lib.Int, n, 0); err != nil {
			t.Fatal(err)
		}
		raw, err := d.Commit(1)
		if err != nil {
			t.Fatal(err)
		}
		c, err := validate.ParseChange(raw, validate.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

func imports(cs ...*validate.Change) crdt.Edit {
	e := crdt.Edit{Kind: crdt.EditImport}
	for _, c := range cs {
		e.Raw = append(e.Raw, c.Raw...)
	}
	return e
}

// interleavings returns the ways to put two sequences into one.
func interleavings[T any](a, b []T) [][]T {
	if len(a) == 0 || len(b) == 0 {
		return [][]T{slices.Concat(a, b)}
	}
	var out [][]T
	for _, rest := range interleavings(a[1:], b) {
		out = append(out, slices.Concat(a[:1], rest))
	}
	for _, rest := range interleavings(a, b[1:]) {
		out = append(out, slices.Concat(b[:1], rest))
	}
	return out
}

// TestI05_AForkLosesToWhatDoesNotLiveItself has a client's change that is accepted
// but covered, and needed only by one that is rejected, as it depends on the loser
// of another fork. The client's other change with that number loses all the same,
// whichever was there first.
func TestI05_AForkLosesToWhatDoesNotLiveItself(t *testing.T) {
	first, again := chain(t, "one", 1)[0], chain(t, "one", 2, 3)
	winner, loser := chain(t, "two", 1, 2), chain(t, "two", 3)[0]
	a, b := newSite(t, 0), newSite(t, 1)
	begin := a.edit(imports(first))
	b.receive(begin)
	left := []write{
		a.edit(crdt.Edit{Kind: crdt.EditDelete, Mode: crdt.DeleteEditWins}),
		a.edit(imports(winner[0])), // covers first
		a.edit(imports(again[0])),
	}
	right := []write{
		b.edit(imports(loser)),
		b.put(`{"needs":"first and loser"}`),
	}
	var changes []*crdt.Change
	for _, w := range slices.Concat([]write{begin}, left, right) {
		changes = append(changes, &crdt.Change{Header: w.Header, Mutations: []crdt.Mutation{w.Mutation}})
	}
	want := []automerge.Hash{winner[0].Hash}
	if got := living(changes); !slices.Equal(got, want) {
		t.Fatalf("by definition %v lives, want %v", got, want)
	}
	var sites []*site
	for _, order := range interleavings(left, right) {
		c := newSite(t, 2)
		c.receive(begin)
		for i, w := range order {
			c.receive(w)
			again, err := automerge.Decode(encode(t, c.s))
			if err != nil {
				t.Fatalf("after %d: %v", i, err)
			}
			c.s = again
		}
		if got := c.s.DocumentHeads(); !slices.Equal(got, want) {
			t.Errorf("heads %v, want %v", got, want)
		}
		sites = append(sites, c)
	}
	expect(t, `{"two":1}`, sites...)

	// A client is told, and the document goes on.
	c := sites[0]
	for _, cs := range [][]*validate.Change{{first}, again[:1], again, {loser}} {
		if _, err := c.try(imports(cs...)); !errors.Is(err, crdt.ErrRefused) {
			t.Errorf("%d changes of actor %q: %v", len(cs), cs[0].Actor(), err)
		}
	}
	w := c.edit(imports(winner...))
	for _, o := range sites[1:] {
		o.receive(w)
	}
	expect(t, `{"two":2}`, sites...)
}

func encode(t *testing.T, s *automerge.State) []byte {
	t.Helper()
	b, err := s.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
