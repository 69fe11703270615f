package core

import (
	"errors"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

// A trimQueue remembers, oldest first, which documents were changed and may be
// trimmed once that is stable. It is a hint: what does not fit, or is lost in a
// restart, is trimmed when it is next changed.
type trimQueue struct {
	limit  int
	queued map[store.DocKey]bool
	items  []trimItem
	next   time.Duration // uptime at which to look again
}

type trimItem struct {
	key  store.DocKey
	typ  crdt.Type
	have crdt.Vector // Have after the change: when it is stable, so is the document
}

const (
	// sweepEvery and sweepItems bound the work of trimming.
	sweepEvery = 100 * time.Millisecond
	sweepItems = 1024
)

func newTrimQueue(limit int) trimQueue {
	return trimQueue{limit: limit, queued: map[store.DocKey]bool{}}
}

func (q *trimQueue) add(e *entry, have crdt.Vector) {
	if q.queued[e.key] || len(q.items) >= q.limit {
		return
	}
	q.queued[e.key] = true
	q.items = append(q.items, trimItem{e.key, e.state.Type(), have})
}

// pop returns the oldest item if its time has come.
func (q *trimQueue) pop(stable crdt.Vector) (trimItem, bool) {
	if len(q.items) == 0 || !stable.Covers(q.items[0].have) {
		return trimItem{}, false
	}
	it := q.items[0]
	q.items[0] = trimItem{}
	q.items = q.items[1:]
	delete(q.queued, it.key)
	return it, true
}

// sweep trims documents that have settled since they were last changed.
func (c *Core) sweep() error {
	if c.uptime < c.trim.next || c.boot.apart() {
		return nil
	}
	c.trim.next = c.uptime + sweepEvery
	for n := 0; n < sweepItems && c.room(); n++ {
		it, ok := c.trim.pop(c.sync.stable)
		if !ok {
			return nil
		}
		e, err := c.load(it.key, it.typ)
		if errors.Is(err, ErrDamaged) {
			continue
		}
		if err != nil {
			return err
		}
		if e.dirty {
			continue // flush trims it, and queues it again
		}
		if c.trimState(e.state) {
			c.cost += e.size
			e.dirty = true
			c.dirty = append(c.dirty, e)
		} else if e.state.Trims() && !e.state.Heads().Settled(c.sync.stable) {
			c.trim.add(e, c.have)
		}
	}
	return nil
}

// trimState trims a state, and remembers the stamp of a document that is
// forgotten by it, so that a later one of the same id gets a greater one (I11).
func (c *Core) trimState(s crdt.State) bool {
	stamp := s.Heads().MaxStamp()
	changed := s.Trim(c.sync.stable)
	if !s.Heads().Known() {
		c.forgotten = max(c.forgotten, stamp)
	}
	return changed
}
