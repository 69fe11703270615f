package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

func testSnapshot(t *testing.T, f Factory) {
	s := open(t, f)
	commit(t, s, &store.Batch{
		Docs: []store.DocPut{doc(users, "a", "old"), doc(users, "b", "old")},
		Log:  []store.LogPut{logPut(replicaA, 1)},
		Meta: map[string][]byte{"have": []byte("1")},
	})
	old := s.Snapshot()
	defer old.Close()
	var later []store.Snapshot
	for i := range 20 {
		commit(t, s, &store.Batch{
			Docs:    []store.DocPut{doc(users, "a", fmt.Sprint(i)), {Key: key(users, "b")}, doc(users, "c", "new")},
			Log:     []store.LogPut{logPut(replicaA, uint64(i)+2)},
			TrimLog: []crdt.Span{{Replica: replicaA, From: 1, To: 1}},
			Meta:    map[string][]byte{"have": nil},
		})
		later = append(later, s.Snapshot())
	}
	wantDoc(t, old, key(users, "a"), []byte("old"))
	wantDoc(t, old, key(users, "b"), []byte("old"))
	wantDoc(t, old, key(users, "c"), nil)
	wantMeta(t, old, "have", []byte("1"))
	if got := seqs(t, old, replicaA, 0, 99); !slices.Equal(got, []uint64{1}) {
		t.Errorf("log in the snapshot: %v", got)
	}
	if got := ids(t, old, users, "", ""); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("docs in the snapshot: %q", got)
	}
	for i := range later { // released in no particular order
		i = (i*7 + 3) % len(later)
		wantDoc(t, later[i], key(users, "a"), []byte(fmt.Sprint(i)))
		later[i].Close()
	}
	wantDoc(t, old, key(users, "a"), []byte("old"))
	wantDoc(t, s, key(users, "a"), []byte("19"))
	wantDoc(t, s, key(users, "b"), nil)
}

func testClosedSnapshot(t *testing.T, f Factory) {
	s := open(t, f)
	commit(t, s, &store.Batch{Docs: []store.DocPut{doc(users, "a", "1"), doc(users, "b", "1")}})
	sn := s.Snapshot()
	other := s.Snapshot()
	defer other.Close()
	n, failed := 0, false
	for _, err := range sn.Docs(users, "", "") {
		n++
		if err != nil {
			if failed = true; !errors.Is(err, store.ErrClosed) {
				t.Errorf("a scan of a closed snapshot: %v", err)
			}
			continue
		}
		sn.Close()
	}
	if n != 2 || !failed {
		t.Errorf("a scan went %d steps, failed: %v", n, failed)
	}
	sn.Close()
	wantAllClosed(t, sn)
	wantDoc(t, other, key(users, "a"), []byte("1"))
	wantDoc(t, s, key(users, "a"), []byte("1"))
}

func wantAllClosed(t *testing.T, r store.Reader) {
	t.Helper()
	want := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", what, err)
		}
	}
	_, err := r.Doc(key(users, "a"))
	want("doc", err)
	_, err = r.Meta("x")
	want("meta", err)
	_, err = r.Version(key(users, "a"), "t", epoch)
	want("version", err)
	_, _, err = r.LogChain(crdt.Dot{Replica: replicaA, Seq: 1})
	want("chain", err)
	for _, err := range r.Docs(users, "", "") {
		want("docs", err)
	}
	for _, err := range r.Log(replicaA, 0, 9) {
		want("log", err)
	}
	for _, err := range r.MetaRange("", "") {
		want("meta range", err)
	}
}

func testClosedStore(t *testing.T, f Factory) {
	s := open(t, f)
	commit(t, s, &store.Batch{Docs: []store.DocPut{doc(users, "a", "1")}})
	sn := s.Snapshot()
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	wantAllClosed(t, s)
	wantAllClosed(t, sn)
	if err := s.Commit(&store.Batch{}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("commit: %v", err)
	}
	late := s.Snapshot()
	wantAllClosed(t, late)
	late.Close()
	sn.Close()
}

