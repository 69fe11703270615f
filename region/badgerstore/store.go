package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

// A Store is a store.Store in a folder.
type Store struct {
	view // of the last commit

	dir  string
	opt  Options
	log  *slog.Logger
	db   *badger.DB
	lock *os.File

	// commitMu is held by the commit that is under way.
	commitMu sync.Mutex
	// nextTs is the version of the next transaction; versions above readTs
	// are in the making.
	nextTs uint64
	// nextMem is the number of the journal that Badger starts next, and journaled at most
	// how much is in the one before.
	nextMem   int
	journaled int64
	// room is what the disk had, less what was written since, and roomAt when that was
	// looked at.
	room   int64
	roomAt time.Time
	// large has the number of chunks of each value that is in chunks.
	large map[string]int
	// tips are the greatest numbers of the replicas whose log was written.
	tips map[crdt.ReplicaID]uint64

	mu     sync.Mutex
	idle   sync.Cond // active became 0 after closed
	active int       // operations that use db
	closed bool
	// continuous is what Continuous tells; marker is the one that this process has
	// made, "" before its first commit.
	continuous bool
	marker     string
	failed     error  // why no commit is possible any more
	readTs     uint64 // version of the last acknowledged commit
	pins       pinList

	written atomic.Int64 // bytes that were committed since the last Compact

	closeOnce sync.Once
	closeErr  error
}

var _ store.Store = (*Store)(nil)

// Open opens the store in a folder, or makes one in a folder that is empty or
// does not exist. Errors wrap ErrLocked, ErrNewerFormat, ErrOlderFormat, ErrNotOurs or
// store.ErrFull where these apply.
func Open(dir string, opt Options) (*Store, error) {
	opt = opt.withDefaults()
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if opt.MustExist {
		if err := mustExist(dir); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", wrapFull(err))
	}
	if err := checkFolder(dir); err != nil {
		return nil, err // before a lock file is left in it
	}
	size, err := diskBytes(dir)
	if err != nil {
		return nil, fmt.Errorf("the disk of %s: %w", dir, err)
	}
	opt, baseLevel := opt.forDisk(size)
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, opt: opt, log: opt.Logger, lock: lock, tips: map[crdt.ReplicaID]uint64{}}
	s.view.s = s
	s.idle.L = &s.mu
	if err := s.openBadger(baseLevel); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s.readTs = s.db.MaxVersion()
	s.nextTs = s.readTs + 1
	s.db.SetDiscardTs(s.readTs) // nobody can read below that
	if err := s.recover(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) openBadger(baseLevelBytes int64) error {
	if err := prepareFolder(s.dir); err != nil {
		return err
	}
	if err := s.checkRoomToOpen(); err != nil {
		return err
	}
	if err := removeEmptyJournals(s.badgerDir()); err != nil {
		return err
	}
	db, err := badger.OpenManaged(s.opt.badger(s.badgerDir(), baseLevelBytes))
	if err != nil {
		if isLocked(err) {
			return errLocked(s.dir)
		}
		return fmt.Errorf("open the store in %s: %w", s.dir, wrapFull(err))
	}
	s.db = db
	return nil
}

func (s *Store) badgerDir() string { return filepath.Join(s.dir, badgerDir) }

// recover finishes what a crash left half done, and makes the journals that
// Badger just started durable.
func (s *Store) recover() error {
	if err := s.recoverStaged(); err != nil {
		return fmt.Errorf("recover the store in %s: %w", s.dir, err)
	}
	if err := s.loadLarge(); err != nil {
		return fmt.Errorf("recover the store in %s: %w", s.dir, err)
	}
	if err := s.judge(); err != nil {
		return fmt.Errorf("recover the store in %s: %w", s.dir, err)
	}
	return s.syncFolder()
}

// leave ends an operation that a view has entered.
func (s *Store) leave(p *pin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release(p)
	s.done()
}

func (s *Store) done() {
	s.active--
	if s.closed && s.active == 0 {
		s.idle.Broadcast()
	}
}

// release drops a reference to a pin, with s.mu held.
func (s *Store) release(p *pin) {
	if s.pins.release(p) && !s.closed {
		s.db.SetDiscardTs(s.pins.oldest(s.readTs))
	}
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	for s.active > 0 {
		s.idle.Wait()
	}
	failed := s.failed != nil
	s.mu.Unlock()
	s.closeOnce.Do(func() {
		if err := s.closeDB(failed); err != nil {
			s.closeErr = fmt.Errorf("close the store in %s: %w", s.dir, wrapFull(err))
		}
	})
	return s.closeErr
}

