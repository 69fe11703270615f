package document

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

func TestCountersSumExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Plain integers and counters of either making count alike.
		first := draw(t, []string{`{"n":0}`, `{"n":{"$counter":0}}`, `{}`}, "first")
		ss := sites(testing.TB(nil), 3)
		for _, s := range ss {
			s.t = discard{}
		}
		c := ss[0].put(first)
		var all []*crdt.Change
		for _, s := range ss {
			s.apply(c)
		}
		want := int64(0)
		for range rapid.IntRange(1, 20).Draw(t, "incs") {
			s := draw(t, ss, "site")
			if rapid.IntRange(0, 3).Draw(t, "deliver") == 0 {
				for _, c := range all {
					if s.have.Covers(c.Deps) && !s.have.Contains(c.Dot) {
						s.apply(c)
					}
				}
			}
			n := rapid.Int64Range(-100, 100).Draw(t, "by")
			want += n
			all = append(all, s.ops(fmt.Sprintf(`[{"op":"inc","path":"/n","value":%d}]`, n)))
		}
		for range all {
			for _, c := range all {
				for _, s := range ss {
					if s.have.Covers(c.Deps) && !s.have.Contains(c.Dot) {
						s.apply(c)
					}
				}
			}
		}
		for _, s := range ss {
			if got := value.Plain(s.doc.View(nil).Value).(map[string]any)["n"]; got != want {
				t.Fatalf("%v, want %d", got, want)
			}
		}
	})
}

// discard is a testing.TB for sites in property tests: their failures are panics.
type discard struct{ testing.TB }

func (discard) Helper()                   {}
func (discard) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
func (discard) Fatal(a ...any)            { panic(fmt.Sprint(a...)) }

func TestConcurrentResetsDoNotSubtractTwice(t *testing.T) {
	ss := start(t, 3, `{"n":{"$counter":10}}`)
	converge(t, ss, ss[1].ops(`[{"op":"inc","path":"/n","value":5}]`))
	r1 := ss[0].put(`{"n":{"$counter":0}}`)
	i1 := ss[1].ops(`[{"op":"inc","path":"/n","value":3}]`) // unseen by the first reset
	ss[2].apply(i1)
	r2 := ss[2].put(`{"n":{"$counter":0}}`)
	i2 := ss[1].ops(`[{"op":"inc","path":"/n","value":1}]`)
	converge(t, ss, r1, i1, r2, i2)
	ss[0].want(`{"n":{"$counter":1}}`)
	converge(t, ss, ss[1].ops(`[{"op":"inc","path":"/n","value":4}]`))
	ss[0].want(`{"n":{"$counter":5}}`)
}

// A replica does not add to a cell that others may have dropped.
func TestIncrementAfterReset(t *testing.T) {
	ss := start(t, 2, `{"n":{"$counter":0}}`)
	converge(t, ss, ss[1].ops(`[{"op":"inc","path":"/n","value":5}]`))
	converge(t, ss, ss[0].put(`{"n":{"$counter":0}}`))
	ss[0].doc.Trim(ss[0].have) // and ss[1] does not
	if n := len(ss[0].doc.root.m.children["n"].c.cells); n != 0 {
		t.Errorf("%d cells are kept", n)
	}
	converge(t, ss, ss[1].ops(`[{"op":"inc","path":"/n","value":2}]`))
	ss[0].want(`{"n":{"$counter":2}}`)
}

// The cells of a generation that is over are reset to what its successor's writer
// had, though somebody goes on adding to them.
func TestLateIncrementOfAnOldGeneration(t *testing.T) {
	for _, freshFirst := range []bool{false, true} {
		ss := start(t, 3, `{"n":{"$counter":0}}`)
		converge(t, ss, ss[2].ops(`[{"op":"inc","path":"/n","value":5}]`))
		d := ss[0].delete(crdt.DeleteEditWins)
		fresh := ss[0].put(`{"n":{"$counter":100}}`)
		late := ss[2].ops(`[{"op":"inc","path":"/n","value":2}]`)
		order := []*crdt.Change{d, late, fresh}
		if freshFirst {
			order = []*crdt.Change{d, fresh, late}
		}
		ss[1].apply(order...)
		converge(t, ss, order...)
		ss[1].want(`{"n":{"$counter":102}}`)
	}
}

// What died before a barrier goes when the barrier is stable, though newer
// changes never let the document settle.
func TestTrimByBarriers(t *testing.T) {
	ss := start(t, 2, `{"l":[0,1,2,3,4,5,6,7,8,9]}`)
	s := ss[0]
	s.doc.Trim(s.have)
	positions := func() int { return len(s.doc.root.m.children["l"].l.nodes) }
	var after []crdt.Vector
	for i := range 8 {
		s.ops(`[{"op":"delete","path":"/l/0"}]`)
		after = append(after, s.have)
		stable := crdt.VectorOf(crdt.Dot{Replica: s.id, Seq: 1})
		if i > 0 {
			stable = after[i-1] // one change behind
		}
		s.doc.Trim(stable)
		if want := 10 - max(0, i-1); positions() > want+1 {
			t.Fatalf("%d positions after %d deletions", positions(), i+1)
		}
	}
	if s.doc.Trim(s.have); positions() != 2 || s.doc.barrier != nil || s.doc.garbage {
		t.Errorf("%d positions when all is stable", positions())
	}
	if s.doc.Trim(s.have) {
		t.Error("nothing to trim, and yet a change")
	}
	s.want(`{"l":[8,9]}`)
}

