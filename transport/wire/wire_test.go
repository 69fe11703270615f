package wire_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/transport/wire"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var sameVector = cmp.Comparer(func(a, b crdt.Vector) bool { return a.Compare(b) == crdt.Equal })

func replica(n byte) crdt.ReplicaID {
	return crdt.ReplicaID{0x01, 0x92, 0xf0, n, 0, 0, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, n}
}

func vector() crdt.Vector {
	return crdt.VectorOf(crdt.Dot{Replica: replica(1), Seq: 300}, crdt.Dot{Replica: replica(2), Seq: 1})
}

func sum(n uint64) digest.Digest {
	return digest.Digest{Documents: n, Versions: n << 60, Content: digest.Sum{Hi: 1 << 63, Lo: n}}
}

// samples holds one message of each kind with every field set, and empty ones.
var samples = map[string]wire.Message{
	"hello": wire.Hello{
		MinVersion: 1, MaxVersion: 3, Cluster: "demo", Region: "us-east", Replica: replica(1), Have: vector(),
		Tips: []wire.Tip{{Replica: replica(1), Seq: 300, Hash: [16]byte{1, 2, 3, 15: 16}}, {Replica: replica(2), Seq: 1}},
		Now:  1_760_000_000_123, Lists: true, Copying: true,
	},
	"changes": wire.Changes{Changes: [][]byte{[]byte("one"), []byte("another")}},
	"ack":     wire.Ack{Have: vector()},
	"status": wire.Status{Reports: []wire.Report{
		{Region: "us-east", Replica: replica(1), Seq: 9, Have: vector(), Links: []string{"ap-south", "eu-west"}, Now: 1_760_000_000_123, Digest: sum(5), Settled: true, Founder: true, Copying: true, Wants: []wire.Want{{Dot: crdt.Dot{Replica: replica(2), Seq: 2}, Regions: 7 << 60}, {Dot: crdt.Dot{Replica: replica(3), Seq: 300}}}},
		{Region: "eu-west", Replica: replica(2), Seq: 1, Now: -1},
	}},
	"request":      wire.Request{ID: 77, Spans: []crdt.Span{{Replica: replica(1), From: 5, To: 5}, {Replica: replica(2), From: 1, To: 1000}}},
	"catchup":      wire.CatchUp{ID: 77, Changes: [][]byte{[]byte("one")}},
	"catchup-done": wire.CatchUp{ID: 77, Done: true, Refused: "the log starts at 900"},
	"behind":       wire.Behind{ID: 77, Cut: vector()},
	"snapshot-request": wire.SnapshotRequest{
		ID: 78, Have: vector(), Resume: true, After: wire.DocKey{Collection: crdt.Dot{Replica: replica(1), Seq: 7}, ID: "doc"},
	},
	"snapshot-request-removed": wire.SnapshotRequest{ID: 79, Ended: vector()},
	"snapshot-part": wire.SnapshotPart{
		ID: 78, Have: vector(), Forgotten: 99, Total: 1000, Sum: [16]byte{9, 15: 9},
		Tips:     []wire.LogTip{{Chain: [16]byte{1}, Change: []byte("one")}},
		Docs:     []wire.SnapshotDoc{{Key: wire.DocKey{Collection: crdt.Dot{Replica: replica(1), Seq: 7}, ID: "doc"}, State: []byte("state")}, {Key: wire.DocKey{ID: "c:1"}, State: []byte{1}}},
		Requests: []wire.RequestRecord{{Key: crdt.RequestHash{7}, Record: []byte("answer")}},
	},
	"snapshot-elsewhere": wire.SnapshotPart{ID: 78, Have: vector(), Elsewhere: crdt.Dot{Replica: replica(1), Seq: 8}},
	"snapshot-refused":   wire.SnapshotPart{ID: 78, Done: true, Refused: "it lacks some of it"},
	"await":              wire.Await{Origin: "us-east", Want: vector()},
	"acks": wire.Acks{Acks: []wire.RegionAck{
		{Region: "us-east", Replica: replica(1), Seq: 9, Have: vector()}, {Region: "eu-west", Replica: replica(2)},
	}},
	"vector-query": wire.VectorQuery{Origin: "us-east", Session: replica(3), ID: 77},
	"vector-reply": wire.VectorReply{Session: replica(3), ID: 77, RegionAck: wire.RegionAck{Region: "eu-west", Replica: replica(2), Seq: 9, Have: vector()}},
	"digest-query": wire.DigestQuery{
		ID: 77, Level: wire.DigestsOfBuckets, Collection: crdt.Dot{Replica: replica(1), Seq: 5}, Part: 63, After: []byte("a"),
	},
	"digest-reply": wire.DigestReply{
		ID: 77, Have: vector(), More: true,
		Digests: []wire.KeyDigest{{Key: []byte("a"), Digest: sum(1)}, {Key: []byte("b"), Digest: sum(300)}},
	},
	"share-request": wire.ShareRequest{
		Origin: "us-east", Session: replica(3), ID: 77, To: "eu-west", Replica: replica(1), Collection: crdt.Dot{Replica: replica(2), Seq: 5},
		Document: "tea", Path: "/stock", Up: true, Amount: 300, Seen: 9,
	},
	"empty-share-request": wire.ShareRequest{},
	"doc-query":           wire.DocQuery{ID: 77, Collection: crdt.Dot{Replica: replica(1), Seq: 5}, Document: "a"},
	"doc-reply":           wire.DocReply{ID: 77, Have: vector(), Forgotten: 99, Record: []byte("record")},
	"doc-refused":         wire.DocReply{ID: 77, Refused: "damaged here, too"},
	"removed":             wire.Removed{Incarnation: 2, Added: true, Unknown: true, Have: vector(), Stable: crdt.VectorOf(crdt.Dot{Replica: replica(2), Seq: 1}), Final: crdt.VectorOf(crdt.Dot{Replica: replica(3), Seq: 9}), Reason: "removed by us-east"},
	"empty-removed":       wire.Removed{},
	"empty-doc-query":     wire.DocQuery{},
	"empty-doc-reply":     wire.DocReply{},
	"empty-digest-query":  wire.DigestQuery{},
	"empty-digest-reply":  wire.DigestReply{},

	"presence": wire.Presence{
		Origin: "us-east", Session: replica(3), ID: 77, Collection: crdt.Dot{Replica: replica(1), Seq: 9}, Document: "d", Data: []byte("here"),
	},
	"empty-presence": wire.Presence{},
	"empty-await":    wire.Await{},
	"empty-acks":     wire.Acks{},
	"empty-query":    wire.VectorQuery{},
	"empty-reply":    wire.VectorReply{},
	"empty-hello":    wire.Hello{MinVersion: 1, MaxVersion: 1},
	"empty-changes":  wire.Changes{},
	"empty-ack":      wire.Ack{},
	"empty-status":   wire.Status{},
	"empty-request":  wire.Request{},
	"empty-catchup":  wire.CatchUp{},
	"forward": wire.Forward{
		Origin: "us-east", To: "eu-west", Session: replica(3), ID: 300, Hops: 1,
		Request: []byte("GET / HTTP/1.1\r\n\r\n"),
	},
	"forwarded":              wire.Forwarded{Origin: "us-east", From: "eu-west", Session: replica(3), ID: 300, Response: []byte("HTTP/1.1 204 No Content\r\n\r\n")},
	"forwarded-refused":      wire.Forwarded{Origin: "us-east", From: "ap-south", Session: replica(3), ID: 301, Hops: 2, Refused: "busy", Response: []byte{}},
	"empty-behind":           wire.Behind{},
	"empty-snapshot-request": wire.SnapshotRequest{},
	"empty-snapshot-part":    wire.SnapshotPart{},
}

