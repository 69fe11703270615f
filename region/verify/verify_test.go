package verify_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/core/digests"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/region/verify"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/memnet"
)

// write puts 20 documents, each several times.
func write(t *testing.T, r *region.Region, writes int, text string) {
	t.Helper()
	for i := range writes {
		v, err := value.ParseObject(fmt.Appendf(nil, `{"n":%d,"text":%q}`, i, text), value.DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		w := core.Write{Docs: []core.DocWrite{{Collection: "docs", ID: fmt.Sprint("d", i%20), Edit: crdt.Edit{Kind: crdt.EditPut, Value: v}}}}
		if _, err := r.Write(t.Context(), w); err != nil {
			t.Fatal(err)
		}
	}
}

// run starts a region that keeps at least so many changes in the log.
func run(t *testing.T, net *memnet.Network, name string, st store.Store, keep uint64, peers ...string) (*region.Region, func()) {
	t.Helper()
	tr, err := net.Transport(name, transport.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c := region.Config{
		Region: name, Cluster: "c", Peers: map[string]string{}, Logger: slog.New(slog.DiscardHandler),
		Retention: core.Retention{Changes: keep}, CatchUpRate: 100 << 10,
	}
	for _, p := range peers {
		c.Peers[p] = memnet.Addr(p)
	}
	r, err := region.New(c, st, tr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return r, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// written is a store that a region has used, and its collection. The last keep
// changes of 42 are in the log.
func written(t *testing.T, keep uint64) (*memstore.Store, crdt.Dot) {
	t.Helper()
	st := memstore.New()
	var incarnation crdt.Dot
	synctest.Test(t, func(t *testing.T) {
		r, stop := run(t, memnet.New(memnet.Options{}), "a", st, keep)
		time.Sleep(time.Second)
		write(t, r, 40, "")
		time.Sleep(time.Second) // the log is cut
		col, err := r.Collection("docs")
		if err != nil {
			t.Fatal(err)
		}
		incarnation = col.Incarnation
		stop()
	})
	return st, incarnation
}

func TestWholeStoreHasNoProblems(t *testing.T) {
	for keep, cut := range map[uint64]uint64{1000: 0, 30: 12, 1: 41} {
		st, _ := written(t, keep)
		r, err := verify.Store(t.Context(), st, nil)
		if err != nil {
			t.Fatal(err)
		}
		// Two changes announce the replica and the collection, as documents of the system.
		log := verify.Log{Replica: r.Replica, First: cut + 1, Last: 42, Holds: 42, Cut: cut}
		if !r.OK() || r.Documents != 22 || r.Changes != 42-cut || r.Collections != 1 || !slices.Equal(r.Logs, []verify.Log{log}) || r.Snapshot != nil {
			t.Errorf("%d changes are kept: %+v", keep, r)
		}
	}
}

// A store that was restored has what the log of its first backup had.
func TestLogMayBeginBeforeItsCut(t *testing.T) {
	st, col := written(t, 30)
	var b store.Batch
	for e, err := range st.Log(col.Replica, 42, 42) {
		if err != nil {
			t.Fatal(err)
		}
		// What is there has to be what was written all the same.
		b.Log = []store.LogPut{{Dot: crdt.Dot{Replica: col.Replica, Seq: 9}, Chain: e.Chain, Change: slices.Clone(e.Change)}}
	}
	if err := st.Commit(&b); err != nil {
		t.Fatal(err)
	}
	r, err := verify.Store(t.Context(), st, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Found != 1 || !strings.Contains(r.Problems[0].Detail, "change 9 says that it is") || r.Logs[0].First != 9 {
		t.Errorf("%+v", r)
	}
}

func TestDamageIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(st *memstore.Store, col crdt.Dot, b *store.Batch) error
		kind   string
		says   string
	}{
		"a flipped byte of a document": {func(st *memstore.Store, col crdt.Dot, b *store.Batch) error {
			key := store.DocKey{Collection: col, ID: "d3"}
			state, err := st.Doc(key)
			state[len(state)-1] ^= 1
			b.Docs = []store.DocPut{{Key: key, State: state}}
			return err
		}, verify.KindDocument, "checksum"},
		"a lost document": {func(_ *memstore.Store, col crdt.Dot, b *store.Batch) error {
			b.Docs = []store.DocPut{{Key: store.DocKey{Collection: col, ID: "d3"}}}
			return nil
		}, verify.KindDigest, "0 documents"},
		"a document in another's place": {func(st *memstore.Store, col crdt.Dot, b *store.Batch) error {
			state, err := st.Doc(store.DocKey{Collection: col, ID: "d4"})
			b.Docs = []store.DocPut{{Key: store.DocKey{Collection: col, ID: "d3"}, State: state}}
			return err
		}, verify.KindDigest, "1 documents"},
		// All of them: the journal of digests may have all that one of them had.
		"digests that are lost": {func(st *memstore.Store, _ crdt.Dot, b *store.Batch) error {
			b.Meta = map[string][]byte{}
			for e, err := range st.MetaRange(digests.Prefix, "") {
				if err != nil {
					return err
				}
				b.Meta[e.Name] = nil
			}
			return nil
		}, verify.KindDigest, "0 documents"},
		"more than it holds": {func(_ *memstore.Store, col crdt.Dot, b *store.Batch) error {
			b.Log = []store.LogPut{{Dot: crdt.Dot{Replica: col.Replica, Seq: 44}}}
			return nil
		}, verify.KindLog, "it has change 44"},
		"another change in the log": {func(st *memstore.Store, col crdt.Dot, b *store.Batch) error {
			for e, err := range st.Log(col.Replica, 10, 10) {
				b.Log = []store.LogPut{{Dot: crdt.Dot{Replica: col.Replica, Seq: 11}, Chain: e.Chain, Change: slices.Clone(e.Change)}}
				return err
			}
			return nil
		}, verify.KindLog, "change 11"},
		"no core": {func(_ *memstore.Store, _ crdt.Dot, b *store.Batch) error {
			b.Meta = map[string][]byte{core.MetaName: nil}
			return nil
		}, verify.KindReplica, "never used"},
		"a conflict log that says otherwise": {func(_ *memstore.Store, _ crdt.Dot, b *store.Batch) error {
			b.Meta = map[string][]byte{"conflict/state": {99}}
			return nil
		}, verify.KindConflicts, ""},
	} {
		t.Run(name, func(t *testing.T) {
			st, col := written(t, 1000)
			var b store.Batch
			if err := c.damage(st, col, &b); err != nil {
				t.Fatal(err)
			}
			if err := st.Commit(&b); err != nil {
				t.Fatal(err)
			}
			expectProblem(t, st, c.kind, c.says)
		})
	}
}

// What is missing at the beginning of a log shows by how far it was cut.
func TestChangesMissingInALogAreFound(t *testing.T) {
	for _, c := range []struct {
		keep, from, to uint64
		says           string
	}{
		{1000, 10, 12, "changes 10 to 12 are missing"},
		{1000, 41, 42, "changes 41 to 42 are missing"},
		{1000, 1, 3, "changes 1 to 3 are missing; it was cut up to 0"},
		{1000, 1, 42, "changes 1 to 42 are missing"},
		{30, 10, 20, "changes 13 to 20 are missing; it was cut up to 12"},
		{30, 13, 13, "changes 13 to 13 are missing"},
		{30, 1, 42, "changes 13 to 42 are missing"},
		{1, 42, 42, "changes 42 to 42 are missing; it was cut up to 41"},
	} {
		st, col := written(t, c.keep)
		if err := st.Commit(&store.Batch{TrimLog: []crdt.Span{{Replica: col.Replica, From: c.from, To: c.to}}}); err != nil {
			t.Fatal(err)
		}
		expectProblem(t, st, verify.KindLog, c.says)
	}
}

// The last change of each replica is never cut.
func TestLogThatWasCutTooFarIsFound(t *testing.T) {
	st, col := written(t, 1)
	record, err := st.Meta(core.MetaName)
	if err != nil {
		t.Fatal(err)
	}
	cut := func(to byte) []byte { return append(col.Replica[:], to) }
	record = bytes.Replace(record, cut(41), cut(42), 1)
	if err := st.Commit(&store.Batch{Meta: map[string][]byte{core.MetaName: record}}); err != nil {
		t.Fatal(err)
	}
	expectProblem(t, st, verify.KindLog, "it was cut up to 42, and that it holds 42")
}

func expectProblem(t *testing.T, st store.Reader, kind, says string) {
	t.Helper()
	r, err := verify.Store(t.Context(), st, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(r.Problems, func(p verify.Problem) bool { return p.Kind == kind && strings.Contains(p.Detail, says) }) {
		t.Errorf("found %+v", r.Problems)
	}
}

// A recorder keeps what the store had after each commit.
type recorder struct {
	*memstore.Store
	states []*memstore.Store
}

func (r *recorder) Commit(b *store.Batch) error {
	err := r.Store.Commit(b)
	if err == nil {
		r.states = append(r.states, r.Image())
	}
	return err
}

// copied are the states of a store that was put back and takes a snapshot, which is
// interrupted once while the donor goes on writing.
func copied(t *testing.T) []*memstore.Store {
	t.Helper()
	rec := &recorder{}
	synctest.Test(t, func(t *testing.T) {
		net, st := memnet.New(memnet.Options{}), memstore.New()
		a, stopA := run(t, net, "a", memstore.New(), 10, "b")
		b, stopB := run(t, net, "b", st, 10, "a")
		time.Sleep(time.Second)
		write(t, a, 20, "")
		write(t, b, 20, "")
		time.Sleep(time.Second)
		rec.Store = st.Clone()
		write(t, b, 20, "")
		write(t, a, 60, strings.Repeat("x", 100<<10))
		time.Sleep(time.Minute) // until b has it, and a has cut its log
		stopB()

		copying := func(r *region.Region) uint64 {
			s, err := r.Cluster(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if s.Snapshot == nil {
				return 0
			}
			return s.Snapshot.Documents
		}
		b, stopB = run(t, net, "b", rec, 10, "a")
		for i := 0; copying(b) < 5; i++ {
			if time.Sleep(10 * time.Millisecond); i == 1000 {
				t.Fatal("no snapshot is taken")
			}
		}
		write(t, a, 5, "meanwhile")
		stopB()
		b, stopB = run(t, net, "b", rec, 10, "a")
		for i := 0; b.Ready() != nil; i++ {
			if time.Sleep(100 * time.Millisecond); i == 1000 {
				t.Fatal("the snapshot is not completed")
			}
		}
		time.Sleep(time.Second)
		stopB()
		stopA()
	})
	return rec.states
}

func TestStoreThatTakesASnapshotIsWholeAllTheTime(t *testing.T) {
	seen := map[string]int{}
	var before uint64
	for i, st := range copied(t) {
		r, err := verify.Store(t.Context(), st, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !r.OK() {
			t.Fatalf("after %d commits: %+v", i+1, r)
		}
		s := r.Snapshot
		if s == nil {
			seen[""]++
			continue
		}
		seen[s.Phase]++
		switch {
		case s.Phase == verify.PhaseClearing:
			if s.Documents != 0 || len(s.Vector) != 0 {
				t.Errorf("cleared: %+v", s)
			}
		case s.Documents < before:
			t.Errorf("%d documents, %d before: %+v", s.Documents, before, s)
		case s.Documents > 0 && len(s.Vector) == 0:
			t.Errorf("nothing is known of the donor: %+v", s)
		}
		before = s.Documents
	}
	for _, phase := range []string{"", verify.PhaseClearing, verify.PhaseCopying, verify.PhaseReplaying} {
		if seen[phase] == 0 {
			t.Errorf("phase %q was never seen: %v", phase, seen)
		}
	}
}

// What has come of a snapshot is checked as well.
func TestDamageOfAnUnfinishedSnapshotIsFound(t *testing.T) {
	var st *memstore.Store
	for _, s := range copied(t) {
		if d, err := core.ReadDurable(s); err != nil {
			t.Fatal(err)
		} else if d.Snapshot != nil && d.Snapshot.Documents > 0 && !d.Snapshot.Replaying {
			st = s
			break
		}
	}
	d, err := core.ReadDurable(st)
	if err != nil {
		t.Fatal(err)
	}
	tip := d.Snapshot.Base.At(0)
	var key store.DocKey
	for e, err := range st.Docs(crdt.Dot{}, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		key.ID = e.ID
	}
	for name, c := range map[string]struct {
		batch store.Batch
		kind  string
		says  string
	}{
		"a lost document":     {store.Batch{Docs: []store.DocPut{{Key: key}}}, verify.KindDigest, "documents"},
		"a lost last change":  {store.Batch{TrimLog: []crdt.Span{{Replica: tip.Replica, From: tip.Seq, To: tip.Seq}}}, verify.KindLog, fmt.Sprintf("changes %d to %[1]d are missing", tip.Seq)},
		"another change":      {store.Batch{Log: []store.LogPut{{Dot: crdt.Dot{Replica: tip.Replica, Seq: tip.Seq + 1}}}}, verify.KindLog, fmt.Sprintf("it has change %d", tip.Seq+1)},
		"no record of it":     {store.Batch{Meta: map[string][]byte{"snapshot": nil}}, verify.KindReplica, "snapshot"},
		"a record of nothing": {store.Batch{Meta: map[string][]byte{"snapshot": {9}}}, verify.KindReplica, "format 9"},
	} {
		t.Run(name, func(t *testing.T) {
			damaged := st.Image()
			if err := damaged.Commit(&c.batch); err != nil {
				t.Fatal(err)
			}
			expectProblem(t, damaged, c.kind, c.says)
		})
	}
}
