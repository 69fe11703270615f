package core

import (
	"bytes"
	"fmt"
	"math/rand/v2"
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

// Those that wait as differences are what they were when they are read and saved, whatever
// was dropped meanwhile, and take little.
func TestOlderVersionsComeBackFromDifferences(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	o := newOlderVersions(Limits{OlderWhole: 100}.withDefaults())
	o.busy = true
	const size, keep = 2000, 40
	var docs []*entry
	states := map[*entry][]byte{}
	for i := range 5 {
		e := &entry{key: store.DocKey{ID: fmt.Sprint(i)}}
		docs, states[e] = append(docs, e), random(r, size)
	}
	was := map[*olderVersion][]byte{}
	check := func(v *olderVersion, got []byte) {
		t.Helper()
		if !bytes.Equal(got, was[v]) {
			t.Fatalf("a version of %d bytes came back as another of %d", len(was[v]), len(got))
		}
	}
	for range 3000 {
		e := docs[r.IntN(len(docs))]
		v := &olderVersion{VersionPut: store.VersionPut{Key: e.key, State: states[e]}, of: e}
		was[v] = states[e]
		switch next := bytes.Clone(states[e]); r.IntN(20) {
		case 0:
			states[e] = random(r, size) // all of it is replaced
		case 1:
			states[e] = next[:1+r.IntN(len(next))]
		default:
			copy(next[r.IntN(len(next)+1):], random(r, 50))
			states[e] = append(next, random(r, r.IntN(3))...)
		}
		o.add(v, 1+r.IntN(keep))
		if r.IntN(5) == 0 {
			v := o.due(v.at + olderWithin)
			check(v, o.take().State)
		}
		bytes, run := 0, 0
		for _, e := range docs {
			for _, v := range e.older {
				check(v, v.whole())
				bytes += v.size()
				if run++; !v.delta {
					run = 0
				}
				if run > maxDeltas {
					t.Fatalf("%d differences have to be followed", run)
				}
			}
		}
		if o.bytes != bytes {
			t.Fatalf("%d bytes wait, it says %d", bytes, o.bytes)
		}
	}

	e := &entry{}
	o = newOlderVersions(Limits{}.withDefaults())
	o.busy = true
	state := random(r, size)
	for range maxDeltas {
		o.add(&olderVersion{VersionPut: store.VersionPut{State: state}, of: e}, maxDeltas)
		state = bytes.Clone(state)
		copy(state[r.IntN(size-10):], random(r, 10))
	}
	if most := size + maxDeltas*(olderOverhead+50); o.bytes > most {
		t.Errorf("%d small changes of %d bytes take %d, want at most %d", maxDeltas, size, o.bytes, most)
	}
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}
