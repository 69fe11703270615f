package badgerstore_test

import (
	"sync"
	"testing"

	"github.com/meridiandb/meridian/region/badgerstore"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/region/store/storetest"
)

// dirs remembers the folder of each store that a factory opened.
var dirs sync.Map

func openAt(tb testing.TB, dir string, opt badgerstore.Options) *badgerstore.Store {
	tb.Helper()
	s, err := badgerstore.Open(dir, opt)
	if err != nil {
		tb.Fatalf("open: %v", err)
	}
	dirs.Store(s, dir)
	return s
}

func factory(opt badgerstore.Options) storetest.Factory {
	return storetest.Factory{
		Open: func(tb testing.TB) store.Store { return openAt(tb, tb.TempDir(), opt) },
		Reopen: func(tb testing.TB, s store.Store) store.Store {
			tb.Helper()
			dir, _ := dirs.Load(s)
			if err := s.Close(); err != nil {
				tb.Fatalf("close: %v", err)
			}
			return openAt(tb, dir.(string), opt)
		},
	}
}

func TestConformance(t *testing.T) {
	storetest.Run(t, factory(badgerstore.Options{MemTableBytes: badgerstore.MinMemTableBytes}))
}

func TestModel(t *testing.T) {
	opt := badgerstore.Options{MemTableBytes: badgerstore.MinMemTableBytes, NoSync: true}
	storetest.RunModel(t, factory(opt))
}

func BenchmarkStore(b *testing.B) { storetest.RunBenchmarks(b, factory(badgerstore.Options{})) }
