// Package storetest holds what every store.Store must pass: a conformance suite,
// a randomised comparison with a plain model, and benchmarks.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

// A Factory makes stores for tests.
type Factory struct {
	// Open returns an empty store. The suite closes it.
	Open func(tb testing.TB) store.Store
	// Reopen returns a store with what was durable in s. It ends s.
	Reopen func(tb testing.TB, s store.Store) store.Store
}

// Run runs the conformance suite.
func Run(t *testing.T, f Factory) {
	t.Helper()
	tests := []struct {
		name string
		test func(*testing.T, Factory)
	}{
		{"AbsentRecordsAreNil", testAbsent},
		{"ReadsShowWhatWasCommitted", testReadBack},
		{"EmptyValuesAreNotAbsent", testEmptyValues},
		{"NilRemoves", testRemove},
		{"TheLastPutOfABatchCounts", testLastPutCounts},
		{"DocsScanInOrderOfBytes", testDocsOrder},
		{"DocsStopAtCollectionAndPrefix", testDocsBounds},
		{"MetaScansByPrefix", testMetaRange},
		{"LogScansASpan", testLogSpan},
		{"TrimLogRemovesSpans", testTrim},
		{"VersionsAreFoundByTag", testVersions},
		{"VersionSlotsOverwrite", testVersionSlots},
		{"VersionsExpire", testVersionsExpire},
		{"VersionsOfOtherDocumentsStayApart", testVersionsApart},
		{"SnapshotsStandStill", testSnapshot},
		{"ClosedSnapshotsFail", testClosedSnapshot},
		{"ClosedStoresFail", testClosedStore},
		{"CallersOwnWhatTheyRead", testOwnership},
		{"CommitKeepsNothingOfTheBatch", testBatchReuse},
		{"BatchesBeyondTheBoundsAreRefusedWhole", testTooLarge},
		{"ManyRecordsAreOneBatch", testManyRecords},
		{"LargeValuesAreOneBatch", testLargeValues},
		{"LargeBatchesOverwrite", testLargeOverwrite},
		{"LoopsMayReadAndCommit", testCommitInLoop},
		{"EverythingSurvivesReopening", testReopen},
		{"BatchesAreSeenWhole", testAtomicReads},
		{"SizesAreKnown", testSizes},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, f) })
	}
}

var (
	replicaA = crdt.ReplicaID{0: 0x01, 6: 0x70, 15: 0xa0}
	replicaB = crdt.ReplicaID{0: 0x01, 6: 0x70, 15: 0xa1}
	users    = crdt.Dot{Replica: replicaA, Seq: 2}
	carts    = crdt.Dot{Replica: replicaA, Seq: 3}
	epoch    = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
)

func key(c crdt.Dot, id string) store.DocKey { return store.DocKey{Collection: c, ID: id} }

func doc(c crdt.Dot, id, state string) store.DocPut {
	return store.DocPut{Key: key(c, id), State: []byte(state)}
}

func logPut(r crdt.ReplicaID, seq uint64) store.LogPut {
	return store.LogPut{
		Dot:    crdt.Dot{Replica: r, Seq: seq},
		Chain:  [store.ChainSize]byte{0: byte(seq), 15: r[15]},
		Change: fmt.Appendf(nil, "change %d", seq),
	}
}

