package storetest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

const (
	benchDocs  = 100_000
	benchBytes = 200
)

// RunBenchmarks measures what a region does most. A write is a document and its
// entry in the log.
func RunBenchmarks(b *testing.B, f Factory) {
	for _, n := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("Commit/writes=%d", n), func(b *testing.B) { benchCommit(b, f, n) })
	}
	b.Run("Doc", func(b *testing.B) { benchRead(b, f, readDoc) })
	b.Run("DocParallel", func(b *testing.B) { benchParallel(b, f) })
	b.Run("DocAbsent", func(b *testing.B) { benchRead(b, f, readAbsent) })
	b.Run("SnapshotDoc", func(b *testing.B) { benchRead(b, f, readSnapshot) })
	b.Run("Docs/100", func(b *testing.B) { benchRead(b, f, scanDocs) })
	b.Run("Log/100", func(b *testing.B) { benchRead(b, f, scanLog) })
}

func benchKey(i int) store.DocKey {
	return store.DocKey{Collection: users, ID: fmt.Sprintf("user-%08d", i)}
}

func benchOpen(b *testing.B, f Factory) store.Store {
	b.Helper()
	s := f.Open(b)
	b.Cleanup(func() { s.Close() })
	return s
}

func benchFilled(b *testing.B, f Factory) store.Store {
	b.Helper()
	s := benchOpen(b, f)
	for at := 0; at < benchDocs; at += 5000 {
		var batch store.Batch
		for i := at; i < at+5000; i++ {
			batch.Docs = append(batch.Docs, store.DocPut{Key: benchKey(i), State: blob(i, benchBytes)})
			batch.Log = append(batch.Log, store.LogPut{Dot: crdt.Dot{Replica: replicaA, Seq: uint64(i) + 1}, Change: blob(i, benchBytes)})
		}
		commit(b, s, &batch)
	}
	return s
}

func benchCommit(b *testing.B, f Factory, writes int) {
	s := benchOpen(b, f)
	rng := rand.New(rand.NewPCG(1, 2))
	state, change := blob(1, benchBytes), blob(2, benchBytes)
	seq := uint64(0)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		batch := store.Batch{
			Docs: make([]store.DocPut, 0, writes),
			Log:  make([]store.LogPut, 0, writes),
			Meta: map[string][]byte{"have": change[:100]},
		}
		for range writes {
			seq++
			batch.Docs = append(batch.Docs, store.DocPut{Key: benchKey(rng.IntN(benchDocs)), State: state})
			batch.Log = append(batch.Log, store.LogPut{Dot: crdt.Dot{Replica: replicaA, Seq: seq}, Change: change})
		}
		commit(b, s, &batch)
	}
	b.ReportMetric(float64(b.N*writes)/b.Elapsed().Seconds(), "writes/s")
}

func benchRead(b *testing.B, f Factory, read func(*testing.B, store.Store, int)) {
	s := benchFilled(b, f)
	rng := rand.New(rand.NewPCG(1, 2))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		read(b, s, rng.IntN(benchDocs-100))
	}
}

func benchParallel(b *testing.B, f Factory) {
	s := benchFilled(b, f)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		rng := rand.New(rand.NewPCG(1, 2))
		for pb.Next() {
			readDoc(b, s, rng.IntN(benchDocs))
		}
	})
}

func readDoc(b *testing.B, s store.Store, i int) {
	if got, err := s.Doc(benchKey(i)); len(got) != benchBytes || err != nil {
		b.Fatalf("%d bytes, %v", len(got), err)
	}
}

func readAbsent(b *testing.B, s store.Store, i int) {
	if got, err := s.Doc(benchKey(i + benchDocs)); got != nil || err != nil {
		b.Fatalf("%d bytes, %v", len(got), err)
	}
}

func readSnapshot(b *testing.B, s store.Store, i int) {
	sn := s.Snapshot()
	defer sn.Close()
	if got, err := sn.Doc(benchKey(i)); len(got) != benchBytes || err != nil {
		b.Fatalf("%d bytes, %v", len(got), err)
	}
}

func scanDocs(b *testing.B, s store.Store, i int) {
	n := 0
	for e, err := range s.Docs(users, "user-", benchKey(i).ID) {
		if len(e.State) != benchBytes || err != nil {
			b.Fatalf("%q: %d bytes, %v", e.ID, len(e.State), err)
		}
		if n++; n == 100 {
			return
		}
	}
	if n < 99 {
		b.Fatalf("%d documents", n)
	}
}

func scanLog(b *testing.B, s store.Store, i int) {
	n := 0
	for e, err := range s.Log(replicaA, uint64(i)+1, uint64(i)+100) {
		if len(e.Change) != benchBytes || err != nil {
			b.Fatalf("%v: %d bytes, %v", e.Dot, len(e.Change), err)
		}
		n++
	}
	if n != 100 {
		b.Fatalf("%d entries", n)
	}
}
