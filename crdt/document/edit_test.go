package document

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/internal/causaltest"
	"github.com/meridiandb/meridian/crdt/value"
)

// countOps returns how many operations a change has, by their code.
func countOps(t testing.TB, c *crdt.Change) map[opcode]int {
	t.Helper()
	out := map[opcode]int{}
	err := decodeOps(c.Header, c.Mutations[0].Payload, func(o *op) error {
		out[o.code]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// After an edit the document shows what the edit asks for: a PUT its value, a
// patch what it makes of the plain value.
func TestEditsDoWhatTheySay(t *testing.T) {
	g := generator{}
	rapid.Check(t, func(t *rapid.T) {
		d, have := New(), crdt.Vector{}
		clock := crdt.NewClock(0, 0)
		for range rapid.IntRange(1, 12).Draw(t, "edits") {
			was := d.View(nil).Value
			e := crdt.Edit{Kind: crdt.EditKind(rapid.IntRange(1, 3).Draw(t, "kind"))}
			var want any
			var wantErr error
			switch e.Kind {
			case crdt.EditPut:
				want = plainObject(t, g, was)
				e.Value = want
			case crdt.EditMergePatch:
				patch := plainObject(t, g, was).(map[string]any)
				e.Value, want = patch, value.ApplyMergePatch(was, patch)
			default:
				for range rapid.IntRange(1, 4).Draw(t, "ops") {
					o := g.jsonOp(t, was)
					o.Value = value.Plain(o.Value)
					e.Ops = append(e.Ops, o)
				}
				if want, wantErr = value.ApplyJSONPatch(was, e.Ops); was == nil {
					wantErr = crdt.ErrNotFound
				}
			}
			hd := crdt.Header{Dot: crdt.Dot{Replica: causaltest.ReplicaID(0), Seq: have.Sum() + 1}, Deps: have,
				Stamp: clock.Next(start0, d.heads.MaxStamp())}
			m, err := d.Prepare(e, hd, nil, crdt.DefaultLimits)
			if (err != nil) != (wantErr != nil) {
				t.Fatalf("%s on %s: %v, want %v", explain(e), text(was), err, wantErr)
			}
			if err != nil {
				continue
			}
			if err := d.Apply(hd, m); err != nil {
				t.Fatal(err)
			}
			have = have.With(hd.Dot)
			if got := d.View(nil); text(got.Value) != text(want) || len(got.Conflicts) > 0 {
				t.Fatalf("%s on %s gives %s, want %s", explain(e), text(was), text(got.Value), text(want))
			}
			if err := check(d); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func plainObject(t *rapid.T, g generator, was any) any {
	if was != nil && rapid.IntRange(0, 3).Draw(t, "similar") > 0 {
		if v, ok := value.Plain(g.mutate(t, was, 3)).(map[string]any); ok {
			return v
		}
	}
	return value.Plain(g.object(t, 3))
}

func TestPutIsMinimal(t *testing.T) {
	for _, c := range []struct {
		name, from, to string
		want           map[opcode]int
	}{
		{"nothing", `{"a":1,"b":{"c":[1,{"x":2}]}}`, `{"b":{"c":[1,{"x":2}]},"a":1}`, map[opcode]int{}},
		{"a field", `{"a":1,"b":2}`, `{"a":1,"b":3}`, map[opcode]int{opRemove: 1, opPut: 1}},
		{"a deep field", `{"a":{"b":{"c":1,"d":2}}}`, `{"a":{"b":{"c":1,"d":3}}}`, map[opcode]int{opRemove: 1, opPut: 1}},
		{"kind of number", `{"a":1}`, `{"a":1.0}`, map[opcode]int{opRemove: 1, opPut: 1}},
		{"new map", `{}`, `{"a":{"b":{"c":1,"d":[1,2]}}}`, map[opcode]int{opPut: 1}},
		{"field away", `{"a":1,"b":2}`, `{"a":1}`, map[opcode]int{opRemove: 1}},
		{"insert", `{"l":[1,2,3]}`, `{"l":[1,9,8,2,3]}`, map[opcode]int{opInsert: 1}},
		{"delete", `{"l":[1,2,3]}`, `{"l":[1,3]}`, map[opcode]int{opRemove: 1}},
		{"move by value", `{"l":[1,2,3]}`, `{"l":[3,1,2]}`, map[opcode]int{opMove: 1}},
		{"move by id and edit", `{"l":[{"id":1,"v":1},{"id":2,"v":1},{"id":3,"v":1}]}`,
			`{"l":[{"id":3,"v":2},{"id":1,"v":1},{"id":2,"v":1}]}`, map[opcode]int{opMove: 1, opRemove: 1, opPut: 1}},
		{"edit by id", `{"l":[{"_id":"x","v":1},{"_id":"y","v":1}]}`, `{"l":[{"_id":"x","v":2},{"_id":"y","v":1}]}`,
			map[opcode]int{opRemove: 1, opPut: 1}},
		{"other id", `{"l":[{"id":1,"v":1}]}`, `{"l":[{"id":2,"v":1}]}`, map[opcode]int{opRemove: 1, opInsert: 1}},
		{"edit in place", `{"l":[{"v":1,"w":[1]},5]}`, `{"l":[{"v":2,"w":[1]},5]}`, map[opcode]int{opRemove: 1, opPut: 1}},
		{"nested lists", `{"l":[[1,2],[3,4]]}`, `{"l":[[1,2],[3,5]]}`, map[opcode]int{opRemove: 1, opInsert: 1}},
		{"same id twice", `{"l":[{"id":1,"v":1},{"id":1,"v":2}]}`, `{"l":[{"id":1,"v":2},{"id":1,"v":1}]}`, map[opcode]int{opMove: 1}},
		{"counter by number", `{"c":{"$counter":5}}`, `{"c":7}`, map[opcode]int{opInc: 1}},
		{"counter unchanged", `{"c":{"$counter":5}}`, `{"c":5}`, map[opcode]int{}},
		{"counter unchanged, typed", `{"c":{"$counter":5}}`, `{"c":{"$counter":5}}`, map[opcode]int{}},
		{"counter reset", `{"c":{"$counter":5}}`, `{"c":{"$counter":6}}`, map[opcode]int{opRemove: 1, opPut: 1}},
		{"set by array", `{"s":{"$set":["a","b"]}}`, `{"s":["c","b"]}`, map[opcode]int{opRemove: 1, opAdd: 1}},
		{"set unchanged", `{"s":{"$set":["a","b"]}}`, `{"s":["b","a"]}`, map[opcode]int{}},
		{"text unchanged", `{"t":{"$text":"x"}}`, `{"t":"x"}`, map[opcode]int{}},
		{"counter in a list", `{"l":[{"id":1,"n":{"$counter":5}}]}`, `{"l":[{"id":1,"n":6}]}`, map[opcode]int{opInc: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, 1, c.from)[0]
			if got := countOps(t, s.put(c.to)); fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("operations %v, want %v", got, c.want)
			}
			if got, want := value.Plain(s.doc.View(nil).Value), value.Plain(parse(t, c.to)); c.name != "set unchanged" && c.name != "set by array" && !value.Equal(got, want) {
				t.Errorf("shows %s", text(got))
			}
		})
	}
}

func TestConcurrentPutsOfFields(t *testing.T) {
	ss := start(t, 3, `{"name":"x","items":[{"id":1,"n":1},{"id":2,"n":1}]}`)
	c1 := ss[0].put(`{"name":"y","items":[{"id":1,"n":1},{"id":2,"n":1}],"address":{"city":"Berlin"}}`)
	c2 := ss[1].put(`{"name":"x","items":[{"id":1,"n":5},{"id":2,"n":1},{"id":3,"n":1}],"address":{"zip":"10827"}}`)
	c3 := ss[2].put(`{"name":"x","items":[{"id":2,"n":7},{"id":1,"n":1}]}`)
	converge(t, ss, c1, c2, c3)
	ss[0].want(`{"name":"y","items":[{"id":2,"n":7},{"id":3,"n":1},{"id":1,"n":5}],"address":{"city":"Berlin","zip":"10827"}}`)
	ss[0].wantConflicts()
}

func TestConcurrentValues(t *testing.T) {
	ss := start(t, 3, `{"a":0}`)
	converge(t, ss, ss[0].put(`{"a":1}`), ss[1].put(`{"a":2}`), ss[2].put(`{"a":{"b":1}}`))
	ss[0].want(`{"a":{"b":1}}`)
	ss[0].wantConflicts(`/a: 1 | 2 | {"b":1}`)
	// A PUT of what is shown leaves the conflict; one of another field too.
	converge(t, ss, ss[1].put(`{"a":{"b":1},"c":1}`))
	ss[0].wantConflicts(`/a: 1 | 2 | {"b":1}`)
	// A policy can show another one; it is told all.
	oldest := func(c crdt.Conflict) crdt.Outcome { return crdt.Outcome{Shown: 0, Reason: "oldest"} }
	if v := ss[0].doc.View(oldest); text(v.Value) != `{"a":1,"c":1}` || v.Conflicts[0].Reason != "oldest" {
		t.Errorf("shows %s", text(v.Value))
	}
	sum := func(c crdt.Conflict) crdt.Outcome { return crdt.Outcome{Shown: -1, Value: int64(len(c.Versions))} }
	if v := ss[0].doc.View(sum); text(v.Value) != `{"a":3,"c":1}` {
		t.Errorf("shows %s", text(v.Value))
	}
	// A writer who sees 3 and writes 3 changes nothing, one who writes 4 settles.
	hd := ss[0].header()
	m, err := ss[0].doc.Prepare(crdt.Edit{Kind: crdt.EditPut, Value: parse(t, `{"a":3,"c":1}`)}, hd, sum, ss[0].lim)
	if err != nil || len(m.Payload) > 0 {
		t.Errorf("writes %x, %v", m.Payload, err)
	}
	converge(t, ss, ss[2].put(`{"a":4,"c":1}`))
	ss[0].want(`{"a":4,"c":1}`)
	ss[0].wantConflicts()
}

func TestEqualConcurrentValuesAgree(t *testing.T) {
	ss := start(t, 2, `{}`)
	converge(t, ss, ss[0].put(`{"a":1}`), ss[1].put(`{"a":1}`))
	ss[0].wantConflicts()
	converge(t, ss, ss[0].put(`{"a":2}`))
	ss[0].want(`{"a":2}`)
}

func TestPatchSettlesWhatItNames(t *testing.T) {
	for name, f := range map[string]func(s *site) *crdt.Change{
		"merge patch": func(s *site) *crdt.Change { return s.merge(`{"a":2}`) },
		"json patch":  func(s *site) *crdt.Change { return s.patch(`[{"op":"replace","path":"/a","value":2}]`) },
		"set":         func(s *site) *crdt.Change { return s.ops(`[{"op":"set","path":"/a","value":2}]`) },
	} {
		t.Run(name, func(t *testing.T) {
			ss := start(t, 2, `{"a":0}`)
			converge(t, ss, ss[0].put(`{"a":1}`), ss[1].put(`{"a":2}`))
			converge(t, ss, f(ss[0]))
			ss[0].want(`{"a":2}`)
			ss[0].wantConflicts()
		})
	}
}

func TestRemovalIsObserved(t *testing.T) {
	ss := start(t, 2, `{"a":{"b":1,"c":{"d":1,"e":2}},"x":1}`)
	converge(t, ss, ss[0].put(`{"x":1}`), ss[1].put(`{"a":{"b":1,"c":{"d":5,"e":2}},"x":1}`))
	ss[0].want(`{"a":{"c":{"d":5}},"x":1}`)
	// The last member away leaves an empty object, on one side or both.
	converge(t, ss, ss[0].patch(`[{"op":"remove","path":"/a/c/d"}]`))
	ss[0].want(`{"a":{"c":{}},"x":1}`)
}

func TestUnsetOnBothSidesLeavesTheMap(t *testing.T) {
	ss := start(t, 2, `{"a":{"b":1,"c":1}}`)
	converge(t, ss, ss[0].merge(`{"a":{"b":null}}`), ss[1].merge(`{"a":{"c":null}}`))
	ss[0].want(`{"a":{}}`)
}

func TestMergePatch(t *testing.T) {
	s := sites(t, 1)[0]
	s.merge(`{"a":{"b":1,"c":null},"d":null}`) // makes the document
	s.want(`{"a":{"b":1}}`)
	s.merge(`{"a":{"b":null,"x":[1,null]},"e":{"f":{"g":null}}}`)
	s.want(`{"a":{"x":[1,null]},"e":{"f":{}}}`)
	s.merge(`{"a":1,"e":null}`)
	s.want(`{"a":1}`)
}

func TestOwnOps(t *testing.T) {
	for _, c := range []struct{ from, ops, want string }{
		{`{}`, `[{"op":"inc","path":"/n","value":2},{"op":"inc","path":"/n","value":3}]`, `{"n":{"$counter":5}}`},
		{`{}`, `[{"op":"inc","path":"/a/b/n","value":-2}]`, `{"a":{"b":{"n":{"$counter":-2}}}}`},
		{`{}`, `[{"op":"inc","path":"/n","value":0}]`, `{"n":{"$counter":0}}`},
		{`{"n":5}`, `[{"op":"inc","path":"/n","value":2}]`, `{"n":{"$counter":7}}`},
		{`{"n":5}`, `[{"op":"inc","path":"/n","value":2},{"op":"set","path":"/n","value":3}]`, `{"n":{"$counter":3}}`},
		{`{"n":5}`, `[{"op":"inc","path":"/n","value":2},{"op":"set","path":"/n","value":"x"}]`, `{"n":"x"}`},
		{`{"n":{"$counter":5}}`, `[{"op":"inc","path":"/n","value":2},{"op":"set","path":"/n","value":{"$counter":1}},{"op":"inc","path":"/n","value":1}]`, `{"n":{"$counter":2}}`},
		{`{}`, `[{"op":"add","path":"/s","value":"x"},{"op":"add","path":"/s","value":"x"},{"op":"add","path":"/s","value":"y"}]`, `{"s":{"$set":["x","y"]}}`},
		{`{"s":{"$set":["x"]}}`, `[{"op":"remove","path":"/s","value":"x"},{"op":"remove","path":"/s","value":"z"}]`, `{"s":{"$set":[]}}`},
		{`{}`, `[{"op":"remove","path":"/s","value":"x"},{"op":"unset","path":"/a/b"}]`, `{}`},
		{`{"l":[1,2,3]}`, `[{"op":"insert","path":"/l/1","value":9},{"op":"insert","path":"/l/-","value":8},{"op":"delete","path":"/l/0"}]`, `{"l":[9,2,3,8]}`},
		{`{}`, `[{"op":"insert","path":"/a/l/0","value":1},{"op":"insert","path":"/a/l/-","value":2}]`, `{"a":{"l":[1,2]}}`},
		{`{"l":[1,2,3]}`, `[{"op":"move","from":"/l/0","path":"/l/2"},{"op":"move","from":"/l/1","path":"/l/0"},{"op":"move","from":"/l/0","path":"/l/-"}]`, `{"l":[2,1,3]}`},
		{`{"l":[1]}`, `[{"op":"delete","path":"/l/0"}]`, `{"l":[]}`},
		{`{"l":[{"a":1}]}`, `[{"op":"set","path":"/l/0/a","value":2},{"op":"set","path":"/l/0/b/c","value":3},{"op":"unset","path":"/l/0/a"}]`, `{"l":[{"b":{"c":3}}]}`},
		{`{"a":{"b":1}}`, `[{"op":"unset","path":"/a/b"}]`, `{"a":{}}`},
		{`{"a":1}`, `[{"op":"set","path":"","value":{"b":2}}]`, `{"b":2}`},
	} {
		s := start(t, 1, c.from)[0]
		s.ops(c.ops)
		if got := text(s.doc.View(nil).Value); got != c.want {
			t.Errorf("%s on %s gives %s, want %s", c.ops, c.from, got, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	const doc = `{"n":5,"s":"x","l":[1,2],"m":{"a":1},"set":{"$set":[1]},"c":{"$counter":9223372036854775807}}`
	for _, c := range []struct {
		own, json, want string
		err             error
	}{
		{own: `[{"op":"inc","path":"/s","value":1}]`, err: crdt.ErrConflict, want: "neither a counter nor an integer"},
		{own: `[{"op":"inc","path":"/m","value":1}]`, err: crdt.ErrConflict},
		{own: `[{"op":"inc","path":"/s/x","value":1}]`, err: crdt.ErrConflict, want: "is not an object"},
		{own: `[{"op":"inc","path":"/l/9","value":1}]`, err: crdt.ErrConflict, want: "has no element"},
		{own: `[{"op":"inc","path":"","value":1}]`, err: crdt.ErrRefused},
		{own: `[{"op":"inc","path":"/c","value":1}]`, err: crdt.ErrRefused, want: "64-bit"},
		{own: `[{"op":"inc","path":"/n","value":1,"min":0}]`, err: crdt.ErrRefused, want: "setting \"bounds\""},
		{own: `[{"op":"splice","path":"/s","index":0,"insert":"y"}]`, err: crdt.ErrRefused, want: "automerge"},
		{own: `[{"op":"add","path":"/l","value":1}]`, err: crdt.ErrConflict, want: "$set"},
		{own: `[{"op":"add","path":"","value":1}]`, err: crdt.ErrRefused},
		{own: `[{"op":"remove","path":"/m","value":1}]`, err: crdt.ErrConflict},
		{own: `[{"op":"insert","path":"/l/3","value":1}]`, err: crdt.ErrConflict, want: "out of range"},
		{own: `[{"op":"insert","path":"/m/0","value":1}]`, err: crdt.ErrConflict, want: "not a list"},
		{own: `[{"op":"insert","path":"/0","value":1}]`, err: crdt.ErrRefused},
		{own: `[{"op":"delete","path":"/l/2"}]`, err: crdt.ErrConflict, want: "out of range"},
		{own: `[{"op":"delete","path":"/x/2"}]`, err: crdt.ErrConflict},
		{own: `[{"op":"move","from":"/l/2","path":"/l/0"}]`, err: crdt.ErrConflict},
		{own: `[{"op":"unset","path":"/l/0"}]`, err: crdt.ErrConflict, want: "delete"},
		{own: `[{"op":"set","path":"","value":1}]`, err: crdt.ErrRefused, want: "JSON object"},
		{own: `[{"op":"set","path":"/l/5","value":1}]`, err: crdt.ErrConflict},
		{json: `[{"op":"test","path":"/n","value":6}]`, err: crdt.ErrConflict, want: "another value"},
		{json: `[{"op":"test","path":"/x","value":6}]`, err: crdt.ErrConflict, want: "nothing at"},
		{json: `[{"op":"add","path":"/x/y","value":6}]`, err: crdt.ErrConflict},
		{json: `[{"op":"add","path":"/l/x","value":6}]`, err: crdt.ErrConflict, want: "no index"},
		{json: `[{"op":"add","path":"/s/x","value":6}]`, err: crdt.ErrConflict},
		{json: `[{"op":"replace","path":"/x","value":6}]`, err: crdt.ErrConflict},
		{json: `[{"op":"replace","path":"","value":6}]`, err: crdt.ErrRefused},
		{json: `[{"op":"remove","path":"/x"}]`, err: crdt.ErrConflict},
		{json: `[{"op":"remove","path":""}]`, err: crdt.ErrRefused},
		{json: `[{"op":"move","from":"/x","path":"/y"}]`, err: crdt.ErrConflict},
		{json: `[{"op":"remove","path":"/set/0"}]`, err: crdt.ErrConflict},
	} {
		s := start(t, 1, doc)[0]
		e := crdt.Edit{Kind: crdt.EditOps}
		if c.own != "" {
			e.Ops = ownOps(t, c.own)
		} else {
			e.Kind, e.Ops = crdt.EditJSONPatch, jsonPatch(t, c.json)
		}
		_, err := s.try(e)
		if !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "operation 0") {
			t.Errorf("%s%s: %v, want %v (… %s …)", c.own, c.json, err, c.err, c.want)
		}
		s.want(doc)
	}
	s := start(t, 1, doc)[0]
	for name, e := range map[string]crdt.Edit{
		"root is no object":  {Kind: crdt.EditPut, Value: []any{}},
		"patch is no object": {Kind: crdt.EditMergePatch, Value: int64(1)},
		"not a value":        {Kind: crdt.EditPut, Value: map[string]any{"a": 1}},
		"not finite":         {Kind: crdt.EditPut, Value: map[string]any{"a": math.NaN()}},
		"unknown kind":       {Kind: 99},
		"unknown mode":       {Kind: crdt.EditDelete},
		"base of no object":  {Kind: crdt.EditPut, Value: map[string]any{}, BaseValue: nil, HasBaseValue: true},
	} {
		if _, err := s.try(e); !errors.Is(err, crdt.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCopyIsBounded(t *testing.T) {
	s := start(t, 1, fmt.Sprintf(`{"a":%q}`, strings.Repeat("x", 1<<16)))[0]
	ops := `[{"op":"copy","from":"/a","path":"/b"}` + strings.Repeat(`,{"op":"copy","from":"/a","path":"/b"}`, 20) + `]`
	if _, err := s.try(crdt.Edit{Kind: crdt.EditJSONPatch, Ops: jsonPatch(t, ops)}); !errors.Is(err, crdt.ErrTooLarge) {
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	s := start(t, 1, `{"a":{"b":{}},"l":[]}`)[0]
	s.lim.Value = value.Limits{MaxDepth: 4, MaxBytes: 300, MaxItems: 20}
	for name, e := range map[string]crdt.Edit{
		"depth":            {Kind: crdt.EditPut, Value: parse(t, `{"a":[[[[1]]]]}`)},
		"depth below":      {Kind: crdt.EditMergePatch, Value: parse(t, `{"a":{"b":{"c":[[]]}}}`)},
		"depth in a list":  {Kind: crdt.EditOps, Ops: ownOps(t, `[{"op":"insert","path":"/l/0","value":[[[]]]}]`)},
		"depth of members": {Kind: crdt.EditOps, Ops: ownOps(t, `[{"op":"add","path":"/a/b/s","value":[[]]}]`)},
		"bytes":            {Kind: crdt.EditMergePatch, Value: parse(t, `{"x":"`+strings.Repeat("x", 280)+`"}`)},
		"items":            {Kind: crdt.EditMergePatch, Value: parse(t, `{"x":[`+strings.Repeat("1,", 18)+`1]}`)},
	} {
		if _, err := s.try(e); !errors.Is(err, crdt.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is too large already may be made smaller, not larger.
	s.lim = crdt.DefaultLimits
	s.merge(`{"x":"` + strings.Repeat("x", 2000) + `","y":"` + strings.Repeat("y", 2000) + `"}`)
	s.lim.State = 1000
	if _, err := s.try(crdt.Edit{Kind: crdt.EditMergePatch, Value: parse(t, `{"z":"zzzzzzzzzzzzzzzzzz"}`)}); !errors.Is(err, crdt.ErrTooLarge) {
		t.Error(err)
	}
	s.merge(`{"x":null}`)
}

func TestSiblingsAreBounded(t *testing.T) {
	s := start(t, 1, `{"a":0}`)[0]
	s.lim.Siblings = 3
	base := s.doc.Clone()
	put := func(i int) error {
		_, err := s.try(crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"a": int64(i)}, Base: base})
		return err
	}
	for i := range 3 {
		if err := put(i + 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(9); !errors.Is(err, crdt.ErrTooManySiblings) {
		t.Errorf("%v", err)
	}
	s.wantConflicts(`/a: 1 | 2 | 3`)
	// By the base's value the document's heads stay few, and the field is checked.
	e := crdt.Edit{Kind: crdt.EditPut, Value: parse(t, `{"a":7}`), BaseValue: parse(t, `{"a":0}`), HasBaseValue: true}
	if _, err := s.try(e); !errors.Is(err, crdt.ErrTooManySiblings) {
		t.Errorf("%v", err)
	}
	s.put(`{"a":5}`)
	s.wantConflicts()
}

func TestResolve(t *testing.T) {
	conflicted := func(t *testing.T) []*site {
		ss := start(t, 3, `{"a":0,"m":{}}`)
		converge(t, ss, ss[0].put(`{"a":1,"m":{"x":1}}`), ss[1].put(`{"a":2,"m":{"x":2}}`), ss[2].put(`{"a":3,"m":{}}`))
		return ss
	}
	resolve := func(s *site, path string, v string, covers ...crdt.Dot) error {
		p, _ := value.ParsePointer(path)
		_, err := s.try(crdt.Edit{Kind: crdt.EditResolve, Path: p, Value: parse(s.t, v), Covers: covers})
		return err
	}
	dots := func(s *site, path string) (out []crdt.Dot) {
		for _, c := range s.doc.View(nil).Conflicts {
			if c.Path == path {
				for _, v := range c.Versions {
					out = append(out, v.Dot)
				}
			}
		}
		return out
	}
	t.Run("two of three", func(t *testing.T) {
		s := conflicted(t)[0]
		d := dots(s, "/a")
		if err := resolve(s, "/a", `9`, d[0], d[2]); err != nil {
			t.Fatal(err)
		}
		s.wantConflicts(`/a: 2 | 9`, `/m/x: 1 | 2`)
		if err := resolve(s, "/a", `9`, d[0]); !errors.Is(err, crdt.ErrConflict) {
			t.Errorf("a version that is gone: %v", err)
		}
	})
	t.Run("all", func(t *testing.T) {
		s := conflicted(t)[0]
		if err := resolve(s, "/a", `3`, dots(s, "/a")...); err != nil {
			t.Fatal(err)
		}
		s.wantConflicts(`/m/x: 1 | 2`)
	})
	t.Run("to a map", func(t *testing.T) {
		s := conflicted(t)[0]
		if err := resolve(s, "/a", `{"b":1}`); err != nil {
			t.Fatal(err)
		}
		s.want(`{"a":{"b":1},"m":{"x":2}}`)
	})
	t.Run("to what is shown", func(t *testing.T) {
		ss := start(t, 2, `{"a":0}`)
		converge(t, ss, ss[0].put(`{"a":1}`), ss[1].put(`{"a":{"x":1}}`))
		ss[0].wantConflicts(`/a: 1 | {"x":1}`)
		if err := resolve(ss[0], "/a", `{"x":1}`); err != nil {
			t.Fatal(err)
		}
		ss[0].want(`{"a":{"x":1}}`)
		ss[0].wantConflicts()
	})
	t.Run("the document", func(t *testing.T) {
		ss := conflicted(t)
		c := ss[0].edit(crdt.Edit{Kind: crdt.EditResolve, Value: parse(t, `{"a":3,"m":{"x":2}}`), Covers: ss[0].doc.heads.Dots()})
		converge(t, ss, c)
		ss[1].want(`{"a":3,"m":{"x":2}}`)
		ss[1].wantConflicts()
		if n := len(ss[1].doc.heads.All()); n != 1 {
			t.Errorf("%d heads", n)
		}
	})
	t.Run("some heads", func(t *testing.T) {
		s := conflicted(t)[0]
		heads := s.doc.heads.Dots()
		s.edit(crdt.Edit{Kind: crdt.EditResolve, Value: parse(t, `{"a":3}`), Covers: heads[:2]})
		if n := len(s.doc.heads.All()); n != 2 {
			t.Errorf("%d heads", n)
		}
		if err := resolve(s, "", `{}`, heads[0]); !errors.Is(err, crdt.ErrConflict) {
			t.Errorf("a head that is gone: %v", err)
		}
	})
	t.Run("by deletion", func(t *testing.T) {
		s := conflicted(t)[0]
		s.edit(crdt.Edit{Kind: crdt.EditResolve, Mode: crdt.DeleteEditWins})
		s.wantGone()
		if err := resolve(s, "", `{}`); !errors.Is(err, crdt.ErrNotFound) {
			t.Errorf("%v", err)
		}
	})
	t.Run("nowhere", func(t *testing.T) {
		s := conflicted(t)[0]
		if err := resolve(s, "/x", `1`); !errors.Is(err, crdt.ErrConflict) {
			t.Errorf("%v", err)
		}
	})
	t.Run("integers that are counted on", func(t *testing.T) {
		ss := start(t, 2, `{"n":1}`)
		converge(t, ss, ss[0].put(`{"n":10}`), ss[1].ops(`[{"op":"inc","path":"/n","value":5}]`))
		ss[0].want(`{"n":{"$counter":15}}`)
		converge(t, ss, ss[0].ops(`[{"op":"set","path":"/n","value":"x"}]`), ss[1].ops(`[{"op":"inc","path":"/n","value":1}]`))
		d := dots(ss[0], "/n")
		if err := resolve(ss[0], "/n", `7`, d...); err != nil {
			t.Fatal(err)
		}
		ss[0].want(`{"n":7}`)
	})
	t.Run("an integer that is counted on, and not the string", func(t *testing.T) {
		ss := start(t, 2, `{"n":1}`)
		converge(t, ss, ss[0].ops(`[{"op":"inc","path":"/n","value":5}]`))
		converge(t, ss, ss[0].put(`{"n":10}`), ss[1].put(`{"n":"x"}`))
		ss[0].wantConflicts(`/n: {"$counter":4} | "x"`)
	})
	t.Run("one of two integers, and the other goes on counting", func(t *testing.T) {
		ss := start(t, 3, `{}`)
		converge(t, ss, ss[0].put(`{"n":10}`), ss[1].put(`{"n":"x"}`), ss[2].ops(`[{"op":"inc","path":"/n","value":5}]`))
		ss[0].wantConflicts(`/n: {"$counter":15} | "x"`)
		if err := resolve(ss[0], "/n", `"y"`, dots(ss[0], "/n")[0]); err != nil {
			t.Fatal(err)
		}
		ss[0].wantConflicts(`/n: "x" | "y"`) // what counted on the integer went with it
	})
}

func TestComputedValueCanBeEdited(t *testing.T) {
	ss := start(t, 2, `{"a":0}`)
	converge(t, ss, ss[0].put(`{"a":{"x":1}}`), ss[1].put(`{"a":2}`))
	policy := func(crdt.Conflict) crdt.Outcome {
		return crdt.Outcome{Shown: -1, Value: map[string]any{"l": []any{int64(1)}, "s": value.Set{"x"}, "n": int64(1)}}
	}
	s := ss[0]
	for _, ops := range []string{
		`[{"op":"set","path":"/a/n","value":5}]`, `[{"op":"insert","path":"/a/l/1","value":5}]`,
		`[{"op":"add","path":"/a/s","value":"y"}]`, `[{"op":"inc","path":"/a/n","value":4}]`,
	} {
		d := s.doc.Clone().(*Doc)
		hd := s.header()
		m, err := d.Prepare(crdt.Edit{Kind: crdt.EditOps, Ops: ownOps(t, ops)}, hd, policy, s.lim)
		if err == nil {
			err = d.Apply(hd, m)
		}
		if got := text(value.Plain(d.View(nil).Value)); err != nil || len(d.View(nil).Conflicts) > 0 ||
			!slices.Contains([]string{`{"a":{"l":[1],"n":5,"s":["x"]}}`, `{"a":{"l":[1,5],"n":1,"s":["x"]}}`, `{"a":{"l":[1],"n":1,"s":["x","y"]}}`}, got) {
			t.Errorf("%s gives %s, %v", ops, got, err)
		}
	}
}
