package region

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/wire"
)

// A Region is the leader of one region. Its methods may be called by any
// goroutine while Run is running.
type Region struct {
	cfg       Config
	store     store.Store
	transport transport.Transport
	log       *slog.Logger

	submits chan submission
	events  chan linkEvent
	stopped chan struct{} // closed when Run has returned
	started time.Time

	published atomic.Pointer[published]
	cache     *readCache
	acks      *ackTracker
	moments   *moments
	metrics   *metrics
	watches   *watchHub
	tracer    trace.Tracer // nil if nothing is traced
	forwards  *forwarder
	pace      *rate.Limiter       // of catch-up and snapshot streams
	refused   map[crdt.Dot]string // owned by the owner
	waiters   sync.Pool           // *waiter, of submitWithin

	mu    sync.Mutex // of links, which only the owner changes
	links map[string]transport.Link
}

// published is what readers may see: it is durable.
type published struct {
	replica    crdt.ReplicaID
	have       crdt.Vector
	catalog    *core.Catalog
	members    []string
	pending    []string // members with whom there must be no links yet
	oldestNews time.Time
	writable   error
	readable   error
	conflicts  core.ConflictStatus
	requests   core.RequestStatus
	changed    chan struct{} // closed when there is a newer one
}

type submission struct {
	ask   any
	reply chan core.Reply
}

// A linkEvent is something that the transport reports. Message is nil for a
// link that came up, or went down if down is set.
type linkEvent struct {
	link    transport.Link
	down    error
	message wire.Message
}

// New makes a region from its store and its transport. The store is not closed
// by the region.
func New(cfg Config, st store.Store, tr transport.Transport) (*Region, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	r := &Region{
		cfg: cfg, store: st, transport: tr,
		log:     cfg.Logger.With("region", cfg.Region),
		submits: make(chan submission, cfg.Mailbox),
		events:  make(chan linkEvent, cfg.PeerMailbox),
		stopped: make(chan struct{}),
		started: cfg.Clock(),
		refused: map[crdt.Dot]string{},
		links:   map[string]transport.Link{},
		acks:    newAckTracker(cfg.Region),
		moments: newMoments(cfg.Region, cfg.Clock),
		cache:   newReadCache(cfg.ReadCacheBytes),
		metrics: newMetrics(),
		watches: newWatchHub(),
	}
	r.forwards = newForwarder(cfg.Region, cfg.NewReplica(), r.metrics.served)
	r.pace = rate.NewLimiter(rate.Inf, 0)
	if cfg.CatchUpRate > 0 {
		r.pace = rate.NewLimiter(rate.Limit(cfg.CatchUpRate), paceBurst)
	}
	c, err := core.New(cfg.core(st, nil), st)
	if err != nil {
		return nil, err
	}
	r.published.Store(&published{
		replica: c.Replica(), have: c.Have(), catalog: c.Catalog(), members: c.Members(), pending: c.Pending(), writable: ErrStopped, readable: c.Readable(),
		conflicts: c.Conflicts(), requests: c.Requests(), changed: make(chan struct{}),
	})
	if cfg.Tracing != nil {
		r.tracer = cfg.Tracing.Tracer(instrumentation)
	}
	if cfg.Metrics != nil {
		for _, m := range append(r.metrics.all(), collector{r}) {
			if err := cfg.Metrics.Register(m); err != nil {
				return nil, fmt.Errorf("metrics: %w", err)
			}
		}
	}
	return r, nil
}

// Name is the region's name.
func (r *Region) Name() string { return r.cfg.Region }

