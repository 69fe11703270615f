package conflictlog

import (
	"fmt"

	"github.com/meridiandb/meridian/region/store"
)

// checkPage is how many records are read at a time.
const checkPage = 500

// Check reads all records of a store's conflict log and returns how many there are.
func Check(r store.Reader) (int, error) {
	l, err := Open(r, Limits{})
	if err != nil {
		return 0, err
	}
	n, before := 0, uint64(0)
	for {
		page, more, err := List(r, Filter{}, before, checkPage)
		if err != nil {
			return n, err
		}
		n += len(page)
		if !more {
			break
		}
		before = page[len(page)-1].Seq
	}
	if records, _ := l.Size(); records != n {
		return n, fmt.Errorf("%w: the conflict log says that it has %d records, and has %d", store.ErrCorrupt, records, n)
	}
	return n, nil
}
