// Package storetest holds what every store.Store must pass: a conformance suite,
// a randomised comparison with a plain model, and benchmarks.
package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	for after, want := range map[string][]string{
		"": {"trim/a=1", "trim/b=2"}, "a": {"trim/a=1", "trim/b=2"}, "trim/a": {"trim/b=2"}, "trim/aa": {"trim/b=2"}, "trim/b": nil, "u": nil,
	} {
		var got []string
		for e, err := range s.MetaRange("trim/", after) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, e.Name+"="+string(e.Value))
		}
		if !slices.Equal(got, want) {
			t.Errorf("after %q: got %q, want %q", after, got, want)
		}
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
			if !s.Continuous() {
				t.Error("the store is taken for a copy")
			}
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
