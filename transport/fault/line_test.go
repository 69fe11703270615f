package fault

import (
	"context"
	"testing"
	"time"

	"github.com/meridiandb/meridian/transport/wire"
)

func TestLineLetsNothingInOnceItsContextHasEnded(t *testing.T) {
	for range 1000 {
		ctx, cancel := context.WithCancel(t.Context())
		l := newLine(ctx)
		cancel()
		if l.put(wire.Request{ID: 1}, time.Millisecond, false, func() { t.Error("delivered") }) {
			t.Fatal("a line that has ended took a message")
		}
	}
}
