package core

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core/conflictlog"
	"github.com/meridiandb/meridian/region/store"
)

// Bounds of asking callbacks.
const (
	// MaxCalls is how many calls are under way at a time, MaxCollectionCalls how
	// many of them for one collection.
	MaxCalls           = 64
	MaxCollectionCalls = 16
	// maxInquiries is how many conflicts of a collection are taken up at a time.
	// The others wait in the store.
	maxInquiries = 1024
	// maxLooks bounds the documents that a step looks at for a collection, and
	// maxDeskQueue those that wait for it. What is beyond is found in the store.
	maxLooks     = 64
	maxDeskQueue = 4096
)

// What is failed is tried again, after a time that doubles.
const (
	firstRetry = 500 * time.Millisecond
	maxRetry   = time.Minute
	// breakAfter is how many failures in a row, of whatever conflicts, say that
	// the application is not there. Then there are no calls for a while, and one
	// at a time until one succeeds.
	breakAfter = 5
	// catchUp bounds how long an arbiter waits for what peers held that it met.
	catchUp = 30 * time.Second
)

// A Call asks the driver to ask a callback, once. A [Called] with the question's
// ID tells how that went. Nothing in it may be changed.
type Call struct {
	Callback *conflict.Callback
	Question conflict.Question
}

// Called is an event: the callback has answered, or it could not be asked. One
// that nobody waits for is passed over.
type Called struct {
	// ID is that of the question.
	ID     string
	Answer conflict.Answer
	// Err says why there is no answer. Unavailable says that it is no matter of
	// this question.
	Err         error
	Unavailable bool
}

func (Called) isEvent() {}

// callbacks is what the core does as an arbiter.
type callbacks struct {
	desks   []*desk // in the order of incarnations
	calls   int     // under way, of all desks
	catalog *Catalog
	stale   bool // the arbiters may be others than they were
	// met is what peers held when they were met, until patience nothing is asked
	// before this region holds it, too: it may have been decided there.
	met      crdt.Vector
	patience time.Duration
	more     bool // something was left for the next step
	counts   map[string]*CallbackCount
}

// A desk is what an arbiter has to do for one collection.
type desk struct {
	col      *Collection
	callback *conflict.Callback
	roles    []roleOf
	// queue has documents to be looked at. While scanning, cursor is the id up to
	// which those with conflicts were found in the store; again says that this
	// has to be done once more.
	queue           []string
	queued          map[string]bool
	scanning, again bool
	cursor          string
	// inquiries are the conflicts that are to be decided, in the order in which
	// they were taken up; calls of them are under way.
	inquiries []*inquiry
	calls     int
	// failures in a row, and until when there are no calls for it.
	failures int
	paused   time.Duration
	// next is the uptime at which something is due.
	next time.Duration
}

// An inquiry is a conflict that the callback is to decide.
type inquiry struct {
	id       journal.ID
	document string
	path     string
	dots     []crdt.Dot // sorted by dot
	attempt  int
	calling  bool
	due      time.Duration
}

func callbackOf(col *Collection) *conflict.Callback { return conflict.CallbackOf(col.Settings.Policy) }

// meet notes what a peer holds that was just met.
func (k *callbacks) meet(have crdt.Vector, uptime time.Duration) {
	k.met, k.patience = k.met.Join(have), uptime+catchUp
}

// touch has a document looked at that has changed.
func (c *Core) touch(key store.DocKey) {
	if d := c.callbacks.desk(key.Collection); d != nil {
		d.enqueue(key.ID)
	}
}

func (d *desk) enqueue(id string) {
	switch {
	case d.queued[id]:
	case len(d.queue) >= maxDeskQueue:
		d.again = true
	default:
		d.queued[id] = true
		d.queue = append(d.queue, id)
	}
}

// consult does what is due for the collections whose arbiter this region is.
func (c *Core) consult() error {
	c.assign()
	c.callbacks.more = false
	if ready := c.writable() == nil; !ready || len(c.callbacks.desks) == 0 {
		return nil
	}
	if k := &c.callbacks; k.met.Len() > 0 {
		if !c.have.Covers(k.met) && c.uptime < k.patience {
			return nil
		}
		k.met = crdt.Vector{}
	}
	for _, d := range c.callbacks.desks {
		if err := c.lookAround(d); err != nil {
			return err
		}
		if err := c.askCallback(d); err != nil {
			return err
		}
	}
	return nil
}

// lookAround finds conflicts that are to be decided.
func (c *Core) lookAround(d *desk) error {
	for looks := 0; len(d.inquiries) < maxInquiries; {
		if looks == maxLooks || !c.room() {
			c.callbacks.more = true
			return nil
		}
		if len(d.queue) == 0 {
			if !d.scanning && !d.again {
				return nil
			}
			if err := c.scan(d); err != nil {
				return err
			}
			continue
		}
		id := d.queue[0]
		d.queue = d.queue[1:]
		delete(d.queued, id)
		looks++
		if err := c.look(d, id); err != nil {
			return err
		}
	}
	return nil
}

