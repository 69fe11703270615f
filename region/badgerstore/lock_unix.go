//go:build unix && !solaris && !aix

package badgerstore

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock of a file, which the kernel releases with the process.
func tryLock(f *os.File) (taken bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}
