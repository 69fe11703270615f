package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/meridiandb/meridian/region/store"
)

func mustOpen(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir, Options{MemTableBytes: MinMemTableBytes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantRefused opens a folder, which must fail and change nothing.
func wantRefused(t *testing.T, dir string, want error, says ...string) {
	t.Helper()
	list := func() string {
		var names []string
		err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			names = append(names, path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(names, "\n")
	}
	before := list()
	s, err := Open(dir, Options{})
	if err == nil {
		s.Close()
	}
	if !errors.Is(err, want) {
		t.Fatalf("open: %v, want %v", err, want)
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
	if after := list(); after != before {
		t.Errorf("the folder was changed from\n%s\nto\n%s", before, after)
	}
}

func TestFolderOfANewerFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, formatFile), fmt.Sprintf("%s%d\n", formatPrefix, formatVersion+1))
	wantRefused(t, dir, ErrNewerFormat, dir, fmt.Sprint("format ", formatVersion+1), fmt.Sprint("up to ", formatVersion))
}

func TestFolderOfAnOlderFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, formatFile), fmt.Sprintf("%s%d\n", formatPrefix, oldestFormat-1))
	wantRefused(t, dir, ErrOlderFormat, dir, fmt.Sprint("format ", oldestFormat-1), "export it")
}

func TestFolderThatIsNotOursIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"photo.jpg": "x", "badger/MANIFEST": "x", formatFile: "something else", // a file of another program
	} {
		t.Run(strings.ReplaceAll(name, "/", "_"), func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, filepath.Join(dir, name), text)
			wantRefused(t, dir, ErrNotOurs, dir)
		})
	}
	for _, text := range []string{"", "meridian store ", "meridian store 0", "meridian store -1", "meridian store x"} {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, formatFile), text)
		wantRefused(t, dir, ErrNotOurs, dir)
	}
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "x")
	if _, err := Open(file, Options{}); err == nil {
		t.Error("a file was opened as a folder")
	}
}

func TestFolderMayBeEmptyNewOrHalfMade(t *testing.T) {
	for _, prepare := range []func(dir string){
		func(string) {},
		func(dir string) { writeFile(t, filepath.Join(dir, "lost+found", "x"), "") },
		func(dir string) { writeFile(t, filepath.Join(dir, newFormatFile), "merid") },
		func(dir string) { writeFile(t, filepath.Join(dir, lockFile), "1\n") },
		func(dir string) {
			writeFile(t, filepath.Join(dir, formatFile), fmt.Sprintf("%s%d\n", formatPrefix, formatVersion))
		},
	} {
		dir := t.TempDir()
		prepare(dir)
		if err := mustOpen(t, dir).Close(); err != nil {
			t.Error(err)
		}
		mustOpen(t, dir)
	}
	mustOpen(t, filepath.Join(t.TempDir(), "a", "b", "c"))
}

func TestFolderInUseIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	wantRefused(t, dir, ErrLocked, dir, "this process (pid "+strconv.Itoa(os.Getpid())+")")
	if err := s.Commit(&store.Batch{Meta: map[string][]byte{"a": {1}}}); err != nil {
		t.Errorf("the store that has the folder: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir)
}

func TestBadgersOwnLockIsRespected(t *testing.T) {
	dir := t.TempDir()
	if err := mustOpen(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	// Somebody looks into the folder with Badger's tool.
	db, err := badger.Open(badger.DefaultOptions(filepath.Join(dir, badgerDir)).WithLogger(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("open: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir)
}

// TestEmptyJournalsDoNotStopOpen: Badger leaves them when it is killed at a bad
// moment (its issue 2207).
func TestEmptyJournalsDoNotStopOpen(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	if err := s.Commit(&store.Batch{Meta: map[string][]byte{"a": {1}}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, badgerDir, "00077.mem"), "")
	writeFile(t, filepath.Join(dir, badgerDir, "000077.vlog"), "")
	s = mustOpen(t, dir)
	if v, err := s.Meta("a"); len(v) != 1 || err != nil {
		t.Errorf("read %v, %v", v, err)
	}
}

func TestFailedStoreRefusesCommitsAndServesReads(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir)
	put := func(v byte) error { return s.Commit(&store.Batch{Meta: map[string][]byte{"a": {v}}}) }
	want := func(v byte) {
		t.Helper()
		if got, err := s.Meta("a"); err != nil || len(got) != 1 || got[0] != v {
			t.Errorf("read %v, %v, want %d", got, err, v)
		}
	}
	if err := put(1); err != nil {
		t.Fatal(err)
	}
	s.dir = filepath.Join(dir, "gone") // as if the disk were
	s.room = 0                         // it is looked at
	if err := put(2); !errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrFull) {
		t.Errorf("commit: %v", err)
	}
	s.dir = dir
	if err := put(3); !errors.Is(err, store.ErrFailed) {
		t.Errorf("commit after a failure: %v", err)
	}
	want(1)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir)
	want(1)
	if err := put(4); err != nil {
		t.Error(err)
	}
	want(4)
}

// As long as there was much room a moment ago the disk is not asked before each commit,
// but soon it is, and at once when what was committed since may have taken it.
func TestRoomIsLookedAtAgain(t *testing.T) {
	for name, change := range map[string]func(s *Store){
		"later":                 func(s *Store) { s.roomAt = s.roomAt.Add(-roomFor) },
		"near the reserve":      func(s *Store) { s.room = s.opt.ReserveBytes + roomNear },
		"a moment ago, is held": nil,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpen(t, dir)
			put := func() error { return s.Commit(&store.Batch{Meta: map[string][]byte{"a": {1}}}) }
			if err := put(); err != nil {
				t.Fatal(err)
			}
			s.room, s.roomAt = 1<<60, time.Now().Add(time.Hour)
			s.dir = filepath.Join(dir, "gone") // who asks fails
			if change == nil {
				if err := put(); err != nil {
					t.Errorf("the disk was asked: %v", err)
				}
			} else {
				s.roomAt = time.Now()
				if change(s); !errors.Is(put(), store.ErrFailed) {
					t.Error("the disk was not asked")
				}
			}
			s.dir = dir
		})
	}
}
