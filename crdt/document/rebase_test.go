package document

import (
	"errors"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// What a change builds on was made anew by another: under other dots it is not what the change names.
func TestRebaseCountsAndInsertsWithoutWhatCameBefore(t *testing.T) {
	ss := sites(t, 2)
	ss[0].put(`{"l":["a","b"]}`)
	ss[0].ops(`[{"op":"inc","path":"/n","value":3}]`)
	later := ss[0].ops(`[{"op":"inc","path":"/n","value":4},{"op":"insert","path":"/l/2","value":"c"},{"op":"set","path":"/x","value":1}]`)
	ss[1].put(`{"n":{"$counter":3},"l":["a","b"]}`)

	hd, m := later.Header, later.Mutations[0]
	if err := ss[1].doc.Clone().Apply(hd, m); !errors.Is(err, crdt.ErrCorrupt) {
		t.Errorf("applied without what it builds on: %v", err)
	}
	doc, _ := ss[1].doc.Clone().(*Doc)
	if err := doc.Rebase(hd, m); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"n": value.Counter(7), "l": []any{"a", "b", "c"}, "x": int64(1)}
	if got := doc.View(nil).Value; !value.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
