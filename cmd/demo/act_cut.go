package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

// The bodies of faults.
const (
	faultCut = `{"state":"cut"}`
	faultUp  = `{"state":"up"}`
)

func linkFault(peer, fault string) request { return put("/v1/faults/links/"+peer, fault) }

// faults sets a fault on all links of the region that is cut off.
func (w *walk) faults(fault string) []request {
	var all []request
	for i, name := range w.names {
		if i != there {
			all = append(all, linkFault(name, fault))
		}
	}
	return all
}

// cut cuts the link between two regions, at one of its ends.
func (w *walk) cut(ctx context.Context, at, to int) error {
	w.cuts = append(w.cuts, cut{at, to})
	_, err := w.send(ctx, at, linkFault(w.names[to], faultCut), http.StatusOK)
	return err
}

// mend heals all that is cut.
func (w *walk) mend(ctx context.Context) error {
	for _, c := range w.cuts {
		if _, err := w.send(ctx, c.at, linkFault(w.names[c.to], faultUp), http.StatusOK); err != nil {
			return err
		}
	}
	w.cuts = nil
	return nil
}

// linked reports whether a region has a link with another that works.
func (w *walk) linked(ctx context.Context, a, b int) (bool, error) {
	s, err := w.status(ctx, a)
	if err != nil {
		return false, err
	}
	return peer(s, w.names[b]).Link.State == "up", nil
}

// apart waits until neither of two regions has a link with the other.
func (w *walk) apart(ctx context.Context, a, b int) (bool, error) {
	return w.until(ctx, stepLimit, func() (bool, error) {
		ab, err := w.linked(ctx, a, b)
		if ab || err != nil {
			return false, err
		}
		ba, err := w.linked(ctx, b, a)
		return !ba && err == nil, err
	})
}

// neighbour is the first region that the one where most is written has a link with.
func (w *walk) neighbour() int {
	near := neighbours(w.cfg.Topology, w.names, w.names[here])
	return slices.IndexFunc(w.names, func(name string) bool { return slices.Contains(near, name) })
}

// actCut cuts one link, and then all of a region.
func (w *walk) actCut(ctx context.Context) error {
	if len(w.names) > 2 {
		if err := w.detour(ctx); err != nil {
			return err
		}
	}
	if err := w.isolate(ctx); err != nil {
		return err
	}
	return w.bothSidesWrite(ctx)
}

// detour cuts one link and shows that the two regions stay in touch.
func (w *walk) detour(ctx context.Context) error {
	far := w.neighbour()
	from, to := w.names[here], w.names[far]
	w.scene(sceneDetour)
	w.say(fmt.Sprintf(storyDetour, from, to))
	w.show(here, linkFault(to, faultCut))
	if err := w.cut(ctx, here, far); err != nil {
		return err
	}
	down, err := w.apart(ctx, here, far)
	if err != nil {
		return err
	}
	w.check(down, fmt.Sprintf(claimDown, from, to), "it is still up")
	text := `{"text":"Sent while the direct link was down"}`
	a, err := w.send(ctx, here, put(pathDetour, text), http.StatusOK, http.StatusCreated)
	if err != nil {
		return err
	}
	b, err := w.send(ctx, far, patient(get(pathDetour), a.token()), http.StatusOK, http.StatusServiceUnavailable)
	if err != nil {
		return err
	}
	direct, err := w.linked(ctx, here, far)
	if err != nil {
		return err
	}
	w.check(b.text() == text && !direct, fmt.Sprintf(claimDetour, from, to, ms(b.took)), b.text())
	if far != there {
		return w.mend(ctx)
	}
	return nil
}

// isolate cuts all links of a region.
func (w *walk) isolate(ctx context.Context) error {
	// Nothing is to be on its way, so that what lags afterwards can be told exactly.
	if err := w.caughtUp(ctx); err != nil {
		return err
	}
	w.scene(fmt.Sprintf(sceneIsolate, w.names[there]))
	w.say(fmt.Sprintf(storyIsolate, w.names[there], w.names[here]))
	w.show(there, w.faults(faultCut)...)
	for i := range w.names {
		if i == there {
			continue
		}
		if err := w.cut(ctx, there, i); err != nil {
			return err
		}
	}
	alone := true
	for i := range w.names {
		if i == there {
			continue
		}
		ok, err := w.apart(ctx, there, i)
		if err != nil {
			return err
		}
		alone = alone && ok
	}
	w.check(alone, fmt.Sprintf(claimAlone, w.names[there]), "it has a link that is up")
	return nil
}

