package conflictlog_test

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/badgerstore"
	"github.com/meridiandb/meridian/region/core/conflictlog"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
)

var (
	noon    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	regions = []string{"ap-south", "eu-west", "us-east"}
)

func dot(i int, seq uint64) crdt.Dot {
	return crdt.Dot{Replica: crdt.ReplicaID{0: 1, 6: 0x70, 8: 0x80, 15: byte(i)}, Seq: seq}
}

// record makes the n-th conflict, of two regions.
func record(n uint64, collection int, state journal.State) *journal.Record {
	r := &journal.Record{
		Collection: dot(9, uint64(collection+1)), Name: fmt.Sprint("c", collection), Document: fmt.Sprint("d", n),
		Path: "/price", Type: "document", Kind: journal.Values, State: state,
		Policy:  journal.Policy{Name: "lww", Hash: "0011223344556677", Spec: []byte(`"lww"`)},
		Outcome: journal.Outcome{Why: "us-east's write at 12:00:03.120 is newer than eu-west's at 12:00:03.080; neither had seen the other"},
	}
	for i := range 2 {
		k := (int(n) + i) % len(regions)
		r.Versions = append(r.Versions, journal.Version{
			Dot: dot(k, n), Stamp: crdt.StampAt(noon.Add(time.Duration(n) * time.Millisecond)), Region: regions[k],
			Value: []byte(fmt.Sprintf(`{"amount":%d}`, n+uint64(i))), Size: 12,
		})
	}
	r.Outcome.Shown = r.Versions[1].Dot
	r.ID = journal.IDOf(r.Collection, r.Document, r.Path, r.Dots())
	return r
}

// A world is a log on a store, and what should be in it.
type world struct {
	t      testing.TB
	store  store.Store
	log    *conflictlog.Log
	limits conflictlog.Limits
	now    time.Time
	uptime time.Duration
}

func open(t testing.TB, st store.Store, limits conflictlog.Limits) *world {
	w := &world{t: t, store: st, limits: limits, now: noon}
	w.reopen()
	return w
}

func (w *world) reopen() {
	w.t.Helper()
	var err error
	if w.log, err = conflictlog.Open(w.store, w.limits); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) step(f func()) {
	w.t.Helper()
	var b store.Batch
	w.now, w.uptime = w.now.Add(time.Millisecond), w.uptime+time.Millisecond
	w.log.Begin(&b, w.now)
	f()
	w.must(w.log.Finish(w.uptime))
	w.must(w.store.Commit(&b))
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) list(f conflictlog.Filter, page int) (out []uint64) {
	w.t.Helper()
	var before uint64
	for {
		records, more, err := conflictlog.List(w.store, f, before, page)
		w.must(err)
		if len(records) > page || more && len(records) < page {
			w.t.Fatalf("a page of %d has %d records, more: %v", page, len(records), more)
		}
		for _, r := range records {
			out, before = append(out, r.Seq), r.Seq
		}
		if !more {
			return out
		}
	}
}

func TestListingIsFilteringAll(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := open(t, memstore.New(), conflictlog.Limits{})
		var all []*journal.Record
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			w.step(func() {
				for range rapid.IntRange(1, 60).Draw(rt, "records") {
					r := record(uint64(len(all)+1), rapid.IntRange(0, 2).Draw(rt, "collection"), rapid.SampledFrom(journal.States).Draw(rt, "state"))
					w.must(w.log.Add(r))
					all = append(all, r)
				}
				for range rapid.IntRange(0, 5).Draw(rt, "changes") {
					r := all[rapid.IntRange(0, len(all)-1).Draw(rt, "which")]
					r.State = rapid.SampledFrom(journal.States).Draw(rt, "state")
					w.must(w.log.Save(r))
				}
			})
			if rapid.IntRange(0, 9).Draw(rt, "restart") == 0 {
				w.reopen()
			}
		}
		f := conflictlog.Filter{
			State:  rapid.SampledFrom(append(journal.States, "")).Draw(rt, "state"),
			Region: rapid.SampledFrom(append(regions, "", "mars")).Draw(rt, "region"),
		}
		for c := range 3 {
			if rapid.Bool().Draw(rt, "collection") {
				f.Collections = append(f.Collections, dot(9, uint64(c+1)))
			}
		}
		if rapid.Bool().Draw(rt, "since") {
			f.Since = time.UnixMilli(all[rapid.IntRange(0, len(all)-1).Draw(rt, "from")].Seen)
		}
		var want []uint64
		for _, r := range slices.Backward(all) {
			if f.Matches(r) {
				want = append(want, r.Seq)
			}
		}
		if diff := cmp.Diff(want, w.list(f, rapid.IntRange(1, 200).Draw(rt, "page"))); diff != "" {
			rt.Fatalf("%+v:\n%s", f, diff)
		}
	})
}