// Run serves until ctx ends, or the store fails. It may be called once.
func (r *Region) Run(ctx context.Context) error {
	defer close(r.stopped)
	g, ctx := errgroup.WithContext(ctx)
	streams := make(chan streamJob, r.cfg.Streams)
	for range r.cfg.Streams {
		g.Go(func() error { return r.serveStreams(ctx, streams) })
	}
	g.Go(func() error { return r.moments.run(ctx) })
	g.Go(func() error { return r.compact(ctx) })
	g.Go(func() error { return r.transport.Run(ctx, handler{r, ctx}) })
	g.Go(func() error {
		o := &owner{Region: r, ctx: ctx, streams: streams, waiting: map[uint64]chan core.Reply{}}
		return o.run()
	})
	err := g.Wait()
	r.forwards.serving.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// Ready reports why the region does not take writes yet, or nil.
func (r *Region) Ready() error {
	select {
	case <-r.stopped:
		return ErrStopped
	default:
		return r.published.Load().writable
	}
}

// A waiter is what a write waits with. It is used again: a context and a channel for
// each write cost more than what it takes in the mailbox.
type waiter struct {
	timer *time.Timer
	reply chan core.Reply
}

// submit hands something to the owner and waits for the answer.
func (r *Region) submit(ctx context.Context, ask any) (any, error) {
	result, _, err := r.submitUntil(ctx, ask, make(chan core.Reply, 1), nil)
	return result, err
}

// submitWithin is submit with a bound of time.
func (r *Region) submitWithin(ctx context.Context, ask any, d time.Duration) (any, error) {
	w, ok := r.waiters.Get().(*waiter)
	if ok {
		w.timer.Reset(d)
	} else {
		w = &waiter{time.NewTimer(d), make(chan core.Reply, 1)}
	}
	result, over, err := r.submitUntil(ctx, ask, w.reply, w.timer.C)
	w.timer.Stop()
	if over {
		r.waiters.Put(w)
	}
	return result, err
}

// submitUntil reports whether it is over: then nobody else has the reply's channel,
// and nothing is in it. Otherwise the owner may answer still.
func (r *Region) submitUntil(ctx context.Context, ask any, answer chan core.Reply, late <-chan time.Time) (result any, over bool, err error) {
	select {
	case r.submits <- submission{ask: ask, reply: answer}:
	default:
		return nil, true, ErrBusy
	}
	select {
	case reply := <-answer:
		return reply.Result, true, reply.Err
	case <-late:
		return nil, false, fmt.Errorf("the outcome of the write is not known: %w", context.DeadlineExceeded)
	case <-ctx.Done():
		return nil, false, fmt.Errorf("the outcome of the write is not known: %w", ctx.Err())
	case <-r.stopped:
		return nil, false, ErrStopped
	}
}

// An owner is the goroutine that owns the core and with it all documents.
type owner struct {
	*Region
	ctx     context.Context
	core    *core.Core
	streams chan streamJob
	waiting map[uint64]chan core.Reply
	nextID  uint64
	// linked is a link that came up or went down and is to begin the next batch.
	linked *linkEvent
	calls  *caller
	// full is until when nothing is tried because the disk was full.
	full    time.Time
	fullErr error
	// unsaved are the bytes of older versions that the core holds in memory alone.
	unsaved int
}

// errRestarted tells peers why a link is closed.
var errRestarted = errors.New("the region goes on from what is durable")

// maxBatchEvents is the most events that one step takes.
const maxBatchEvents = 1024

// fullRetry is how long after a commit failed for want of room the next is tried.
const fullRetry = time.Second

func (o *owner) run() error {
	ctx, cancel := context.WithCancel(o.ctx)
	o.calls = newCaller(ctx, &o.cfg)
	defer func() {
		cancel()
		o.calls.stop()
	}()
	defer o.abandon(ErrStopped)
	if err := o.restart(); err != nil {
		return err
	}
	ticker := time.NewTicker(core.TickEvery)
	defer ticker.Stop()
	for {
		events := o.collect(ticker.C)
		if o.ctx.Err() != nil {
			o.end()
			return nil
		}
		if len(events) == 0 {
			continue
		}
		for more := true; more; {
			start := time.Now()
			fx, err := o.core.Step(o.cfg.Clock(), events)
			o.metrics.stepSeconds.Observe(time.Since(start).Seconds())
			if err == nil {
				err = o.carryOut(fx, start)
			}
			if err != nil {
				if err := o.recover(err); err != nil {
					return err
				}
				break
			}
			more, events = fx.More, nil
		}
	}
}

// end saves what waits in memory alone. What else its steps would do is over.
func (o *owner) end() {
	events := []core.Event{core.Ending{}}
	for o.unsaved > 0 {
		fx, err := o.core.Step(o.cfg.Clock(), events)
		if err == nil {
			err = o.commit(fx.Batch)
		}
		if err != nil || fx.Memory.OlderBytes >= o.unsaved {
			o.log.Warn("older versions of documents are lost, which writes could have been based on", "bytes", o.unsaved, "error", err)
			return
		}
		o.unsaved, events = fx.Memory.OlderBytes, nil
	}
}

// waitsForRoom reports whether nothing is tried yet because the disk was full. A
// clock that was set back since makes that no longer.
func (o *owner) waitsForRoom() bool {
	if o.full.IsZero() {
		return false
	}
	left := o.full.Sub(o.cfg.Clock())
	return left > 0 && left <= fullRetry
}

// collect waits for something to do and takes what there is, up to a bound.
// While the disk is full it answers writes at once and leaves messages where they are.
func (o *owner) collect(tick <-chan time.Time) []core.Event {
	inbound, called := o.events, o.calls.called
	if o.waitsForRoom() {
		inbound, called = nil, nil
	}
	var events []core.Event
	if e := o.linked; e != nil && inbound != nil {
		o.linked = nil
		events = o.translate(events, *e)
	} else {
		if e != nil {
			inbound = nil
		}
		select {
		case <-o.ctx.Done():
			return nil
		case <-tick:
			events = append(o.unknown(), core.Tick{})
		case s := <-o.submits:
			events = o.admit(events, s)
		case e := <-inbound:
			events = o.translate(events, e)
		case e := <-called:
			events = append(events, e)
		}
	}
	for len(events) < maxBatchEvents {
		select {
		case s := <-o.submits:
			events = o.admit(events, s)
		case e := <-inbound:
			if e.message == nil {
				// Messages go to the links as they are known here. The core must
				// not send to a new one before it has greeted, so what comes before
				// in a batch that is cut short has to be over.
				o.linked = &e
				return events
			}
			events = o.translate(events, e)
		case e := <-called:
			events = append(events, e)
		default:
			return events
		}
	}
	return events
}

func (o *owner) admit(events []core.Event, s submission) []core.Event {
	if _, inspect := s.ask.(core.Inspect); !inspect && o.waitsForRoom() {
		s.reply <- core.Reply{Err: o.fullErr}
		return events
	}
	o.nextID++
	o.waiting[o.nextID] = s.reply
	return append(events, core.Submit{ID: o.nextID, Ask: s.ask})
}

func (o *owner) translate(events []core.Event, e linkEvent) []core.Event {
	peer := e.link.Peer()
	switch {
	case e.message != nil:
		if o.links[peer] != e.link {
			return events // a straggler of a link that is down
		}
		return append(events, core.Received{Peer: peer, Message: e.message})
	case e.down != nil:
		if o.links[peer] != e.link {
			return events
		}
		o.mu.Lock()
		delete(o.links, peer)
		o.mu.Unlock()
		return append(events, core.LinkDown{Peer: peer})
	}
	o.mu.Lock()
	o.links[peer] = e.link
	o.mu.Unlock()
	return append(events, core.LinkUp{Peer: peer})
}

// carryOut commits the batch of a step, which began at start, and then does the rest of its effects.
func (o *owner) carryOut(fx core.Effects, start time.Time) error {
	for _, n := range fx.Notes {
		level := slog.LevelInfo
		if n.Warn {
			level = slog.LevelWarn
		}
		o.log.Log(o.ctx, level, n.Text, n.Args...) //nolint:sloglint // the core's texts are constants
	}
	if err := o.commit(fx.Batch); err != nil {
		return err
	}
	o.unsaved = fx.Memory.OlderBytes
	o.publish(fx)
	if len(fx.Traced) > 0 {
		o.traceApplied(fx.Traced, fx.Catalog, start, time.Now())
	}
	o.acks.update(fx.Acked)
	if fx.Batch != nil {
		o.watches.committed(fx.Batch.Docs)
	}
	o.watches.held(fx.Acked)
	for _, t := range fx.Heard {
		o.watches.say(t, nil)
	}
	for _, call := range fx.Calls {
		o.calls.start(call)
	}
	for _, rep := range fx.Replies {
		o.waiting[rep.ID] <- rep
		delete(o.waiting, rep.ID)
	}
	o.send(fx.Sends)
	for _, s := range fx.Streams {
		if l, ok := o.links[s.Peer]; ok {
			o.offer(streamJob{l, s})
		}
	}
	for _, c := range fx.Closes {
		if l, ok := o.links[c.Peer]; ok {
			if errors.Is(c.Err, core.ErrNotMember) {
				c.Err = fmt.Errorf("%w: %w", transport.ErrNotPeer, c.Err)
			}
			l.Close(c.Err)
		}
	}
	if fx.Plan != nil {
		o.setPeers(*fx.Plan, fx.Unheard)
	}
	return nil
}

func (o *owner) commit(b *store.Batch) error {
	if b == nil {
		return nil
	}
	start := time.Now()
	o.cache.committing(b)
	err := o.store.Commit(b)
	o.cache.committed(b)
	if err != nil {
		o.metrics.commitErrors.Inc()
		return err
	}
	o.metrics.commitSeconds.Observe(time.Since(start).Seconds())
	bytes, _ := b.Size()
	o.metrics.commitBytes.Add(float64(bytes))
	return nil
}

func (o *owner) publish(fx core.Effects) {
	old := o.published.Load()
	if !slices.Equal(old.members, fx.Members) {
		o.acks.retain(fx.Members)
	}
	next := &published{o.core.Replica(), fx.Have, fx.Catalog, fx.Members, fx.Pending, fx.OldestNews, fx.Writable, fx.Readable, fx.Conflicts, fx.Requests, old.changed}
	if old.have.Compare(fx.Have) == crdt.Equal {
		o.published.Store(next)
		return
	}
	next.changed = make(chan struct{})
	o.published.Store(next)
	o.metrics.grew(old.have, fx.Have, fx.Catalog)
	close(old.changed)
}

// recover goes on after a failed step, with a new core made from what is
// durable. Only a store that cannot be used any more is fatal.
func (o *owner) recover(err error) error {
	o.metrics.restarts.Inc()
	var bad *core.BadChangeError
	switch {
	case errors.As(err, &bad):
		o.log.Error("a change of a peer cannot be applied; it and what depends on it are refused", "peer", bad.Peer, "dot", bad.Dot, "error", bad.Err)
		o.refused[bad.Dot] = bad.Error()
		if l, ok := o.links[bad.Peer]; ok {
			l.Close(bad)
		}
		err = fmt.Errorf("%w: %w", ErrStorage, err)
	case errors.Is(err, store.ErrFull), errors.Is(err, store.ErrBatchTooLarge):
		o.log.Error("writes are refused", "error", err, "retry", fullRetry)
		err = fmt.Errorf("%w: %w", ErrStorage, err)
		o.full, o.fullErr = o.cfg.Clock().Add(fullRetry), err
	default:
		err = fmt.Errorf("%w: %w", ErrStorage, err)
		o.abandon(err)
		return err
	}
	o.abandon(err)
	return o.restart()
}

// abandon answers whoever waits for a core that is given up.
func (o *owner) abandon(err error) {
	for id, reply := range o.waiting {
		reply <- core.Reply{Err: err}
		delete(o.waiting, id)
	}
}

// restart makes a core from what is durable. The links that are up are closed,
// since the peers' greetings on them went to the core that is given up.
func (o *owner) restart() error {
	c, err := core.New(o.cfg.core(o.store, o.refused), o.store)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStorage, err)
	}
	o.core = c
	for _, l := range o.links {
		l.Close(errRestarted)
	}
	o.mu.Lock()
	clear(o.links)
	o.mu.Unlock()
	start := time.Now()
	fx, err := c.Step(o.cfg.Clock(), []core.Event{core.Tick{}})
	if err == nil {
		err = o.carryOut(fx, start)
	}
	if errors.Is(err, store.ErrFull) {
		// The first change of a replica found no room. Reads work; later steps try again.
		o.full, o.fullErr = o.cfg.Clock().Add(fullRetry), fmt.Errorf("%w: %w", ErrStorage, err)
		o.core, err = core.New(o.cfg.core(o.store, o.refused), o.store)
	}
	return err
}
