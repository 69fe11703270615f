package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
)

// goHome sees to it that a write is made where its documents have their home: it
// returns nil if that is here, or if they have none, or one that is only
// preferred and cannot be reached. If another region has answered, errForwarded.
func (x *exchange) goHome(r *http.Request, docs []core.DocWrite) error {
	// If the others are held by other regions, whoever is asked says so.
	if err := x.goHolder(r, docs[0].Collection); err != nil {
		return err
	}
	var strict, preferred string
	var at *core.DocWrite
	apart := false // several regions are preferred
	for i := range docs {
		c, err := x.s.region.Collection(docs[i].Collection)
		if err != nil {
			continue // the region says what is wrong, or makes the collection
		}
		switch h := c.Home(docs[i].ID); {
		case h == nil:
		case !h.Strict():
			apart = apart || preferred != "" && preferred != h.Region
			preferred = h.Region
		case strict != "" && strict != h.Region:
			return problemf(severalHomes, "documents of it have the homes %s and %s; write them one by one", strict, h.Region)
		default:
			strict, at = h.Region, &docs[i]
		}
	}
	switch self := x.s.region.Name(); {
	case strict == self:
		c, err := x.s.region.Collection(at.Collection)
		if err != nil {
			return err
		}
		return x.haveAuthority(r, c, at.ID)
	case strict != "":
		return x.forwardHome(r, strict)
	case preferred == "" || preferred == self || apart || len(x.via) > 0:
		return nil
	}
	if err := x.forward(r, preferred); !errors.Is(err, region.ErrUnreachable) {
		return err
	}
	return nil
}

// forwardHome lets the home answer, and nobody else.
func (x *exchange) forwardHome(r *http.Request, home string) error {
	err := x.forward(r, home)
	if errors.Is(err, region.ErrUnreachable) {
		return problemf(homeAway, "only %s takes this, and it cannot be reached: %v", home, err)
	}
	return err
}

// haveAuthority waits until this region has the authority of a home, as long as
// the request may wait. If another one has it by then, that one answers.
func (x *exchange) haveAuthority(r *http.Request, c *core.Collection, id string) error {
	err := x.s.region.Authority(c.Incarnation, id)
	if errors.Is(err, core.ErrHomePending) {
		leave, qerr := x.queue()
		if qerr != nil {
			return qerr
		}
		defer leave()
		ctx, stop := x.waiting(r)
		defer stop()
		err = x.s.region.AwaitAuthority(ctx, c.Incarnation, id)
	}
	if other, ok := errors.AsType[*core.NotHomeError](err); ok {
		return x.forwardHome(r, other.Region)
	}
	return err
}

// readHome answers ?read=home: by this region if it is the document's home, else
// by that. It returns nil if the document is to be read here.
func (x *exchange) readHome(r *http.Request, collection, id string) error {
	c, err := x.s.region.Collection(collection)
	if err != nil {
		return err
	}
	h := c.Home(id)
	switch {
	case h == nil:
		return problemf(invalid, "read=home: %s has no home for this document", c.Name)
	case h.Region != x.s.region.Name():
		return x.forwardHome(r, h.Region)
	}
	if err := x.haveAuthority(r, c, id); err != nil {
		return err
	}
	x.Header()[HeaderRead] = x.s.regionName
	return nil
}

// homeState is how it stands with a home, in a collection's settings.
type homeState struct {
	Prefix string `json:"prefix,omitempty"`
	Region string `json:"region"`
	Mode   string `json:"mode"`
	// State is "granted", or "claimed" while not all regions are known to have
	// stopped taking writes. A preferred home has none.
	State string `json:"state,omitempty"`
	// Epoch counts the holders, and Replica is the present one.
	Epoch   uint64 `json:"epoch"`
	Replica string `json:"replica,omitempty"`
	Forced  bool   `json:"forced,omitempty"`
}

func homeStates(c *core.Collection) (out []homeState) {
	for i := range c.Homes {
		if h := &c.Homes[i]; h.Region != "" {
			out = append(out, homeStateOf(h))
		}
	}
	return out
}

func homeStateOf(h *core.Home) homeState {
	s := homeState{Prefix: h.Prefix, Region: h.Region, Mode: h.Mode.String(), Epoch: h.Epoch, Forced: h.Forced}
	if h.Strict() {
		s.State, s.Replica = "claimed", h.Replica.String()
		if h.Granted {
			s.State = "granted"
		}
	}
	return s
}

// mayLose is what is known of a former home that was not asked.
type mayLose struct {
	Region    string     `json:"region"`
	Replica   string     `json:"replica"`
	Held      uint64     `json:"held"`
	Reported  uint64     `json:"reported"`
	LastHeard *time.Time `json:"last_heard,omitempty"`
}

// postHome answers POST /v1/collections/{collection}/home: it moves the home of
// a prefix, grants it again to a region whose store was replaced, or takes it by force.
func (s *Server) postHome(x *exchange, r *http.Request) error {
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	if err := unconditional(r); err != nil {
		return err
	}
	o, err := readSettings(r)
	if err != nil {
		return err
	}
	ask := core.SetHome{Collection: x.param(r, "collection"), Region: o.text("region"), Prefix: o.text("prefix"), Force: o.yes("force")}
	if ask.Region == "" {
		o.fail(malformedRequest, "", `"region" is missing: which one is to be the home?`)
	}
	if err := o.done(); err != nil {
		return err
	}
	if err := x.await(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	receipt, err := s.region.SetHome(ctx, ask)
	if err != nil {
		return err
	}
	x.saw(receipt.Have)
	out := struct {
		Collection string    `json:"collection"`
		Home       homeState `json:"home"`
		MayLose    *mayLose  `json:"may_lose,omitempty"`
	}{receipt.Collection.Name, homeStateOf(&receipt.Home), nil}
	if l := receipt.MayLose; l != nil {
		out.MayLose = &mayLose{Region: l.Region, Replica: l.Replica.String(), Held: l.Held, Reported: l.Reported}
		if !l.LastHeard.IsZero() {
			t := l.LastHeard.UTC()
			out.MayLose.LastHeard = &t
		}
	}
	return x.answerJSON(r, http.StatusOK, out)
}

// wholeHome sees to it that what concerns all documents of a collection is done
// by the region that is home of them, if there is one.
func (x *exchange) wholeHome(r *http.Request, name string) error {
	c, err := x.s.region.Collection(name)
	if err != nil {
		return err
	}
	home := ""
	for i := range c.Homes {
		h := &c.Homes[i]
		if !h.Strict() {
			continue
		}
		if home != "" && home != h.Region {
			return problemf(severalHomes, "%s has the homes %s and %s; move them to one region first", c.Name, home, h.Region)
		}
		home = h.Region
	}
	if home == "" || home == x.s.region.Name() {
		return nil
	}
	return x.forwardHome(r, home)
}

// elsewhere answers for a region that turned out not to be the one: the home has
// moved since it was looked up, or nobody looked it up.
func (x *exchange) elsewhere(r *http.Request, err error) error {
	other, ok := errors.AsType[*core.NotHomeError](err)
	if !ok {
		return x.askHolder(r, err)
	}
	if other.Region == x.s.region.Name() {
		return fmt.Errorf("%w: %s", core.ErrHomePending, strings.TrimPrefix(err.Error(), core.ErrNotHome.Error()+": "))
	}
	return x.forwardHome(r, other.Region)
}
