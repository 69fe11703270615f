package core_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
)

// older makes a region alone, in which time has passed since its start.
func older(t *testing.T, l core.Limits) *node {
	w := newCluster(t)
	w.limits = l
	n := w.add("a", "a")
	w.run(time.Second)
	return n
}

// putOn replaces a document, on an older version if base is not empty, and returns the
// tag of what is there then.
func (n *node) putOn(id, base string, v int) (tag string, err error) {
	n.w.t.Helper()
	reply := n.ask(core.Write{Docs: []core.DocWrite{{
		Collection: "c", ID: id, BaseTag: base,
		Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{fmt.Sprint("f", v%3): int64(v)}},
	}}})
	if reply.Err != nil {
		return "", reply.Err
	}
	return reply.Result.(core.Receipt).Docs[0].Tag, nil
}

func (n *node) mustPutOn(id, base string, v int) string {
	n.w.t.Helper()
	tag, err := n.putOn(id, base, v)
	if err != nil {
		n.w.t.Fatalf("put %d on %q: %v", v, base, err)
	}
	return tag
}

// In quiet times what a write supersedes is saved with it.
func TestOlderVersionsAreSavedAtOnceInQuietTimes(t *testing.T) {
	o := older(t, core.Limits{})
	first := o.mustPutOn("x", "", 1)
	second := o.mustPutOn("x", "", 2)
	if len(o.saved) != 1 || o.saved[0] != first {
		t.Fatalf("%v are saved, want %s", o.saved, first)
	}
	o.start(o.st) // as after a crash
	o.mustPutOn("x", first, 3)
	o.mustPutOn("x", second, 4)
}

// Under load older versions wait, are found where they wait, and are saved afterwards,
// but for those that newer ones have taken the place of.
func TestOlderVersionsWaitUnderLoad(t *testing.T) {
	o := older(t, core.Limits{QuietChanges: 8})
	var tags []string
	for i := range 100 {
		tags = append(tags, o.mustPutOn("x", "", i))
		if i == 50 {
			o.w.run(core.TickEvery) // what came before was too much
			o.saved = nil
		}
	}
	if len(o.saved) > 0 || o.fx.Memory.OlderBytes == 0 {
		t.Fatalf("%v are saved, %d bytes wait", o.saved, o.fx.Memory.OlderBytes)
	}
	keep := core.DefaultKeepVersions
	if _, err := o.putOn("x", tags[98-keep], 1000); !errors.Is(err, core.ErrBaseGone) {
		t.Errorf("a write on the version before the last %d: %v", keep, err)
	}
	o.mustPutOn("x", tags[98-keep+1], 1001)

	o.w.run(time.Second)
	if n := len(o.saved); n != keep || o.fx.Memory.OlderBytes != 0 {
		t.Errorf("%d are saved of the last %d, %d bytes wait still", n, keep, o.fx.Memory.OlderBytes)
	}
	o.start(o.st)
	o.mustPutOn("x", tags[98-keep+3], 1002)
}

// However long the load lasts, no version waits for more than a minute, and all of them
// take no more than they may.
func TestOlderVersionsWaitNotForEver(t *testing.T) {
	o := older(t, core.Limits{QuietChanges: -1, OlderBytes: 50_000})
	first := o.mustPutOn("x", "", 1)
	o.mustPutOn("x", "", 2)
	o.w.run(50 * time.Second)
	if len(o.saved) > 0 {
		t.Fatalf("%v are saved", o.saved)
	}
	o.w.run(11 * time.Second)
	if len(o.saved) != 1 || o.saved[0] != first {
		t.Fatalf("%v are saved, want %s", o.saved, first)
	}
	for i := range 1000 {
		o.mustPutOn(fmt.Sprint(i%500), "", i)
		if n := o.fx.Memory.OlderBytes; n > 50_000 {
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
		o := older(t, core.Limits{QuietChanges: -1})
		const docs = 3000 // more than one batch takes
		tags := make([]string, docs)
		for i := range tags {
			tags[i] = o.mustPutOn(fmt.Sprint(i), "", 1)
			o.mustPutOn(fmt.Sprint(i), "", 2)
		}
		if len(o.saved) > 0 {
			t.Fatalf("%d are saved", len(o.saved))
		}
		if orderly {
			o.step(core.Ending{})
		}
		o.start(o.st)
		for i, tag := range tags {
			if _, err := o.putOn(fmt.Sprint(i), tag, 3); orderly && err != nil || !orderly && !errors.Is(err, core.ErrBaseGone) {
				t.Fatalf("orderly %v: a write on what was superseded before the end: %v", orderly, err)
			}
		}
	}
}

// Older versions of a document that leaves the cache are saved by the next step, and
// found until then.
func TestOlderVersionsOutliveTheCache(t *testing.T) {
	o := older(t, core.Limits{QuietChanges: -1, CacheBytes: 1})
	first := o.mustPutOn("x", "", 1)
	second := o.mustPutOn("x", "", 2)
	o.mustPutOn("y", "", 1) // x leaves the cache
	if len(o.saved) > 0 {
		t.Fatalf("%v are saved", o.saved)
	}
	o.mustPutOn("x", first, 3)
	if len(o.saved) != 1 || o.saved[0] != first {
		t.Fatalf("%v are saved, want %s", o.saved, first)
	}
	o.mustPutOn("y", "", 2)
	o.mustPutOn("x", first, 4)
	o.mustPutOn("x", second, 5)
	o.start(o.st)
	o.mustPutOn("x", first, 6)
}
