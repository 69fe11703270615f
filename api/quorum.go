package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
)

// Query parameters by which a request asks for more than its region's word.
const (
	paramAcks = "acks"
	paramRead = "read"
	// paramFallback says what is done about a token that is not met in time.
	paramFallback = "fallback"
)

const (
	readLocal  = "local"
	readQuorum = "quorum"
	readHome   = "home"
	// fallbackForward lets a region answer that is fresh enough.
	fallbackForward = "forward"
)

// acks is what a write asks of other regions, and what came of it.
type acks struct {
	asked   string // the query parameter
	quorum  core.Quorum
	wanted  string // as it was asked for, "" if nothing was
	holders []string
	unmet   bool // time ran out
}

// askAcks reads ?acks=. What can never be met is refused before anything is written.
func (x *exchange) askAcks(q *query) error {
	if q.err != nil {
		return q.err
	}
	if !q.values.Has(paramAcks) {
		return nil
	}
	text := q.text(paramAcks)
	if q.err != nil {
		return q.err
	}
	quorum, err := x.quorum(paramAcks, text)
	x.acks.asked, x.acks.wanted, x.acks.quorum = text, text, quorum
	return err
}

// askFallback reads ?fallback=.
func (x *exchange) askFallback(q *query) {
	switch text := q.text(paramFallback); {
	case q.err != nil || !q.values.Has(paramFallback):
	case text == fallbackForward:
		x.fallback = len(x.via) == 0 // once
	default:
		q.err = problemf(malformedRequest, "the query parameter %q can only be %q", paramFallback, fallbackForward)
	}
}

// quorum reads what a parameter or setting says.
func (x *exchange) quorum(name, text string) (core.Quorum, error) {
	quorum, err := core.ParseQuorum(text)
	if err == nil {
		quorum, err = quorum.Among(x.among).Resolve(x.s.region.Members())
	}
	if err != nil {
		return quorum, problemf(invalid, "%s: %s", name, strings.TrimPrefix(err.Error(), core.ErrInvalid.Error()+": "))
	}
	return quorum, nil
}

// defaultAcks takes what the collections of a write ask for, if it does not say
// itself: the most of them, and all regions that one of them names.
func (x *exchange) defaultAcks(w *core.Write) error {
	if x.acks.asked != "" {
		return nil
	}
	for i := range w.Docs {
		c, err := x.s.region.Collection(w.Docs[i].Collection)
		if err != nil || c.Settings.Acks.IsZero() {
			continue // the region says what is wrong, or makes the collection
		}
		text := c.Settings.Acks.String()
		quorum, err := x.quorum("the setting acks of "+c.Name, text)
		if err != nil {
			return err
		}
		if x.acks.wanted == "" {
			x.acks.wanted, x.acks.quorum = text, quorum
		} else if !slices.Contains(strings.Split(x.acks.wanted, " and "), text) {
			x.acks.wanted, x.acks.quorum = x.acks.wanted+" and "+text, x.acks.quorum.And(quorum)
		}
	}
	return nil
}

// needsOthers reports whether other regions have to be waited for.
func (x *exchange) needsOthers(q core.Quorum) bool { return !q.Met(x.s.regionName) }

// acknowledged makes a write and waits for the acknowledgements that it asks for.
func (x *exchange) acknowledged(r *http.Request, write func(await time.Duration) (core.Receipt, error)) (core.Receipt, error) {
	var await time.Duration
	if x.needsOthers(x.acks.quorum) {
		leave, err := x.queue()
		if err != nil {
			return core.Receipt{}, err
		}
		defer leave()
		await = x.remaining(r)
	}
	receipt, err := write(await)
	if err != nil {
		return receipt, err
	}
	x.saw(receipt.Have)
	if receipt.Repeated {
		x.Header()[HeaderRepeated] = yes
	}
	x.collectAcks(r, receipt.Dot)
	return receipt, nil
}

// collectAcks waits for the acknowledgements of a write that is durable here.
func (x *exchange) collectAcks(r *http.Request, d crdt.Dot) {
	if x.acks.wanted == "" {
		return
	}
	ctx, stop := x.waiting(r)
	defer stop()
	holders, met := x.s.region.Acked(ctx, d, x.acks.quorum)
	x.acks.holders, x.acks.unmet = holders, !met
	x.Header()[HeaderAcked] = []string{strings.Join(holders, ",")}
}