func testOwnership(t *testing.T, f Factory) {
	s := open(t, f)
	k := key(users, "a")
	commit(t, s, &store.Batch{
		Docs:     []store.DocPut{doc(users, "a", "doc")},
		Versions: []store.VersionPut{{Key: k, Tag: "t", State: []byte("version")}},
		Meta:     map[string][]byte{"m": []byte("meta")},
	})
	for range 2 {
		d, _ := s.Doc(k)
		v, _ := s.Version(k, "t", epoch)
		m, _ := s.Meta("m")
		if got := string(d) + " " + string(v) + " " + string(m); got != "doc version meta" {
			t.Fatalf("read %q", got)
		}
		clear(d)
		clear(v)
		clear(m)
	}
}

func testBatchReuse(t *testing.T, f Factory) {
	s := open(t, f)
	k := key(users, "a")
	b := &store.Batch{
		Docs:     []store.DocPut{doc(users, "a", "doc")},
		Versions: []store.VersionPut{{Key: k, Tag: "t", State: []byte("version")}},
		Log:      []store.LogPut{logPut(replicaA, 1)},
		Meta:     map[string][]byte{"m": []byte("meta")},
	}
	commit(t, s, b)
	clear(b.Docs[0].State)
	clear(b.Versions[0].State)
	clear(b.Log[0].Change)
	clear(b.Meta["m"])
	wantDoc(t, s, k, []byte("doc"))
	wantVersion(t, s, k, "t", epoch, []byte("version"))
	wantMeta(t, s, "m", []byte("meta"))
	if got := seqs(t, s, replicaA, 1, 1); len(got) != 1 {
		t.Errorf("log: %v", got)
	}
}

// testAtomicReads has readers look for a batch of which they see only a part,
// among small batches and ones that take a store more than one step.
func testAtomicReads(t *testing.T, f Factory) {
	s := open(t, f)
	const docs, rounds = 30, 40
	put := func(i, n int) {
		var b store.Batch
		for d := range docs {
			state := append(fmt.Appendf(nil, "%06d", i), make([]byte, n)...)
			b.Docs = append(b.Docs, store.DocPut{Key: key(users, fmt.Sprint(d)), State: state})
		}
		b.Meta = map[string][]byte{"round": fmt.Appendf(nil, "%06d", i)}
		commit(t, s, &b)
	}
	put(0, 0)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	for range 2 {
		wg.Go(func() {
			last := ""
			for {
				select {
				case <-stop:
					return
				default:
				}
				sn := s.Snapshot()
				m, err := sn.Meta("round")
				round := string(m)
				if err != nil || round < last {
					t.Errorf("round %q after %q, %v", round, last, err)
				}
				last = round
				for e, err := range sn.Docs(users, "", "") {
					if err != nil || string(e.State[:6]) != round {
						t.Errorf("document %q is of round %q in the snapshot of %q, %v", e.ID, e.State[:6], round, err)
						break
					}
				}
				sn.Close()
				if t.Failed() {
					return
				}
			}
		})
	}
	for i := range rounds {
		n := 100
		if i%10 == 9 {
			n = 200 << 10
		}
		put(i+1, n)
		// A commit is seen by every read that starts after it.
		wantMeta(t, s, "round", fmt.Appendf(nil, "%06d", i+1))
	}
}

func testSizes(t *testing.T, f Factory) {
	s := open(t, f)
	before, err := s.Sizes()
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, &store.Batch{Docs: []store.DocPut{{Key: key(users, "a"), State: blob(1, 3<<20)}}})
	after, err := s.Sizes()
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.Records + after.Journal - before.Records - before.Journal; grown < 3<<20 {
		t.Errorf("sizes grew by %d bytes for 3 MiB: %+v, %+v", grown, before, after)
	}
}