func open(t *testing.T, f Factory) store.Store {
	t.Helper()
	s := f.Open(t)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func commit(tb testing.TB, s store.Store, b *store.Batch) {
	tb.Helper()
	if err := s.Commit(b); err != nil {
		tb.Fatalf("commit: %v", err)
	}
}

func wantDoc(t *testing.T, r store.Reader, k store.DocKey, want []byte) {
	t.Helper()
	got, err := r.Doc(k)
	if err != nil {
		t.Fatalf("doc %q: %v", k.ID, err)
	}
	if (got == nil) != (want == nil) || !bytes.Equal(got, want) {
		t.Fatalf("doc %q is %.40q (nil: %v, %d bytes), want %.40q (nil: %v, %d bytes)",
			k.ID, got, got == nil, len(got), want, want == nil, len(want))
	}
}

func wantMeta(t *testing.T, r store.Reader, name string, want []byte) {
	t.Helper()
	got, err := r.Meta(name)
	if err != nil {
		t.Fatalf("meta %q: %v", name, err)
	}
	if (got == nil) != (want == nil) || !bytes.Equal(got, want) {
		t.Fatalf("meta %q is %q (nil: %v), want %q (nil: %v)", name, got, got == nil, want, want == nil)
	}
}

func ids(t *testing.T, r store.Reader, c crdt.Dot, prefix, after string) []string {
	t.Helper()
	var out []string
	for e, err := range r.Docs(c, prefix, after) {
		if err != nil {
			t.Fatalf("docs: %v", err)
		}
		out = append(out, e.ID)
	}
	return out
}

func seqs(t *testing.T, r store.Reader, replica crdt.ReplicaID, from, to uint64) []uint64 {
	t.Helper()
	var out []uint64
	for e, err := range r.Log(replica, from, to) {
		if err != nil {
			t.Fatalf("log: %v", err)
		}
		want := logPut(replica, e.Dot.Seq)
		if e.Dot != want.Dot || e.Chain != want.Chain || !bytes.Equal(e.Change, want.Change) {
			t.Fatalf("log entry %v is %x %q, want %v %x %q", e.Dot, e.Chain, e.Change, want.Dot, want.Chain, want.Change)
		}
		out = append(out, e.Dot.Seq)
	}
	return out
}

func testAbsent(t *testing.T, f Factory) {
	s := open(t, f)
	commit(t, s, &store.Batch{}) // writes nothing, and that is fine
	wantDoc(t, s, key(users, "x"), nil)
	wantMeta(t, s, "x", nil)
	if v, err := s.Version(key(users, "x"), "tag", epoch); v != nil || err != nil {
		t.Errorf("version: %q, %v", v, err)
	}
	if _, ok, err := s.LogChain(crdt.Dot{Replica: replicaA, Seq: 1}); ok || err != nil {
		t.Errorf("chain: %v, %v", ok, err)
	}
	if got := seqs(t, s, replicaA, 1, 100); got != nil {
		t.Errorf("log: %v", got)
	}
	if got := ids(t, s, users, "", ""); got != nil {
		t.Errorf("docs: %v", got)
	}
}

func testReadBack(t *testing.T, f Factory) {
	s := open(t, f)
	commit(t, s, &store.Batch{
		Docs: []store.DocPut{doc(users, "ann", "1"), doc(carts, "ann", "2"), doc(crdt.Dot{}, "c:x", "3")},
		Log:  []store.LogPut{logPut(replicaA, 1), logPut(replicaB, 7)},
		Meta: map[string][]byte{"clock": []byte("t"), "have": []byte("v")},
	})
	wantDoc(t, s, key(users, "ann"), []byte("1"))
	wantDoc(t, s, key(carts, "ann"), []byte("2"))
	wantDoc(t, s, key(crdt.Dot{}, "c:x"), []byte("3"))
	wantMeta(t, s, "clock", []byte("t"))
	chain, ok, err := s.LogChain(crdt.Dot{Replica: replicaB, Seq: 7})
	if want := logPut(replicaB, 7).Chain; !ok || err != nil || chain != want {
		t.Errorf("chain: %x, %v, %v, want %x", chain, ok, err, want)
	}
	if got := seqs(t, s, replicaB, 0, 100); !slices.Equal(got, []uint64{7}) {
		t.Errorf("log of B: %v", got)
	}
}

func testEmptyValues(t *testing.T, f Factory) {
	s := open(t, f)
	commit(t, s, &store.Batch{
		Docs:     []store.DocPut{{Key: key(users, ""), State: []byte{}}, {Key: key(users, "a"), State: []byte{}}},
		Versions: []store.VersionPut{{Key: key(users, "a"), Tag: "", State: nil}},
		Log:      []store.LogPut{{Dot: crdt.Dot{Replica: replicaA, Seq: 1}}},
		Meta:     map[string][]byte{"": {}, "x": {}},
	})
	wantDoc(t, s, key(users, ""), []byte{})
	wantDoc(t, s, key(users, "a"), []byte{})
	wantMeta(t, s, "", []byte{})
	wantMeta(t, s, "x", []byte{})
	if v, err := s.Version(key(users, "a"), "", epoch); v == nil || len(v) != 0 || err != nil {
		t.Errorf("version: %q (nil: %v), %v", v, v == nil, err)
	}
	if got := ids(t, s, users, "", ""); !slices.Equal(got, []string{"", "a"}) {
		t.Errorf("docs: %q", got)
	}
	for e, err := range s.Log(replicaA, 0, 9) {
		if err != nil || len(e.Change) != 0 || e.Dot.Seq != 1 {
			t.Errorf("log: %v, %v", e, err)
		}
	}
}

func testRemove(t *testing.T, f Factory) {
	s := open(t, f)
	commit(t, s, &store.Batch{
		Docs: []store.DocPut{doc(users, "a", "1"), doc(users, "b", "2")},
		Meta: map[string][]byte{"x": []byte("1"), "y": []byte("2")},
	})
	commit(t, s, &store.Batch{
		Docs: []store.DocPut{{Key: key(users, "a")}, {Key: key(users, "never was")}},
		Meta: map[string][]byte{"x": nil, "never was": nil},
	})
	wantDoc(t, s, key(users, "a"), nil)
	wantDoc(t, s, key(users, "b"), []byte("2"))
	wantMeta(t, s, "x", nil)
	wantMeta(t, s, "y", []byte("2"))
	if got := ids(t, s, users, "", ""); !slices.Equal(got, []string{"b"}) {
		t.Errorf("docs: %q", got)
	}
	commit(t, s, &store.Batch{Docs: []store.DocPut{doc(users, "a", "again")}})
	wantDoc(t, s, key(users, "a"), []byte("again"))
}

func testLastPutCounts(t *testing.T, f Factory) {
	s := open(t, f)
	commit(t, s, &store.Batch{
		Docs: []store.DocPut{doc(users, "a", "1"), doc(users, "a", "2"), {Key: key(users, "b")}, doc(users, "b", "3"),
			doc(users, "c", "4"), {Key: key(users, "c")}},
		Log:     []store.LogPut{logPut(replicaA, 1), logPut(replicaA, 2)},
		TrimLog: []crdt.Span{{Replica: replicaA, From: 1, To: 1}},
	})
	wantDoc(t, s, key(users, "a"), []byte("2"))
	wantDoc(t, s, key(users, "b"), []byte("3"))
	wantDoc(t, s, key(users, "c"), nil)
	if got := seqs(t, s, replicaA, 1, 9); !slices.Equal(got, []uint64{2}) {
		t.Errorf("log: %v", got)
	}
}

var oddIDs = []string{"", "\x00", "\x00\x00", "a", "a\x00", "a\x00b", "a b", "aa", "ab", "b", "é", "é\xff", "z", "\xff", "\xff\xff"}

func testDocsOrder(t *testing.T, f Factory) {
	s := open(t, f)
	shuffled := slices.Clone(oddIDs)
	slices.Reverse(shuffled)
	for i, id := range shuffled { // over several commits
		commit(t, s, &store.Batch{Docs: []store.DocPut{doc(users, id, fmt.Sprint(i))}})
	}
	want := slices.Sorted(slices.Values(oddIDs))
	if diff := cmp.Diff(want, ids(t, s, users, "", "")); diff != "" {
		t.Errorf("all ids (-want +got):\n%s", diff)
	}
	for i, after := range want {
		if after == "" {
			continue
		}
		if got := ids(t, s, users, "", after); !slices.Equal(got, want[i+1:]) {
			t.Errorf("after %q: %q, want %q", after, got, want[i+1:])
		}
	}
	for e, err := range s.Docs(users, "", "") { // breaking out is fine
		if err != nil || e.ID != want[0] {
			t.Errorf("first: %q, %v", e.ID, err)
		}
		break
	}
}

func testDocsBounds(t *testing.T, f Factory) {
	s := open(t, f)
	next := crdt.Dot{Replica: replicaA, Seq: users.Seq + 1}
	var b store.Batch
	for _, id := range oddIDs {
		b.Docs = append(b.Docs, doc(users, id, "u"), doc(next, id, "n"), doc(crdt.Dot{}, id, "s"))
	}
	commit(t, s, &b)
	for _, prefix := range []string{"", "a", "a\x00", "\xff", "\xff\xff", "x"} {
		for _, after := range []string{"", "a", "a\x00", "aa", "b", "\xff", "\xff\xff"} {
			var want []string
			for _, id := range slices.Sorted(slices.Values(oddIDs)) {
				if strings.HasPrefix(id, prefix) && (after == "" || id > after) {
					want = append(want, id)
				}
			}
			if got := ids(t, s, users, prefix, after); !slices.Equal(got, want) {
				t.Errorf("prefix %q after %q: %q, want %q", prefix, after, got, want)
			}
		}
	}
	for e, err := range s.Docs(users, "", "") {
		if err != nil || string(e.State) != "u" {
			t.Fatalf("%q: %q, %v: a document of another collection", e.ID, e.State, err)
		}
	}
}

func testMetaRange(t *testing.T, f Factory) {
	s := open(t, f)
	commit(t, s, &store.Batch{
		Meta: map[string][]byte{"trim/b": []byte("2"), "trim/a": []byte("1"), "trim": []byte("0"), "trio": []byte("3")},
		Docs: []store.DocPut{doc(users, "trim/c", "x")},
	})
	var got []string
	for e, err := range s.MetaRange("trim/") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Name+"="+string(e.Value))
	}
	if want := []string{"trim/a=1", "trim/b=2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func testLogSpan(t *testing.T, f Factory) {
	s := open(t, f)
	const far = uint64(1) << 40
	var b store.Batch
	for _, seq := range []uint64{255, 1, 2, 3, 256, 257, far} {
		b.Log = append(b.Log, logPut(replicaA, seq), logPut(replicaB, seq+1))
	}
	commit(t, s, &b)
	tests := []struct {
		from, to uint64
		want     []uint64
	}{
		{0, ^uint64(0), []uint64{1, 2, 3, 255, 256, 257, far}},
		{1, 3, []uint64{1, 2, 3}},
		{2, 255, []uint64{2, 3, 255}},
		{4, 254, nil},
		{256, 256, []uint64{256}},
		{3, 1, nil},
		{far + 1, ^uint64(0), nil},
	}
	for _, tt := range tests {
		if got := seqs(t, s, replicaA, tt.from, tt.to); !slices.Equal(got, tt.want) {
			t.Errorf("%d..%d: %v, want %v", tt.from, tt.to, got, tt.want)
		}
	}
	for e, err := range s.Log(replicaA, 1, 9) {
		if err != nil || e.Dot.Seq != 1 {
			t.Errorf("first entry: %v, %v", e.Dot, err)
		}
		break
	}
}

