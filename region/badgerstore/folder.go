package badgerstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Reasons why a folder is refused. Nothing in it was changed.
var (
	// ErrLocked: another process, or this one, has the folder open.
	ErrLocked = errors.New("the data folder is in use")
	// ErrNewerFormat: the folder was written by a later version of Meridian.
	ErrNewerFormat = errors.New("the data folder has a newer format")
	// ErrOlderFormat: the folder was written by a version that this one does not
	// follow on.
	ErrOlderFormat = errors.New("the data folder has an older format")
	// ErrNoStore: there is no store in the folder.
	ErrNoStore = errors.New("there is no store in the folder")
	// ErrNotOurs: the folder holds something that is not a store.
	ErrNotOurs = errors.New("not a data folder of Meridian")
)

const (
	// formatVersion is the version of the folder's layout and of the records in
	// it. It is raised when an older Meridian could not read what a newer writes.
	formatVersion = 3
	// oldestFormat is the first format that can still be read.
	oldestFormat  = 3
	formatFile    = "FORMAT"
	newFormatFile = formatFile + ".new"
	formatPrefix  = "meridian store "
	badgerDir     = "badger"
	lockFile      = "LOCK"
	dirMode       = 0o700
	fileMode      = 0o600
)

// checkFolder tells whether dir is a folder of ours, or empty. It changes nothing.
func checkFolder(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, formatFile))
	if errors.Is(err, fs.ErrNotExist) {
		return checkEmpty(dir)
	}
	if err != nil {
		return fmt.Errorf("read the format of the data folder: %w", err)
	}
	text, ours := strings.CutPrefix(strings.TrimSpace(string(b)), formatPrefix)
	n, err := strconv.Atoi(text)
	switch {
	case !ours || err != nil || n < 1:
		return fmt.Errorf("%w: %s says %.40q, expected %q", ErrNotOurs,
			filepath.Join(dir, formatFile), b, formatPrefix+strconv.Itoa(formatVersion))
	case n > formatVersion:
		return fmt.Errorf("%w: %s has format %d, and this version of Meridian knows up to %d; "+
			"run the version that wrote it, or a later one", ErrNewerFormat, dir, n, formatVersion)
	case n < oldestFormat:
		return fmt.Errorf("%w: %s has format %d, and this version of Meridian reads %d to %d; "+
			"export it with the version that wrote it, and import it into a new folder", ErrOlderFormat, dir, n, oldestFormat, formatVersion)
	}
	return nil
}

// mustExist fails if there is no store in dir.
func mustExist(dir string) error {
	_, err := os.Lstat(filepath.Join(dir, formatFile))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s", ErrNoStore, dir)
	}
	return err
}

func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read the data folder: %w", err)
	}
	for _, e := range entries {
		switch name := e.Name(); name {
		case newFormatFile, lockFile, "lost+found":
		default:
			return fmt.Errorf("%w: %s holds %q but no file %s; name an empty or a new folder",
				ErrNotOurs, dir, name, formatFile)
		}
	}
	return nil
}

// prepareFolder makes a folder that may be ours a folder of this format. Until
// the mark is there it holds nothing else of ours, so after a crash on the way
// it can be prepared again.
func prepareFolder(dir string) error {
	if err := checkFolder(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, formatFile)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		tmp := filepath.Join(dir, newFormatFile)
		err := writeFileSync(tmp, formatPrefix+strconv.Itoa(formatVersion)+"\n")
		if err == nil {
			err = os.Rename(tmp, path)
		}
		if err != nil {
			return fmt.Errorf("mark the data folder: %w", wrapFull(err))
		}
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, badgerDir), dirMode); err != nil {
		return fmt.Errorf("make the data folder: %w", wrapFull(err))
	}
	return syncDir(dir)
}

func writeFileSync(path, text string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncDir makes the entries of a folder durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync a folder: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}

// lockFolder makes the folder this process's own until the file is closed.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", wrapFull(err))
	}
	taken, err := tryLock(f)
	switch {
	case err != nil:
		err = fmt.Errorf("lock the data folder: %w", err)
	case !taken:
		err = errLocked(dir)
	default:
		// The process id is for people. A disk without room for it is no reason to fail.
		if err := f.Truncate(0); err == nil {
			_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		}
		return f, nil
	}
	return nil, errors.Join(err, f.Close())
}

func errLocked(dir string) error {
	holder := "another process"
	b, err := os.ReadFile(filepath.Join(dir, lockFile))
	if pid, perr := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && perr == nil {
		if pid == os.Getpid() {
			holder = "this process"
		}
		holder += " (pid " + strconv.Itoa(pid) + ")"
	}
	return fmt.Errorf("%w: %s is used by %s; stop it or name another folder", ErrLocked, dir, holder)
}

// removeEmptyJournals removes journals of no length. Badger leaves one when it is
// killed between creating a file and giving it its length, or between emptying
// and removing it, and refuses to open a folder that has one.
func removeEmptyJournals(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list the journals: %w", err)
	}
	for _, e := range entries {
		if suffix := filepath.Ext(e.Name()); suffix != memSuffix && suffix != vlogSuffix {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("list the journals: %w", err)
		}
		if info.Size() > 0 {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove an empty journal: %w", err)
		}
	}
	return nil
}
