package document

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample is a document with something of everything in it, and the changes that
// made it.
func sample(t testing.TB) (*site, []*crdt.Change) {
	ss := sites(t, 2)
	a, b := ss[0], ss[1]
	cs := []*crdt.Change{a.put(`{"null":null,"yes":true,"n":10,"f":1.5,"s":"héllo","t":{"$text":"x"},"c":{"$counter":5},
		"set":{"$set":["red",{"x":1}]},"m":{"deep":{"er":[]}},"l":[1,{"id":1,"v":[1,2]},3,4]}`)}
	b.apply(cs...)
	cs = append(cs,
		a.put(`{"null":null,"yes":false,"n":11,"f":1.5,"s":"a","t":"x","c":7,"set":["red","blue"],"m":{"deep":{"er":[1]}},"l":[4,1,{"id":1,"v":[2]}]}`),
		b.ops(`[{"op":"inc","path":"/n","value":-3},{"op":"set","path":"/s","value":{"x":1}},{"op":"set","path":"/c","value":{"$counter":1}},
			{"op":"move","from":"/l/1","path":"/l/3"},{"op":"set","path":"/l/3/v/0","value":9},{"op":"insert","path":"/l/1","value":"n"}]`),
		a.ops(`[{"op":"inc","path":"/c","value":1},{"op":"delete","path":"/l/1"}]`))
	converge(t, ss, cs...)
	a.doc.Trim(crdt.VectorOf(cs[1].Dot))
	a.doc.Trim(crdt.VectorOf(cs[1].Dot))
	return a, cs
}

func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s changed: stores and peers hold the old form\ngot  %x\nwant %x", name, got, want)
	}
	return want
}

func TestGoldenState(t *testing.T) {
	a, _ := sample(t)
	got, err := a.doc.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Decode(golden(t, "state.golden", got))
	if err != nil {
		t.Fatal(err)
	}
	if describe(d) != describe(a.doc) || d.Digest() != a.doc.Digest() || !d.Equal(a.doc) {
		t.Errorf("decoded it shows\n%s\nwant\n%s", describe(d), describe(a.doc))
	}
}

func TestGoldenPayloads(t *testing.T) {
	_, cs := sample(t)
	d := New()
	var all []byte
	for _, c := range cs {
		all = append(all, c.Mutations[0].Payload...)
	}
	want := golden(t, "payloads.golden", all)
	for _, c := range cs {
		m := c.Mutations[0]
		m.Payload, want = want[:len(m.Payload)], want[len(m.Payload):]
		if err := d.Apply(c.Header, m); err != nil {
			t.Fatal(err)
		}
	}
	// The digest is compared between regions of different versions too.
	sum := d.Digest()
	golden(t, "digest.golden", sum[:])
}

func TestDecodeRefuses(t *testing.T) {
	a, _ := sample(t)
	enc, _ := a.doc.AppendBinary(nil)
	for n := range enc {
		if _, err := Decode(enc[:n]); !errors.Is(err, crdt.ErrCorrupt) {
			t.Fatalf("%d of %d bytes: %v", n, len(enc), err)
		}
	}
	if _, err := Decode(append(bytes.Clone(enc), 0)); !errors.Is(err, crdt.ErrCorrupt) {
		t.Errorf("trailing byte: %v", err)
	}
	enc[0]++
	if _, err := Decode(enc); !errors.Is(err, crdt.ErrCorrupt) {
		t.Errorf("newer format: %v", err)
	}
}

func TestCloneIsIndependent(t *testing.T) {
	a, _ := sample(t)
	before := describe(a.doc)
	clone := a.doc.Clone().(*Doc)
	if describe(clone) != before || clone.Digest() != a.doc.Digest() || !clone.Equal(a.doc) {
		t.Fatal("the clone differs")
	}
	a.put(`{"l":[4]}`)
	a.doc.Trim(a.have)
	if describe(clone) != before {
		t.Error("the clone changed")
	}
	if a.doc.Type() != crdt.TypeDocument {
		t.Error("another type")
	}
}

func FuzzDecodeState(f *testing.F) {
	f.Add([]byte{})
	for _, d := range []*Doc{New(), first(sample(f)).doc, start(f, 1, `{"a":{"b":[{"$set":[1]},{"$counter":2}]}}`)[0].doc} {
		b, err := d.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Decode(b)
		if err != nil {
			if !errors.Is(err, crdt.ErrCorrupt) {
				t.Fatalf("error %v does not wrap ErrCorrupt", err)
			}
			return
		}
		one, err := d.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(one)
		if err != nil {
			t.Fatalf("what was decoded is encoded as nonsense: %v", err)
		}
		two, err := again.AppendBinary(nil)
		if err != nil || !bytes.Equal(one, two) {
			t.Fatalf("decoding and encoding changes\n%x\nto\n%x (%v)", one, two, err)
		}
		if describe(d) != describe(again) || d.Digest() != again.Digest() {
			t.Fatal("encoding changes what is shown")
		}
		d.Clone()
		before := describe(d)
		d.Trim(crdt.VectorOf(d.heads.Dots()...))
		if d.heads.Known() && describe(d) != before {
			t.Fatal("trimming changes what is shown")
		}
	})
}

