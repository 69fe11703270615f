// Package memstore keeps a region's records in memory, for tests and the
// simulation. It is deterministic, copies itself in constant time, and fails and
// crashes on request.
package memstore

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/internal/record"
	"github.com/meridiandb/meridian/region/store"
)

// records is the content of a store. A published one is never changed: a commit
// works on a copy, which shares what it does not touch.
type records = btree.Map[string, entry]

type entry struct {
	value []byte
	mark  byte
}

// A Fault is what happens to a commit instead of success.
type Fault struct {
	// Err is what Commit returns, wrapped. Unless it is store.ErrFull the
	// store has failed after it.
	Err error
	// Kept says that the batch is on the disk all the same: Crash brings it
	// back. It has no effect with store.ErrFull, which promises the contrary.
	Kept bool
}

// A Store is a store.Store in memory.
type Store struct {
	view // of the last commit

	commitMu sync.Mutex

	mu      sync.Mutex
	shown   *records
	durable *records // differs from shown only after a Fault that is Kept
	faults  []Fault
	closed  bool
	failed  error
	bytes   int64
	commits uint64
	slow    time.Duration
	copied  bool // and nothing was committed since
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return with(new(records), 0, false) }

func with(r *records, bytes int64, copied bool) *Store {
	s := &Store{shown: r, durable: r, bytes: bytes, copied: copied}
	s.view.s = s
	return s
}

// Slow makes each commit from now on take so long, as on a slow disk.
func (s *Store) Slow(commit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slow = commit
}

// FailNext makes the next commit that is not refused for its size fail. Further
// calls are for the commits after it.
func (s *Store) FailNext(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f)
}

// Crash ends the store as a kill of the process would, and returns what the next
// process finds: every acknowledged commit, and nothing else but what a Fault
// said is kept. A commit that is under way waits for the crash or is over before it.
func (s *Store) Crash() *Store {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return with(s.durable, s.bytes, s.copied)
}

// Clone returns an independent store with what is durable in this one, as if its
// folder had been copied: it is not Continuous.
func (s *Store) Clone() *Store { return s.clone(true) }

// Image returns an independent store with what is durable in this one, as if the
// volume below it had been copied: nothing tells it from this one.
func (s *Store) Image() *Store { return s.clone(false) }

func (s *Store) clone(copied bool) *Store {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return with(s.durable.Copy(), s.bytes, copied || s.copied)
}

// Continuous implements store.Store.
func (s *Store) Continuous() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.copied
}

// Commits is the number of batches that were acknowledged.
func (s *Store) Commits() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commits
}

// Commit implements store.Store.
func (s *Store) Commit(b *store.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	s.mu.Lock()
	slow := s.slow
	s.mu.Unlock()
	if slow > 0 {
		<-time.After(slow)
	}
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	fault, err := s.beginCommit()
	if err != nil {
		return err
	}
	if errors.Is(fault.Err, store.ErrFull) {
		return fmt.Errorf("commit: %w", fault.Err)
	}

	next := s.shown.Copy()
	bytes := s.bytes
	for _, op := range append(record.Ops(b), record.LogOps(b)...) {
		key := string(op.Key)
		var old entry
		var had bool
		if op.Remove {
			old, had = next.Delete(key)
		} else {
			// The values of a batch are its own.
			old, had = next.Set(key, entry{value: copyOf(op.Value), mark: op.Mark})
			bytes += int64(len(key) + len(op.Value))
		}
		if had {
			bytes -= int64(len(key) + len(old.value))
		}
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if fault.Err != nil {
		if fault.Kept {
			s.durable, s.bytes, s.copied = next, bytes, false
		}
		s.failed = fmt.Errorf("%w: %w", store.ErrFailed, fault.Err)
		return s.failed
	}
	s.shown, s.durable, s.bytes, s.copied = next, next, bytes, false
	s.commits++
	return nil
}

func (s *Store) beginCommit() (Fault, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return Fault{}, store.ErrClosed
	case s.failed != nil:
		return Fault{}, s.failed
	case len(s.faults) == 0:
		return Fault{}, nil
	}
	f := s.faults[0]
	s.faults = s.faults[1:]
	return f, nil
}

