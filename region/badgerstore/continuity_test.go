package badgerstore

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/meridiandb/meridian/region/store"
)

// commitOnce opens a folder, wants it to be continuous or not, and commits if asked to.
func commitOnce(t *testing.T, dir string, continuous, commit bool) {
	t.Helper()
	s, err := Open(dir, Options{MemTableBytes: MinMemTableBytes})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.Continuous(); got != continuous {
		t.Errorf("continuous: %v", got)
	}
	if !commit {
		return
	}
	for range 2 {
		if err := s.Commit(&store.Batch{Meta: map[string][]byte{"m": []byte("x")}}); err != nil {
			t.Fatal(err)
		}
		if !s.Continuous() {
			t.Error("not continuous after a commit")
		}
	}
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func markers(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, markerPrefix+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// overwrite copies files over those of a folder, as cp does: they keep their inodes.
func overwrite(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		in, err := os.Open(path)
		if err != nil {
			return err
		}
		defer in.Close()
		out, err := os.OpenFile(filepath.Join(to, rel), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer out.Close()
		_, err = io.Copy(out, in)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestI02_CopiedFolderIsNotContinuous(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("files are not told apart here")
	}
	dir := t.TempDir()
	commitOnce(t, dir, true, true)
	commitOnce(t, dir, true, false) // looking at it changes nothing
	backup := copyOf(t, dir)
	commitOnce(t, dir, true, true)
	commitOnce(t, dir, true, true)
	if m := markers(t, dir); len(m) != 1 {
		t.Errorf("the folder has the markers %v", m)
	}

	clone := copyOf(t, backup)
	commitOnce(t, clone, false, false) // and stays so until the first commit
	commitOnce(t, clone, false, true)
	commitOnce(t, clone, true, true)

	// Put back over the folder itself, without and with what it had.
	overwrite(t, copyOf(t, backup), dir)
	commitOnce(t, dir, false, true)
	commitOnce(t, dir, true, true)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(copyOf(t, backup), dir); err != nil {
		t.Fatal(err)
	}
	commitOnce(t, dir, false, true)

	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	commitOnce(t, moved, true, true) // it is the same one, elsewhere
}

// A copy that was made of an open store and put back before it was opened again has
// the same name for the marker, and another change time.
func TestI02_FolderPutBackOverItselfIsNotContinuous(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("files are not told apart here")
	}
	dir := t.TempDir()
	commitOnce(t, dir, true, true)
	overwrite(t, copyOf(t, dir), dir)
	commitOnce(t, dir, false, true)
}

// A crash at any moment of the first commit leaves the folder as continuous as it was.
func TestMarkerOfAFailedCommitIsNoMatter(t *testing.T) {
	dir := t.TempDir()
	commitOnce(t, dir, true, true)
	left := filepath.Join(dir, markerPrefix+"OFACOMMITTHATFAILED")
	writeFile(t, left, "")
	commitOnce(t, dir, true, true)
	if _, err := os.Lstat(left); !os.IsNotExist(err) {
		t.Errorf("it is not removed: %v", err)
	}
	if err := os.Remove(markers(t, dir)[0]); err != nil {
		t.Fatal(err)
	}
	commitOnce(t, dir, false, true)
}