func TestLogIsBoundedAndForgetsTheOldest(t *testing.T) {
	w := open(t, memstore.New(), conflictlog.Limits{Records: 1000})
	for n := uint64(1); n <= 3000; {
		w.step(func() {
			for range 10 {
				w.must(w.log.Add(record(n, int(n%3), journal.ByPolicy)))
				n++
			}
		})
		if records, _ := w.log.Size(); records > 1000 {
			t.Fatalf("%d records", records)
		}
	}
	got := w.list(conflictlog.Filter{}, 500)
	if len(got) != 1000 || got[0] != 3000 || got[999] != 2001 {
		t.Errorf("%d records are left, from %d to %d", len(got), got[0], got[len(got)-1])
	}
	if r, err := conflictlog.Find(w.store, record(10, 10%3, "").ID); err != nil || r != nil {
		t.Errorf("a record that was dropped is found: %v, %v", r, err)
	}
	names := 0
	for e, err := range w.store.MetaRange("conflict/b/", "") {
		w.must(err)
		names++
		if e.Name < "conflict/b/00000003" {
			t.Fatalf("an index of a block without records is left: %q", e.Name)
		}
	}
	before, bytes := w.log.Size()
	w.reopen()
	if after, b := w.log.Size(); after != before || b != bytes {
		t.Errorf("%d records of %d bytes after a restart, %d of %d before", after, b, before, bytes)
	}
	// By bytes, to nothing.
	w.limits = conflictlog.Limits{Bytes: 1}
	w.reopen()
	for range 100 {
		w.step(func() {})
	}
	if records, bytes := w.log.Size(); records != 0 || bytes != 0 {
		t.Errorf("%d records of %d bytes are left", records, bytes)
	}
	left := 0
	for e, err := range w.store.MetaRange("conflict/", "") {
		w.must(err)
		if e.Name[:11] != "conflict/u/" && e.Name != "conflict/state" {
			t.Errorf("left: %q", e.Name)
		}
		left++
	}
	t.Logf("%d names of indexes with 1,000 records, %d names with none", names, left)
}

func TestOldRecordsGoUnlessTheirConflictStands(t *testing.T) {
	w := open(t, memstore.New(), conflictlog.Limits{Age: time.Hour})
	stands := record(1, 0, journal.ByPolicy)
	over := record(2, 0, journal.ByWrite)
	over.Settled = &journal.Settlement{By: dot(1, 99)}
	young := record(3, 0, journal.ByWrite)
	young.Settled = over.Settled
	w.step(func() { w.must(w.log.Add(stands)); w.must(w.log.Add(over)) })
	pass := func(d time.Duration) {
		w.now, w.uptime = w.now.Add(d), w.uptime+d
		for range 5 {
			w.step(func() {})
		}
	}
	pass(50 * time.Minute)
	w.step(func() { w.must(w.log.Add(young)) })
	if got := w.list(conflictlog.Filter{}, 10); len(got) != 3 {
		t.Fatalf("before their time: %v", got)
	}
	pass(20 * time.Minute)
	if got := w.list(conflictlog.Filter{}, 10); !slices.Equal(got, []uint64{3, 1}) {
		t.Errorf("after an hour: %v", got)
	}
}

