package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/meridiandb/meridian/region/internal/record"
	"github.com/meridiandb/meridian/region/store"
)

var _ store.Compactor = (*Store)(nil)

// Written implements store.Compactor.
func (s *Store) Written() int64 { return s.written.Load() }

// Compact implements store.Compactor. Badger merges all levels into one, level by
// level, those that fill up meanwhile first, so commits go on. What was committed
// since it began may stay where it is.
func (s *Store) Compact() error {
	if err := s.beginCommit(); err != nil {
		return err
	}
	defer s.endCommit()
	// The new copy is written before the old one goes.
	sizes, err := s.Sizes()
	if err != nil {
		return err
	}
	if err := s.checkRoom(sizes.Records + sizes.Journal + s.opt.MemTableBytes); err != nil {
		return err
	}
	s.written.Store(0)
	if err := s.flush(); err != nil {
		return err
	}
	if err := s.db.Flatten(1); err != nil {
		return fmt.Errorf("compact the store in %s: %w", s.dir, wrapFull(err))
	}
	return nil
}

// Bounds of flushing.
const (
	// padWrites is how many writes of padding fill a memory table.
	padWrites = 64
	// flushWithin is how long a memory table may take to become a table.
	flushWithin = time.Minute
	flushPoll   = 10 * time.Millisecond
)

var padKey = []byte{record.KindOwn, 'p'}

// flush makes tables of what is in memory. Badger does so only with a memory table that
// is full, or when it is closed, so this fills it up: with zeros, of which a table keeps
// little and a merge nothing, since they have expired.
func (s *Store) flush() error {
	pad := make([]byte, s.opt.MemTableBytes/padWrites)
	full := ""
	for full == "" {
		var err error
		if full, err = s.pad(pad); err != nil {
			return fmt.Errorf("flush the store in %s: %w", s.dir, err)
		}
	}
	// The journal goes when its table is there, of which Badger tells nobody.
	look := time.NewTicker(flushPoll)
	defer look.Stop()
	late := time.After(flushWithin)
	for {
		if _, err := os.Lstat(full); errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return fmt.Errorf("flush the store in %s: %w", s.dir, err)
		}
		select {
		case <-look.C:
		case <-late:
			return fmt.Errorf("flush the store in %s: %s is still there", s.dir, full)
		}
	}
}

// pad writes padding, and returns the journal that it completed, "" if it did not.
func (s *Store) pad(pad []byte) (full string, err error) {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	before, journaled := s.nextMem, s.journaled
	op := record.Op{Key: padKey, Value: pad, Expires: time.Unix(0, 0)}
	err = s.commitWrites([]write{{Op: op}})
	if err == nil {
		err = s.syncNewJournals(journaled)
	}
	if err != nil {
		return "", s.fail(err)
	}
	s.acknowledge()
	if s.nextMem == before {
		return "", nil
	}
	return s.journal(before - 1), nil
}