// closeFailedWithin is how long a store that has failed may take to close. Badger
// tries for ever to flush what it has in memory, on a disk that does not take it.
const closeFailedWithin = 5 * time.Second

func (s *Store) closeDB(failed bool) error {
	if !failed {
		return errors.Join(s.db.Close(), s.lock.Close())
	}
	closed := make(chan error, 1)
	go func() { closed <- s.db.Close() }()
	select {
	case err := <-closed:
		return errors.Join(err, s.lock.Close())
	case <-time.After(closeFailedWithin):
		// All that was acknowledged is in the journal. The lock stays until the process
		// ends, since Badger goes on trying.
		return fmt.Errorf("%w: it cannot be flushed within %v", store.ErrFailed, closeFailedWithin)
	}
}

// VerifyChecksums reads all tables and compares them with their checksums.
func (s *Store) VerifyChecksums() error {
	if err := s.beginCommit(); err != nil {
		return err
	}
	defer s.endCommit()
	if err := s.db.VerifyChecksum(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return nil
}

// Sizes implements store.Store.
func (s *Store) Sizes() (store.Sizes, error) {
	var z store.Sizes
	entries, err := os.ReadDir(s.badgerDir())
	if err != nil {
		return z, fmt.Errorf("sizes of the store: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since it was listed
		}
		if err != nil {
			return z, fmt.Errorf("sizes of the store: %w", err)
		}
		if strings.HasSuffix(e.Name(), ".sst") {
			z.Records += allocatedBytes(info)
		} else {
			z.Journal += allocatedBytes(info)
		}
	}
	z.Free, err = freeBytes(s.dir)
	if err != nil {
		return z, fmt.Errorf("free space of the store: %w", err)
	}
	if z.Free >= 0 && s.opt.ReserveBytes > 0 {
		z.Free = max(z.Free-s.opt.ReserveBytes, 0)
	}
	return z, nil
}

// checkRoom fails with store.ErrFull if the disk has no room for so many bytes
// above the reserve.
func (s *Store) checkRoom(bytes int64) error {
	if s.opt.ReserveBytes < 0 {
		return nil
	}
	free, err := freeBytes(s.dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", s.dir, err)
	}
	return s.hasRoom(free, bytes)
}

// hasRoom fails with store.ErrFull if so many bytes are not free above the reserve.
func (s *Store) hasRoom(free, bytes int64) error {
	if free < 0 || free >= s.opt.ReserveBytes+bytes {
		return nil
	}
	return fmt.Errorf("%w: %d MiB are free for %s, and %d MiB are kept in reserve; free some space",
		store.ErrFull, free>>20, s.dir, (s.opt.ReserveBytes+bytes)>>20)
}

// Bounds of what is not looked at before a commit.
const (
	// roomFor is for how long it is taken that the disk has the room that it had, less
	// what was committed since.
	roomFor = 50 * time.Millisecond
	// roomNear is how much above the reserve it is looked at each time.
	roomNear = 256 << 20
)

// checkRoomForCommit is checkRoom, but looks at the disk only now and then as long as
// there is much room: commits wait for it.
func (s *Store) checkRoomForCommit(bytes int64) error {
	if s.opt.ReserveBytes < 0 {
		return nil
	}
	s.room -= bytes
	now := time.Now()
	if s.room >= s.opt.ReserveBytes+roomNear && now.Sub(s.roomAt) < roomFor {
		return nil
	}
	free, err := freeBytes(s.dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", s.dir, err)
	}
	s.room, s.roomAt = free-bytes, now
	return s.hasRoom(free, bytes)
}

// openSlack is room for the small files of Badger.
const openSlack = 8 << 20

// checkRoomToOpen makes sure that Badger can flush the journals that it finds;
// for it does so at once, and the process dies if it cannot.
func (s *Store) checkRoomToOpen() error {
	if s.opt.ReserveBytes < 0 {
		return nil
	}
	entries, err := os.ReadDir(s.badgerDir())
	if err != nil {
		return fmt.Errorf("read the data folder: %w", err)
	}
	need := int64(openSlack)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), memSuffix) {
			continue
		}
		if info, err := e.Info(); err == nil {
			need += allocatedBytes(info)
		}
	}
	free, err := freeBytes(s.dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", s.dir, err)
	}
	if free >= 0 && free < need {
		return fmt.Errorf("%w: opening %s needs %d MiB, and %d MiB are free; free some space",
			store.ErrFull, s.dir, need>>20, free>>20)
	}
	return nil
}
