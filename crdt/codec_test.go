package crdt_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/internal/causaltest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares b with a file of hexadecimal bytes.
func golden(t *testing.T, name string, b []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		var text strings.Builder
		for line := range slices.Chunk(b, 32) {
			text.WriteString(hex.EncodeToString(line) + "\n")
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("the encoding changed:\n%x, golden\n%x", b, want)
	}
}

// sampleChange has all that there can be in a change.
func sampleChange() *crdt.Change {
	a, b, c := causaltest.ReplicaID(0), causaltest.ReplicaID(1), causaltest.ReplicaID(2)
	return &crdt.Change{
		Header: crdt.Header{
			Dot:   crdt.Dot{Replica: b, Seq: 301},
			Stamp: crdt.StampAt(time.UnixMilli(1_767_225_600_123)) + 4,
			Deps:  crdt.VectorOf(crdt.Dot{Replica: a, Seq: 12}, crdt.Dot{Replica: b, Seq: 300}, crdt.Dot{Replica: c, Seq: 1 << 40}),
		},
		Mutations: []crdt.Mutation{
			{Type: crdt.TypeDocument, ID: "r:system", Payload: []byte("payload")},
			{
				Collection: crdt.Dot{Replica: a, Seq: 3}, Type: crdt.TypeRegister, ID: "Ω", Payload: []byte{0},
				Context: []crdt.Dot{{Replica: a, Seq: 12}, {Replica: b, Seq: 7}, {Replica: b, Seq: 300}, {Replica: c, Seq: 1}},
			},
			{Collection: crdt.Dot{Replica: b, Seq: 2}, Type: crdt.TypeDocument, ID: "Ω", Fresh: true, Payload: []byte("x")},
			{Collection: crdt.Dot{Replica: c, Seq: 9}, Type: crdt.TypeDocument, ID: "gone", Delete: crdt.DeleteWins, Context: []crdt.Dot{{Replica: c, Seq: 1 << 40}}},
			{Collection: crdt.Dot{Replica: c, Seq: 9}, Type: 77, ID: "of the future", Delete: crdt.DeleteEditWins},
		},
	}
}

