package backup

import (
	"bytes"
	"errors"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
)

// FuzzCheck: a file that is no whole backup is refused with an error that says so.
func FuzzCheck(f *testing.F) {
	s := memstore.New()
	dot := crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 1}
	if err := s.Commit(&store.Batch{
		Docs: []store.DocPut{{Key: store.DocKey{Collection: dot, ID: "a"}, State: []byte("state")}},
		Log:  []store.LogPut{{Dot: dot, Change: []byte("change")}},
		Meta: map[string][]byte{"name": []byte("value")},
	}); err != nil {
		f.Fatal(err)
	}
	var whole bytes.Buffer
	if _, _, err := Write(f.Context(), &whole, s, Header{Have: VectorOf(crdt.VectorOf(dot))}); err != nil {
		f.Fatal(err)
	}
	if _, _, err := Check(bytes.NewReader(whole.Bytes()), nil); err != nil {
		f.Fatal(err)
	}
	f.Add(whole.Bytes())
	f.Add(whole.Bytes()[:whole.Len()-1])
	f.Add([]byte(magic + "\x02{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := Check(bytes.NewReader(b), nil); err != nil &&
			!errors.Is(err, ErrNotABackup) && !errors.Is(err, ErrNewerFormat) && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
	})
}

// FuzzRecord: the same of the records, which in a file are compressed and summed up.
func FuzzRecord(f *testing.F) {
	dot := crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 1}
	f.Add(byte(kindDoc), append(appendText(appendDot(nil, dot), "a"), "state"...))
	f.Add(byte(kindLog), append(append(appendDot(nil, dot), make([]byte, store.ChainSize)...), "change"...))
	f.Add(byte(kindMeta), append(appendText(nil, "name"), "value"...))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		r, err := parse(kind, b)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if r.Doc == nil && r.Log == nil && r.Meta == nil {
			t.Fatalf("%q %x is no record", kind, b)
		}
	})
}
