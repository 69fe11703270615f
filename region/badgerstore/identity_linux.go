package badgerstore

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// fileIdentity tells a file from all copies of it: its inode, when that was made,
// and when it was changed last. The device is left out: its number may change with a
// restart of the machine.
func fileIdentity(path string) (string, error) {
	var x unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &x); err != nil {
		return "", &os.PathError{Op: "statx", Path: path, Err: err}
	}
	born := "-"
	if x.Mask&unix.STATX_BTIME != 0 {
		born = fmt.Sprintf("%d.%09d", x.Btime.Sec, x.Btime.Nsec)
	}
	return fmt.Sprintf("%d %s %d.%09d", x.Ino, born, x.Ctime.Sec, x.Ctime.Nsec), nil
}