func TestGolden(t *testing.T) {
	check := func(name string, b []byte) {
		t.Helper()
		path := filepath.Join("testdata", "golden", name+".hex")
		got := wrap(hex.EncodeToString(b))
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: the format has changed: a new version must keep reading and writing what others speak\n got %s\nwant %s", name, got, want)
		}
	}
	for name, m := range samples {
		b := wire.Append(nil, m)
		check(name, b)
		got, err := wire.Decode(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(m, got, sameVector); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	check("preface", wire.Preface{Incarnation: 0x0102030405060708, Attempt: 9}.Append([]byte{byte(wire.StreamLive)}))
	check("frame", wire.NewEncoder(nil, -1).AppendFrame(nil, samples["ack"], samples["request"]))
}

func wrap(s string) string {
	var b strings.Builder
	for len(s) > 64 {
		b.WriteString(s[:64] + "\n")
		s = s[64:]
	}
	return b.String() + s + "\n"
}

// Frames compressed by whatever version of the library still unpack.
func TestGoldenCompressedFrame(t *testing.T) {
	path := filepath.Join("testdata", "golden", "zstd-frame.hex")
	comp := newCompressor(t)
	m := wire.Changes{Changes: [][]byte{bytes.Repeat([]byte("meridian "), 1000)}}
	if *update {
		b := wire.NewEncoder(comp, 0).AppendFrame(nil, m)
		if err := os.WriteFile(path, []byte(wrap(hex.EncodeToString(b))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, comp, b); len(got) != 1 || !cmp.Equal(got[0], wire.Message(m)) {
		t.Errorf("got %d messages", len(got))
	}
}

func newCompressor(t testing.TB) *wire.Compressor {
	t.Helper()
	c, err := wire.NewCompressor(1)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// readAll reads frames to their end.
func readAll(t testing.TB, comp *wire.Compressor, b []byte) (all []wire.Message) {
	t.Helper()
	r := bufio.NewReader(iotest.HalfReader(bytes.NewReader(b)))
	total := 0
	for {
		body, n, err := comp.ReadFrame(r)
		if errors.Is(err, io.EOF) {
			if total != len(b) {
				t.Errorf("frames of %d bytes in %d", total, len(b))
			}
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		total += n
		for m, err := range wire.Messages(body) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
	}
}

func messages() *rapid.Generator[wire.Message] {
	id := rapid.Custom(func(t *rapid.T) crdt.ReplicaID {
		return crdt.ReplicaID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "replica"))
	})
	seq := rapid.Uint64Range(1, 1<<62)
	vec := rapid.Custom(func(t *rapid.T) crdt.Vector {
		var v crdt.Vector
		for range rapid.IntRange(0, 5).Draw(t, "entries") {
			if r := id.Draw(t, "r"); !r.IsZero() {
				v = v.With(crdt.Dot{Replica: r, Seq: seq.Draw(t, "seq")})
			}
		}
		return v
	})
	changes := rapid.Custom(func(t *rapid.T) (c [][]byte) {
		for range rapid.IntRange(0, 5).Draw(t, "changes") {
			c = append(c, rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "change"))
		}
		return c
	})
	name := rapid.StringN(0, 20, wire.MaxName)
	ack := rapid.Custom(func(t *rapid.T) wire.RegionAck {
		return wire.RegionAck{
			Region: name.Draw(t, "region"), Replica: id.Draw(t, "replica"), Seq: rapid.Uint64().Draw(t, "seq"), Have: vec.Draw(t, "have"),
		}
	})
	sums := rapid.Custom(func(t *rapid.T) digest.Digest {
		n := rapid.Uint64()
		return digest.Digest{Documents: n.Draw(t, "documents"), Versions: n.Draw(t, "versions"), Content: digest.Sum{Hi: n.Draw(t, "hi"), Lo: n.Draw(t, "lo")}}
	})
	key := rapid.Custom(func(t *rapid.T) []byte {
		if b := rapid.SliceOfN(rapid.Byte(), 0, crdt.MaxIDBytes).Draw(t, "key"); len(b) > 0 {
			return b
		}
		return nil
	})
	docKey := rapid.Custom(func(t *rapid.T) wire.DocKey {
		return wire.DocKey{Collection: crdt.Dot{Replica: id.Draw(t, "r"), Seq: rapid.Uint64().Draw(t, "seq")}, ID: name.Draw(t, "id")}
	})
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) wire.Message {
			return wire.DigestQuery{
				ID: rapid.Uint64().Draw(t, "id"), Level: wire.DigestLevel(rapid.Byte().Draw(t, "level")),
				Collection: crdt.Dot{Replica: id.Draw(t, "r"), Seq: seq.Draw(t, "seq")}, Part: rapid.Uint64().Draw(t, "part"), After: key.Draw(t, "after"),
			}
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			return wire.DocQuery{ID: rapid.Uint64().Draw(t, "id"), Collection: crdt.Dot{Replica: id.Draw(t, "r"), Seq: seq.Draw(t, "seq")}, Document: string(key.Draw(t, "document"))}
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			return wire.DocReply{ID: rapid.Uint64().Draw(t, "id"), Have: vec.Draw(t, "have"), Forgotten: crdt.Stamp(rapid.Uint64().Draw(t, "forgotten")), Record: key.Draw(t, "record")}
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			return wire.Removed{
				Incarnation: rapid.Uint64().Draw(t, "incarnation"), Added: rapid.Bool().Draw(t, "added"), Unknown: rapid.Bool().Draw(t, "unknown"),
				Have: vec.Draw(t, "have"), Final: vec.Draw(t, "final"), Reason: name.Draw(t, "reason"),
			}
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			m := wire.DigestReply{ID: rapid.Uint64().Draw(t, "id"), Have: vec.Draw(t, "have"), More: rapid.Bool().Draw(t, "more")}
			for range rapid.IntRange(0, 4).Draw(t, "digests") {
				m.Digests = append(m.Digests, wire.KeyDigest{Key: key.Draw(t, "key"), Digest: sums.Draw(t, "digest")})
			}
			return m
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			m := wire.Hello{
				MinVersion: rapid.Uint64Range(1, 9).Draw(t, "min"), MaxVersion: rapid.Uint64Min(9).Draw(t, "max"),
				Cluster: name.Draw(t, "cluster"), Region: name.Draw(t, "region"),
				Replica: id.Draw(t, "replica"), Have: vec.Draw(t, "have"), Now: rapid.Int64().Draw(t, "now"),
			}
			for range rapid.IntRange(0, 5).Draw(t, "tips") {
				m.Tips = append(m.Tips, wire.Tip{Replica: id.Draw(t, "r"), Seq: seq.Draw(t, "seq"), Hash: id.Draw(t, "hash")})
			}
			return m
		}),
		rapid.Custom(func(t *rapid.T) wire.Message { return wire.Changes{Changes: changes.Draw(t, "changes")} }),
		rapid.Custom(func(t *rapid.T) wire.Message { return wire.Ack{Have: vec.Draw(t, "have")} }),
		rapid.Custom(func(t *rapid.T) wire.Message {
			var m wire.Status
			for range rapid.IntRange(0, 4).Draw(t, "reports") {
				x := wire.Report{
					Region: name.Draw(t, "region"), Replica: id.Draw(t, "replica"), Seq: rapid.Uint64().Draw(t, "seq"),
					Have: vec.Draw(t, "have"), Now: rapid.Int64().Draw(t, "now"), Digest: sums.Draw(t, "digest"),
				}
				for range rapid.IntRange(0, 4).Draw(t, "links") {
					x.Links = append(x.Links, name.Draw(t, "link"))
				}
				m.Reports = append(m.Reports, x)
			}
			return m
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			m := wire.Request{ID: rapid.Uint64().Draw(t, "id")}
			for range rapid.IntRange(0, 5).Draw(t, "spans") {
				from := seq.Draw(t, "from")
				m.Spans = append(m.Spans, crdt.Span{Replica: id.Draw(t, "r"), From: from, To: from + rapid.Uint64Range(0, 1<<62).Draw(t, "more")})
			}
			return m
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			m := wire.CatchUp{ID: rapid.Uint64().Draw(t, "id"), Changes: changes.Draw(t, "changes"), Refused: rapid.StringN(0, 30, wire.MaxText).Draw(t, "refused")}
			m.Refused = strings.ToValidUTF8(m.Refused, "")
			m.Done = m.Refused != "" || rapid.Bool().Draw(t, "done")
			return m
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			return wire.Await{Origin: name.Draw(t, "origin"), Want: vec.Draw(t, "want")}
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			return wire.Acks{Acks: rapid.Custom(func(t *rapid.T) (all []wire.RegionAck) {
				for range rapid.IntRange(0, 4).Draw(t, "acks") {
					all = append(all, ack.Draw(t, "ack"))
				}
				return all
			}).Draw(t, "all")}
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			return wire.VectorQuery{Origin: name.Draw(t, "origin"), Session: id.Draw(t, "session"), ID: rapid.Uint64().Draw(t, "id")}
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			return wire.ShareRequest{
				Origin: name.Draw(t, "origin"), Session: id.Draw(t, "session"), ID: rapid.Uint64().Draw(t, "id"),
				To: name.Draw(t, "to"), Replica: id.Draw(t, "replica"), Collection: crdt.Dot{Replica: id.Draw(t, "collection"), Seq: rapid.Uint64().Draw(t, "seq")},
				Document: name.Draw(t, "document"), Path: name.Draw(t, "path"), Up: rapid.Bool().Draw(t, "up"),
				Amount: rapid.Uint64().Draw(t, "amount"), Seen: rapid.Uint64().Draw(t, "seen"),
			}
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			return wire.VectorReply{Session: id.Draw(t, "session"), ID: rapid.Uint64().Draw(t, "id"), RegionAck: ack.Draw(t, "ack")}
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			return wire.Forward{
				Origin: name.Draw(t, "origin"), To: name.Draw(t, "to"), Session: id.Draw(t, "session"), ID: rapid.Uint64().Draw(t, "id"),
				Hops: rapid.Uint64().Draw(t, "hops"), Request: rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "request"),
			}
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			return wire.Forwarded{
				Origin: name.Draw(t, "origin"), From: name.Draw(t, "from"), Session: id.Draw(t, "session"), ID: rapid.Uint64().Draw(t, "id"),
				Hops: rapid.Uint64().Draw(t, "hops"), Refused: name.Draw(t, "refused"), Response: rapid.SliceOfN(rapid.Byte(), 1, 50).Draw(t, "response"),
			}
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			return wire.Behind{ID: rapid.Uint64().Draw(t, "id"), Cut: vec.Draw(t, "cut")}
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			return wire.SnapshotRequest{
				ID: rapid.Uint64().Draw(t, "id"), Have: vec.Draw(t, "have"), Resume: rapid.Bool().Draw(t, "resume"), After: docKey.Draw(t, "after"),
				Ended: vec.Draw(t, "ended"),
			}
		}),
		rapid.Custom(func(t *rapid.T) wire.Message {
			m := wire.SnapshotPart{
				ID: rapid.Uint64().Draw(t, "id"), Have: vec.Draw(t, "have"), Forgotten: crdt.Stamp(rapid.Uint64().Draw(t, "forgotten")),
				Total: rapid.Uint64().Draw(t, "total"), Sum: id.Draw(t, "sum"), Done: rapid.Bool().Draw(t, "done"),
			}
			if rapid.Bool().Draw(t, "elsewhere") {
				m.Elsewhere = crdt.Dot{Replica: replica(1), Seq: 7}
			}
			for range rapid.IntRange(0, 3).Draw(t, "tips") {
				m.Tips = append(m.Tips, wire.LogTip{Chain: id.Draw(t, "chain"), Change: rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "change")})
			}
			for range rapid.IntRange(0, 3).Draw(t, "docs") {
				m.Docs = append(m.Docs, wire.SnapshotDoc{Key: docKey.Draw(t, "key"), State: rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "state")})
			}
			for range rapid.IntRange(0, 3).Draw(t, "requests") {
				m.Requests = append(m.Requests, wire.RequestRecord{
					Key: crdt.RequestHash(rapid.SliceOfN(rapid.Byte(), crdt.RequestHashSize, crdt.RequestHashSize).Draw(t, "key")), Record: rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "record"),
				})
			}
			return m
		}),
	)
}

