package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/meridiandb/meridian/region/internal/record"
	"github.com/meridiandb/meridian/region/store"
)

// Commit implements store.Store.
func (s *Store) Commit(b *store.Batch) error {
	if err := b.Check(); err != nil {
		return err
	}
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if err := s.beginCommit(); err != nil {
		return err
	}
	defer s.endCommit()
	if b.Empty() {
		return nil
	}
	bytes, _ := b.Size()
	// A large batch is written three times: staged, to the journal, to tables.
	if err := s.checkRoom(3 * int64(bytes)); err != nil {
		return err
	}
	ops := record.Ops(b)
	err := s.commitOps(ops)
	if errors.Is(err, badger.ErrTxnTooBig) {
		err = s.commitStaged(ops)
	}
	if err == nil {
		err = s.syncNewJournals()
	}
	if err != nil {
		return s.fail(err)
	}
	s.acknowledge()
	return nil
}

// beginCommit registers the commit as an operation.
func (s *Store) beginCommit() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return store.ErrClosed
	case s.failed != nil:
		return s.failed
	}
	s.active++
	return nil
}

func (s *Store) endCommit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done()
}

// fail makes the store refuse commits from now on.
func (s *Store) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = fmt.Errorf("%w: %w", store.ErrFailed, err)
	return s.failed
}

// acknowledge shows what was committed to readers.
func (s *Store) acknowledge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readTs = s.nextTs - 1
	s.db.SetDiscardTs(s.pins.oldest(s.readTs))
}

// commitOps writes the operations in one transaction of the next version.
// badger.ErrTxnTooBig means that nothing was written.
func (s *Store) commitOps(ops []record.Op) error {
	txn := s.db.NewTransactionAt(s.nextTs-1, true)
	defer txn.Discard()
	for i := range ops {
		if err := setOp(txn, &ops[i]); err != nil {
			return err
		}
	}
	return s.commitTxn(txn)
}

func (s *Store) commitTxn(txn *badger.Txn) error {
	if err := txn.CommitAt(s.nextTs, nil); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if msg := s.blog.syncErr.Load(); msg != nil {
		return fmt.Errorf("commit: sync the value log: %s", *msg)
	}
	s.nextTs++
	return nil
}

func setOp(txn *badger.Txn, op *record.Op) error {
	if op.Remove {
		return txn.Delete(op.Key)
	}
	e := badger.NewEntry(op.Key, op.Value).WithMeta(op.Mark)
	if !op.Expires.IsZero() {
		// Badger counts whole seconds and drops at the start of the one given.
		e.ExpiresAt = uint64(max(op.Expires.Unix()+1, 1))
	}
	return txn.SetEntry(e)
}

// The journals of Badger: of memory tables, and value logs. Each kind is numbered
// one by one.
const (
	memSuffix  = ".mem"
	vlogSuffix = ".vlog"
	memName    = "%05d" + memSuffix
	vlogName   = "%06d" + vlogSuffix
)

// syncNewJournals makes the folder's entries durable if Badger may have started
// a journal since the last call.
func (s *Store) syncNewJournals() error {
	if s.opt.NoSync {
		return nil
	}
	if s.nextMem > 0 && !s.collecting.Load() &&
		!s.hasFile(memName, s.nextMem) && !s.hasFile(vlogName, s.nextVlog) {
		return nil
	}
	return s.syncFolder()
}

func (s *Store) hasFile(format string, n int) bool {
	_, err := os.Lstat(filepath.Join(s.badgerDir(), fmt.Sprintf(format, n)))
	return !errors.Is(err, fs.ErrNotExist)
}

// syncFolder makes the folder's entries durable, and notes which journals are there.
func (s *Store) syncFolder() error {
	names, err := os.ReadDir(s.badgerDir())
	if err != nil {
		return fmt.Errorf("list the journals: %w", err)
	}
	for _, e := range names {
		name, suffix := e.Name(), filepath.Ext(e.Name())
		n, err := strconv.Atoi(strings.TrimSuffix(name, suffix))
		switch {
		case err != nil:
		case suffix == memSuffix:
			s.nextMem = max(s.nextMem, n+1)
		case suffix == vlogSuffix:
			s.nextVlog = max(s.nextVlog, n+1)
		}
	}
	return syncDir(s.badgerDir())
}
