package crdt_test

import (
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
)

func TestStampsAreWrittenInMilliseconds(t *testing.T) {
	for _, at := range []time.Time{
		time.Unix(0, 0), time.UnixMilli(1), time.UnixMilli(1_700_000_000_012), time.UnixMilli(1_700_000_000_999),
		time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC), time.UnixMilli(1<<48 - 1),
	} {
		s := crdt.StampAt(at)
		if got, want := s.String(), at.UTC().Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
