package core_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/topology"
)

// An older is a region alone, whose older versions are counted as they are saved.
type older struct {
	t      *testing.T
	st     *memstore.Store
	core   *core.Core
	limits core.Limits
	now    time.Time
	saved  []string // tags
	last   core.Effects
}

func newOlder(t *testing.T, l core.Limits) *older {
	t.Helper()
	o := &older{t: t, st: memstore.New(), limits: l, now: time.Unix(1_700_000_000, 0)}
	o.restart()
	return o
}

// restart goes on from what is durable.
func (o *older) restart() {
	o.t.Helper()
	var err error
	o.core, err = core.New(core.Config{
		Region: "a", Cluster: "test", Members: []string{"a"}, Topology: topology.Spec{Kind: topology.Mesh}, Limits: o.limits,
		NewReplica: func() crdt.ReplicaID { return crdt.ReplicaID{15: 1} },
	}, o.st)
	if err != nil {
		o.t.Fatal(err)
	}
	o.step(core.Tick{})
}

func (o *older) step(events ...core.Event) (replies []core.Reply) {
	o.t.Helper()
	for more := true; more; events = nil {
		fx, err := o.core.Step(o.now, events)
		if err == nil && fx.Batch != nil {
			for _, v := range fx.Batch.Versions {
				o.saved = append(o.saved, v.Tag)
			}
			err = o.st.Commit(fx.Batch)
		}
		if err != nil {
			o.t.Fatal(err)
		}
		replies, more, o.last = append(replies, fx.Replies...), fx.More, fx
	}
	return replies
}

// pass lets time pass without writes.
func (o *older) pass(d time.Duration) {
	for range d / core.TickEvery {
		o.now = o.now.Add(core.TickEvery)
		o.step(core.Tick{})
	}
}

// put replaces a document, on an older version if base is not empty, and returns the
// tag of what is there then.
func (o *older) put(id, base string, v int) (tag string, err error) {
	o.t.Helper()
	reply := o.step(core.Submit{ID: 1, Ask: core.Write{Docs: []core.DocWrite{{
		Collection: "c", ID: id, BaseTag: base,
		Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{fmt.Sprint("f", v%3): int64(v)}},
	}}}})[0]
	if reply.Err != nil {
		return "", reply.Err
	}
	return reply.Result.(core.Receipt).Docs[0].Tag, nil
}

func (o *older) mustPut(id, base string, v int) string {
	o.t.Helper()
	tag, err := o.put(id, base, v)
	if err != nil {
		o.t.Fatalf("put %d on %q: %v", v, base, err)
	}
	return tag
}

// In quiet times what a write supersedes is saved with it.
func TestOlderVersionsAreSavedAtOnceInQuietTimes(t *testing.T) {
	o := newOlder(t, core.Limits{})
	first := o.mustPut("x", "", 1)
	second := o.mustPut("x", "", 2)
	if len(o.saved) != 1 || o.saved[0] != first {
		t.Fatalf("%v are saved, want %s", o.saved, first)
	}
	o.restart() // as after a crash
	o.mustPut("x", first, 3)
	o.mustPut("x", second, 4)
}

// Under load older versions wait, are found where they wait, and are saved afterwards,
// but for those that newer ones have taken the place of.
func TestOlderVersionsWaitUnderLoad(t *testing.T) {
	o := newOlder(t, core.Limits{QuietChanges: 8})
	var tags []string
	for i := range 100 {
		tags = append(tags, o.mustPut("x", "", i))
		if i == 50 {
			o.now = o.now.Add(core.TickEvery) // what came before was too much
			o.step(core.Tick{})
			o.saved = nil
		}
	}
	if len(o.saved) > 0 || o.last.Memory.OlderBytes == 0 {
		t.Fatalf("%v are saved, %d bytes wait", o.saved, o.last.Memory.OlderBytes)
	}
	keep := core.DefaultKeepVersions
	if _, err := o.put("x", tags[98-keep], 1000); !errors.Is(err, core.ErrBaseGone) {
		t.Errorf("a write on the version before the last %d: %v", keep, err)
	}
	o.mustPut("x", tags[98-keep+1], 1001)

	o.pass(time.Second)
	if n := len(o.saved); n != keep || o.last.Memory.OlderBytes != 0 {
		t.Errorf("%d are saved of the last %d, %d bytes wait still", n, keep, o.last.Memory.OlderBytes)
	}
	o.restart()
	o.mustPut("x", tags[98-keep+3], 1002)
}

// However long the load lasts, no version waits for more than a minute, and all of them
// take no more than they may.
func TestOlderVersionsWaitNotForEver(t *testing.T) {
	o := newOlder(t, core.Limits{QuietChanges: -1, OlderBytes: 50_000})
	first := o.mustPut("x", "", 1)
	o.pass(time.Second)
	o.mustPut("x", "", 2)
	o.pass(50 * time.Second)
	if len(o.saved) > 0 {
		t.Fatalf("%v are saved", o.saved)
	}
	o.pass(11 * time.Second)
	if len(o.saved) != 1 || o.saved[0] != first {
		t.Fatalf("%v are saved, want %s", o.saved, first)
	}
	for i := range 1000 {
		o.mustPut(fmt.Sprint(i%500), "", i)
		if n := o.last.Memory.OlderBytes; n > 50_000 {
			t.Fatalf("%d bytes wait", n)
		}
	}
	if n := len(o.saved); n < 300 || n > 500 {
		t.Errorf("%d of 501 are saved", n)
	}
}

// A process that ends in order loses none; one that is killed loses those that wait.
func TestOlderVersionsAreSavedAtTheEnd(t *testing.T) {
	for _, orderly := range []bool{true, false} {
		o := newOlder(t, core.Limits{QuietChanges: -1})
		o.pass(time.Second)
		const docs = 3000 // more than one batch takes
		tags := make([]string, docs)
		for i := range tags {
			tags[i] = o.mustPut(fmt.Sprint(i), "", 1)
			o.mustPut(fmt.Sprint(i), "", 2)
		}
		if len(o.saved) > 0 {
			t.Fatalf("%d are saved", len(o.saved))
		}
		if orderly {
			o.step(core.Ending{})
		}
		o.restart()
		for i, tag := range tags {
			if _, err := o.put(fmt.Sprint(i), tag, 3); orderly && err != nil || !orderly && !errors.Is(err, core.ErrBaseGone) {
				t.Fatalf("orderly %v: a write on what was superseded before the end: %v", orderly, err)
			}
		}
	}
}

// Older versions of a document that leaves the cache are saved by the next step, and
// found until then.
func TestOlderVersionsOutliveTheCache(t *testing.T) {
	o := newOlder(t, core.Limits{QuietChanges: -1, CacheBytes: 1})
	o.pass(time.Second)
	first := o.mustPut("x", "", 1)
	second := o.mustPut("x", "", 2)
	o.mustPut("y", "", 1) // x leaves the cache
	if len(o.saved) > 0 {
		t.Fatalf("%v are saved", o.saved)
	}
	o.mustPut("x", first, 3)
	if len(o.saved) != 1 || o.saved[0] != first {
		t.Fatalf("%v are saved, want %s", o.saved, first)
	}
	o.mustPut("y", "", 2)
	o.mustPut("x", first, 4)
	o.mustPut("x", second, 5)
	o.restart()
	o.mustPut("x", first, 6)
}