// caughtUp waits until the regions hold the same and know it.
func (w *walk) caughtUp(ctx context.Context) error {
	ok, err := w.until(ctx, stepLimit, func() (bool, error) {
		s, err := w.status(ctx, here)
		if err != nil {
			return false, err
		}
		for _, r := range s.Regions {
			if r.Lag > 0 || r.Missing > 0 {
				return false, nil
			}
		}
		lags, err := w.lags(ctx)
		return err == nil && slices.Max(lags) == 0, err
	})
	if err == nil && !ok {
		err = fmt.Errorf("the regions did not catch up within %v", stepLimit)
	}
	return err
}

// Orders that are written on the two sides of the cut.
var (
	ordersHere  = []string{"us-1", "us-2", "us-3"}
	ordersThere = []string{"eu-1", "eu-2"}
)

// bothSidesWrite takes orders on both sides of the cut.
func (w *walk) bothSidesWrite(ctx context.Context) error {
	slowest := time.Duration(0)
	var last *answer // of here
	for _, side := range []struct {
		region int
		ids    []string
	}{{there, ordersThere}, {here, ordersHere}} {
		for _, id := range side.ids {
			a, err := w.send(ctx, side.region, put(order(id), `{"taken_in":"`+w.names[side.region]+`"}`), http.StatusCreated)
			if err != nil {
				return err
			}
			slowest, last = max(slowest, a.took), a
		}
	}
	n := uint64(len(ordersHere))
	w.check(true, fmt.Sprintf(claimBothWrite, w.names[here], len(ordersHere), w.names[there], len(ordersThere), ms(slowest)), "")
	if err := w.sideSettles(ctx); err != nil {
		return err
	}
	told, err := w.until(ctx, stepLimit, func() (bool, error) {
		s, err := w.status(ctx, here)
		return err == nil && peer(s, w.names[there]).Lag == n, err
	})
	if err != nil {
		return err
	}
	w.check(told, fmt.Sprintf(claimLagTold, w.names[here], w.names[there], changes(n)), "it reports another number")
	behind, err := w.send(ctx, there, get(order(ordersHere[0])).with(client.HeaderToken, last.token()).with("Prefer", "wait=0"),
		http.StatusServiceUnavailable, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return err
	}
	w.check(behind.status == http.StatusServiceUnavailable, fmt.Sprintf(claimBehind, w.names[there]), fmt.Sprintf("it answered %d", behind.status))
	return w.showOrders(ctx)
}

// sideSettles waits until the regions that are not cut off hold the same.
func (w *walk) sideSettles(ctx context.Context) error {
	s, err := w.status(ctx, here)
	if err != nil {
		return err
	}
	_, err = w.until(ctx, stepLimit, func() (bool, error) {
		for i := range w.names {
			if i == here || i == there {
				continue
			}
			o, err := w.status(ctx, i)
			if err != nil {
				return false, err
			}
			if missing([]client.Vector{s.Vector, o.Vector})[1] > 0 {
				return false, nil
			}
		}
		return true, nil
	})
	return err
}

// showOrders shows which orders each region knows of.
func (w *walk) showOrders(ctx context.Context) error {
	views := make([]view, len(w.names))
	err := w.everywhere(func(i int) error {
		a, err := w.send(ctx, i, get("/v1/collections/orders/docs"), http.StatusOK)
		if err != nil {
			return err
		}
		page := client.Page{}
		if err := json.Unmarshal(a.body, &page); err != nil {
			return err
		}
		var ids []string
		for _, d := range page.Docs {
			if slices.Contains(ordersHere, d.ID) || slices.Contains(ordersThere, d.ID) {
				ids = append(ids, d.ID)
			}
		}
		views[i] = view{"orders " + strings.Join(ids, ", "), "0"}
		return nil
	})
	if err != nil {
		return err
	}
	return w.compared(ctx, false, views)
}
