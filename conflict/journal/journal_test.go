package journal_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 3, 1, 12, 0, 3, 0, time.UTC)

func dot(i byte, seq uint64) crdt.Dot {
	return crdt.Dot{Replica: crdt.ReplicaID{0: 1, 6: 0x70, 8: 0x80, 15: i}, Seq: seq}
}

func regionOf(r crdt.ReplicaID) string {
	return map[byte]string{1: "eu-west", 2: "us-east", 3: "ap-south"}[r[15]]
}

func conflictOf(values ...any) crdt.Conflict {
	c := crdt.Conflict{Path: "/price"}
	for i, v := range values {
		c.Versions = append(c.Versions, crdt.Version{
			Dot: dot(byte(i+1), uint64(i+4)), Stamp: crdt.StampAt(noon.Add(time.Duration(i) * 40 * time.Millisecond)), Value: v,
		})
	}
	return c
}

func full() *journal.Record {
	c := conflictOf(value.Counter(5), "a<b")
	r := &journal.Record{
		Seq: 7, Rev: 9, Past: []journal.ID{{1}, {2}}, Collection: dot(1, 2), Name: "carts", Type: "document", Document: "c1",
		Policy: journal.PolicyOf(conflict.RegionPriority("eu-west", "us-east")), Seen: noon.UnixMilli(), Changed: noon.UnixMilli() + 5,
	}
	r.Show(c, conflict.View(conflict.RegionPriority("eu-west", "us-east"), conflict.Context{}, regionOf)(c), regionOf)
	r.ID = journal.IDOf(r.Collection, r.Document, r.Path, r.Dots())
	r.State = journal.Undone
	r.Settled = &journal.Settlement{By: dot(3, 1), Stamp: crdt.StampAt(noon.Add(time.Hour)), Region: "ap-south", Restored: r.Versions[1].Dot, Next: journal.ID{3}}
	return r
}

// The file is the stored form: a change of it is a change of format.
func TestStoredFormIsAsGolden(t *testing.T) {
	r := full()
	got, err := r.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", "record.golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
	back, err := journal.DecodeRecord(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, back); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "x", "\x02{}", "\x01{", "\x01[]"} {
		if _, err := journal.DecodeRecord([]byte(bad)); !errors.Is(err, crdt.ErrCorrupt) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestIDIsOfTheSetOfVersions(t *testing.T) {
	a, b, c := dot(1, 1), dot(2, 5), dot(3, 1)
	id := journal.IDOf(a, "c1", "/x", []crdt.Dot{b, c})
	if id != journal.IDOf(a, "c1", "/x", []crdt.Dot{c, b}) {
		t.Error("the order of the dots matters")
	}
	for _, other := range []journal.ID{
		journal.IDOf(b, "c1", "/x", []crdt.Dot{b, c}), journal.IDOf(a, "c", "1/x", []crdt.Dot{b, c}),
		journal.IDOf(a, "c1", "", []crdt.Dot{b, c}), journal.IDOf(a, "c1", "/x", []crdt.Dot{b}),
	} {
		if id == other {
			t.Error("two conflicts have one id")
		}
	}
	if back, err := journal.ParseID(id.String()); err != nil || back != id {
		t.Errorf("%v comes back as %v: %v", id, back, err)
	}
	for _, bad := range []string{"", "12", strings.ToUpper(id.String()), id.String() + "00", strings.Repeat("g", 24)} {
		if _, err := journal.ParseID(bad); !errors.Is(err, journal.ErrBadID) && bad != id.String() {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestLargeValuesAreCountedNotCopied(t *testing.T) {
	c := conflictOf(strings.Repeat("x", journal.MaxValueBytes), "small")
	r := &journal.Record{}
	r.Show(c, crdt.Outcome{Shown: 0}, regionOf)
	if v := r.Versions[0]; v.Value != nil || v.Size != journal.MaxValueBytes+2 {
		t.Errorf("%d bytes of %d", len(v.Value), v.Size)
	}
	if _, err := r.Conflict(); !errors.Is(err, journal.ErrNotKept) {
		t.Error(err)
	}
	var many []any
	for range journal.MaxVersions + 10 {
		many = append(many, strings.Repeat("y", 10<<10))
	}
	c = conflictOf(many...)
	r = &journal.Record{}
	r.Show(c, crdt.Outcome{Shown: len(many) - 1}, regionOf)
	kept := 0
	for _, v := range r.Versions {
		kept += len(v.Value)
	}
	if len(r.Versions) != journal.MaxVersions || r.Unlisted != 10 || kept > journal.MaxRecordBytes || r.Versions[journal.MaxVersions-1].Dot != r.Outcome.Shown {
		t.Errorf("%d versions with %d bytes, %d unlisted", len(r.Versions), kept, r.Unlisted)
	}
	if !strings.Contains(r.Explain(), "10 older versions") {
		t.Error(r.Explain())
	}
}

func TestDiffTurnsOneIntoTheOther(t *testing.T) {
	names := rapid.SampledFrom([]string{"a", "b", "a/b", "~"})
	var gen func(depth int) *rapid.Generator[any]
	gen = func(depth int) *rapid.Generator[any] {
		leaf := rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.Int64Range(0, 3), func(n int64) any { return n }), rapid.Just[any]("x"))
		if depth == 0 {
			return leaf
		}
		return rapid.OneOf(leaf,
			rapid.Map(rapid.SliceOfN(gen(depth-1), 0, 3), func(l []any) any { return append([]any{}, l...) }),
			rapid.Map(rapid.MapOfN(names, gen(depth-1), 0, 3), func(m map[string]any) any { return m }))
	}
	rapid.Check(t, func(t *rapid.T) {
		doc := map[string]any{"in": gen(3).Draw(t, "from")}
		to := gen(3).Draw(t, "to")
		ops := journal.Diff("/in", journal.Place{There: true, Value: doc["in"]}, journal.Place{There: true, Value: to})
		b, err := json.Marshal(ops)
		if err != nil {
			t.Fatal(err)
		}
		patch, err := value.ParseJSONPatch(b, value.DefaultLimits)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		got, err := value.ApplyJSONPatch(doc, patch)
		if err != nil || !value.Equal(got, map[string]any{"in": to}) {
			t.Fatalf("%s of %v gives %v, want %v: %v", b, doc, got, to, err)
		}
	})
	none := journal.Place{}
	some := journal.Place{There: true, Value: int64(1)}
	for want, ops := range map[string][]journal.DiffOp{
		`[]`:                                   journal.Diff("/x", none, none),
		`[{"op":"add","path":"/x","value":1}]`: journal.Diff("/x", none, some),
		`[{"op":"remove","path":"/x"}]`:        journal.Diff("/x", some, none),
	} {
		if got, _ := json.Marshal(ops); string(got) != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	b, err := full().Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("\x01{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := journal.DecodeRecord(b)
		if err != nil {
			return
		}
		r.Explain() // must not panic
		again, err := r.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := journal.DecodeRecord(again); err != nil {
			t.Fatal(err)
		}
	})
}
