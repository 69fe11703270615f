package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

// A load is the clients of a run and what they share.
type load struct {
	cfg      *Config
	workload Workload
	targets  []*target // that the clients talk to
	keys     *keyspace
	content  *content
	meter    *meter

	due     atomic.Int64 // requests given out, of an open loop
	started time.Time
	// pushed counts the elements of each list, so that what is popped is there.
	pushed []atomic.Int64
	// counted counts the acknowledged writes of workloads that are checked at the
	// end, unknown those whose outcome is not known.
	counted, unknown atomic.Int64
	payload          atomic.Int64 // bytes of documents and patches written
	written          atomic.Int64 // acknowledged writes
}

// work lets all clients work until ctx ends, and waits for them.
func (l *load) work(ctx context.Context) {
	l.started = time.Now()
	l.due.Store(0)
	var wg sync.WaitGroup
	for i := range l.cfg.Clients {
		wg.Go(func() {
			w := &worker{load: l, target: l.targets[i%len(l.targets)], rng: rand.New(rand.NewPCG(l.cfg.Seed, uint64(i)+1)), call: newCall()}
			defer w.call.release()
			w.work(ctx)
		})
	}
	wg.Wait()
}

// A worker is one client.
type worker struct {
	*load
	target *target
	rng    *rand.Rand
	call   *call
}

// maxBackOff bounds how long a client keeps away that was told to.
const maxBackOff = time.Second

func (w *worker) work(ctx context.Context) {
	for ctx.Err() == nil {
		from := time.Now()
		if w.cfg.Rate > 0 {
			var ok bool
			if from, ok = w.await(ctx); !ok {
				return
			}
		}
		o, err := w.perform(w.workload.pick(w.rng.IntN(100)))
		if ctx.Err() != nil {
			return // past the end, or torn from it
		}
		var f *failure
		switch {
		case err == nil:
			w.meter.done(o, time.Since(from))
		case errors.As(err, &f):
			w.meter.failure(f.Error())
			if w.cfg.Rate == 0 && (f.retry > 0 || f.status == 0) {
				pause(ctx, min(max(f.retry, time.Millisecond), maxBackOff))
			}
		}
	}
}