func TestCounterSemantics(t *testing.T) {
	t.Run("increments survive a removal that did not see them", func(t *testing.T) {
		ss := start(t, 2, `{"n":{"$counter":10},"x":1}`)
		converge(t, ss, ss[0].put(`{"x":1}`), ss[1].ops(`[{"op":"inc","path":"/n","value":3}]`))
		ss[0].want(`{"n":{"$counter":3},"x":1}`)
	})
	t.Run("an integer set concurrently is counted on", func(t *testing.T) {
		ss := start(t, 2, `{"n":1}`)
		converge(t, ss, ss[0].put(`{"n":100}`), ss[1].ops(`[{"op":"inc","path":"/n","value":3}]`))
		ss[0].want(`{"n":{"$counter":103}}`)
		ss[0].wantConflicts()
	})
	t.Run("two integers are a conflict, both counted on", func(t *testing.T) {
		ss := start(t, 3, `{"n":1}`)
		converge(t, ss, ss[0].put(`{"n":100}`), ss[1].put(`{"n":200}`), ss[2].ops(`[{"op":"inc","path":"/n","value":3}]`))
		ss[0].wantConflicts(`/n: {"$counter":103} | {"$counter":203}`)
	})
	t.Run("a counter made as one conflicts with an integer", func(t *testing.T) {
		ss := start(t, 2, `{}`)
		converge(t, ss, ss[0].put(`{"n":{"$counter":100}}`), ss[1].put(`{"n":5}`))
		ss[0].wantConflicts(`/n: {"$counter":100} | 5`)
		_, err := ss[0].try(crdt.Edit{Kind: crdt.EditOps, Ops: ownOps(t, `[{"op":"inc","path":"/n","value":1}]`)})
		if !errors.Is(err, crdt.ErrConflict) {
			t.Error(err)
		}
	})
	t.Run("get, modify, put", func(t *testing.T) {
		ss := start(t, 2, `{"n":{"$counter":10}}`)
		converge(t, ss, ss[0].put(`{"n":11}`), ss[1].put(`{"n":13}`))
		ss[0].want(`{"n":{"$counter":14}}`)
	})
	t.Run("the sum wraps, whoever is told first", func(t *testing.T) {
		ss := start(t, 2, `{"n":{"$counter":9223372036854775800}}`)
		converge(t, ss, ss[0].ops(`[{"op":"inc","path":"/n","value":7}]`), ss[1].ops(`[{"op":"inc","path":"/n","value":7}]`))
		ss[0].want(`{"n":{"$counter":-9223372036854775802}}`)
		converge(t, ss, ss[0].ops(`[{"op":"inc","path":"/n","value":-6}]`))
		ss[0].want(`{"n":{"$counter":-9223372036854775808}}`)
	})
	t.Run("from one end to the other", func(t *testing.T) {
		s := start(t, 1, `{"n":{"$counter":9223372036854775807}}`)[0]
		s.put(`{"n":-9223372036854775808}`)
		s.want(`{"n":{"$counter":-9223372036854775808}}`)
	})
}

func TestSets(t *testing.T) {
	ss := start(t, 3, `{"s":{"$set":["a","b"]}}`)
	converge(t, ss,
		ss[0].ops(`[{"op":"remove","path":"/s","value":"a"},{"op":"add","path":"/s","value":{"x":[1]}}]`),
		ss[1].ops(`[{"op":"add","path":"/s","value":"a"},{"op":"remove","path":"/s","value":"b"}]`),
		ss[2].ops(`[{"op":"remove","path":"/s","value":"b"},{"op":"add","path":"/s","value":1}]`))
	ss[0].want(`{"s":{"$set":["a",1,{"x":[1]}]}}`)
	// Sets that two make at one place are one.
	converge(t, ss, ss[0].ops(`[{"op":"add","path":"/t","value":1}]`), ss[1].ops(`[{"op":"add","path":"/t","value":2}]`))
	ss[0].want(`{"s":{"$set":["a",1,{"x":[1]}]},"t":{"$set":[1,2]}}`)
	// Emptied on both sides it is still a set.
	converge(t, ss, ss[0].ops(`[{"op":"remove","path":"/t","value":1}]`), ss[1].ops(`[{"op":"remove","path":"/t","value":2}]`))
	converge(t, ss, ss[2].merge(`{"s":null}`))
	ss[0].want(`{"t":{"$set":[]}}`)
}

