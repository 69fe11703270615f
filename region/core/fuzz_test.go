package core

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/document"
	"github.com/meridiandb/meridian/crdt/register"
	"github.com/meridiandb/meridian/region/store"
)

// What the store of a region has, and what regions tell each other in documents of
// the system collection, is decoded here.

// FuzzDecodeDocument: a record with a good checksum is a document, or it is damaged.
func FuzzDecodeDocument(f *testing.F) {
	for t, s := range map[crdt.Type]crdt.State{crdt.TypeDocument: document.New(), crdt.TypeRegister: register.New()} {
		b, err := s.AppendBinary(append(append([]byte{byte(t)}, 7), make([]byte, crdt.DigestSize)...))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(append([]byte{byte(crdt.TypeAutomerge)}, make([]byte, 40)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		sealed := append(binary.BigEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli)), b...)
		if s, err := DecodeDocument(sealed); err == nil {
			s.Digest()
			s.Versions()
		} else if !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
	})
}

func FuzzDecodeRequest(f *testing.F) {
	dot := crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 9}
	f.Add((&requestRecord{dot: dot, stamp: 5, expires: 1 << 40, docs: []requestDoc{{collection: dot, id: "a"}, {id: "b"}}}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := decodeRequest(b)
		if err != nil {
			if !errors.Is(err, crdt.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		enc := q.encode()
		if again, err := decodeRequest(enc); err != nil || !bytes.Equal(again.encode(), enc) {
			t.Fatalf("%+v became %+v, %v", q, again, err)
		}
	})
}

func FuzzDecodeBootstrap(f *testing.F) {
	dot := crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 9}
	key := store.DocKey{Collection: dot, ID: "a"}
	f.Add((&bootstrap{phase: bootReplaying, base: crdt.VectorOf(dot), last: key, docs: 3, segments: []segment{{key, crdt.VectorOf(dot)}}}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		boot, err := decodeBootstrap(b)
		if err != nil {
			if !errors.Is(err, crdt.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		enc := boot.encode()
		if again, err := decodeBootstrap(enc); err != nil || !bytes.Equal(again.encode(), enc) {
			t.Fatalf("%+v became %+v, %v", boot, again, err)
		}
	})
}

// FuzzParseSettings: settings that are taken are written so that they are read
// again as the same.
func FuzzParseSettings(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"type":"register","policy":"siblings"}`, `{"policy":{"region-priority":["a","b"]},"delete":"wins","ttl":"720h"}`,
		`{"home":{"region":"a","mode":"strict","prefix":"p"}}`, `{"home":[{"region":"a"},{"region":"b","prefix":"x"}]}`,
		`{"bounds":{"/n":{"min":0,"max":20}}}`, `{"fields":{"/price":"max"},"keep":{"versions":10,"age":"24h"},"acks":"majority"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSettings(b)
		if err != nil {
			return
		}
		written, err := s.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseSettings(written)
		if err != nil {
			t.Fatalf("%q is written as %s: %v", b, written, err)
		}
		if rewritten, err := again.MarshalJSON(); err != nil || !bytes.Equal(rewritten, written) {
			t.Fatalf("%q is written as %s, then as %s: %v", b, written, rewritten, err)
		}
	})
}

// FuzzSystemDocument: nothing that a peer writes into the system collection makes
// its readers panic.
func FuzzSystemDocument(f *testing.F) {
	m := Member{Region: "a", Incarnation: 1, Address: "a:7400", Added: crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 2}}
	f.Add(m.id(), []byte(`{"member":"{\"address\":\"a:7400\"}"}`))
	f.Add(homeID(m.Added, "p"), []byte(`{"home":"{\"region\":\"a\",\"mode\":\"strict\",\"epoch\":3}"}`))
	f.Add("c:x", []byte(`{"name":"x","type":"document","settings":"{}","explicit":true}`))
	f.Fuzz(func(_ *testing.T, id string, doc []byte) {
		_, _ = parseMember(id, doc)
		_, prefix, _ := parseHomeID(id)
		_, _ = parseHome(doc, prefix)
		_, _ = new(Core).parseCollection(m.Added, doc)
	})
}