// scan queues the next documents in which conflicts stand.
func (c *Core) scan(d *desk) error {
	if !d.scanning {
		d.scanning, d.again, d.cursor = true, false, ""
	}
	ids, err := conflictlog.DocumentsIn(c.reader, d.col.Incarnation, d.cursor, maxLooks)
	if err != nil {
		return storeError(err)
	}
	d.scanning = len(ids) == maxLooks
	for _, id := range ids {
		d.enqueue(id)
		d.cursor = id
	}
	return nil
}

// look takes up what is to be decided in a document.
func (c *Core) look(d *desk, id string) error {
	e, err := c.load(store.DocKey{Collection: d.col.Incarnation, ID: id}, d.col.Settings.Type)
	if errors.Is(err, ErrDamaged) {
		return nil // it is looked at again when it is repaired
	}
	if err != nil {
		return err
	}
	c.cost += e.size
	found, _ := conflictsIn(e.state, c.catalog.Resolve(d.col, id))
	decides := c.decides(d.col, id)
	found = slices.DeleteFunc(found, func(f crdt.Resolved) bool { return !f.Pending || !decides })
	d.inquiries = slices.DeleteFunc(d.inquiries, func(q *inquiry) bool {
		return q.document == id && !q.calling && !slices.ContainsFunc(found, func(f crdt.Resolved) bool {
			return f.Path == q.path && slices.Equal(sortedDots(&f.Conflict), q.dots)
		})
	})
	for i := range found {
		dots := sortedDots(&found[i].Conflict)
		// While there is a call about some of the versions, its answer is waited for.
		if slices.ContainsFunc(d.inquiries, func(q *inquiry) bool {
			return q.document == id && q.path == found[i].Path && slices.ContainsFunc(dots, func(x crdt.Dot) bool { return slices.Contains(q.dots, x) })
		}) {
			continue
		}
		d.inquiries = append(d.inquiries, &inquiry{
			id: journal.IDOf(d.col.Incarnation, id, found[i].Path, dots), document: id, path: found[i].Path, dots: dots, due: c.uptime,
		})
		d.next = 0
	}
	return nil
}

func sortedDots(c *crdt.Conflict) []crdt.Dot {
	return slices.SortedFunc(slices.Values(dotsOf(c)), crdt.Dot.Compare)
}

// askCallback makes the calls that are due.
func (c *Core) askCallback(d *desk) error {
	if c.uptime < d.next {
		return nil
	}
	if c.uptime < d.paused {
		d.next = d.paused
		return nil
	}
	d.next = math.MaxInt64
	for _, q := range slices.Clone(d.inquiries) {
		if q.calling {
			continue
		}
		if q.due > c.uptime {
			d.next = min(d.next, q.due)
			continue
		}
		if c.callbacks.calls >= MaxCalls {
			d.next = 0 // another desk's call may end first
			return nil
		}
		if d.calls >= MaxCollectionCalls || d.failures >= breakAfter && d.calls > 0 {
			return nil // the end of a call says when to go on
		}
		if err := c.call(d, q); err != nil {
			return err
		}
	}
	return nil
}

// call has the callback asked about a conflict, if it is still there.
func (c *Core) call(d *desk, q *inquiry) error {
	_, f, err := c.inquired(d, q)
	if err != nil {
		return err
	}
	if f == nil || len(f.Versions) != len(q.dots) || !c.decides(d.col, q.document) {
		d.drop(q)
		d.enqueue(q.document)
		return nil
	}
	q.calling = true
	q.attempt++
	d.calls++
	c.callbacks.calls++
	c.callbackCount(d.col.Name).Asked++
	question := conflict.Question{
		ID: q.id.String(), Attempt: q.attempt, Cluster: c.cfg.Cluster, Region: c.cfg.Region,
		Collection: d.col.Name, Document: q.document, Path: f.Path, Type: d.col.Settings.Type.String(),
	}
	for _, v := range f.Versions {
		question.Versions = append(question.Versions, conflict.Version{Version: v, Region: c.catalog.Region(v.Dot.Replica)})
	}
	c.fx.Calls = append(c.fx.Calls, Call{Callback: d.callback, Question: question})
	return nil
}

// inquired returns the document of an inquiry and the conflict in its place that
// has all the versions, and maybe more; nil if some of them are gone, the place
// has moved within a list, or the document is damaged.
func (c *Core) inquired(d *desk, q *inquiry) (*entry, *crdt.Resolved, error) {
	e, err := c.load(store.DocKey{Collection: d.col.Incarnation, ID: q.document}, d.col.Settings.Type)
	if errors.Is(err, ErrDamaged) {
		return nil, nil, nil // see look
	}
	if err != nil {
		return nil, nil, err
	}
	c.cost += e.size
	found, _ := conflictsIn(e.state, newest)
	for i := range found {
		dots := dotsOf(&found[i].Conflict)
		if found[i].Path == q.path && !slices.ContainsFunc(q.dots, func(x crdt.Dot) bool { return !slices.Contains(dots, x) }) {
			return e, &found[i], nil
		}
	}
	return e, nil, nil
}

