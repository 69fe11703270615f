package badgerstore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/meridiandb/meridian/region/internal/record"
	"github.com/meridiandb/meridian/region/store"
)

// A store knows its folder by a marker, an empty file under a name that is used
// once. The first commit after each Open makes one, records in the same
// transaction what the file system says of it (see fileIdentity), and removes
// those before it. The folder that a later Open finds is continuous if it has
// the marker that its records name, as they describe it: a copy has another
// file, and records that were put back name one that is no more.
const markerPrefix = "MARK-"

// markerKey is the record of the present marker: its name, a blank, its identity.
var markerKey = []byte{record.KindOwn, 'f'}

// judge finds out whether the folder is continuous.
func (s *Store) judge() error {
	b, err := s.get(markerKey)
	if err != nil {
		return err
	}
	if b == nil {
		s.continuous = s.readTs == 0 // nothing was ever committed
		return nil
	}
	name, want, ok := strings.Cut(string(b), " ")
	if !ok || !strings.HasPrefix(name, markerPrefix) || filepath.Base(name) != name {
		return fmt.Errorf("%w: the marker of the folder is %q", store.ErrCorrupt, b)
	}
	found, err := fileIdentity(filepath.Join(s.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look at the marker of the folder: %w", err)
	}
	s.continuous = err == nil && found == want
	return nil
}

// mark makes a marker for the first commit, and returns its name and the write
// that records it. For later ones there is nothing to do.
func (s *Store) mark() (name string, own []record.Op, err error) {
	if s.marker != "" {
		return "", nil, nil
	}
	name = markerPrefix + rand.Text()
	path := filepath.Join(s.dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
	if err == nil {
		err = f.Close()
	}
	if err == nil && !s.opt.NoSync {
		err = syncDir(s.dir)
	}
	identity := ""
	if err == nil {
		identity, err = fileIdentity(path)
	}
	if err != nil {
		return "", nil, fmt.Errorf("mark the data folder: %w", wrapFull(err))
	}
	return name, []record.Op{{Key: markerKey, Value: []byte(name + " " + identity)}}, nil
}

// marked takes note that a marker was recorded, and removes all others.
func (s *Store) marked(name string) {
	if name == "" {
		return
	}
	s.mu.Lock()
	s.marker, s.continuous = name, true
	s.mu.Unlock()
	old, err := filepath.Glob(filepath.Join(s.dir, markerPrefix+"*"))
	for _, path := range old {
		if filepath.Base(path) != name {
			err = errors.Join(err, os.Remove(path))
		}
	}
	if err != nil {
		s.log.Warn("an old marker of the data folder cannot be removed", "folder", s.dir, "error", err)
	}
}

// Continuous implements store.Store.
func (s *Store) Continuous() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.continuous
}
