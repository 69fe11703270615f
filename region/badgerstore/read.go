package badgerstore

import (
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/internal/record"
	"github.com/meridiandb/meridian/region/store"
)

// A view reads at one version: that of its pin, or of the last commit at the
// time of each call if it has none.
type view struct {
	s   *Store
	pin *pin
	// closed, if not nil, says that the snapshot was closed. Guarded by s.mu.
	closed *bool
}

type snapshot struct {
	view
	once sync.Once
}

// Snapshot implements store.Store.
func (s *Store) Snapshot() store.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &snapshot{view: view{s: s, pin: s.pins.hold(s.readTs), closed: new(bool)}}
}

// Close implements store.Snapshot.
func (sn *snapshot) Close() {
	sn.once.Do(func() {
		sn.s.mu.Lock()
		defer sn.s.mu.Unlock()
		*sn.closed = true
		sn.s.release(sn.pin)
	})
}

// enter registers a read at the view's version and holds that until leave.
func (v view) enter() (*pin, error) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	if v.hasEnded() {
		return nil, store.ErrClosed
	}
	v.s.active++
	if v.pin == nil {
		return v.s.pins.hold(v.s.readTs), nil
	}
	v.pin.refs++
	return v.pin, nil
}

func (v view) ended() bool {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	return v.hasEnded()
}

func (v view) hasEnded() bool { return v.s.closed || v.closed != nil && *v.closed }

// get returns a copy of the value of a key, or nil if there is none.
func (v view) get(key []byte) ([]byte, error) {
	p, err := v.enter()
	if err != nil {
		return nil, err
	}
	defer v.s.leave(p)
	txn := v.s.db.NewTransactionAt(p.ts, false)
	defer txn.Discard()
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, readError(err)
	}
	value, err := appendValue(make([]byte, 0, item.ValueSize()), txn, item)
	if err != nil {
		return nil, err
	}
	return value, nil
}

// scan calls visit with the items under prefix, from start on. An item is valid
// during the call. It ends early when visit returns false.
func (v view) scan(prefix, start []byte, visit func(txn *badger.Txn, item *badger.Item) bool) error {
	p, err := v.enter()
	if err != nil {
		return err
	}
	defer v.s.leave(p)
	txn := v.s.db.NewTransactionAt(p.ts, false)
	defer txn.Discard()
	// Badger prefetches with a goroutine for each item, which costs more than
	// it brings for values that lie beside their keys.
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	for it.Seek(start); it.Valid(); it.Next() {
		if !visit(txn, it.Item()) {
			return nil
		}
		if v.ended() {
			return store.ErrClosed
		}
	}
	return nil
}

// entries turns a scan into a sequence of what decode makes of each record.
// decode may share the memory of key and value.
func entries[E any](v view, prefix, start []byte, decode func(key, value []byte) (e E, last bool, err error)) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		var buf []byte
		var failure error
		stopped := false
		err := v.scan(prefix, start, func(txn *badger.Txn, item *badger.Item) bool {
			if buf, failure = appendValue(buf[:0], txn, item); failure != nil {
				return false
			}
			e, last, err := decode(item.Key(), buf)
			if failure = err; err != nil || last {
				return false
			}
			stopped = !yield(e, nil)
			return !stopped
		})
		if failure == nil {
			failure = err
		}
		if failure != nil && !stopped {
			var zero E
			yield(zero, failure)
		}
	}
}

// Meta implements store.Reader.
func (v view) Meta(name string) ([]byte, error) {
	return v.get(record.AppendMetaKey(nil, name))
}

// MetaRange implements store.Reader.
func (v view) MetaRange(prefix, after string) iter.Seq2[store.MetaEntry, error] {
	p := record.AppendMetaKey(nil, prefix)
	return entries(v, p, record.MetaStart(prefix, after), func(key, value []byte) (store.MetaEntry, bool, error) {
		return store.MetaEntry{Name: record.MetaName(key), Value: value}, false, nil
	})
}

// Doc implements store.Reader.
func (v view) Doc(key store.DocKey) ([]byte, error) {
	return v.get(record.AppendDocKey(nil, key))
}

// Docs implements store.Reader.
func (v view) Docs(collection crdt.Dot, prefix, after string) iter.Seq2[store.DocEntry, error] {
	p := record.AppendDocKey(nil, store.DocKey{Collection: collection, ID: prefix})
	start := record.DocsStart(collection, prefix, after)
	return entries(v, p, start, func(key, value []byte) (store.DocEntry, bool, error) {
		return store.DocEntry{ID: record.DocID(key), State: value}, false, nil
	})
}

// Version implements store.Reader.
func (v view) Version(key store.DocKey, tag string, now time.Time) ([]byte, error) {
	prefix := record.AppendVersionPrefix(nil, key)
	mark := record.Mark(tag) & markMask
	var out []byte
	var failure error
	err := v.scan(prefix, prefix, func(txn *badger.Txn, item *badger.Item) bool {
		if item.UserMeta()&markMask != mark {
			return true
		}
		var value []byte
		if value, failure = appendValue(nil, txn, item); failure != nil {
			return false
		}
		var ok bool
		if value, ok, failure = record.Version(value, tag, now); ok {
			out = value
		}
		return failure == nil && !ok
	})
	if failure != nil {
		return nil, failure
	}
	return out, err
}
