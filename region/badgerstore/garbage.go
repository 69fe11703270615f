package badgerstore

import (
	"bytes"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/y"

	"github.com/meridiandb/meridian/region/store"
)

// How much Garbage looks at: some megabytes at most, whatever the size of the store.
const (
	// samplePlaces is in how many places, spread evenly over the bytes of the store.
	samplePlaces = 64
	// sampleBytes and sampleRecords are how much in each; the record that goes beyond
	// is counted whole.
	sampleBytes   = 64 << 10
	sampleRecords = 512
)

// Garbage implements store.Compactor. It looks at samples, which it takes by the keys at
// which tables begin. Those of the first level are left out: they all begin where the
// store does.
func (s *Store) Garbage() (share float64, err error) {
	p, err := s.enter()
	if err != nil {
		return 0, err
	}
	defer s.leave(p)
	places := s.samplePlaces()
	if len(places) == 0 {
		return 0, nil
	}
	txn := s.db.NewTransactionAt(p.ts, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{AllVersions: true})
	defer it.Close()
	for _, key := range places {
		if s.ended() {
			return 0, store.ErrClosed
		}
		share += garbageFrom(it, key) / float64(len(places))
	}
	return share, nil
}

// samplePlaces returns keys in the order of tables, each with about as many bytes of
// tables behind it as the others.
func (s *Store) samplePlaces() [][]byte {
	var tables []badger.TableInfo
	var all, passed float64
	for _, t := range s.db.Tables() {
		if t.Level > 0 {
			tables = append(tables, t)
			all += float64(t.UncompressedSize)
		}
	}
	var places [][]byte
	for _, t := range tables {
		if passed >= all*float64(len(places))/samplePlaces {
			places = append(places, y.ParseKey(t.Left))
		}
		passed += float64(t.UncompressedSize)
	}
	return places
}

// garbageFrom is how much of what is stored from key on is no longer there for readers.
func garbageFrom(it *badger.Iterator, key []byte) float64 {
	var all, gone int64
	var last []byte
	n := 0
	for it.Seek(key); it.Valid() && all < sampleBytes && n < sampleRecords; it.Next() {
		item := it.Item()
		size := item.KeySize() + item.ValueSize()
		if bytes.Equal(last, item.Key()) || item.IsDeletedOrExpired() {
			gone += size
		}
		last = item.KeyCopy(last)
		all += size
		n++
	}
	if all == 0 {
		return 0
	}
	return float64(gone) / float64(all)
}
