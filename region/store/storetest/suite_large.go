package storetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

func testTooLarge(t *testing.T, f Factory) {
	s := open(t, f)
	large := make([]byte, store.MaxValueBytes+1)
	long := strings.Repeat("x", store.MaxNameBytes+1)
	many := make([]store.DocPut, store.MaxBatchRecords+1)
	for i := range many {
		many[i].Key.ID = "a"
	}
	good := doc(users, "good", "1")
	for name, b := range map[string]*store.Batch{
		"value":    {Docs: []store.DocPut{good, {Key: key(users, "a"), State: large}}},
		"version":  {Docs: []store.DocPut{good}, Versions: []store.VersionPut{{Key: key(users, "a"), State: large}}},
		"change":   {Docs: []store.DocPut{good}, Log: []store.LogPut{{Dot: users, Change: large}}},
		"meta":     {Docs: []store.DocPut{good}, Meta: map[string][]byte{"a": large}},
		"id":       {Docs: []store.DocPut{good, {Key: key(users, long)}}},
		"tag":      {Docs: []store.DocPut{good}, Versions: []store.VersionPut{{Tag: long}}},
		"name":     {Docs: []store.DocPut{good}, Meta: map[string][]byte{long: nil}},
		"records":  {Docs: many},
		"in bytes": {Docs: slices.Repeat([]store.DocPut{{Key: key(users, "a"), State: large[:store.MaxValueBytes]}}, 5)},
	} {
		if err := s.Commit(b); !errors.Is(err, store.ErrBatchTooLarge) {
			t.Errorf("%s: %v, want ErrBatchTooLarge", name, err)
		}
	}
	wantDoc(t, s, good.Key, nil)
	commit(t, s, &store.Batch{Docs: []store.DocPut{good}}) // and it goes on
	wantDoc(t, s, good.Key, []byte("1"))
}

func testManyRecords(t *testing.T, f Factory) {
	s := open(t, f)
	const n = 60_000
	var b store.Batch
	for i := range n {
		b.Docs = append(b.Docs, doc(users, fmt.Sprintf("id%06d", i), fmt.Sprint(i)))
		b.Log = append(b.Log, logPut(replicaA, uint64(i)+1))
	}
	commit(t, s, &b)
	for range 2 {
		if got := len(ids(t, s, users, "", "")); got != n {
			t.Fatalf("%d documents, want %d", got, n)
		}
		if got := len(seqs(t, s, replicaA, 1, n)); got != n {
			t.Fatalf("%d log entries, want %d", got, n)
		}
		s = f.Reopen(t, s)
		t.Cleanup(func() { s.Close() })
	}
}

// blob is n bytes that do not compress and tell where they come from.
func blob(seed, n int) []byte {
	b := make([]byte, 0, n+8)
	for x := uint64(seed)*0x9e3779b97f4a7c15 + 1; len(b) < n; {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b[:n]
}

func testLargeValues(t *testing.T, f Factory) {
	s := open(t, f)
	sizes := []int{1<<20 - 1, 1 << 20, 1<<20 + 1, 4 << 20, crdt.MaxChangeBytes, 700 << 10, 900 << 10, 900 << 10, 900 << 10, 900 << 10, 900 << 10}
	var b store.Batch
	for i, n := range sizes {
		b.Docs = append(b.Docs, store.DocPut{Key: key(users, fmt.Sprintf("%02d", i)), State: blob(i, n)})
	}
	b.Log = []store.LogPut{{Dot: crdt.Dot{Replica: replicaA, Seq: 1}, Change: blob(99, crdt.MaxChangeBytes)}}
	b.Versions = []store.VersionPut{{Key: key(users, "00"), Tag: "t", State: blob(98, 5<<20), Expires: time.Now().Add(time.Hour)}}
	commit(t, s, &b)
	for range 2 {
		for i, n := range sizes {
			wantDoc(t, s, key(users, fmt.Sprintf("%02d", i)), blob(i, n))
		}
		i := 0
		for e, err := range s.Docs(users, "", "") {
			if err != nil || !bytes.Equal(e.State, blob(i, sizes[i])) {
				t.Fatalf("scan at %q: %d bytes, %v", e.ID, len(e.State), err)
			}
			i++
		}
		for e, err := range s.Log(replicaA, 1, 1) {
			if err != nil || !bytes.Equal(e.Change, blob(99, crdt.MaxChangeBytes)) {
				t.Fatalf("log: %d bytes, %v", len(e.Change), err)
			}
		}
		if v, err := s.Version(key(users, "00"), "t", time.Now()); err != nil || !bytes.Equal(v, blob(98, 5<<20)) {
			t.Fatalf("version: %d bytes, %v", len(v), err)
		}
		s = f.Reopen(t, s)
		t.Cleanup(func() { s.Close() })
	}
}

func testLargeOverwrite(t *testing.T, f Factory) {
	s := open(t, f)
	put := func(seed, n int) {
		var b store.Batch
		for i := range 40 {
			b.Docs = append(b.Docs, store.DocPut{Key: key(users, fmt.Sprintf("%02d", i)), State: blob(seed+i, n)})
		}
		b.Docs = append(b.Docs, doc(users, "00", "last")) // of several puts the last counts, here too
		b.Meta = map[string][]byte{"seed": fmt.Append(nil, seed)}
		commit(t, s, &b)
	}
	check := func(seed, n int) {
		t.Helper()
		wantMeta(t, s, "seed", fmt.Append(nil, seed))
		wantDoc(t, s, key(users, "00"), []byte("last"))
		for i := 1; i < 40; i++ {
			wantDoc(t, s, key(users, fmt.Sprintf("%02d", i)), blob(seed+i, n))
		}
	}
	put(100, 300<<10)
	check(100, 300<<10)
	put(200, 10)
	check(200, 10)
	put(300, 250<<10)
	check(300, 250<<10)
	s = f.Reopen(t, s)
	t.Cleanup(func() { s.Close() })
	check(300, 250<<10)
	put(400, 10)
	check(400, 10)
}

func testCommitInLoop(t *testing.T, f Factory) {
	s := open(t, f)
	var b store.Batch
	for i := range 50 {
		b.Docs = append(b.Docs, doc(users, fmt.Sprintf("%02d", i), "1"))
	}
	b.Docs = append(b.Docs, store.DocPut{Key: key(users, "large"), State: blob(1, 2<<20)})
	commit(t, s, &b)
	n := 0
	for e, err := range s.Docs(users, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
		wantDoc(t, s, key(users, e.ID), slices.Clone(e.State))
		commit(t, s, &store.Batch{Docs: []store.DocPut{{Key: key(users, e.ID)}, doc(users, "zz"+e.ID, "2")}})
	}
	if n != 51 {
		t.Errorf("the loop saw %d documents, want the 51 of its start", n)
	}
	if got := ids(t, s, users, "", ""); len(got) != 51 || !strings.HasPrefix(got[0], "zz") {
		t.Errorf("afterwards: %q", got)
	}
}
