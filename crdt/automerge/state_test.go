package automerge_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

func TestConcurrentTypingKeepsEverything(t *testing.T) {
	ps := sites(t, 2, `{"text":"hello world","n":1}`)
	a, b := ps[0], ps[1]
	w := a.put(`{"text":"hello brave world","n":1}`)
	x := b.put(`{"text":"hello world!","n":2}`)
	a.receive(x)
	b.receive(w)
	expect(t, `{"n":2,"text":"hello brave world!"}`, a, b)
	y := a.ops(`[{"op":"splice","path":"/text","index":0,"delete":5,"insert":"Hallo"}]`)
	z := b.ops(`[{"op":"splice","path":"/text","index":18,"insert":"?"}]`)
	a.receive(z)
	b.receive(y)
	expect(t, `{"n":2,"text":"Hallo brave world!?"}`, a, b)
	if got := typed(a.s.View(newest).Value); got != `{"n":2,"text":{"$text":"Hallo brave world!?"}}` {
		t.Error(got)
	}
}

func TestWhatAWriteKeeps(t *testing.T) {
	for _, c := range []struct {
		name, before, want string
		edit               crdt.Edit
	}{
		{"types", `{}`, `{"a":[1,1.5,true,null,"x",{"b":[]}],"c":{"$counter":3},"t":"é😀"}`,
			crdt.Edit{Kind: crdt.EditPut, Value: parse(`{"a":[1,1.5,true,null,"x",{"b":[]}],"c":{"$counter":3},"t":{"$text":"é😀"}}`)}},
		{"counter by an integer", `{"c":{"$counter":3}}`, `{"c":{"$counter":7}}`, crdt.Edit{Kind: crdt.EditPut, Value: parse(`{"c":7}`)}},
		{"kind", `{"a":1}`, `{"a":1.0}`, crdt.Edit{Kind: crdt.EditPut, Value: parse(`{"a":1.0}`)}},
		{"list", `{"l":[1,2,3,4]}`, `{"l":[0,1,9,4,5]}`, crdt.Edit{Kind: crdt.EditPut, Value: parse(`{"l":[0,1,9,4,5]}`)}},
		{"list of objects", `{"l":[{"id":1,"x":"a"},{"id":2}]}`, `{"l":[{"id":3},{"id":1,"x":"ab","y":1}]}`,
			crdt.Edit{Kind: crdt.EditPut, Value: parse(`{"l":[{"id":3},{"id":1,"x":"ab","y":1}]}`)}},
		{"merge", `{"a":{"b":1,"c":2},"d":3}`, `{"a":{"b":1,"e":{}},"x":1}`,
			crdt.Edit{Kind: crdt.EditMergePatch, Value: parse(`{"a":{"c":null,"e":{"n":null}},"d":null,"x":1}`)}},
		{"json", `{"a":{"b":1},"l":[1,2,3]}`, `{"a":{"b":1,"k":[2,9]},"l":[3,7]}`,
			jsonPatch(`[{"op":"test","path":"/l/1","value":2.0},{"op":"copy","from":"/l","path":"/a/k"},{"op":"remove","path":"/a/k/0"},
				{"op":"replace","path":"/a/k/1","value":9},{"op":"move","from":"/l/2","path":"/l/0"},{"op":"remove","path":"/l/1"},
				{"op":"remove","path":"/l/1"},{"op":"add","path":"/l/-","value":7}]`)},
		{"ops", `{"l":[1,2,3],"c":{"$counter":1}}`, `{"c":{"$counter":6},"d":{"$counter":-2},"l":[3,2],"m":["x"],"o":{"p":{"q":1}},"t":"new"}`,
			ops(`[{"op":"inc","path":"/c","value":5},{"op":"inc","path":"/d","value":-2},{"op":"delete","path":"/l/0"},
				{"op":"move","from":"/l/1","path":"/l/0"},{"op":"insert","path":"/m/0","value":"x"},{"op":"set","path":"/o/p/q","value":1},
				{"op":"splice","path":"/t","index":0,"insert":"nw"},{"op":"splice","path":"/t","index":1,"insert":"e"},
				{"op":"unset","path":"/z"},{"op":"unset","path":"/z/y"}]`)},
		{"set root", `{"a":1,"b":2}`, `{"b":3}`, ops(`[{"op":"set","path":"","value":{"b":3}}]`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := sites(t, 1, c.before)[0]
			a.edit(c.edit)
			want := strings.NewReplacer(`{"$counter":`, "", `}`, "").Replace(c.want)
			if got := typed(a.s.View(newest).Value); strings.NewReplacer(`{"$counter":`, "", `{"$text":`, "", `}`, "").Replace(got) != want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if strings.Count(typed(a.s.View(newest).Value), "$counter") != strings.Count(c.want, "$counter") {
				t.Errorf("counters: %s", typed(a.s.View(newest).Value))
			}
			expect(t, a.show(), a)
			// The same again is no change, but a write.
			if c.edit.Kind == crdt.EditPut {
				if w := a.edit(c.edit); len(w.Payload) > 2 {
					t.Errorf("what changes nothing takes %d bytes", len(w.Payload))
				}
			}
		})
	}
}