func testTrim(t *testing.T, f Factory) {
	s := open(t, f)
	var b store.Batch
	for seq := uint64(1); seq <= 10; seq++ {
		b.Log = append(b.Log, logPut(replicaA, seq), logPut(replicaB, seq))
	}
	commit(t, s, &b)
	commit(t, s, &store.Batch{TrimLog: []crdt.Span{
		{Replica: replicaA, From: 1, To: 4},
		{Replica: replicaA, From: 9, To: 8}, // an empty span
		{Replica: replicaB, From: 10, To: 12},
	}})
	if got := seqs(t, s, replicaA, 0, 99); !slices.Equal(got, []uint64{5, 6, 7, 8, 9, 10}) {
		t.Errorf("A: %v", got)
	}
	if got := seqs(t, s, replicaB, 0, 99); len(got) != 9 {
		t.Errorf("B: %v", got)
	}
	if _, ok, err := s.LogChain(crdt.Dot{Replica: replicaA, Seq: 4}); ok || err != nil {
		t.Errorf("chain of a trimmed entry: %v, %v", ok, err)
	}
	err := s.Commit(&store.Batch{TrimLog: []crdt.Span{{Replica: replicaA, From: 0, To: ^uint64(0)}}})
	if !errors.Is(err, store.ErrBatchTooLarge) {
		t.Errorf("trimming everything at once: %v", err)
	}
}