func ints(t testing.TB, s *site) []int64 {
	t.Helper()
	var out []int64
	for _, v := range s.doc.View(nil).Value.(map[string]any)["l"].([]any) {
		out = append(out, v.(int64))
	}
	return out
}

// Runs that several write at one place, at once or one by one, forwards or
// backwards, with other edits in between, do not interleave.
func TestRunsDoNotInterleave(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ss := sites(testing.TB(nil), 3)
		for _, s := range ss {
			s.t = discard{}
		}
		n := rapid.IntRange(0, 4).Draw(t, "before")
		c := ss[0].put(text(map[string]any{"l": slices.Repeat([]any{int64(0)}, n)}))
		all := []*crdt.Change{}
		at := rapid.IntRange(0, n).Draw(t, "at")
		for _, s := range ss {
			s.apply(c)
		}
		sizes := make([]int, len(ss))
		for i, s := range ss {
			k := rapid.IntRange(1, 5).Draw(t, "run")
			sizes[i] = k
			switch draw(t, []string{"run", "forwards", "backwards"}, "how") {
			case "run":
				v := s.doc.View(nil).Value.(map[string]any)["l"].([]any)
				run := slices.Repeat([]any{int64(i + 1)}, k)
				all = append(all, s.put(text(map[string]any{"l": slices.Insert(slices.Clone(v), at, run...)})))
			case "forwards":
				for j := range k {
					all = append(all, s.ops(fmt.Sprintf(`[{"op":"insert","path":"/l/%d","value":%d}]`, at+j, i+1)))
				}
			default:
				for range k {
					all = append(all, s.ops(fmt.Sprintf(`[{"op":"insert","path":"/l/%d","value":%d}]`, at, i+1)))
				}
			}
		}
		converge(discard{}, ss, all...)
		got := ints(discard{}, ss[0])
		if len(got) != n+sizes[0]+sizes[1]+sizes[2] {
			t.Fatalf("%v", got)
		}
		runs := slices.Compact(slices.Clone(got[at : at+sizes[0]+sizes[1]+sizes[2]]))
		if len(runs) != 3 || slices.Contains(runs, 0) {
			t.Fatalf("interleaved: %v", got)
		}
	})
}

func TestMoves(t *testing.T) {
	t.Run("concurrent moves leave one", func(t *testing.T) {
		ss := start(t, 3, `{"l":[1,2,3,4]}`)
		converge(t, ss, ss[0].patch(`[{"op":"move","from":"/l/0","path":"/l/3"}]`),
			ss[1].patch(`[{"op":"move","from":"/l/0","path":"/l/1"}]`), ss[2].put(`{"l":[2,3,1,4]}`))
		ss[0].want(`{"l":[2,3,1,4]}`)
	})
	t.Run("a deletion wins", func(t *testing.T) {
		ss := start(t, 2, `{"l":[1,2,3]}`)
		converge(t, ss, ss[0].put(`{"l":[2,3]}`), ss[1].put(`{"l":[2,3,1]}`))
		ss[0].want(`{"l":[2,3]}`)
	})
	t.Run("an edit goes along", func(t *testing.T) {
		ss := start(t, 2, `{"l":[{"a":1,"b":1},{"a":2,"b":2}]}`)
		converge(t, ss, ss[0].patch(`[{"op":"move","from":"/l/0","path":"/l/1"}]`),
			ss[1].patch(`[{"op":"replace","path":"/l/0/a","value":9}]`))
		ss[0].want(`{"l":[{"a":2,"b":2},{"a":9,"b":1}]}`)
	})
	t.Run("an edit of a deleted element brings back its path where it is now", func(t *testing.T) {
		ss := start(t, 3, `{"l":[{"a":1,"b":1},{"a":2},3]}`)
		converge(t, ss, ss[0].patch(`[{"op":"remove","path":"/l/0"}]`),
			ss[1].patch(`[{"op":"replace","path":"/l/0/a","value":9}]`),
			ss[2].patch(`[{"op":"move","from":"/l/0","path":"/l/2"}]`))
		ss[0].want(`{"l":[{"a":2},3,{"a":9}]}`)
	})
	t.Run("between lists it is another element", func(t *testing.T) {
		ss := start(t, 1, `{"l":[1,{"x":{"$counter":2}}],"m":[]}`)
		ss[0].patch(`[{"op":"move","from":"/l/1","path":"/m/0"},{"op":"move","from":"/l","path":"/k"}]`)
		ss[0].want(`{"k":[1],"m":[{"x":{"$counter":2}}]}`)
	})
}

func TestListsMadeOnBothSidesMerge(t *testing.T) {
	ss := start(t, 2, `{}`)
	converge(t, ss, ss[0].put(`{"l":[1,2],"k":{"l":[1]}}`), ss[1].put(`{"l":[3],"k":{"l":[]}}`))
	got := ints(t, ss[0])
	if fmt.Sprint(got) != "[1 2 3]" && fmt.Sprint(got) != "[3 1 2]" {
		t.Errorf("%v", got)
	}
	ss[0].wantConflicts()
}

