package core

import (
	"errors"
	"fmt"
	"iter"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

// ErrTrimmed says that the log does not reach back to what was asked for.
var ErrTrimmed = errors.New("the log does not reach back so far")

// Ordered yields the encoded changes of some spans of the log in an order that
// respects causality among them. Each span has to be there whole: the error wraps
// ErrTrimmed if it is not, or the store's. reader must not change under it: use a
// snapshot.
func Ordered(reader store.Reader, spans []crdt.Span) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		cut, err := durableCut(reader)
		if err != nil {
			yield(nil, err)
			return
		}
		var want, got uint64
		for _, s := range spans {
			if n := cut.Get(s.Replica); n >= s.From {
				yield(nil, fmt.Errorf("%w: that of %v was cut up to %d", ErrTrimmed, s.Replica, n))
				return
			}
			want += s.To - s.From + 1
		}
		for encoded, err := range merged(reader, spans) {
			if !yield(encoded, err) || err != nil {
				return
			}
			got++
		}
		if got < want {
			yield(nil, fmt.Errorf("%w: it has %d of %d changes", ErrTrimmed, got, want))
		}
	}
}
