package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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
	if err := s.checkRoomForCommit(3 * int64(bytes)); errors.Is(err, store.ErrFull) {
		return err
	} else if err != nil {
		return s.fail(err)
	}
	marker, own, err := s.mark()
	if errors.Is(err, store.ErrFull) {
		return err
	} else if err != nil {
		return s.fail(err)
	}
	log, err := s.logCommit(b)
	if err != nil {
		return s.fail(err)
	}
	before := s.journaled
	x := s.expand(slices.Concat(record.Ops(b), log.ops, own))
	err = s.commitWrites(x.writes)
	if errors.Is(err, badger.ErrTxnTooBig) {
		err = s.commitStaged(x.writes)
	}
	if err == nil {
		err = s.syncNewJournals(before)
	}
	if err != nil {
		return s.fail(err)
	}
	x.done()
	log.done()
	s.written.Add(int64(bytes))
	s.acknowledge()
	s.marked(marker)
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

// commitWrites writes in one transaction of the next version.
// badger.ErrTxnTooBig means that nothing was written.
func (s *Store) commitWrites(writes []write) error {
	txn := s.db.NewTransactionAt(s.nextTs-1, true)
	defer txn.Discard()
	for i := range writes {
		if err := setWrite(txn, &writes[i]); err != nil {
			return err
		}
	}
	if err := txn.CommitAt(s.nextTs, nil); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	s.nextTs++
	s.journaled += entryOverhead // Badger's mark of the end
	for i := range writes {
		s.journaled += int64(len(writes[i].Key)+len(writes[i].Value)) + entryOverhead
	}
	return nil
}

// entryOverhead is more than a record takes besides its bytes, in Badger's journal, which
// has a header and a checksum for it, or in its memory table, which has a node of up to
// 20 links.
const entryOverhead = 256

func setWrite(txn *badger.Txn, w *write) error {
	if w.Remove {
		return txn.Delete(w.Key)
	}
	meta := w.Mark & markMask
	if w.large {
		meta |= largeFlag
	}
	e := badger.NewEntry(w.Key, w.Value).WithMeta(meta)
	if !w.Expires.IsZero() {
		// Badger counts whole seconds and drops at the start of the one given.
		e.ExpiresAt = uint64(max(w.Expires.Unix()+1, 1))
	}
	return txn.SetEntry(e)
}

// Badger's journals, of which those of memory tables are numbered one by one.
// The value log is always empty.
const (
	memSuffix  = ".mem"
	vlogSuffix = ".vlog"
	memName    = "%05d" + memSuffix
)

// journal is the path of a journal by its number.
func (s *Store) journal(n int) string {
	return filepath.Join(s.badgerDir(), fmt.Sprintf(memName, n))
}

// syncNewJournals makes the folder's entries durable if Badger has started a
// journal since the last call, when journaled was before.
func (s *Store) syncNewJournals(before int64) error {
	if s.journaled < s.opt.MemTableBytes {
		return nil // Badger starts one when the one before, or its memory table, is full
	}
	_, err := os.Lstat(s.journal(s.nextMem))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s.journaled -= before // those since may be in the new one
	return s.syncFolder()
}

// syncFolder makes the folder's entries durable, and notes which journals are there.
func (s *Store) syncFolder() error {
	names, err := os.ReadDir(s.badgerDir())
	if err != nil {
		return fmt.Errorf("list the journals: %w", err)
	}
	for _, e := range names {
		text, isMem := strings.CutSuffix(e.Name(), memSuffix)
		if n, err := strconv.Atoi(text); isMem && err == nil {
			s.nextMem = max(s.nextMem, n+1)
		}
	}
	if s.opt.NoSync {
		return nil
	}
	return syncDir(s.badgerDir())
}