func TestMessagesSurvive(t *testing.T) {
	gen := messages()
	rapid.Check(t, func(t *rapid.T) {
		m := gen.Draw(t, "m")
		b := wire.Append(nil, m)
		if len(b) > wire.Size(m) {
			t.Fatalf("%d bytes, Size says %d", len(b), wire.Size(m))
		}
		got, err := wire.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, got, sameVector); d != "" {
			t.Fatal(d)
		}
		// A later version's fields are passed over.
		if got, err = wire.Decode(append(b, 1, 2, 3)); err != nil || !cmp.Equal(m, got, sameVector) {
			t.Fatalf("with fields that are not known: %v, %v", got, err)
		}
		for i := range b { // truncated
			if _, err := wire.Decode(b[:i]); err == nil {
				t.Fatalf("the first %d of %d bytes were taken", i, len(b))
			} else if !errors.Is(err, wire.ErrCorrupt) {
				t.Fatal(err)
			}
		}
	})
}

func TestFramesSurvive(t *testing.T) {
	gen, comp := rapid.SliceOfN(messages(), 1, 8), newCompressor(t)
	rapid.Check(t, func(rt *rapid.T) {
		enc := wire.NewEncoder(comp, rapid.SampledFrom([]int{-1, 0, 100, 1000}).Draw(rt, "above"))
		var want []wire.Message
		var b []byte
		for range rapid.IntRange(0, 4).Draw(rt, "frames") {
			batch := gen.Draw(rt, "batch")
			want = append(want, batch...)
			b = enc.AppendFrame(b, batch...)
		}
		if d := cmp.Diff(want, readAll(t, comp, b), sameVector); d != "" {
			rt.Fatal(d)
		}
	})
}