// await waits until the next request is due. Its latency counts from then also
// if no client was free before, so that a region that stalls is not spared the
// requests that it keeps from being sent. Only a client that was free and woke
// late, which is the doing of this side's timers, counts from when it woke.
func (w *worker) await(ctx context.Context) (from time.Time, ok bool) {
	n := w.due.Add(1) - 1
	due := w.started.Add(time.Duration(float64(n) / w.cfg.Rate * float64(time.Second)))
	if wait := time.Until(due); wait > 0 {
		if !pause(ctx, wait) {
			return due, false
		}
		now := time.Now()
		w.meter.woke(now.Sub(due))
		return now, true
	}
	return due, true
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// perform sends the requests of one operation. It returns the one that it was.
func (w *worker) perform(o op) (op, error) {
	c := w.call
	c.begin()
	switch o {
	case opRead:
		return o, w.read(w.keys.choose(w.rng))
	case opScan:
		return o, w.scan()
	case opUpdate:
		return o, w.update(w.keys.choose(w.rng))
	case opModify:
		key := w.keys.choose(w.rng)
		if err := w.read(key); err != nil {
			return o, err
		}
		c.begin()
		return o, w.update(key)
	case opInsert:
		return o, w.put(w.keys.insert())
	case opIncrement:
		c.body = append(c.body, `[{"op":"inc","path":"/n","value":1}]`...)
		err := w.patch(w.keys.choose(w.rng), client.Operations)
		w.count(err)
		return o, err
	case opPush, opPop:
		return w.queue(o, w.keys.choose(w.rng))
	case opBatch:
		return o, w.batch()
	case opPublish:
		err := w.publish()
		w.count(err)
		return o, err
	default:
		return o, fmt.Errorf("no such operation: %d", o)
	}
}

func (w *worker) docPath(key int64) {
	w.call.docsPath(w.cfg.Collection)
	w.call.path = append(w.call.path, '/')
	w.call.path = appendKey(w.call.path, key)
}

func (w *worker) read(key int64) error {
	w.docPath(key)
	return w.call.do(w.target, http.MethodGet)
}

// maxScan is the most documents that a scan asks for.
const maxScan = 100

func (w *worker) scan() error {
	c := w.call
	c.docsPath(w.cfg.Collection)
	// A cursor is opaque; a prefix of two digits starts the scan anywhere.
	c.path = fmt.Appendf(c.path, "?limit=%d&prefix=user%d", 1+w.rng.IntN(maxScan), 10+w.rng.IntN(90))
	return c.do(w.target, http.MethodGet)
}

func (w *worker) update(key int64) error {
	if w.cfg.Type == TypeRegister {
		return w.put(key)
	}
	w.call.body = w.content.appendPatch(w.call.body, w.rng)
	return w.patch(key, client.MergePatch)
}

func (w *worker) patch(key int64, kind client.PatchKind) error {
	w.docPath(key)
	w.call.req.Header.SetContentType(string(kind))
	return w.write(http.MethodPatch)
}

func (w *worker) put(key int64) error {
	w.docPath(key)
	w.call.body = w.content.appendDocument(w.call.body, w.rng)
	w.call.req.Header.SetContentType(mediaJSON)
	return w.write(http.MethodPut)
}

// publish writes a new document that says when it was sent.
func (w *worker) publish() error {
	c := w.call
	w.docPath(w.keys.insert())
	c.body = append(c.body, '{')
	c.body = append(c.body, sentMember...)
	c.body = strconv.AppendInt(c.body, time.Now().UnixNano(), 10)
	c.body = append(c.body, ',')
	at := len(c.body)
	c.body = w.content.appendDocument(c.body, w.rng)
	c.body = slices.Delete(c.body, at, at+1) // its brace
	c.req.Header.SetContentType(mediaJSON)
	return w.write(http.MethodPut)
}

const mediaJSON = "application/json"

// write sends a request that writes what is in the body.
func (w *worker) write(method string) error {
	c := w.call
	if w.cfg.Acks != "" {
		c.path = append(append(c.path, "?acks="...), w.cfg.Acks...)
	}
	n := len(c.body)
	err := c.do(w.target, method)
	if err == nil {
		w.payload.Add(int64(n))
		w.written.Add(1)
	}
	return err
}

// count keeps the books of what is checked.
func (w *worker) count(err error) {
	var f *failure
	switch {
	case err == nil:
		w.counted.Add(1)
	case errors.As(err, &f) && !f.refused():
		w.unknown.Add(1)
	}
}

// queue pushes to the end of a list or pops from its front. Lists are kept so
// long that a region which has not heard of the latest pushes finds something to
// pop, and not much longer.
func (w *worker) queue(o op, key int64) (op, error) {
	n := &w.pushed[key]
	switch length := n.Load(); {
	case length <= int64(w.cfg.Clients):
		o = opPush
	case length >= int64(w.cfg.Clients)+maxQueue:
		o = opPop
	}
	if o == opPop {
		w.call.body = append(w.call.body, `[{"op":"delete","path":"/items/0"}]`...)
		n.Add(-1)
	} else {
		w.call.body = append(w.call.body, `[{"op":"insert","path":"/items/-","value":`...)
		w.call.body = w.content.appendElement(w.call.body, w.rng)
		w.call.body = append(w.call.body, `}]`...)
		n.Add(1)
	}
	return o, w.patch(key, client.Operations)
}

// maxQueue is by how much a list gets longer than the number of clients.
const maxQueue = 100

func (w *worker) batch() error {
	c := w.call
	c.path = append(c.path, "/v1/batch"...)
	c.body = append(c.body, `{"docs":[`...)
	for i := range w.cfg.Batch {
		if i > 0 {
			c.body = append(c.body, ',')
		}
		c.body = w.appendItem(c.body, w.keys.insert())
	}
	c.body = append(c.body, `]}`...)
	c.req.Header.SetContentType(mediaJSON)
	return w.write(http.MethodPost)
}

// appendItem appends an item of a batch that puts a document.
func (w *worker) appendItem(b []byte, key int64) []byte {
	b = append(b, `{"collection":"`...)
	b = append(b, w.cfg.Collection...)
	b = append(b, `","id":"`...)
	b = appendKey(b, key)
	b = append(b, `","put":`...)
	b = w.initial(b)
	return append(b, '}')
}

// initial appends the document with which a workload starts.
func (w *worker) initial(b []byte) []byte {
	switch w.workload.mix[0].op {
	case opIncrement:
		return append(b, `{"n":{"$counter":0}}`...)
	case opPush:
		return append(b, `{"items":[]}`...)
	default:
		return w.content.appendDocument(b, w.rng)
	}
}