// Sizes implements store.Store.
func (s *Store) Sizes() (store.Sizes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return store.Sizes{Records: s.bytes, Free: -1}, nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// Snapshot implements store.Store.
func (s *Store) Snapshot() store.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &snapshot{view{s: s, at: s.shown, closed: new(bool)}}
}

type snapshot struct{ view }

// Close implements store.Snapshot.
func (sn *snapshot) Close() {
	sn.s.mu.Lock()
	defer sn.s.mu.Unlock()
	*sn.closed = true
}

// A view reads what it is at, or the last commit if that is nil.
type view struct {
	s      *Store
	at     *records
	closed *bool // of the snapshot, guarded by s.mu
}

func (v view) records() (*records, error) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	switch {
	case v.s.closed || v.closed != nil && *v.closed:
		return nil, store.ErrClosed
	case v.at != nil:
		return v.at, nil
	}
	return v.s.shown, nil
}

func copyOf(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }

func (v view) get(key []byte) (value []byte, ok bool, err error) {
	r, err := v.records()
	if err != nil {
		return nil, false, err
	}
	e, ok := r.Get(string(key))
	return e.value, ok, nil
}

func (v view) getCopy(key []byte) ([]byte, error) {
	value, ok, err := v.get(key)
	if !ok || err != nil {
		return nil, err
	}
	return copyOf(value), nil
}

// entries turns the records under prefix, from start on, into a sequence of what
// decode makes of them.
func entries[E any](v view, prefix, start []byte, decode func(key, value []byte) (e E, last bool, err error)) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		var zero E
		r, err := v.records()
		if err != nil {
			yield(zero, err)
			return
		}
		under := string(prefix)
		var failure error
		r.Ascend(string(start), func(key string, value entry) bool {
			if !strings.HasPrefix(key, under) {
				return false
			}
			e, last, err := decode([]byte(key), value.value)
			if failure = err; err != nil || last || !yield(e, nil) {
				return false
			}
			_, failure = v.records()
			return failure == nil
		})
		if failure != nil {
			yield(zero, failure)
		}
	}
}

// Meta implements store.Reader.
func (v view) Meta(name string) ([]byte, error) {
	return v.getCopy(record.AppendMetaKey(nil, name))
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
	return v.getCopy(record.AppendDocKey(nil, key))
}

// Docs implements store.Reader.
func (v view) Docs(collection crdt.Dot, prefix, after string) iter.Seq2[store.DocEntry, error] {
	p := record.AppendDocKey(nil, store.DocKey{Collection: collection, ID: prefix})
	return entries(v, p, record.DocsStart(collection, prefix, after),
		func(key, value []byte) (store.DocEntry, bool, error) {
			return store.DocEntry{ID: record.DocID(key), State: value}, false, nil
		})
}

// Version implements store.Reader.
func (v view) Version(key store.DocKey, tag string, now time.Time) (found []byte, err error) {
	r, err := v.records()
	if err != nil {
		return nil, err
	}
	prefix, mark := record.AppendVersionPrefix(nil, key), record.Mark(tag)
	r.Ascend(string(prefix), func(k string, e entry) bool {
		if !bytes.HasPrefix([]byte(k), prefix) {
			return false
		}
		if e.mark != mark {
			return true
		}
		state, ok, verr := record.Version(e.value, tag, now)
		if ok {
			found = copyOf(state)
		}
		err = verr
		return !ok && err == nil
	})
	return found, err
}

// Log implements store.Reader.
func (v view) Log(replica crdt.ReplicaID, from, to uint64) iter.Seq2[store.LogEntry, error] {
	prefix := record.AppendLogPrefix(nil, replica)
	start := record.AppendLogKey(nil, crdt.Dot{Replica: replica, Seq: from})
	return entries(v, prefix, start, func(key, value []byte) (e store.LogEntry, last bool, err error) {
		e.Dot = record.LogDot(key)
		if e.Dot.Seq > to {
			return e, true, nil
		}
		e.Chain, e.Change, err = record.Log(value)
		return e, false, err
	})
}

// LogChain implements store.Reader.
func (v view) LogChain(dot crdt.Dot) (chain [store.ChainSize]byte, ok bool, err error) {
	value, ok, err := v.get(record.AppendLogKey(nil, dot))
	if !ok || err != nil {
		return chain, false, err
	}
	chain, _, err = record.Log(value)
	return chain, err == nil, err
}