func wantVersion(t *testing.T, r store.Reader, k store.DocKey, tag string, now time.Time, want []byte) {
	t.Helper()
	got, err := r.Version(k, tag, now)
	if err != nil {
		t.Fatalf("version %q of %q: %v", tag, k.ID, err)
	}
	if (got == nil) != (want == nil) || !bytes.Equal(got, want) {
		t.Fatalf("version %q of %q is %q, want %q", tag, k.ID, got, want)
	}
}

func testVersions(t *testing.T, f Factory) {
	s := open(t, f)
	k := key(users, "ann")
	var b store.Batch
	for i := range 600 { // more than there are hashes of one byte
		b.Versions = append(b.Versions, store.VersionPut{
			Key: k, Slot: uint32(i), Tag: fmt.Sprint("tag", i), State: fmt.Append(nil, "state", i),
		})
	}
	commit(t, s, &b)
	for i := range 600 {
		wantVersion(t, s, k, fmt.Sprint("tag", i), epoch, fmt.Append(nil, "state", i))
	}
	wantVersion(t, s, k, "tag600", epoch, nil)
	wantVersion(t, s, k, "tag", epoch, nil)
	commit(t, s, &store.Batch{Docs: []store.DocPut{{Key: k}}})
	wantVersion(t, s, k, "tag7", epoch, []byte("state7")) // removing the document keeps them
}