// A list that is as deep as it is long must not take a stack, nor squared time.
func TestLongLists(t *testing.T) {
	s := start(t, 1, `{"l":[]}`)[0]
	s.lim.Value.MaxItems, s.lim.Value.MaxBytes = 1<<20, 1<<24
	run := make([]any, 1000)
	for i := range run {
		run[i] = int64(i)
	}
	hd := func(at string) {
		h := s.header()
		ops := make([]value.Op, 1)
		list := slices.Concat(s.doc.View(nil).Value.(map[string]any)["l"].([]any), run)
		if at == "front" {
			list = slices.Concat(run, list[:len(list)-len(run)])
		}
		_ = ops
		m, err := s.doc.Prepare(crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"l": list}}, h, nil, s.lim)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.doc.Apply(h, m); err != nil {
			t.Fatal(err)
		}
		s.have = s.have.With(h.Dot)
	}
	for range 25 {
		hd("back")
	}
	for range 25 {
		hd("front")
	}
	l := s.doc.root.m.children["l"].l
	if len(l.nodes) != 50_000 || len(l.shown()) != 50_000 {
		t.Fatalf("%d positions", len(l.nodes))
	}
	enc, err := s.doc.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	dec, err := Decode(enc)
	if err != nil || dec.Digest() != s.doc.Digest() {
		t.Fatalf("%v", err)
	}
	t.Logf("%d bytes for 50,000 integers", len(enc))
	s.put(`{"l":[]}`)
	s.doc.Trim(s.have)
	if len(s.doc.root.m.children["l"].l.nodes) > 0 {
		t.Error("dead positions stay")
	}
}

func TestDeletion(t *testing.T) {
	t.Run("hides, and is forgotten when stable", func(t *testing.T) {
		ss := start(t, 2, `{"a":1}`)
		converge(t, ss, ss[0].delete(crdt.DeleteEditWins))
		ss[1].wantGone()
		if ss[0].doc.Trim(crdt.Vector{}); !ss[0].doc.heads.Known() {
			t.Error("forgotten too early")
		}
		ss[0].doc.Trim(ss[0].have)
		if ss[0].doc.heads.Known() || !ss[0].doc.root.empty() {
			t.Error("not forgotten")
		}
		if _, err := ss[1].try(crdt.Edit{Kind: crdt.EditDelete, Mode: crdt.DeleteWins}); !errors.Is(err, crdt.ErrNotFound) {
			t.Error(err)
		}
		// One region has forgotten it, the other not.
		converge(t, ss, ss[0].put(`{"b":1}`))
		ss[1].want(`{"b":1}`)
	})
	t.Run("a concurrent edit brings back all", func(t *testing.T) {
		ss := start(t, 3, `{"a":1,"l":[1,2],"m":{"x":1},"n":{"$counter":3}}`)
		converge(t, ss, ss[0].delete(crdt.DeleteEditWins), ss[1].merge(`{"a":2}`), ss[2].patch(`[{"op":"add","path":"/l/0","value":0}]`))
		ss[0].want(`{"a":2,"l":[0,1,2],"m":{"x":1},"n":{"$counter":3}}`)
		ss[0].wantConflicts(`: deleted | {"a":2,"l":[0,1,2],"m":{"x":1},"n":{"$counter":3}} | {"a":2,"l":[0,1,2],"m":{"x":1},"n":{"$counter":3}}`)
		converge(t, ss, ss[1].merge(`{"a":3}`))
		ss[0].wantConflicts()
	})
	t.Run("a new generation, and a late edit merged under it", func(t *testing.T) {
		ss := start(t, 3, `{"a":1,"b":1,"l":[1,2],"n":{"$counter":3}}`)
		d := ss[0].delete(crdt.DeleteEditWins)
		ss[1].apply(d)
		fresh := ss[1].put(`{"a":5,"n":{"$counter":0}}`)
		late := ss[2].ops(`[{"op":"set","path":"/b","value":2},{"op":"inc","path":"/n","value":4},{"op":"insert","path":"/l/1","value":9}]`)
		converge(t, ss, d, late, fresh)
		ss[0].want(`{"a":5,"b":2,"n":{"$counter":4},"l":[9]}`)
	})
	t.Run("that wins drops concurrent edits", func(t *testing.T) {
		ss := start(t, 3, `{"a":1}`)
		d := ss[0].delete(crdt.DeleteWins)
		edit := ss[1].merge(`{"a":2,"l":[1]}`)
		later := ss[1].patch(`[{"op":"add","path":"/l/0","value":0}]`)
		for _, order := range [][]*crdt.Change{{d, edit, later}, {edit, d, later}, {edit, later, d}} {
			doc := sites(t, 3)[2]
			doc.doc, doc.have = ss[2].doc.Clone().(*Doc), ss[2].have
			doc.apply(order...)
			doc.wantGone()
		}
		converge(t, ss, d, edit, later)
		converge(t, ss, ss[1].put(`{"b":1}`))
		ss[0].want(`{"b":1}`)
	})
	t.Run("patches of what is not there", func(t *testing.T) {
		for kind, want := range map[crdt.EditKind]error{crdt.EditJSONPatch: crdt.ErrNotFound, crdt.EditOps: nil} {
			if _, err := sites(t, 1)[0].try(crdt.Edit{Kind: kind, Ops: ownOps(t, `[]`)}); !errors.Is(err, want) {
				t.Errorf("%d: %v", kind, err)
			}
		}
	})
}

