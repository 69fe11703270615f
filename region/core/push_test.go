package core_test

import (
	"testing"
	"time"

	"github.com/meridiandb/meridian/transport/wire"
)

// What all are sent is one slice of changes, so that it can be encoded once.
func TestPeersAreSentTheSameChanges(t *testing.T) {
	w := newCluster(t, "a", "b", "c", "d")
	w.run(3 * time.Second)
	a := w.nodes["a"]
	changes := func(peer string) []wire.Changes {
		var out []wire.Changes
		for _, m := range a.out[peer] {
			if m, ok := m.(wire.Changes); ok {
				out = append(out, m)
			}
		}
		return out
	}
	clear(a.out)
	a.write("first")
	b := changes("b")
	if len(b) != 1 || len(b[0].Changes) != 1 {
		t.Fatalf("b is sent %v", b)
	}
	for _, peer := range []string{"c", "d"} {
		if other := changes(peer); len(other) != 1 || &other[0].Changes[0] != &b[0].Changes[0] {
			t.Errorf("%s is sent %v, not what b is", peer, other)
		}
	}

	// b is not sent back what it sends: the others are sent it by b, too.
	clear(a.out)
	w.nodes["b"].write("second")
	w.deliver(w.nodes["b"], a)
	if got := changes("b"); len(got) != 0 {
		t.Errorf("b is sent %v", got)
	}
}
