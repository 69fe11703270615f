package core

import (
	"errors"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/core/digests"
	"github.com/meridiandb/meridian/region/store"
)

// Documents that nobody reads are looked at now and then, so that damage is found
// while other regions have what was lost. A pass goes through the documents of
// all collections, a few with each step: it compares them with their checksums, and
// their sum with the digests that are kept.

const (
	// scrubEvery is how often a few documents are looked at, scrubItems how many,
	// and scrubBytes bounds their sizes.
	scrubEvery = 100 * time.Millisecond
	scrubItems = 200
	scrubBytes = 512 << 10
	// scrubHurry is how many times more after a repair: until the pass has
	// ended the digests may be wrong.
	scrubHurry = 10
)

type scrub struct {
	next time.Duration // uptime at which to go on, or to begin a pass
	// todo are the collections of this pass that are still to come, the one that
	// is under way first; none between passes.
	todo  []crdt.Dot
	after string
	begun bool
	sums  map[int]digest.Digest
	// damaged says that documents of the collection are, so that the digests
	// cannot be judged.
	damaged bool
	// urgent are collections in which something was repaired.
	urgent []crdt.Dot
}

// again asks for a collection to be gone through soon, from its beginning.
func (s *scrub) again(collection crdt.Dot) {
	if s.begun && s.todo[0] == collection {
		s.begun = false
	}
	for _, c := range s.urgent {
		if c == collection {
			return
		}
	}
	s.urgent = append(s.urgent, collection)
}

// changed takes into account that a document that was passed already weighs
// other than before.
func (s *scrub) changed(collection crdt.Dot, id string, before, after digest.Digest) {
	if s.begun && s.todo[0] == collection && id <= s.after {
		n := digest.Bucket(id)
		s.sums[n] = s.sums[n].Minus(before).Plus(after)
	}
}

// scrubDocuments looks at some documents, at the beginning of a step.
func (c *Core) scrubDocuments() error {
	s := &c.scrub
	if c.boot.phase != bootNone {
		*s = scrub{next: c.uptime + c.cfg.Timing.Scrub, urgent: s.urgent} // the documents are of no single moment
		return nil
	}
	if c.uptime < s.next && len(s.urgent) == 0 {
		return nil
	}
	if len(s.urgent) > 0 && (len(s.todo) == 0 || s.todo[0] != s.urgent[0]) {
		s.todo = append([]crdt.Dot{s.urgent[0]}, s.todo...)
		s.begun = false
	}
	if len(s.todo) == 0 {
		collections, err := StoredCollections(c.reader)
		if err != nil {
			return storeError(err)
		}
		s.todo = collections[1:] // those of the system are read at each start
		if len(s.todo) == 0 {
			s.next = c.uptime + c.cfg.Timing.Scrub
			return nil
		}
	}
	s.next = c.uptime + scrubEvery
	if !s.begun {
		s.begun, s.after, s.damaged, s.sums = true, "", false, map[int]digest.Digest{}
	}
	ended, err := c.scrubSome()
	if err != nil || !ended {
		return err
	}
	if err := c.scrubbed(); err != nil {
		return err
	}
	if s.begun = false; len(s.urgent) > 0 && s.urgent[0] == s.todo[0] {
		s.urgent = s.urgent[1:]
	}
	if s.todo = s.todo[1:]; len(s.todo) == 0 {
		s.next = c.uptime + c.cfg.Timing.Scrub
	}
	return nil
}

// scrubSome looks at the next documents of a collection, and reports whether
// it has come to its end.
func (c *Core) scrubSome() (bool, error) {
	s := &c.scrub
	items, bytes := scrubItems, scrubBytes
	if len(s.urgent) > 0 {
		items, bytes = items*scrubHurry, bytes*scrubHurry
	}
	collection := s.todo[0]
	for e, err := range c.reader.Docs(collection, "", s.after) {
		if err != nil {
			return false, storeError(err)
		}
		if items--; items < 0 || bytes < 0 {
			return false, nil
		}
		bytes -= len(e.State)
		s.after = strings.Clone(e.ID)
		key := store.DocKey{Collection: collection, ID: strings.Clone(e.ID)}
		n := digest.Bucket(e.ID)
		if held := c.cache.entries[key]; held != nil && held.dirty {
			s.sums[n] = s.sums[n].Plus(held.weight) // it was repaired in this step
			continue
		}
		weight, err := CheckDocument(key, e.State)
		if errors.Is(err, ErrDamaged) {
			c.damage(key, err)
			s.damaged = true
			continue
		}
		s.sums[n] = s.sums[n].Plus(weight)
	}
	return true, nil
}

// scrubbed compares the digests of a collection with those that were found.
func (c *Core) scrubbed() error {
	s := &c.scrub
	collection := s.todo[0]
	for k := range c.repair.damaged {
		s.damaged = s.damaged || k.Collection == collection
	}
	if s.damaged {
		return nil
	}
	kept, err := c.digests.Buckets(collection)
	if err != nil {
		return storeError(err)
	}
	wrong := digests.Differ(kept, s.sums)
	for _, i := range wrong {
		if err := c.digests.Correct(collection, i, s.sums[i]); err != nil {
			return storeError(err)
		}
	}
	if len(wrong) > 0 {
		c.note(true, "digests were not those of the documents, and were corrected", "collection", collection, "parts", len(wrong))
	}
	return nil
}