func TestBase(t *testing.T) {
	// Each case edits what is based on from, to, while the present is at now. It
	// runs with an older state and with an older value, which may differ in that
	// a value does not tell which writes it has seen.
	for _, c := range []struct {
		name, from, now, to, want string
		conflicts                 []string
		unlike                    string // want for an older value, if it differs
	}{
		{name: "other fields", from: `{"a":1,"b":1}`, now: `{"a":2,"b":1}`, to: `{"a":1,"b":2,"c":3}`, want: `{"a":2,"b":2,"c":3}`},
		{name: "the same field", from: `{"a":1}`, now: `{"a":2}`, to: `{"a":3}`, want: `{"a":3}`, conflicts: []string{`/a: 2 | 3`}},
		{name: "a field that was not touched", from: `{"a":1,"b":1}`, now: `{"a":2,"b":1}`, to: `{"a":1,"b":1}`, want: `{"a":2,"b":1}`},
		{name: "removal of a changed field", from: `{"a":1,"b":1}`, now: `{"a":2,"b":1}`, to: `{"b":1}`, want: `{"a":2,"b":1}`},
		{name: "removal of a changed map", from: `{"m":{"a":1,"b":1}}`, now: `{"m":{"a":2,"b":1}}`, to: `{}`, want: `{"m":{"a":2}}`},
		{name: "edit in a removed map", from: `{"m":{"a":1,"b":1}}`, now: `{}`, to: `{"m":{"a":2,"b":1}}`, want: `{"m":{"a":2}}`},
		{name: "counter", from: `{"n":{"$counter":5}}`, now: `{"n":7}`, to: `{"n":6}`, want: `{"n":{"$counter":8}}`},
		{name: "set", from: `{"s":{"$set":[1,2]}}`, now: `{"s":[1,3]}`, to: `{"s":[2,4]}`, want: `{"s":{"$set":[3,4]}}`},
		{name: "list inserts", from: `{"l":[1,2]}`, now: `{"l":[1,9,2]}`, to: `{"l":[1,8,2,3]}`, want: `{"l":[1,8,9,2,3]}`},
		{name: "behind a deleted element", from: `{"l":[1,2,3]}`, now: `{"l":[1,3]}`, to: `{"l":[1,2,8,3]}`, want: `{"l":[1,8,3]}`},
		{name: "behind all deleted elements", from: `{"l":[1,2,3]}`, now: `{"l":[9]}`, to: `{"l":[1,2,3,8]}`, want: `{"l":[8,9]}`},
		{name: "deletion of what is deleted", from: `{"l":[1,2,3]}`, now: `{"l":[1,3]}`, to: `{"l":[3]}`, want: `{"l":[3]}`},
		{name: "move of what is deleted", from: `{"l":[1,2,3]}`, now: `{"l":[1,3]}`, to: `{"l":[2,1,3]}`, want: `{"l":[1,3]}`},
		{name: "move behind what is deleted", from: `{"l":[1,2,3]}`, now: `{"l":[1,3]}`, to: `{"l":[2,1,3]}`, want: `{"l":[1,3]}`},
		{name: "move", from: `{"l":[1,2,3]}`, now: `{"l":[1,2,9,3]}`, to: `{"l":[3,1,2]}`, want: `{"l":[3,1,2,9]}`},
		{name: "edit in a deleted element", from: `{"l":[{"id":1,"x":1},{"id":2,"x":1},{"id":3,"x":1}]}`, now: `{"l":[{"id":1,"x":1},{"id":3,"x":1}]}`,
			to:   `{"l":[{"id":1,"x":1},{"id":2,"x":5},{"id":3,"x":1}]}`,
			want: `{"l":[{"id":1,"x":1},{"id":2,"x":5},{"id":3,"x":1}]}`},
		{name: "edit in one of the deleted elements", from: `{"l":[{"id":1,"x":1},{"id":2,"x":1},{"id":3,"x":1}]}`, now: `{"l":[]}`,
			to: `{"l":[{"id":1,"x":1},{"id":2,"x":5},{"id":3,"x":1}]}`, want: `{"l":[{"id":2,"x":5}]}`},
		{name: "edits in two deleted elements", from: `{"l":[{"id":1,"x":[1]},{"id":2,"x":[1]},{"id":3,"x":[1]}]}`, now: `{"l":[{"id":3,"x":[1]}]}`,
			to:   `{"l":[{"id":2,"x":[1,2]},{"id":1,"x":[1,3]},{"id":3,"x":[1]}]}`,
			want: `{"l":[{"id":2,"x":[1,2]},{"id":1,"x":[1,3]},{"id":3,"x":[1]}]}`},
		{name: "edit in a changed element", from: `{"l":[{"id":1,"x":1,"y":1}]}`, now: `{"l":[{"id":1,"x":2,"y":1}]}`,
			to: `{"l":[{"id":1,"x":1,"y":2}]}`, want: `{"l":[{"id":1,"x":2,"y":2}]}`},
		{name: "deletion of a changed element", from: `{"l":[{"id":1,"x":1,"y":1}]}`, now: `{"l":[{"id":1,"x":2,"y":1}]}`,
			to: `{"l":[]}`, want: `{"l":[{"x":2}]}`},
		{name: "another kind", from: `{"a":1}`, now: `{"a":{"b":1}}`, to: `{"a":[1]}`, want: `{"a":[1]}`, conflicts: []string{`/a: {"b":1} | [1]`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, byValue := range []bool{false, true} {
				ss := start(t, 2, c.from)
				base := ss[0].doc.Clone()
				converge(t, ss, ss[0].put(c.now))
				e := crdt.Edit{Kind: crdt.EditPut, Value: parse(t, c.to), Base: base}
				if byValue {
					e.Base, e.BaseValue, e.HasBaseValue = nil, value.Plain(parse(t, c.from)), true
				}
				ss[0].doc.Trim(ss[0].have) // what the base knows may be gone
				converge(t, ss, ss[0].edit(e))
				ss[1].want(c.want)
				ss[1].wantConflicts(c.conflicts...)
			}
		})
	}
}