// acceptedStatus is the status of a write, whose status would be the given one
// if all acknowledgements that were asked for had come.
func (x *exchange) acceptedStatus(status int) int {
	if x.acks.unmet {
		return http.StatusAccepted
	}
	return status
}

// appendUnmet tells in a receipt what has not come.
func (x *exchange) appendUnmet(b []byte) []byte {
	if !x.acks.unmet {
		return b
	}
	b = append(b, `,"wanted":`...)
	b = appendString(b, x.acks.wanted)
	b = append(b, `,"acked":[`...)
	for i, name := range x.acks.holders {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, name)
	}
	return append(b, ']')
}

// remaining is for how long the request may still wait: for its token, for other
// regions, for all together as long as it prefers.
func (x *exchange) remaining(r *http.Request) time.Duration {
	if x.deadline.IsZero() {
		x.deadline = time.Now().Add(preferredWait(r.Header))
	}
	return max(time.Until(x.deadline), 0)
}

// waiting returns a context that ends when the request is not to wait any more.
func (x *exchange) waiting(r *http.Request) (context.Context, func()) {
	ctx, cancel := context.WithTimeout(r.Context(), x.remaining(r))
	stop := context.AfterFunc(x.s.closing, cancel)
	return ctx, func() { stop(); cancel() }
}

// queue takes one of the places for requests that wait.
func (x *exchange) queue() (leave func(), err error) {
	if x.s.waiters.Add(1) > int64(x.s.cfg.MaxWaiters) {
		x.s.waiters.Add(-1)
		return nil, problemf(busy, "%d requests are waiting for tokens or for other regions already", x.s.cfg.MaxWaiters)
	}
	return func() { x.s.waiters.Add(-1) }, nil
}

// parseRead reads ?read=.
func (x *exchange) parseRead(q *query) (core.Quorum, error) {
	switch text := q.text(paramRead); {
	case q.err != nil:
		return core.Quorum{}, q.err
	case !q.values.Has(paramRead):
		return core.Quorum{}, nil
	case text == readLocal:
		return x.quorum(paramRead, "1")
	case text == readQuorum:
		return x.quorum(paramRead, core.Quorum{Count: core.Majority}.String())
	default:
		return x.quorum(paramRead, text)
	}
}

// getDocument reads a document, as new as the regions of the quorum hold it. No
// states are merged: this region first gets what they held when they were
// asked, and then what is read has to be held by as many, so that who reads
// after that cannot see less.
func (x *exchange) getDocument(r *http.Request, collection, id string, quorum core.Quorum) (d region.Document, err error) {
	if quorum.Count == 0 {
		return x.s.region.Get(r.Context(), collection, id)
	}
	regions := x.s.regionName
	if x.needsOthers(quorum) {
		leave, err := x.queue()
		if err != nil {
			return d, err
		}
		defer leave()
		ctx, stop := x.waiting(r)
		defer stop()
		// The region ends this one itself, so that it can say who answered.
		asking, abort := context.WithCancel(r.Context())
		defer abort()
		unhook := context.AfterFunc(x.s.closing, abort)
		defer unhook()
		if regions, err = x.s.region.Gather(asking, quorum, x.remaining(r)); err != nil {
			return d, x.noQuorum(err)
		}
		if d, err = x.s.region.Get(r.Context(), collection, id); err != nil {
			return d, err
		}
		if quorum.Count > 1 {
			dots := make([]crdt.Dot, len(d.Versions))
			for i := range d.Versions {
				dots[i] = d.Versions[i].Dot
			}
			if err := x.s.region.Held(ctx, dots, quorum, x.remaining(r)); err != nil {
				return d, x.noQuorum(err)
			}
		}
	} else if d, err = x.s.region.Get(r.Context(), collection, id); err != nil {
		return d, err
	}
	x.Header()[HeaderRead] = []string{strings.Join(regions, ",")}
	return d, nil
}

// noQuorum is the problem of a read across regions that failed.
func (x *exchange) noQuorum(err error) error {
	switch {
	case x.s.closing.Err() != nil:
		return problemf(stopped, "the server is shutting down")
	case errors.Is(err, core.ErrNoQuorum):
		return problemf(noQuorum, "%s", strings.TrimPrefix(err.Error(), core.ErrNoQuorum.Error()+": "))
	case errors.Is(err, region.ErrBehind):
		return problemf(noQuorum, "the regions answered, but not all that they hold has arrived: %v", err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return problemf(noQuorum, "the time ran out after %s", strconv.Quote(err.Error()))
	}
	return err
}
