package peering

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/wire"
)

func TestArbitrate(t *testing.T) {
	old := &wire.Preface{Incarnation: 1, Attempt: 5}
	for _, test := range []struct {
		name             string
		p                wire.Preface
		linked           *wire.Preface
		dialing, smaller bool
		want             verdict
	}{
		{"nothing there", wire.Preface{Incarnation: 1, Attempt: 1}, nil, false, false, adopt},
		{"both dial, the greater one's side", wire.Preface{Incarnation: 1, Attempt: 1}, nil, true, false, adopt},
		{"both dial, the smaller one's side", wire.Preface{Incarnation: 1, Attempt: 1}, nil, true, true, park},
		{"crossed the link on its way", wire.Preface{Incarnation: 1, Attempt: 4}, old, false, true, refuse},
		{"is the link's own dial", wire.Preface{Incarnation: 1, Attempt: 5}, old, false, true, refuse},
		{"has lost the link", wire.Preface{Incarnation: 1, Attempt: 6}, old, false, true, replace},
		{"has restarted", wire.Preface{Incarnation: 2, Attempt: 1}, old, false, false, replace},
	} {
		if got := arbitrate(test.p, test.linked, test.dialing, test.smaller); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}

func TestBackoffGrowsToItsBound(t *testing.T) {
	cfg, err := transport.Config{BackoffMin: 100 * time.Millisecond, BackoffMax: 2 * time.Second, Seed: 1}.Validate()
	if err != nil {
		t.Fatal(err)
	}
	e, err := New("a", nil, cfg)
	if err != nil {
		t.Fatal(err)
	}
	distinct := make(map[time.Duration]bool)
	for failures := range 100 {
		want := cfg.BackoffMax
		if n := max(failures-1, 0); n < 5 {
			want = min(want, cfg.BackoffMin<<n)
		}
		d := e.backoff(&peer{failures: failures})
		distinct[d] = true
		if d < want/2 || d > want {
			t.Errorf("after %d failures: %v, want %v to %v", failures, d, want/2, want)
		}
	}
	if len(distinct) < 90 {
		t.Errorf("only %d different waits", len(distinct))
	}
}

func TestQueueIsBoundedAndKeepsOrder(t *testing.T) {
	q := newQueue(1000)
	big := wire.Changes{Changes: [][]byte{make([]byte, 5000)}}
	if !q.push(big) {
		t.Error("an empty queue refuses a large message")
	}
	if q.push(wire.Ack{}) {
		t.Error("a full queue takes one")
	}
	if got := q.take(nil, 10); len(got) != 1 {
		t.Errorf("took %d", len(got))
	}
	n := 0
	for q.push(wire.Request{ID: uint64(n)}) {
		n++
	}
	if bytes, dropped := q.stats(); bytes > 1000 || dropped != 2 || n < 5 {
		t.Errorf("%d messages, %d bytes, %d dropped", n, bytes, dropped)
	}
	next := 0
	for {
		batch := q.take(nil, 50)
		if len(batch) == 0 {
			break
		}
		for _, m := range batch {
			if m.(wire.Request).ID != uint64(next) {
				t.Fatalf("got %v, want %d", m, next)
			}
			next++
		}
	}
	if bytes, _ := q.stats(); next != n || bytes != 0 {
		t.Errorf("took %d of %d, %d bytes are left", next, n, bytes)
	}
	q.push(wire.Ack{})
	q.close()
	if q.push(wire.Ack{}) || len(q.take(nil, 50)) != 0 {
		t.Error("a closed queue lives on")
	}
}

func TestLimiter(t *testing.T) {
	var l Limiter
	if _, ok := l.Allow("a"); !ok {
		t.Error("the first was held back")
	}
	if _, ok := l.Allow("a"); ok {
		t.Error("the second was not")
	}
	for i := range 10 * limiterKeys {
		l.Allow(fmt.Sprint(i))
	}
	if len(l.seen) > limiterKeys {
		t.Errorf("%d keys are remembered", len(l.seen))
	}
}

func TestCloseErrors(t *testing.T) {
	for code := CodeClosed; code <= CodeBusy+1; code++ {
		err := error(&CloseError{Code: code, Remote: true})
		if !errors.Is(err, code.sentinel()) || err.Error() == "" {
			t.Errorf("code %d: %v", code, err)
		}
	}
}