// An edit by its base's state is what the edit would have been, had it been
// written then and come later, unless lists were edited in between.
func TestBaseIsLikeConcurrent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := generator{}
		ss := sites(testing.TB(nil), 2)
		for _, s := range ss {
			s.t = discard{}
		}
		first := value.Plain(noLists(g.object(t, 3)))
		converge(discard{}, ss, ss[0].edit(crdt.Edit{Kind: crdt.EditPut, Value: first}))
		base := ss[0].doc.Clone()
		next := func() any { return noLists(plainObject(t, g, first)) }
		mine, theirs := next(), next()
		now := ss[0].edit(crdt.Edit{Kind: crdt.EditPut, Value: theirs})
		ss[0].edit(crdt.Edit{Kind: crdt.EditPut, Value: mine, Base: base})
		ss[1].edit(crdt.Edit{Kind: crdt.EditPut, Value: mine})
		ss[1].apply(now)
		a, b := ss[0].conflicts(), ss[1].conflicts()
		if len(a) != len(b) {
			t.Fatalf("conflicts %v with a base, %v concurrently", a, b)
		}
		if a, b := len(ss[0].doc.heads.All()), len(ss[1].doc.heads.All()); a != b {
			t.Fatalf("%d heads with a base, %d concurrently", a, b)
		}
		oldest := func(crdt.Conflict) crdt.Outcome { return crdt.Outcome{Shown: -1, Value: "conflict"} }
		if a, b := text(ss[0].doc.View(oldest).Value), text(ss[1].doc.View(oldest).Value); a != b {
			t.Fatalf("%s with a base, %s concurrently", a, b)
		}
	})
}

func noLists(v any) any {
	switch v := v.(type) {
	case []any:
		return text(v)
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = noLists(x)
		}
		return out
	}
	return v
}

// An increment on top of increments that the base lacks, taken back in the same
// edit, takes none of those back.
func TestBaseOfACounter(t *testing.T) {
	for _, c := range []struct{ ops, want string }{
		{`{"op":"inc","path":"/n","value":2}`, `{"n":{"$counter":10}}`},
		{`{"op":"inc","path":"/n","value":2},{"op":"set","path":"/n","value":{"$counter":1}}`, `{"n":{"$counter":4}}`},
		{`{"op":"inc","path":"/n","value":2},{"op":"unset","path":"/n"}`, `{"n":{"$counter":3}}`},
		{`{"op":"inc","path":"/n","value":2},{"op":"unset","path":"/n"},{"op":"inc","path":"/n","value":1}`, `{"n":{"$counter":4}}`},
	} {
		ss := start(t, 2, `{"n":{"$counter":5}}`)
		base := ss[0].doc.Clone()
		converge(t, ss, ss[0].ops(`[{"op":"inc","path":"/n","value":3}]`))
		edit := ss[0].edit(crdt.Edit{Kind: crdt.EditOps, Ops: ownOps(t, "["+c.ops+"]"), Base: base})
		converge(t, ss, edit)
		ss[1].want(c.want)
		ss[0].doc.Trim(ss[0].have)
		ss[0].want(c.want)
	}
}