func first(s *site, _ []*crdt.Change) *site { return s }

func FuzzApplyPayload(f *testing.F) {
	a, cs := sample(f)
	for _, c := range cs {
		f.Add(c.Mutations[0].Payload, false)
	}
	hd := a.header()
	for _, e := range []crdt.Edit{
		{Kind: crdt.EditPut, Value: parse(f, `{"l":[9,3],"c":3}`)},
		{Kind: crdt.EditOps, Ops: ownOps(f, `[{"op":"move","from":"/l/0","path":"/l/1"},{"op":"inc","path":"/n","value":1},{"op":"add","path":"/set","value":7}]`)},
	} {
		m, err := a.doc.Prepare(e, hd, nil, a.lim)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Payload, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, fresh bool) {
		d := a.doc.Clone().(*Doc)
		before := describe(d)
		err := d.Apply(hd, crdt.Mutation{Type: crdt.TypeDocument, Context: d.heads.Dots(), Fresh: fresh, Payload: b})
		if err != nil {
			if !errors.Is(err, crdt.ErrCorrupt) {
				t.Fatalf("error %v does not wrap ErrCorrupt", err)
			}
			if describe(d) != before {
				t.Fatal("a mutation that fails changes the state")
			}
			return
		}
		if err := check(d); err != nil {
			t.Fatal(err)
		}
		shown := describe(d)
		if d.Trim(hd.Deps.With(hd.Dot)); describe(d) != shown {
			t.Fatal("trimming changes what is shown")
		}
		// Operations that were read and are written again do the same.
		var ops []op
		if err := decodeOps(hd, b, func(o *op) error {
			c := *o
			c.path = append(path{}, o.path...)
			ops = append(ops, c)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		again, err := encodeOps(hd, ops)
		if err != nil {
			t.Fatal(err)
		}
		e := a.doc.Clone().(*Doc)
		if err := e.Apply(hd, crdt.Mutation{Type: crdt.TypeDocument, Context: e.heads.Dots(), Fresh: fresh, Payload: again}); err != nil {
			t.Fatal(err)
		}
		if e.Digest() != d.Digest() {
			t.Fatalf("%x does not do the same as %x", again, b)
		}
	})
}

func BenchmarkFieldUpdate(b *testing.B) {
	s := benchSite(b, 40)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		hd := s.header()
		m, err := s.doc.Prepare(crdt.Edit{Kind: crdt.EditMergePatch, Value: map[string]any{"field7": int64(i)}}, hd, nil, s.lim)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.doc.Apply(hd, m); err != nil {
			b.Fatal(err)
		}
		s.have = s.have.With(hd.Dot)
		if _, err := s.doc.AppendBinary(nil); err != nil {
			b.Fatal(err)
		}
	}
}

func benchSite(b *testing.B, fields int) *site {
	s := sites(b, 1)[0]
	v := map[string]any{}
	for i := range fields {
		v["field"+string(rune('0'+i%10))+string(rune('0'+i/10))] = "some value"
	}
	s.edit(crdt.Edit{Kind: crdt.EditPut, Value: v})
	return s
}

func BenchmarkPutUnchanged(b *testing.B) {
	s := benchSite(b, 40)
	e := crdt.Edit{Kind: crdt.EditPut, Value: s.doc.View(nil).Value}
	hd := s.header()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.doc.Prepare(e, hd, nil, s.lim); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	enc, _ := benchSite(b, 40).doc.AppendBinary(nil)
	b.SetBytes(int64(len(enc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(enc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkView(b *testing.B) {
	d := benchSite(b, 40).doc
	b.ReportAllocs()
	for b.Loop() {
		d.View(nil)
	}
}

func BenchmarkDigest(b *testing.B) {
	d := benchSite(b, 40).doc
	b.ReportAllocs()
	for b.Loop() {
		d.Digest()
	}
}

// BenchmarkListInsert inserts into the middle of a list of 10,000 elements.
func BenchmarkListInsert(b *testing.B) {
	s := sites(b, 1)[0]
	s.edit(crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"l": make([]any, 10_000)}})
	ops := []value.Op{{Op: "insert", Path: value.Pointer{"l", "5000"}, Value: int64(1)}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%100 == 0 { // as a store does, so that the size is known
			if _, err := s.doc.AppendBinary(nil); err != nil {
				b.Fatal(err)
			}
		}
		hd := s.header()
		m, err := s.doc.Prepare(crdt.Edit{Kind: crdt.EditOps, Ops: ops}, hd, nil, s.lim)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.doc.Apply(hd, m); err != nil {
			b.Fatal(err)
		}
		s.have = s.have.With(hd.Dot)
	}
}