func TestRefusedEdits(t *testing.T) {
	const doc = `{"a":{"b":1},"l":[1],"c":{"$counter":9223372036854775807},"t":"x"}`
	for _, c := range []struct {
		name string
		edit crdt.Edit
		err  error
	}{
		{"root", crdt.Edit{Kind: crdt.EditPut, Value: int64(1)}, crdt.ErrRefused},
		{"set", crdt.Edit{Kind: crdt.EditPut, Value: parse(`{"s":{"$set":[1]}}`)}, crdt.ErrRefused},
		{"empty key", crdt.Edit{Kind: crdt.EditPut, Value: parse(`{"x":{"":1}}`)}, crdt.ErrRefused},
		{"empty key at the root", crdt.Edit{Kind: crdt.EditPut, Value: parse(`{"":1}`)}, crdt.ErrRefused},
		{"too deep", crdt.Edit{Kind: crdt.EditOps, Ops: ops(`[{"op":"set","path":"/a` + strings.Repeat("/x", 62) + `","value":{"a":{"b":{}}}}]`).Ops}, crdt.ErrTooLarge},
		{"too many characters", crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"t": strings.Repeat("x", 200_000)}}, crdt.ErrTooLarge},
		{"inc a number", ops(`[{"op":"inc","path":"/a/b","value":1}]`), crdt.ErrConflict},
		{"overflow", ops(`[{"op":"inc","path":"/c","value":1}]`), crdt.ErrRefused},
		{"bounds", ops(`[{"op":"inc","path":"/c","value":1,"max":3}]`), crdt.ErrRefused},
		{"sets", ops(`[{"op":"add","path":"/a","value":1}]`), crdt.ErrRefused},
		{"beyond a text", ops(`[{"op":"splice","path":"/t","index":2,"insert":"y"}]`), crdt.ErrConflict},
		{"splice a number", ops(`[{"op":"splice","path":"/a/b","index":0,"insert":"y"}]`), crdt.ErrConflict},
		{"splice nothing", ops(`[{"op":"splice","path":"/z","index":1,"insert":"y"}]`), crdt.ErrConflict},
		{"into a text", ops(`[{"op":"set","path":"/t/x","value":1}]`), crdt.ErrConflict},
		{"into a number", ops(`[{"op":"set","path":"/a/b/c","value":1}]`), crdt.ErrConflict},
		{"beyond a list", ops(`[{"op":"set","path":"/l/1","value":1}]`), crdt.ErrConflict},
		{"test", jsonPatch(`[{"op":"add","path":"/z","value":1},{"op":"test","path":"/a/b","value":2}]`), crdt.ErrConflict},
		{"remove nothing", jsonPatch(`[{"op":"remove","path":"/z"}]`), crdt.ErrConflict},
		{"remove the root", jsonPatch(`[{"op":"remove","path":""}]`), crdt.ErrRefused},
		{"import nothing", crdt.Edit{Kind: crdt.EditImport}, crdt.ErrRefused},
		{"import garbage", crdt.Edit{Kind: crdt.EditImport, Raw: []byte("\x85\x6f\x4a\x83 garbage")}, crdt.ErrRefused},
		{"kind", crdt.Edit{Kind: 99}, crdt.ErrRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := sites(t, 1, doc)[0]
			before := a.show()
			if _, err := a.try(c.edit); !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			expect(t, before, a)
			a.put(`{"after":"x"}`)
			expect(t, `{"after":"x"}`, a)
		})
	}
	for _, e := range []crdt.Edit{jsonPatch(`[]`), {Kind: crdt.EditDelete, Mode: crdt.DeleteEditWins}, {Kind: crdt.EditResolve, Value: map[string]any{}}} {
		if _, err := newSite(t, 0).try(e); !errors.Is(err, crdt.ErrNotFound) {
			t.Errorf("kind %d without a document: %v", e.Kind, err)
		}
	}
}