func encodeChange(t testing.TB, c *crdt.Change) []byte {
	t.Helper()
	b, err := c.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGoldenChange(t *testing.T) {
	c := sampleChange()
	b := encodeChange(t, c)
	golden(t, "change", b)
	back, rest, err := crdt.DecodeChange(append(bytes.Clone(b), "rest"...))
	if err != nil || string(rest) != "rest" {
		t.Fatalf("rest %q, error %v", rest, err)
	}
	if diff := cmp.Diff(c, back, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("it came back as another one (-want +got):\n%s", diff)
	}
}

// sampleRequest is a change for a request under an idempotency key.
func sampleRequest() *crdt.Change {
	c := sampleChange()
	c.Request = &crdt.Request{Key: crdt.RequestHash{1, 2, 3}, Body: crdt.RequestHash{15: 9}}
	for i := range c.Mutations {
		c.Request.Docs = append(c.Request.Docs, crdt.RequestDoc{
			Heads: crdt.HeadsHash(c.Mutations[i].Context), Created: i%2 == 0, Exists: i != 3,
		})
	}
	return c
}

func TestGoldenRequest(t *testing.T) {
	c := sampleRequest()
	b := encodeChange(t, c)
	golden(t, "request", b)
	back, rest, err := crdt.DecodeChange(append(bytes.Clone(b), "rest"...))
	if err != nil || string(rest) != "rest" {
		t.Fatalf("rest %q, error %v", rest, err)
	}
	if diff := cmp.Diff(c, back, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("it came back as another one (-want +got):\n%s", diff)
	}
	for n := range b {
		if _, _, err := crdt.DecodeChange(b[:n]); !errors.Is(err, crdt.ErrCorrupt) {
			t.Fatalf("%d of %d bytes are a change: %v", n, len(b), err)
		}
	}
	c.Request.Docs = c.Request.Docs[1:]
	if _, err := c.AppendBinary(nil); !errors.Is(err, crdt.ErrCorrupt) {
		t.Errorf("an answer that lacks a document: %v", err)
	}
}

// TestGoldenTracedChange: a trace costs its 24 bytes, and nothing if there is none.
func TestGoldenTracedChange(t *testing.T) {
	plain, c := encodeChange(t, sampleRequest()), sampleRequest()
	c.Trace = crdt.Trace{ID: [16]byte{1, 2, 15: 16}, Span: [8]byte{21, 7: 28}}
	b := encodeChange(t, c)
	golden(t, "tracedchange", b)
	if len(b) != len(plain)+24 {
		t.Errorf("%d bytes with a trace, %d without", len(b), len(plain))
	}
	back, rest, err := crdt.DecodeChange(append(bytes.Clone(b), "rest"...))
	if err != nil || string(rest) != "rest" {
		t.Fatalf("rest %q, error %v", rest, err)
	}
	if diff := cmp.Diff(c, back, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("it came back as another one (-want +got):\n%s", diff)
	}
	for n := range b {
		if _, _, err := crdt.DecodeChange(b[:n]); !errors.Is(err, crdt.ErrCorrupt) {
			t.Fatalf("%d of %d bytes are a change: %v", n, len(b), err)
		}
	}
	for _, half := range []crdt.Trace{{ID: c.Trace.ID}, {Span: c.Trace.Span}} {
		c.Trace = half
		if _, err := c.AppendBinary(nil); !errors.Is(err, crdt.ErrCorrupt) {
			t.Errorf("half a trace is encoded: %v", err)
		}
	}
	clear(b[1:17])
	if _, _, err := crdt.DecodeChange(b); !errors.Is(err, crdt.ErrCorrupt) {
		t.Errorf("a trace without an id is decoded: %v", err)
	}
}

func TestGoldenVector(t *testing.T) {
	v := sampleChange().Deps
	b, err := v.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "vector", b)
	back, rest, err := crdt.DecodeVector(append(b, 1))
	if err != nil || len(rest) != 1 || !back.Equal(v) {
		t.Errorf("it came back as %v, rest %x, error %v", back, rest, err)
	}
}

func TestGoldenVersionTag(t *testing.T) {
	golden(t, "versiontag", []byte(crdt.VersionTag(sampleChange().Mutations[1].Context)))
}

