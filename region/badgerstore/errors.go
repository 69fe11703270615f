package badgerstore

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"

	"github.com/meridiandb/meridian/region/store"
)

// Badger formats the errors that it passes on into text, so a cause can only be
// found by what it says.

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || err != nil && strings.Contains(err.Error(), syscall.ENOSPC.Error())
}

func isLocked(err error) bool {
	return strings.Contains(err.Error(), "Cannot acquire directory lock")
}

func wrapFull(err error) error {
	if isNoSpace(err) && !errors.Is(err, store.ErrFull) {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

// readError translates an error of a read.
func readError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, badger.ErrDBClosed):
		return store.ErrClosed
	default:
		return fmt.Errorf("read the store: %w", err)
	}
}
