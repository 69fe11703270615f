package core

import (
	"testing"

	"github.com/meridiandb/meridian/region/store"
)

// Those that were dropped do not stay in the queue behind one that waits.
func TestOlderVersionsThatAreDroppedLeaveTheQueue(t *testing.T) {
	o := newOlderVersions(Limits{}.withDefaults())
	version := func(of *entry) *olderVersion {
		return &olderVersion{VersionPut: store.VersionPut{Key: of.key, State: []byte("state")}, of: of}
	}
	cold, hot := &entry{key: store.DocKey{ID: "cold"}}, &entry{key: store.DocKey{ID: "hot"}}
	o.add(version(cold), 10)
	for range 50_000 {
		o.add(version(hot), 10)
	}
	if o.live != 11 || len(o.queue) > 2*minDropped || o.bytes != 11*(len("state")+olderOverhead)+10*len("hot")+len("cold") {
		t.Errorf("%d wait in a queue of %d, %d bytes", o.live, len(o.queue), o.bytes)
	}
	o.ends = true
	for n := 11; o.due(0) != nil; n-- {
		if put := o.take(); (put.Key.ID == "cold") != (n == 11) || put.State == nil {
			t.Errorf("%d: %+v", n, put)
		}
	}
	if o.live != 0 || o.bytes != 0 || len(cold.older)+len(hot.older) != 0 || len(o.queue) != 0 {
		t.Errorf("left: %+v", o)
	}
}