// TestChangesThatNoReplicaWrites: neither side of the codec lets them pass.
func TestChangesThatNoReplicaWrites(t *testing.T) {
	a, b := causaltest.ReplicaID(0), causaltest.ReplicaID(1)
	stranger := causaltest.ReplicaID(9)
	for name, f := range map[string]func(c *crdt.Change, m *crdt.Mutation){
		"zero dot":             func(c *crdt.Change, _ *crdt.Mutation) { c.Dot, c.Deps = crdt.Dot{}, crdt.Vector{} },
		"gap":                  func(c *crdt.Change, _ *crdt.Mutation) { c.Dot.Seq++ },
		"not its predecessor":  func(c *crdt.Change, _ *crdt.Mutation) { c.Dot.Seq-- },
		"no type":              func(_ *crdt.Change, m *crdt.Mutation) { m.Type = 0 },
		"no id":                func(_ *crdt.Change, m *crdt.Mutation) { m.ID = "" },
		"long id":              func(_ *crdt.Change, m *crdt.Mutation) { m.ID = strings.Repeat("x", crdt.MaxIDBytes+1) },
		"id not UTF-8":         func(_ *crdt.Change, m *crdt.Mutation) { m.ID = "\xff" },
		"delete mode":          func(_ *crdt.Change, m *crdt.Mutation) { m.Delete = 3 },
		"deleted payload":      func(_ *crdt.Change, m *crdt.Mutation) { m.Delete = crdt.DeleteWins },
		"context of strangers": func(_ *crdt.Change, m *crdt.Mutation) { m.Context = []crdt.Dot{{Replica: stranger, Seq: 1}} },
		"context of itself":    func(c *crdt.Change, m *crdt.Mutation) { m.Context = []crdt.Dot{c.Dot} },
		"context beyond deps":  func(_ *crdt.Change, m *crdt.Mutation) { m.Context = []crdt.Dot{{Replica: a, Seq: 13}} },
		"context of nothing":   func(_ *crdt.Change, m *crdt.Mutation) { m.Context = []crdt.Dot{{}} },
		"context out of order": func(_ *crdt.Change, m *crdt.Mutation) {
			m.Context = []crdt.Dot{{Replica: b, Seq: 1}, {Replica: a, Seq: 1}}
		},
		"context twice":     func(_ *crdt.Change, m *crdt.Mutation) { m.Context = append(m.Context[:1:1], m.Context...) },
		"collection unseen": func(_ *crdt.Change, m *crdt.Mutation) { m.Collection.Seq = 13 },
		"document twice": func(c *crdt.Change, m *crdt.Mutation) {
			c.Mutations = append(c.Mutations, crdt.Mutation{Collection: m.Collection, Type: m.Type, ID: m.ID})
		},
	} {
		c := sampleChange()
		f(c, &c.Mutations[1])
		if _, err := c.AppendBinary(nil); !errors.Is(err, crdt.ErrCorrupt) {
			t.Errorf("%s: encoded, error %v", name, err)
		}
	}
	c := sampleChange()
	c.Mutations[0].Payload = make([]byte, crdt.MaxChangeBytes)
	if _, err := c.AppendBinary(nil); !errors.Is(err, crdt.ErrTooLarge) {
		t.Errorf("too many bytes: %v", err)
	}
	c = sampleChange()
	c.Mutations = make([]crdt.Mutation, crdt.MaxMutations+1)
	if _, err := c.AppendBinary(nil); !errors.Is(err, crdt.ErrTooLarge) {
		t.Errorf("too many documents: %v", err)
	}
}

// TestDecodeRefusesWhatIsNotCanonical changes bytes of a good encoding.
func TestDecodeRefusesWhatIsNotCanonical(t *testing.T) {
	good := encodeChange(t, sampleChange())
	for i := range good {
		if _, _, err := crdt.DecodeChange(good[:i]); !errors.Is(err, crdt.ErrCorrupt) {
			t.Errorf("the first %d bytes: error %v", i, err)
		}
	}
	for i := range good {
		for bit := range 8 {
			b := bytes.Clone(good)
			b[i] ^= 1 << bit
			checkDecode(t, b)
		}
	}
	for name, b := range map[string][]byte{
		"format": append([]byte{2}, good[1:]...),
		// The second mutation's collection, by the number of the change's own replica.
		"own replica spelled out": bytes.Replace(good, []byte("\x00\x02\x01\x03"), []byte("\x00\x02\x02\x03"), 1),
	} {
		if _, _, err := crdt.DecodeChange(b); !errors.Is(err, crdt.ErrCorrupt) || bytes.Equal(b, good) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// checkDecode checks that b is refused, or is the only encoding of what it says.
func checkDecode(t testing.TB, b []byte) {
	t.Helper()
	c, rest, err := crdt.DecodeChange(b)
	if err != nil {
		if !errors.Is(err, crdt.ErrCorrupt) || c != nil {
			t.Fatalf("%x: change %v, error %v", b, c, err)
		}
		return
	}
	again, err := c.AppendBinary(nil)
	if err != nil || !bytes.Equal(again, b[:len(b)-len(rest)]) {
		t.Fatalf("%x comes back as %x, error %v", b, again, err)
	}
}

func FuzzDecodeChange(f *testing.F) {
	f.Add(encodeChange(f, sampleChange()))
	f.Add(encodeChange(f, &crdt.Change{Header: crdt.Header{Dot: crdt.Dot{Replica: causaltest.ReplicaID(0), Seq: 1}}}))
	f.Fuzz(func(t *testing.T, b []byte) { checkDecode(t, b) })
}

func FuzzDecodeVector(f *testing.F) {
	b, _ := sampleChange().Deps.AppendBinary(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, rest, err := crdt.DecodeVector(b)
		if err != nil {
			if !errors.Is(err, crdt.ErrCorrupt) || v.Len() > 0 {
				t.Fatalf("vector %v, error %v", v, err)
			}
			return
		}
		if again, _ := v.AppendBinary(nil); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Fatalf("%x comes back as %x", b, again)
		}
	})
}