func TestBaseOfADeletedDocument(t *testing.T) {
	ss := start(t, 2, `{"a":1,"l":[1,2]}`)
	base := ss[0].doc.Clone()
	patch := crdt.Edit{Kind: crdt.EditJSONPatch, Ops: jsonPatch(t, `[{"op":"add","path":"/l/1","value":9}]`), Base: base}
	for _, mode := range []crdt.DeleteMode{crdt.DeleteEditWins, crdt.DeleteWins} {
		s := sites(t, 1)[0]
		s.doc, s.have = ss[0].doc.Clone().(*Doc), ss[0].have
		s.delete(mode)
		c, err := s.try(patch)
		if mode == crdt.DeleteWins {
			if !errors.Is(err, crdt.ErrConflict) {
				t.Errorf("%v", err)
			}
			continue
		}
		if err != nil || !c.Mutations[0].Fresh {
			t.Fatalf("%v", err)
		}
		s.want(`{"a":1,"l":[1,9,2]}`)
		s.wantConflicts()
	}
	// A base in which there was no document.
	s := ss[0]
	s.edit(crdt.Edit{Kind: crdt.EditPut, Value: parse(t, `{"b":1,"a":2}`), Base: New()})
	s.want(`{"a":2,"b":1,"l":[1,2]}`)
	s.wantConflicts(`/a: 1 | 2`)
}

