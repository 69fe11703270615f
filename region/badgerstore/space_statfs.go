//go:build linux || darwin

package badgerstore

import (
	"io/fs"
	"syscall"
)

// freeBytes is the room that an unprivileged process has left on the file system of dir.
func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return -1, err
	}
	return int64(s.Bavail * uint64(s.Bsize)), nil
}

// diskBytes is the size of the file system of dir.
func diskBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return -1, err
	}
	return int64(s.Blocks * uint64(s.Bsize)), nil
}

// allocatedBytes is what a file takes on the disk. Badger's logs are sparse:
// their length says little.
func allocatedBytes(info fs.FileInfo) int64 {
	const blockSize = 512
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * blockSize
	}
	return info.Size()
}