func TestConcurrentValuesAreVersions(t *testing.T) {
	ps := sites(t, 3, `{"x":0,"o":{"l":[1]}}`)
	a, b, c := ps[0], ps[1], ps[2]
	ws := []write{
		a.ops(`[{"op":"set","path":"/x","value":1},{"op":"set","path":"/o/l/0","value":"a"},{"op":"set","path":"/n","value":{"from":"a"}}]`),
		b.ops(`[{"op":"set","path":"/x","value":2},{"op":"set","path":"/o/l/0","value":"b"},{"op":"set","path":"/n","value":{"from":"b"}}]`),
		c.ops(`[{"op":"set","path":"/x","value":3}]`),
	}
	for _, p := range ps {
		for _, w := range ws {
			if w.Dot.Replica != p.id {
				p.receive(w)
			}
		}
	}
	expect(t, `{"n":{"from":"b"},"o":{"l":["b"]},"x":3}`, a, b, c)
	v := a.s.View(newest)
	if len(v.Conflicts) != 3 {
		t.Fatalf("%+v", v.Conflicts)
	}
	n, l, x := v.Conflicts[0], v.Conflicts[1], v.Conflicts[2]
	if n.Path != "/n" || len(n.Versions) != 2 || plain(n.Versions[0].Value) != `{"from":"a"}` || n.Shown != 1 {
		t.Errorf("%+v", n)
	}
	if l.Path != "/o/l/0" || x.Path != "/x" || len(x.Versions) != 3 || x.Versions[0].Dot != ws[0].Dot || x.Versions[2].Stamp != ws[2].Stamp {
		t.Errorf("%+v %+v", l, x)
	}
	// Another policy shows another one, and an edit is made to what is shown.
	first := func(c crdt.Conflict) crdt.Outcome { return crdt.Outcome{Shown: 0} }
	if got := plain(a.s.View(first).Value); got != `{"n":{"from":"a"},"o":{"l":["a"]},"x":1}` {
		t.Error(got)
	}
	own := func(c crdt.Conflict) crdt.Outcome { return crdt.Outcome{Shown: -1, Value: int64(len(c.Versions))} }
	if got := plain(a.s.View(own).Value); got != `{"n":2,"o":{"l":[2]},"x":3}` {
		t.Error(got)
	}

	// Two of three, at another region.
	b.receive(a.edit(crdt.Edit{Kind: crdt.EditResolve, Path: value.Pointer{"x"}, Value: int64(12), Covers: []crdt.Dot{ws[0].Dot, ws[1].Dot}}))
	got := b.s.View(newest).Conflicts[2]
	if len(got.Versions) != 2 || plain(got.Versions[0].Value) != "3" || plain(got.Versions[1].Value) != "12" {
		t.Fatalf("%+v", got)
	}
	b.receive(a.edit(crdt.Edit{Kind: crdt.EditResolve, Path: value.Pointer{"o", "l", "0"}, Value: "both"}))
	b.receive(a.put(`{"n":{"from":"b","x":1},"o":{"l":["both"]},"x":12}`))
	if v := b.s.View(newest); len(v.Conflicts) != 2 { // a put leaves what it does not change
		t.Errorf("%+v", v.Conflicts)
	}
	b.receive(a.edit(crdt.Edit{Kind: crdt.EditResolve, Value: parse(`{"n":{"from":"b"},"o":{"l":["both"]},"x":12}`)}))
	if v := b.s.View(newest); len(v.Conflicts) != 0 {
		t.Errorf("%+v", v.Conflicts)
	}
	expect(t, `{"n":{"from":"b"},"o":{"l":["both"]},"x":12}`, a, b)
	if _, err := a.try(crdt.Edit{Kind: crdt.EditResolve, Path: value.Pointer{"x"}, Covers: []crdt.Dot{ws[0].Dot}}); !errors.Is(err, crdt.ErrConflict) {
		t.Error(err)
	}
}

func TestEditsOfAnOlderVersionMerge(t *testing.T) {
	a := sites(t, 1, `{"text":"one two three","n":1,"l":[1,2,3]}`)[0]
	base := a.s.Clone()
	a.put(`{"text":"one 2 three","n":1,"l":[0,1,2,3]}`)
	e := crdt.Edit{Kind: crdt.EditPut, Value: parse(`{"text":"one two THREE","n":1,"l":[1,2,3,4],"new":true}`)}
	byValue := e
	e.Base = base
	b := newSite(t, 1)
	b.s, b.have = a.s.Clone().(stateT), a.have
	a.edit(e)
	const want = `{"l":[0,1,2,3,4],"n":1,"new":true,"text":"one 2 THREE"}`
	expect(t, want, a)
	byValue.HasBaseValue, byValue.BaseValue = true, value.Plain(base.View(newest).Value)
	b.edit(byValue)
	if b.show() != want {
		t.Error(b.show())
	}
	patch := ops(`[{"op":"splice","path":"/text","index":0,"delete":3,"insert":"1"}]`)
	patch.Base = base
	a.edit(patch)
	expect(t, `{"l":[0,1,2,3,4],"n":1,"new":true,"text":"1 2 THREE"}`, a)
	// After a deletion there is nothing to merge with, but what the base showed.
	a.edit(crdt.Edit{Kind: crdt.EditDelete, Mode: crdt.DeleteEditWins})
	expect(t, "none", a)
	a.edit(patch)
	expect(t, `{"l":[1,2,3],"n":1,"text":"1 two three"}`, a)
	a.edit(crdt.Edit{Kind: crdt.EditDelete, Mode: crdt.DeleteWins})
	if _, err := a.try(patch); !errors.Is(err, crdt.ErrConflict) {
		t.Error(err)
	}
	a.put(`{"text":"new"}`)
	a.edit(patch) // the base is of an earlier life
	if !strings.HasPrefix(a.show(), `{"text":"1`) && a.show() != `{"text":"new"}` {
		t.Error(a.show())
	}
}