func TestApplyRefusesNonsense(t *testing.T) {
	s := start(t, 1, `{"l":[1,2],"n":{"$counter":1}}`)[0]
	list := path{}.key("l")
	other := tag{crdt.Dot{Replica: s.id, Seq: 1}, 99}
	for name, o := range map[string]op{
		"unknown element":  {code: opPut, path: list.element(other, -1), values: []any{nil}},
		"unknown list":     {code: opPut, path: path{}.key("n").element(other, -1), values: []any{nil}},
		"unknown position": {code: opInsert, path: list, parent: other, right: true, values: []any{nil}},
		"unknown move":     {code: opMove, path: list, elem: other, right: true},
		"move in no list":  {code: opMove, path: path{}.key("x"), elem: other, right: true},
		"unknown cell":     {code: opInc, path: path{}.key("n"), cell: other, delta: 1},
		"reset too far": {code: opRemove, remove: removal{cells: []cellRef{{
			s.doc.root.m.children["n"].c.cells[0].tag, 7, 1}}}},
		"root put": {code: opPut, values: []any{nil}},
	} {
		hd := s.header()
		good := op{code: opPut, path: path{}.key("good"), values: []any{true}}
		payload, err := encodeOps(hd, []op{good, o})
		if err != nil {
			t.Fatal(err)
		}
		before, _ := s.doc.AppendBinary(nil)
		err = s.doc.Apply(hd, crdt.Mutation{Type: crdt.TypeDocument, Context: s.doc.heads.Dots(), Payload: payload})
		if after, _ := s.doc.AppendBinary(nil); !errors.Is(err, crdt.ErrCorrupt) || !bytes.Equal(before, after) {
			t.Errorf("%s: %v, changed %v", name, err, !bytes.Equal(before, after))
		}
	}
	for name, m := range map[string]crdt.Mutation{
		"another type":    {Type: crdt.TypeRegister},
		"unknown format":  {Type: crdt.TypeDocument, Payload: []byte{99}},
		"deletion and op": {Type: crdt.TypeDocument, Delete: crdt.DeleteWins, Payload: []byte{payloadFormat, 0}},
		"trailing bytes":  {Type: crdt.TypeDocument, Payload: []byte{payloadFormat, 0, 0}},
	} {
		if err := s.doc.Apply(s.header(), m); !errors.Is(err, crdt.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A header that is not the one that the mutation was prepared for is a defect
// that must not pass for an edit.
func TestPrepareNeedsItsDeps(t *testing.T) {
	s := start(t, 1, `{"a":1}`)[0]
	hd := s.header()
	hd.Deps, hd.Dot.Replica = crdt.Vector{}, crdt.ReplicaID{9}
	if _, err := s.doc.Prepare(crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{}}, hd, nil, s.lim); !errors.Is(err, errNotSeen) {
		t.Error(err)
	}
}

// pop returns operations that take the first elements of a list until n are left.
func pop(d *Doc, name string, n int) []value.Op {
	var ops []value.Op
	if s := d.root.m.child(name); s != nil {
		for range max(0, len(s.l.shown())-n) {
			ops = append(ops, value.Op{Op: "delete", Path: value.Pointer{name, "0"}})
		}
	}
	return ops
}

func TestSizeStaysSmall(t *testing.T) {
	edits := 100_000
	if testing.Short() {
		edits = 10_000
	}
	ss := sites(t, 3)
	v := map[string]any{"title": "A document of about one kilobyte", "n": value.Counter(0), "tags": value.Set{}}
	for i := range 40 {
		v["field"+strconv.Itoa(i)] = "value " + strconv.Itoa(i)
	}
	v["items"] = []any{int64(0), int64(0), int64(0), int64(0), int64(0)}
	if n := value.Size(v); n < 900 || n > 1300 {
		t.Fatalf("%d bytes", n)
	}
	var log []*crdt.Change
	largest := 0
	apply := func(s *site, c *crdt.Change) {
		if err := s.doc.Apply(c.Header, c.Mutations[0]); err != nil {
			t.Fatal(err)
		}
		s.have = s.have.With(c.Dot)
	}
	for i := range edits {
		s := ss[i*7%3]
		e := crdt.Edit{Kind: crdt.EditOps}
		switch i % 5 {
		case 0, 1, 2:
			e = crdt.Edit{Kind: crdt.EditMergePatch, Value: map[string]any{"field" + strconv.Itoa(i*31%40): "value " + strconv.Itoa(i%97)}}
		case 3:
			e.Ops = []value.Op{{Op: "inc", Path: value.Pointer{"n"}, Value: int64(1)}, {Op: "add", Path: value.Pointer{"tags"}, Value: int64(i % 4)}}
		default: // a queue
			e.Ops = append(pop(s.doc, "items", 5), value.Op{Op: "insert", Path: value.Pointer{"items", "-"}, Value: int64(i)})
		}
		if i == 0 {
			e = crdt.Edit{Kind: crdt.EditPut, Value: v}
		}
		if i%1000 == 999 {
			e.Ops, e.Kind = []value.Op{{Op: "set", Path: value.Pointer{"n"}, Value: value.Counter(0)}}, crdt.EditOps
		}
		hd := s.header()
		hd.Stamp += crdt.Stamp(i) << 26 // a second passes
		m, err := s.doc.Prepare(e, hd, nil, s.lim)
		if err != nil {
			t.Fatalf("edit %d: %v", i, err)
		}
		c := &crdt.Change{Header: hd, Mutations: []crdt.Mutation{m}}
		apply(s, c)
		log = append(log, c)
		if i%10 < 9 && i > 0 {
			continue
		}
		// Now and then all hear of all; the last ones stay concurrent.
		for _, s := range ss {
			for _, c := range log {
				if !s.have.Contains(c.Dot) {
					apply(s, c)
				}
			}
		}
		log = log[:0]
		stable := ss[0].have
		for _, s := range ss {
			if i%30 == 29 {
				s.doc.Trim(stable)
			}
		}
		if i%1000 == 29 || i == edits-1 {
			enc, err := ss[0].doc.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			largest = max(largest, len(enc))
		}
	}
	for _, s := range ss {
		s.doc.Trim(ss[0].have)
	}
	enc, _ := ss[0].doc.AppendBinary(nil)
	t.Logf("%d bytes of JSON after %d edits take %d bytes, at most %d on the way", value.Size(ss[0].doc.View(nil).Value), edits, len(enc), largest)
	if len(enc) > 4096 || largest > 4096 {
		t.Errorf("more than 4 KiB")
	}
	if ss[0].doc.Digest() != ss[2].doc.Digest() {
		t.Error("digests differ")
	}
}

// A queue that several push to and pop from, where what is stable lags behind and
// the document is never settled: there is always something on its way.
func TestQueueStaysSmall(t *testing.T) {
	ops := 100_000
	if testing.Short() {
		ops = 10_000
	}
	const lag = 20 // changes on their way to each
	ss := start(t, 2, `{"q":[]}`)
	logs := make([][]*crdt.Change, 2)
	largest, longest := 0, 0
	apply := func(s *site, c *crdt.Change) {
		if err := s.doc.Apply(c.Header, c.Mutations[0]); err != nil {
			t.Fatal(err)
		}
		s.have = s.have.With(c.Dot)
	}
	reported := []crdt.Vector{ss[0].have, ss[1].have} // what each had, as the other knows
	for i := range ops {
		me := i % 2
		s := ss[me]
		e := crdt.Edit{Kind: crdt.EditOps, Ops: append(pop(s.doc, "q", 50), value.Op{Op: "insert", Path: value.Pointer{"q", "-"}, Value: int64(i)})}
		hd := s.header()
		m, err := s.doc.Prepare(e, hd, nil, s.lim)
		if err != nil {
			t.Fatal(err)
		}
		c := &crdt.Change{Header: hd, Mutations: []crdt.Mutation{m}}
		apply(s, c)
		logs[me] = append(logs[me], c)
		if len(logs[1-me]) > lag {
			c, logs[1-me] = logs[1-me][0], logs[1-me][1:]
			apply(s, c)
			// The change tells what the other had, and all that it wrote is here.
			reported[1-me] = c.Deps.With(c.Dot)
			s.doc.Trim(s.have.Meet(reported[1-me]))
		}
		longest = max(longest, len(s.doc.root.m.children["q"].l.nodes))
		if i%1000 == 0 {
			enc, _ := s.doc.AppendBinary(nil)
			largest = max(largest, len(enc))
			if err := check(s.doc); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("at most %d bytes and %d positions", largest, longest)
	if longest > 400 || largest > 8192 {
		t.Error("the queue grows")
	}
}