func FuzzDecodeHeads(f *testing.F) {
	var h crdt.Heads
	c := sampleChange()
	for _, i := range []int{1, 3} {
		h.Apply(c.Header, c.Mutations[i])
		c.Dot.Seq++
	}
	b, _ := h.AppendBinary(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r := crdt.NewReader(b)
		h := r.Heads()
		if err := r.Done(); err != nil {
			if !errors.Is(err, crdt.ErrCorrupt) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if again, _ := h.AppendBinary(nil); !bytes.Equal(again, b) {
			t.Fatalf("%x comes back as %x", b, again)
		}
	})
}

func TestReaderSticksToItsFirstFailure(t *testing.T) {
	r := crdt.NewReader([]byte{5, 'a'})
	if b := r.Bytes(10); len(b) > 0 || !errors.Is(r.Err(), crdt.ErrCorrupt) {
		t.Fatalf("bytes %q, error %v", b, r.Err())
	}
	first := r.Err()
	r.Fail("again")
	if r.Byte() != 0 || r.Uvarint() != 0 || r.Varint() != 0 || !r.Dot().IsZero() || r.Vector().Len() != 0 ||
		len(r.Fixed(3)) != 3 || len(r.Rest()) != 0 || !errors.Is(r.Done(), first) {
		t.Error("a failed reader goes on")
	}
	for name, b := range map[string][]byte{
		"long zero":  {0x80, 0},
		"long one":   {0x81, 0x80, 0},
		"overflow":   {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2},
		"too long":   {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1},
		"unfinished": {0xff},
		"none":       {},
	} {
		r := crdt.NewReader(b)
		if n := r.Uvarint(); n != 0 || !errors.Is(r.Err(), crdt.ErrCorrupt) {
			t.Errorf("%s: %d, error %v", name, n, r.Err())
		}
	}
	r = crdt.NewReader([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	if n := r.Varint(); n != -1<<63 || r.Done() != nil {
		t.Errorf("the least integer: %d, error %v", n, r.Err())
	}
	// A count whose size in bytes overflows.
	r = crdt.NewReader([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0})
	if n := r.Count(1<<62, 16); n != 0 || r.Err() == nil {
		t.Errorf("count %d", n)
	}
}

func TestI01_SequenceNumbersHaveNoGaps(t *testing.T) {
	for _, seq := range []uint64{0, 1, 299, 300, 301, 302, 1 << 63, 1<<64 - 1} {
		c := sampleChange()
		c.Dot.Seq = seq
		if _, err := c.AppendBinary(nil); (err == nil) != (seq == 301) {
			t.Errorf("change %v after 300: error %v", c.Dot, err)
		}
	}
}

func benchmarkChange(b *testing.B) *crdt.Change {
	c := sampleChange()
	c.Mutations = []crdt.Mutation{{
		Collection: crdt.Dot{Replica: causaltest.ReplicaID(0), Seq: 3}, Type: crdt.TypeDocument, ID: "customer-0001",
		Context: []crdt.Dot{{Replica: causaltest.ReplicaID(0), Seq: 12}}, Payload: make([]byte, 200),
	}}
	b.ReportAllocs()
	b.SetBytes(int64(len(encodeChange(b, c))))
	return c
}

func BenchmarkChangeEncode(b *testing.B) {
	c := benchmarkChange(b)
	var buf []byte
	for b.Loop() {
		buf, _ = c.AppendBinary(buf[:0])
	}
}

func BenchmarkChangeDecode(b *testing.B) {
	buf := encodeChange(b, benchmarkChange(b))
	for b.Loop() {
		if _, _, err := crdt.DecodeChange(buf); err != nil {
			b.Fatal(err)
		}
	}
}
