package verify_test

import (
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

// written is a store that a region has used, and its collection.
func written(t *testing.T) (*memstore.Store, crdt.Dot) {
	t.Helper()
	st := memstore.New()
	var incarnation crdt.Dot
	synctest.Test(t, func(t *testing.T) {
		tr, err := memnet.New(memnet.Options{}).Transport("a", transport.Config{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := region.New(region.Config{Region: "a", Cluster: "c", Logger: slog.New(slog.DiscardHandler)}, st, tr)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		time.Sleep(time.Second)
		for i := range 40 {
			v, err := value.ParseObject(fmt.Appendf(nil, `{"n":%d}`, i), value.DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			w := core.Write{Docs: []core.DocWrite{{Collection: "docs", ID: fmt.Sprint("d", i%20), Edit: crdt.Edit{Kind: crdt.EditPut, Value: v}}}}
			if _, err := r.Write(ctx, w); err != nil {
				t.Fatal(err)
			}
		}
		col, err := r.Collection("docs")
		if err != nil {
			t.Fatal(err)
		}
		incarnation = col.Incarnation
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
	return st, incarnation
}

func TestWholeStoreHasNoProblems(t *testing.T) {
	st, _ := written(t)
	r, err := verify.Store(t.Context(), st, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Two changes announce the replica and the collection, as documents of the system.
	if !r.OK() || r.Documents != 22 || r.Changes != 42 || r.Collections != 1 || len(r.Logs) != 1 || r.Logs[0].First != 1 || r.Logs[0].Last != 42 {
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
		"a digest that is lost": {func(st *memstore.Store, _ crdt.Dot, b *store.Batch) error {
			for e, err := range st.MetaRange(digests.Prefix, "") {
				b.Meta = map[string][]byte{e.Name: nil}
				return err
			}
			return nil
		}, verify.KindDigest, "0 documents"},
		"a gap in the log": {func(_ *memstore.Store, col crdt.Dot, b *store.Batch) error {
			b.TrimLog = []crdt.Span{{Replica: col.Replica, From: 10, To: 12}}
			return nil
		}, verify.KindLog, "changes 10 to 12 are missing"},
		"an end of the log that is lost": {func(_ *memstore.Store, col crdt.Dot, b *store.Batch) error {
			b.TrimLog = []crdt.Span{{Replica: col.Replica, From: 41, To: 42}}
			return nil
		}, verify.KindLog, "changes 41 to 42 are missing"},
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
			st, col := written(t)
			var b store.Batch
			if err := c.damage(st, col, &b); err != nil {
				t.Fatal(err)
			}
			if err := st.Commit(&b); err != nil {
				t.Fatal(err)
			}
			r, err := verify.Store(t.Context(), st, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(r.Problems, func(p verify.Problem) bool { return p.Kind == c.kind && strings.Contains(p.Detail, c.says) }) {
				t.Errorf("found %+v", r.Problems)
			}
		})
	}
}