func testVersionSlots(t *testing.T, f Factory) {
	s := open(t, f)
	k := key(users, "ann")
	for i := range 7 {
		commit(t, s, &store.Batch{Versions: []store.VersionPut{
			{Key: k, Slot: uint32(i % 3), Tag: fmt.Sprint(i), State: fmt.Append(nil, "state", i)},
		}})
	}
	for i := range 7 {
		want := fmt.Append(nil, "state", i)
		if i < 4 {
			want = nil
		}
		wantVersion(t, s, k, fmt.Sprint(i), epoch, want)
	}
}

func testVersionsExpire(t *testing.T, f Factory) {
	s := open(t, f)
	k := key(users, "ann")
	// Far in the future, so that a store's own clock has no part in it.
	at := time.Now().Add(1000 * time.Hour)
	commit(t, s, &store.Batch{Versions: []store.VersionPut{
		{Key: k, Slot: 0, Tag: "a", State: []byte("a"), Expires: at},
		{Key: k, Slot: 1, Tag: "b", State: []byte("b"), Expires: at.Add(time.Hour)},
		{Key: k, Slot: 2, Tag: "c", State: []byte("c")},
	}})
	for _, tt := range []struct {
		now     time.Time
		a, b, c []byte
	}{
		{at.Add(-time.Millisecond), []byte("a"), []byte("b"), []byte("c")},
		{at, nil, []byte("b"), []byte("c")},
		{at.Add(time.Hour), nil, nil, []byte("c")},
	} {
		wantVersion(t, s, k, "a", tt.now, tt.a)
		wantVersion(t, s, k, "b", tt.now, tt.b)
		wantVersion(t, s, k, "c", tt.now, tt.c)
	}
}

func testVersionsApart(t *testing.T, f Factory) {
	s := open(t, f)
	var b store.Batch
	all := []store.DocKey{key(users, ""), key(users, "a"), key(users, "a\x00\x00\x00\x00"), key(users, "ab"), key(carts, "a")}
	for _, k := range all {
		b.Versions = append(b.Versions, store.VersionPut{Key: k, Tag: "t" + k.ID + k.Collection.String(), State: []byte(k.ID)})
	}
	commit(t, s, &b)
	for _, k := range all {
		for _, o := range all {
			var want []byte
			if k == o {
				want = []byte(k.ID)
			}
			wantVersion(t, s, k, "t"+o.ID+o.Collection.String(), epoch, want)
		}
	}
}

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
	for _, err := range r.MetaRange("") {
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
	b := make([]byte, n)
	x := uint64(seed)*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 24)
	}
	return b
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

func testReopen(t *testing.T, f Factory) {
	s := open(t, f)
	for i := range 30 {
		commit(t, s, &store.Batch{
			Docs:     []store.DocPut{doc(users, "a", fmt.Sprint(i)), {Key: key(users, fmt.Sprint(i-1))}, doc(users, fmt.Sprint(i), "x")},
			Versions: []store.VersionPut{{Key: key(users, "a"), Slot: uint32(i % 4), Tag: fmt.Sprint(i), State: fmt.Append(nil, i)}},
			Log:      []store.LogPut{logPut(replicaA, uint64(i)+1)},
			Meta:     map[string][]byte{"have": fmt.Append(nil, i)},
		})
		if i%10 == 9 {
			s = f.Reopen(t, s)
			t.Cleanup(func() { s.Close() })
		}
	}
	if got := ids(t, s, users, "", ""); !slices.Equal(got, []string{"29", "a"}) {
		t.Errorf("docs: %q", got)
	}
	wantDoc(t, s, key(users, "a"), []byte("29"))
	wantMeta(t, s, "have", []byte("29"))
	if got := seqs(t, s, replicaA, 0, 99); len(got) != 30 {
		t.Errorf("log: %v", got)
	}
	wantVersion(t, s, key(users, "a"), "26", epoch, []byte("26"))
	wantVersion(t, s, key(users, "a"), "25", epoch, nil)
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