func (d *desk) drop(q *inquiry) {
	d.inquiries = slices.DeleteFunc(d.inquiries, func(x *inquiry) bool { return x == q })
}

// called takes in how a call went.
func (c *Core) called(ev Called) error {
	for _, d := range c.callbacks.desks {
		for _, q := range d.inquiries {
			if !q.calling || q.id.String() != ev.ID {
				continue
			}
			q.calling = false
			d.calls--
			c.callbacks.calls--
			d.next = 0
			d.enqueue(q.document)
			if ev.Err != nil {
				return c.callFailed(d, q, ev.Err, ev.Unavailable)
			}
			d.failures = 0
			return c.settle(d, q, ev.Answer)
		}
	}
	return nil
}

// callFailed says when a call is made again, and notes that.
func (c *Core) callFailed(d *desk, q *inquiry, err error, unavailable bool) error {
	wait := retryAfter(q.attempt, q.id[:])
	q.due = c.uptime + wait
	text := fmt.Sprintf("asked the callback (try %d) and got no answer: %v. The next try is in %v", q.attempt, err, wait.Round(100*time.Millisecond))
	if !unavailable {
		d.failures = 0
	} else if d.failures++; d.failures >= breakAfter {
		wait = retryAfter(d.failures-breakAfter+1, []byte(d.col.Name))
		d.paused = c.uptime + wait
		if q.due < d.paused {
			text = fmt.Sprintf("asked the callback (try %d) and got no answer: %v. After %d failures in a row there are no calls for %v",
				q.attempt, err, d.failures, wait.Round(100*time.Millisecond))
		}
		if d.failures == breakAfter {
			c.note(true, "a callback does not answer; its collection's conflicts wait", "collection", d.col.Name, "error", err)
		}
	}
	c.callbackCount(d.col.Name).Failed++
	return c.step(q.id, text)
}

// retryAfter is how long to wait after the n-th failure: twice as long each
// time, and a bit more or less, as salt has it, so that not all come at once.
func retryAfter(n int, salt []byte) time.Duration {
	wait := maxRetry
	if n < 8 {
		wait = min(firstRetry<<(n-1), maxRetry)
	}
	h := fnv.New64a()
	h.Write(salt)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	return wait - wait/5 + time.Duration(h.Sum64()%uint64(2*wait/5))
}

// step notes in the record of a conflict what the region did about it.
func (c *Core) step(id journal.ID, what string) error {
	r, err := c.conflicts.Find(id)
	if err != nil {
		return storeError(err)
	}
	if r == nil || r.Settled != nil {
		return nil
	}
	r.AddStep(journal.Step{At: c.now.UnixMilli(), Region: c.cfg.Region, What: what})
	if err := c.conflicts.Save(r); err != nil {
		return storeError(err)
	}
	return nil
}

// CallbackCount tells of the calls of a collection's callback since the start.
type CallbackCount struct {
	Collection string
	// Asked counts calls, Answered the answers that were written, Kept those that
	// left the versions as they are, Failed the calls without an answer.
	Asked, Answered, Kept, Failed uint64
	// Waiting is how many conflicts this region has taken up as the arbiter.
	Waiting int
	// Paused says that after too many failures there are no calls for a while.
	Paused bool
}

func (c *Core) callbackCount(collection string) *CallbackCount {
	k := &c.callbacks
	if k.counts == nil {
		k.counts = map[string]*CallbackCount{}
	}
	if k.counts[collection] == nil && len(k.counts) >= MaxConflictCounts {
		collection = "" // counted together, without a name
	}
	n := k.counts[collection]
	if n == nil {
		n = &CallbackCount{Collection: collection}
		k.counts[collection] = n
	}
	return n
}

// status lists what was counted, and how the desks stand.
func (k *callbacks) status(uptime time.Duration) []CallbackCount {
	if len(k.counts)+len(k.desks) == 0 {
		return nil
	}
	out := make([]CallbackCount, 0, len(k.counts)+len(k.desks))
	for _, n := range k.counts {
		out = append(out, *n)
	}
	for _, d := range k.desks {
		i := slices.IndexFunc(out, func(n CallbackCount) bool { return n.Collection == d.col.Name })
		if i < 0 {
			i = len(out)
			out = append(out, CallbackCount{Collection: d.col.Name})
		}
		out[i].Waiting += len(d.inquiries)
		out[i].Paused = out[i].Paused || uptime < d.paused
	}
	slices.SortFunc(out, func(a, b CallbackCount) int { return strings.Compare(a.Collection, b.Collection) })
	return out
}
