package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
)

// A collection that only some regions hold is answered for by them. A region that
// does not hold it hands requests on as they came, or refuses them, as the
// collection's setting "elsewhere" says.

// heldHere is a handler of a route about a collection and without a body: it is
// called where the collection is held.
func heldHere(h handler) handler {
	return func(x *exchange, r *http.Request) error {
		if err := x.goHolder(r, x.param(r, "collection")); err != nil {
			return err
		}
		return h(x, r)
	}
}

// goHolder sees to it that a request is answered where a collection is held: it
// returns nil if that is here, or if there is no such collection.
func (x *exchange) goHolder(r *http.Request, collection string) error {
	return x.askHolder(r, x.held(collection))
}

// held returns a *core.NotHeldError if the region does not hold a collection. If it
// does, acknowledgements are asked of those that do.
func (x *exchange) held(collection string) error {
	c, err := x.s.region.Collection(collection)
	if err != nil || c.Settings.Regions == nil {
		return nil //nolint:nilerr // whoever needs it says so
	}
	x.among = c.Settings.Holders(x.s.region.Members())
	return c.CheckHeld(x.s.region.Name(), x.s.region.Members())
}

// askHolder lets a region answer that holds what this one does not, if err says so.
func (x *exchange) askHolder(r *http.Request, err error) error {
	e, ok := errors.AsType[*core.NotHeldError](err)
	switch {
	case !ok:
		return err
	case e.Refuse:
		return notHeldHere(e)
	}
	for _, to := range x.s.region.Nearest(e.Holders) {
		if err := x.forward(r, to); !errors.Is(err, region.ErrUnreachable) {
			return err
		}
	}
	return problemf(holdersAway, "%s is held by %s only, and none of them can be reached from here", e.Collection, strings.Join(e.Holders, ", "))
}

func notHeldHere(e *core.NotHeldError) error {
	return problemf(notHeld, "%s is held by %s only; ask there", e.Collection, strings.Join(e.Holders, ", "))
}

// streamedHere refuses a stream about a collection that is not held here: it cannot
// be handed on.
func (x *exchange) streamedHere(collection string) error {
	if e, ok := errors.AsType[*core.NotHeldError](x.held(collection)); ok {
		return notHeldHere(e)
	}
	return nil
}