func TestCompression(t *testing.T) {
	comp := newCompressor(t)
	enc := wire.NewEncoder(comp, 4<<10)
	text := wire.Changes{Changes: [][]byte{bytes.Repeat([]byte(`{"name":"value"}`), 1000)}}
	if b := enc.AppendFrame(nil, text); len(b) > 1000 {
		t.Errorf("16 kB of text take %d bytes", len(b))
	}
	small := wire.Changes{Changes: [][]byte{bytes.Repeat([]byte("a"), 1000)}}
	if b := enc.AppendFrame(nil, small); len(b) < 1000 {
		t.Errorf("a small frame was compressed to %d bytes", len(b))
	}
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(i * i * 31 >> 5 * i >> 3)
	}
	if b := enc.AppendFrame(nil, wire.Changes{Changes: [][]byte{noise}}); len(b) > len(noise)+16 {
		t.Errorf("%d bytes that do not shrink take %d", len(noise), len(b))
	}
}

func TestRecordsMayGrow(t *testing.T) {
	// A report with two more bytes at its end, of a later version.
	m := samples["status"].(wire.Status)
	m.Reports = m.Reports[1:]
	b := wire.Append(nil, m) // kind, count, length, report
	b[2] += 2
	b = append(b, 7, 8)
	got, err := wire.Decode(b)
	if err != nil || !cmp.Equal(wire.Message(m), got, sameVector) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	huge := func(kind wire.Kind, prefix ...byte) []byte {
		return append(append([]byte{byte(kind)}, prefix...), 0xff, 0xff, 0xff, 0xff, 0x7f)
	}
	for name, b := range map[string][]byte{
		"nothing":              {},
		"changes without end":  huge(wire.KindChanges),
		"change without end":   huge(wire.KindChanges, 1),
		"empty change":         {byte(wire.KindChanges), 1, 0},
		"vector without end":   huge(wire.KindAck),
		"reports without end":  huge(wire.KindStatus),
		"acks without end":     huge(wire.KindAcks),
		"ack cut short":        {byte(wire.KindAcks), 1, 3, 0, 0, 0},
		"spans without end":    huge(wire.KindRequest, 1),
		"span from zero":       append(append([]byte{byte(wire.KindRequest), 1, 1}, make([]byte, 16)...), 0, 5),
		"span that overflows":  append(append([]byte{byte(wire.KindRequest), 1, 1}, make([]byte, 16)...), 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1),
		"version range":        wire.Append(nil, wire.Hello{MinVersion: 2, MaxVersion: 1}),
		"version zero":         wire.Append(nil, wire.Hello{}),
		"long name":            wire.Append(nil, wire.Hello{MinVersion: 1, MaxVersion: 1, Region: strings.Repeat("x", wire.MaxName+1)}),
		"longer than the most": make([]byte, wire.MaxMessage+1),
	} {
		if m, err := wire.Decode(b); !errors.Is(err, wire.ErrCorrupt) {
			t.Errorf("%s: got %v, %v", name, m, err)
		}
	}
	if _, err := wire.Decode([]byte{99, 1, 2}); !errors.Is(err, wire.ErrUnknownKind) {
		t.Errorf("unknown kind: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for _, m := range []wire.Message{
		wire.Changes{Changes: make([][]byte, wire.MaxChanges+1)},
		wire.CatchUp{Changes: make([][]byte, wire.MaxChanges+1)},
		wire.CatchUp{Changes: [][]byte{make([]byte, wire.MaxMessage)}},
		wire.Request{Spans: make([]crdt.Span, wire.MaxSpans+1)},
		wire.Status{Reports: make([]wire.Report, wire.MaxReports+1)},
		wire.Acks{Acks: make([]wire.RegionAck, wire.MaxReports+1)},
		wire.Hello{Tips: make([]wire.Tip, crdt.MaxReplicas+1)},
	} {
		if err := wire.Check(m); !errors.Is(err, wire.ErrTooLarge) {
			t.Errorf("%s: %v", m.Kind(), err)
		}
	}
	if err := wire.Check(wire.Changes{Changes: [][]byte{make([]byte, crdt.MaxChangeBytes)}}); err != nil {
		t.Errorf("the largest change: %v", err)
	}
}

func TestFrameErrors(t *testing.T) {
	comp := newCompressor(t)
	good := wire.NewEncoder(comp, -1).AppendFrame(nil, samples["hello"])
	for i := range good {
		_, _, err := comp.ReadFrame(bufio.NewReader(bytes.NewReader(good[:i])))
		if want := map[bool]error{true: io.EOF, false: io.ErrUnexpectedEOF}[i == 0]; !errors.Is(err, want) || err != want { //nolint:errorlint // exactly
			t.Errorf("after %d bytes: %v", i, err)
		}
	}
	for _, b := range [][]byte{
		{0}, {1, 0}, {0x80, 0x00}, {0xff, 0xff, 0xff, 0xff, 1}, binary.AppendUvarint(nil, wire.MaxFrame+1), {2, 2, 0},
	} {
		if _, _, err := comp.ReadFrame(bufio.NewReader(bytes.NewReader(b))); !errors.Is(err, wire.ErrCorrupt) {
			t.Errorf("%x: %v", b, err)
		}
	}
}

// A length alone does not make the reader set memory aside.
func TestPromisedLengthCostsNothing(t *testing.T) {
	comp := newCompressor(t)
	b := append(binary.AppendUvarint(nil, wire.MaxFrame), 0, 1, 2, 3)
	allocated := testing.Benchmark(func(tb *testing.B) {
		for tb.Loop() {
			if _, _, err := comp.ReadFrame(bufio.NewReader(bytes.NewReader(b))); err == nil {
				tb.Fatal("no error")
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 1<<20 {
		t.Errorf("%d bytes were allocated", allocated)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range samples {
		f.Add(wire.Append(nil, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := wire.Decode(b)
		if err != nil {
			if !errors.Is(err, wire.ErrCorrupt) && !errors.Is(err, wire.ErrUnknownKind) {
				t.Fatal(err)
			}
			return
		}
		again := wire.Append(nil, m)
		if len(again) > wire.Size(m) {
			t.Fatalf("%d bytes, Size says %d", len(again), wire.Size(m))
		}
		got, err := wire.Decode(again)
		if err != nil {
			t.Fatal(err)
		}
		if a, b := fmt.Sprint(m), fmt.Sprint(got); a != b {
			t.Fatalf("%s\nbecame\n%s", a, b)
		}
	})
}

func FuzzFrames(f *testing.F) {
	comp := newCompressor(f)
	for _, above := range []int{-1, 0} {
		enc := wire.NewEncoder(comp, above)
		f.Add(enc.AppendFrame(enc.AppendFrame(nil, samples["status"], samples["changes"]), samples["hello"]))
		f.Add(enc.AppendFrame(nil, wire.Changes{Changes: [][]byte{bytes.Repeat([]byte("meridian "), 100)}}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			body, _, err := comp.ReadFrame(r)
			if err != nil {
				if !errors.Is(err, wire.ErrCorrupt) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				return
			}
			if len(body) > wire.MaxBody {
				t.Fatalf("a body of %d bytes", len(body))
			}
			for m, err := range wire.Messages(body) {
				if err == nil && m == nil {
					t.Fatal("neither message nor error")
				}
			}
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	comp := newCompressor(b)
	change := bytes.Repeat([]byte(`{"k":"0123456789"}`), 15) // 270 bytes
	for _, n := range []int{1, 16, 256} {
		for name, above := range map[string]int{"plain": -1, "zstd": 4 << 10} {
			batch := make([]wire.Message, n)
			for i := range batch {
				batch[i] = wire.Changes{Changes: [][]byte{change}}
			}
			enc := wire.NewEncoder(comp, above)
			frame := enc.AppendFrame(nil, batch...)
			b.Run(fmt.Sprintf("write/%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(n * len(change)))
				var buf []byte
				for b.Loop() {
					buf = enc.AppendFrame(buf[:0], batch...)
				}
				b.ReportMetric(float64(len(buf))/float64(n), "B/change")
			})
			b.Run(fmt.Sprintf("read/%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(n * len(change)))
				src := bytes.NewReader(frame)
				r := bufio.NewReader(src)
				for b.Loop() {
					src.Reset(frame)
					r.Reset(src)
					body, _, err := comp.ReadFrame(r)
					if err != nil {
						b.Fatal(err)
					}
					for _, err := range wire.Messages(body) {
						if err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}