func TestStandingConflictThatWasDroppedIsNotForgotten(t *testing.T) {
	w := open(t, memstore.New(), conflictlog.Limits{Records: 1})
	r := record(1, 0, journal.ByPolicy)
	key := store.DocKey{Collection: r.Collection, ID: r.Document}
	w.step(func() {
		w.must(w.log.Add(r))
		w.log.SetStanding(key, 0, []conflictlog.Standing{{Seq: r.Seq, ID: r.ID, Path: r.Path, Dots: r.Dots()}})
	})
	w.step(func() { w.must(w.log.Add(record(2, 0, journal.ByPolicy))) })
	all, err := conflictlog.StandingIn(w.store, key)
	w.must(err)
	if len(all) != 1 || all[0].Seq != 0 || all[0].ID != r.ID || all[0].Path != r.Path || !slices.Equal(all[0].Dots, r.Dots()) {
		t.Errorf("%+v", all)
	}
	w.step(func() { w.must(w.log.Save(r)) })
	if got := w.list(conflictlog.Filter{}, 10); !slices.Equal(got, []uint64{2}) {
		t.Errorf("%v", got)
	}
}

func TestChangesAreEachGivenOnceAndLatest(t *testing.T) {
	w := open(t, memstore.New(), conflictlog.Limits{})
	var all []*journal.Record
	w.step(func() {
		for n := range uint64(10) {
			all = append(all, record(n+1, 0, journal.Open))
			w.must(w.log.Add(all[n]))
		}
	})
	w.step(func() { all[3].State = journal.ByWrite; w.must(w.log.Save(all[3])) })
	records, upTo, ok, err := conflictlog.Changes(w.store, 0, 100)
	w.must(err)
	if !ok || upTo != 11 || len(records) != 10 || records[9].Seq != 4 || records[9].State != journal.ByWrite {
		t.Errorf("%d changes up to %d", len(records), upTo)
	}
	if _, _, ok, err := conflictlog.Changes(w.store, 12, 100); ok || err != nil {
		t.Errorf("changes after one that was not: %v, %v", ok, err)
	}
}

// BenchmarkManyConflicts is about a log of 100,000 conflicts on disk.
func BenchmarkManyConflicts(b *testing.B) {
	const many = 100_000
	st, err := badgerstore.Open(b.TempDir(), badgerstore.Options{Logger: slog.New(slog.DiscardHandler), NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	w := open(b, st, conflictlog.Limits{})
	began := time.Now()
	for n := uint64(1); n <= many; {
		w.step(func() {
			for range 100 {
				state := journal.ByPolicy
				if n%1000 == 0 {
					state = journal.Open
				}
				collection := int(n % 10)
				if n == 17 {
					collection = 11
				}
				w.must(w.log.Add(record(n, collection, state)))
				n++
			}
		})
	}
	records, bytes := w.log.Size()
	b.Logf("%d records of %d bytes written in %v, 100 a step", records, bytes, time.Since(began))
	r := rand.New(rand.NewPCG(1, 2))
	for name, f := range map[string]conflictlog.Filter{
		"all":             {},
		"collection":      {Collections: []crdt.Dot{dot(9, 4)}},
		"rare-state":      {State: journal.Open},
		"no-match":        {State: journal.Undone, Region: "us-east"},
		"oldest-only":     {Collections: []crdt.Dot{dot(9, 12)}},
		"all-three":       {Collections: []crdt.Dot{dot(9, 1)}, State: journal.ByPolicy, Region: "eu-west"},
		"since-yesterday": {Since: noon.Add(-24 * time.Hour), Region: "mars"},
	} {
		b.Run("list/"+name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := conflictlog.List(st, f, 0, 100); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("list/deep-page", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := conflictlog.List(st, conflictlog.Filter{}, 1000+r.Uint64N(many-1000), 100); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("show", func(b *testing.B) {
		for b.Loop() {
			n := 1 + r.Uint64N(many)
			if n == 17 {
				n++
			}
			if x, err := conflictlog.Find(st, record(n, int(n%10), "").ID); x == nil || err != nil {
				b.Fatal(x, err)
			}
		}
	})
	b.Run("add", func(b *testing.B) {
		n := uint64(many)
		for b.Loop() {
			n++
			w.step(func() { w.must(w.log.Add(record(n, 0, journal.ByPolicy))) })
		}
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			w.reopen()
		}
	})
}
