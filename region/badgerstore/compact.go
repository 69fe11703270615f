package badgerstore

import (
	"fmt"

	"github.com/meridiandb/meridian/region/store"
)

var _ store.Compactor = (*Store)(nil)

// Written implements store.Compactor.
func (s *Store) Written() int64 { return s.written.Load() }

// Compact implements store.Compactor. Badger merges all levels into one, level by
// level, those that fill up meanwhile first, so commits go on. What is in its memory
// tables stays there, and so do tables on the first level as long as there are no others:
// up to a few times MemTableBytes.
func (s *Store) Compact() error {
	s.mu.Lock()
	switch {
	case s.closed:
		s.mu.Unlock()
		return store.ErrClosed
	case s.failed != nil:
		defer s.mu.Unlock()
		return s.failed
	}
	s.active++
	s.mu.Unlock()
	defer s.endCommit()
	// The new copy is written before the old one goes.
	sizes, err := s.Sizes()
	if err != nil {
		return err
	}
	if err := s.checkRoom(sizes.Records); err != nil {
		return err
	}
	s.written.Store(0)
	if err := s.db.Flatten(1); err != nil {
		return fmt.Errorf("compact the store in %s: %w", s.dir, wrapFull(err))
	}
	return nil
}
