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
	// ErrNotOurs: the folder holds something that is not a store.
	ErrNotOurs = errors.New("not a data folder of Meridian")
)

const (
	// formatVersion is the version of the folder's layout and of the records in
	// it. It is raised when an older Meridian could not read what a newer writes.
	formatVersion = 1
	formatFile    = "FORMAT"
	formatPrefix  = "meridian store "
	badgerDir     = "badger"
	badgerLock    = "LOCK" // Badger writes its process id here
	dirMode       = 0o700
	fileMode      = 0o600
)

// prepareFolder makes dir a folder of this format, or tells why it must be left alone.
func prepareFolder(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	b, err := os.ReadFile(filepath.Join(dir, formatFile))
	if errors.Is(err, fs.ErrNotExist) {
		return initFolder(dir)
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
	}
	return os.MkdirAll(filepath.Join(dir, badgerDir), dirMode)
}

// initFolder marks an empty folder as ours. Until the mark is there the folder
// holds nothing else of ours, so a crash on the way leaves a folder that can be
// initialised again.
func initFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read the data folder: %w", err)
	}
	tmp := formatFile + ".new"
	for _, e := range entries {
		if name := e.Name(); name != tmp && name != "lost+found" {
			return fmt.Errorf("%w: %s holds %q but no file %s; name an empty or a new folder",
				ErrNotOurs, dir, name, formatFile)
		}
	}
	if err := writeFileSync(filepath.Join(dir, tmp), formatPrefix+strconv.Itoa(formatVersion)+"\n"); err != nil {
		return fmt.Errorf("mark the data folder: %w", wrapFull(err))
	}
	if err := os.Rename(filepath.Join(dir, tmp), filepath.Join(dir, formatFile)); err != nil {
		return fmt.Errorf("mark the data folder: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, badgerDir), dirMode); err != nil {
		return fmt.Errorf("make the data folder: %w", wrapFull(err))
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
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

// lockHolder tells who has the folder, as far as can be known.
func lockHolder(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, badgerDir, badgerLock))
	if pid, perr := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && perr == nil {
		if pid == os.Getpid() {
			return "this process (pid " + strconv.Itoa(pid) + ")"
		}
		return "another process (pid " + strconv.Itoa(pid) + ")"
	}
	return "another process"
}
