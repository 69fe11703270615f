package badgerstore

import (
	"fmt"
	"os"
	"syscall"
)

// fileIdentity tells a file from all copies of it: its inode, when that was made,
// and when it was changed last.
func fileIdentity(path string) (string, error) {
	var x syscall.Stat_t
	if err := syscall.Lstat(path, &x); err != nil {
		return "", &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return fmt.Sprintf("%d %d.%09d %d.%09d", x.Ino, x.Birthtimespec.Sec, x.Birthtimespec.Nsec, x.Ctimespec.Sec, x.Ctimespec.Nsec), nil
}
