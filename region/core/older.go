package core

import (
	"bytes"
	"slices"
	"time"

	"github.com/meridiandb/meridian/region/internal/delta"
	"github.com/meridiandb/meridian/region/store"
)

// olderVersions are the older versions of documents that are not saved yet. In quiet
// times each is saved with the change that supersedes it. Under load they wait in memory:
// a document that goes on changing has only its last few kept, and most would be written
// to the store to be written over at once. A process that is killed loses those that wait, and
// so does a core whose step could not be committed.
//
// Of those of one document that wait, the newest is there as it would be saved, and most of
// the others by how they differ from the next newer one.
type olderVersions struct {
	limit int // bytes
	few   int // changes
	whole int // bytes below which a version waits as it is
	bytes int
	queue []*olderVersion // oldest first, those that were dropped among them
	live  int             // those that were not dropped

	// changes were made since the interval that ends at next began; busy says that there
	// were more than few in the last.
	changes int
	next    time.Duration
	busy    bool
	ends    bool // all are to be saved
	fresh   int  // those of this step that it is to save

	scratch []byte
}

// An olderVersion without a state was dropped.
type olderVersion struct {
	store.VersionPut
	of *entry
	at time.Duration
	// delta says that the state is a difference from that of the next newer one.
	delta bool
}

// whole is the state as it is saved.
func (v *olderVersion) whole() []byte {
	older := v.of.older
	i := slices.Index(older, v)
	newer := i
	for older[newer].delta {
		newer++
	}
	state := older[newer].State
	for ; newer > i; newer-- {
		state = delta.Apply(state, older[newer-1].State)
	}
	return state
}

const (
	// olderWithin is how long an older version waits at most, unless what comes first
	// does not fit a batch.
	olderWithin = time.Minute
	// olderOverhead is what one takes in memory besides its bytes, about.
	olderOverhead = 256
	// olderShare is which part of a batch those fill that have waited.
	olderShare = 8
	// maxDeltas is how many differences at most have to be followed to a version.
	maxDeltas = 16
	// minDropped is how many dropped ones are kept in the queue in any case.
	minDropped = 1024
)

func newOlderVersions(l Limits) olderVersions {
	return olderVersions{limit: l.OlderBytes, few: l.QuietChanges, whole: l.OlderWhole}
}

func (v *olderVersion) size() int { return len(v.State) + len(v.Key.ID) + olderOverhead }

// add takes a version of a document of which keep are kept: those that it is one too many
// for would be written over.
func (o *olderVersions) add(v *olderVersion, keep int) {
	for len(v.of.older) >= keep {
		o.forget(v.of.older[0])
	}
	if n := len(v.of.older); n > 0 && o.busy {
		o.shorten(v.of.older[n-1], v.State)
	}
	v.of.older = append(v.of.older, v)
	o.queue = append(o.queue, v)
	o.bytes += v.size()
	o.live++
	if dropped := len(o.queue) - o.live; dropped > minDropped && dropped > o.live {
		o.queue = slices.DeleteFunc(o.queue, func(v *olderVersion) bool { return v.State == nil })
	}
}

// shorten keeps a version by how it differs from the next newer one, if that is shorter.
func (o *olderVersions) shorten(v *olderVersion, next []byte) {
	if len(v.State) < o.whole {
		return
	}
	run := 1 // those before are reached by way of this one
	for i := len(v.of.older) - 2; i >= 0 && v.of.older[i].delta; i-- {
		run++
	}
	if run > maxDeltas {
		return
	}
	o.scratch = delta.Append(o.scratch[:0], next, v.State)
	if len(o.scratch) > len(v.State)/2 {
		return
	}
	o.bytes -= v.size()
	v.State, v.delta = bytes.Clone(o.scratch), true
	o.bytes += v.size()
}

// fillsBatch reports whether this step saves what is added now, or as much that has waited.
func (o *olderVersions) fillsBatch() bool { return !o.busy || o.bytes > o.limit }

// forget takes out the oldest of a document.
func (o *olderVersions) forget(v *olderVersion) {
	o.bytes -= v.size()
	o.live--
	if v.of.older = v.of.older[1:]; len(v.of.older) == 0 {
		v.of.older = nil
	}
	v.State, v.of = nil, nil // it may stay in the queue for a while
}

// count takes note of the changes of a step.
func (o *olderVersions) count(changes int, uptime time.Duration) {
	o.changes += changes
	if uptime >= o.next {
		o.busy, o.changes, o.next = o.changes > o.few, 0, uptime+TickEvery
	}
}

// due returns the oldest if it is to be saved now.
func (o *olderVersions) due(uptime time.Duration) *olderVersion {
	for len(o.queue) > 0 {
		v := o.queue[0]
		switch {
		case v.State == nil:
			o.queue[0], o.queue = nil, o.queue[1:]
			continue
		case o.busy && !o.ends && o.bytes <= o.limit && uptime-v.at < olderWithin:
			return nil
		}
		return v
	}
	return nil
}

// take takes the oldest out. It is what due has returned.
func (o *olderVersions) take() store.VersionPut {
	v := o.queue[0]
	o.queue[0], o.queue = nil, o.queue[1:]
	return o.saved(v)
}

// saved takes out the oldest of a document, to be saved.
func (o *olderVersions) saved(v *olderVersion) store.VersionPut {
	put := v.VersionPut
	put.State = v.whole()
	o.forget(v)
	return put
}

// olderVersion returns an older version of a document, as it is stored, nil if it is
// not kept.
func (c *Core) olderVersion(e *entry, tag string) ([]byte, error) {
	for _, of := range [][]*olderVersion{e.older, c.cache.homeless} {
		for _, v := range of {
			if v.Key == e.key && v.Tag == tag && c.now.Before(v.Expires) {
				return v.whole(), nil
			}
		}
	}
	record, err := c.reader.Version(e.key, tag, c.now)
	if err != nil {
		return nil, storeError(err)
	}
	return record, nil
}

// saveOlder makes the older versions whose time has come part of the batch.
func (c *Core) saveOlder() {
	c.older.count(len(c.batch.Log), c.uptime)
	for _, v := range c.cache.homeless {
		if v.State != nil {
			c.batch.Versions = append(c.batch.Versions, c.older.saved(v))
		}
	}
	clear(c.cache.homeless)
	c.cache.homeless = c.cache.homeless[:0]
	fits := func(v *olderVersion) bool {
		return c.older.bytes > c.older.limit ||
			c.room() && (c.older.ends || v.at == c.uptime || c.cost < c.cfg.Limits.BatchBytes/olderShare)
	}
	for v := c.older.due(c.uptime); v != nil && fits(v); v = c.older.due(c.uptime) {
		fresh := v.at == c.uptime
		put := c.older.take()
		if !fresh {
			c.cost += len(put.State)
		}
		c.batch.Versions = append(c.batch.Versions, put)
	}
	c.older.fresh = 0
}
