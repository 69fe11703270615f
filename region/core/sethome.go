package core

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/store"
)

// SetHome asks to move the strict home of a prefix of a collection to a region,
// or to grant it again to a region whose store was replaced.
type SetHome struct {
	Collection string
	Prefix     string
	Region     string
	// Force takes it from the present holder without its consent. The region that
	// is to be the home has to be asked, and has it at once.
	Force bool
}

// A HomeReceipt answers SetHome.
type HomeReceipt struct {
	Collection *Collection
	Home       Home
	// MayLose tells of the holder from which the home was taken by force, else nil.
	MayLose *HomeLoss
	Have    crdt.Vector
}

// A HomeLoss is what is known of a former home that was not asked.
type HomeLoss struct {
	Region  string
	Replica crdt.ReplicaID
	// Held is how many of its changes are held here, and Reported how many it is
	// known to have made. It can have made more since it was heard.
	Held, Reported uint64
	// LastHeard is when news of it last came; zero if none did since the start.
	LastHeard time.Time
}

// A homeDoc is a home as the system collection has it, kept as one text.
type homeDoc struct {
	Home string `json:"home"`
}

type homeRecord struct {
	Region  string `json:"region,omitempty"`
	Mode    string `json:"mode,omitempty"`
	Epoch   uint64 `json:"epoch"`
	Replica string `json:"replica,omitempty"`
	Granted bool   `json:"granted,omitempty"`
	Forced  bool   `json:"forced,omitempty"`
}

// homePrefix starts the ids of homes: "h:<incarnation>:<prefix>".
const homePrefix = "h:"

func homeID(incarnation crdt.Dot, prefix string) string {
	return homePrefix + incarnation.String() + ":" + prefix
}

func parseHomeID(id string) (incarnation crdt.Dot, prefix string, err error) {
	dot, prefix, ok := strings.Cut(strings.TrimPrefix(id, homePrefix), ":")
	if !ok {
		return incarnation, "", fmt.Errorf("%w: home %q", crdt.ErrCorrupt, id)
	}
	incarnation, err = crdt.ParseDot(dot)
	return incarnation, prefix, err
}

func (h *Home) system() any {
	r := homeRecord{Region: h.Region, Epoch: h.Epoch, Granted: h.Granted, Forced: h.Forced}
	if h.Region != "" {
		r.Mode = h.Mode.String()
	}
	if h.Strict() {
		r.Replica = h.Replica.String()
	}
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // texts and numbers
	}
	return homeDoc{string(b)}
}

// parseHome reads a document of a home. A mode that is not known here is taken
// for strict: it may be one of a newer version that gives authority.
func parseHome(doc []byte, prefix string) (Home, error) {
	h := Home{HomeSetting: HomeSetting{Prefix: prefix}}
	var d homeDoc
	if err := json.Unmarshal(doc, &d); err != nil {
		return h, err
	}
	var r homeRecord
	if err := json.Unmarshal([]byte(d.Home), &r); err != nil {
		return h, err
	}
	h.Region, h.Epoch, h.Forced = r.Region, r.Epoch, r.Forced
	if r.Mode == HomePrefer.String() {
		h.Mode = HomePrefer
	}
	if !h.Strict() {
		return h, nil
	}
	h.Granted = r.Granted
	var err error
	h.Replica, err = crdt.ParseReplicaID(r.Replica)
	return h, err
}

// homeChanged takes a changed document of a home into the catalog.
func (c *Core) homeChanged(id string, doc []byte) error {
	incarnation, prefix, err := parseHomeID(id)
	if err != nil {
		return err
	}
	h, err := parseHome(doc, prefix)
	if err != nil {
		return fmt.Errorf("%w: home %q: %w", crdt.ErrCorrupt, id, err)
	}
	c.catalog = c.catalog.withHome(incarnation, h)
	if h.Strict() && !h.Granted && h.Region == c.cfg.Region {
		c.claims[id] = h.Replica
	} else {
		delete(c.claims, id)
	}
	return nil
}

// replicaOf is the present replica of a region.
func (c *Core) replicaOf(region string) (crdt.ReplicaID, error) {
	if region == c.cfg.Region {
		return c.replica, nil
	}
	p := c.peers[region]
	if p == nil {
		return crdt.ReplicaID{}, fmt.Errorf("%w: home: the cluster has no region %.100q", ErrInvalid, region)
	}
	r := p.report.Replica
	if r.IsZero() {
		r = c.catalog.latest(region)
	}
	if r.IsZero() {
		return r, fmt.Errorf("%w: %s", ErrUnknownReplica, region)
	}
	return r, nil
}

// latest is the last replica that is known of a region, as their ids are in the
// order of time; zero if there is none, but for those from before it was removed.
func (c *Catalog) latest(region string) (last crdt.ReplicaID) {
	for r, name := range c.regions {
		if name == region && r.Compare(last) > 0 && c.ended.Get(r) == 0 {
			last = r
		}
	}
	return last
}

// Announced reports whether any replica of a region has written.
func (c *Catalog) Announced(region string) bool { return !c.latest(region).IsZero() }

// nextHomes says which homes of a collection have to change to be as wished, in
// the order of prefixes. The error is a NotHomeError if another region has to do that.
func (c *Core) nextHomes(col *Collection, wanted []HomeSetting) ([]Home, error) {
	prefixes := map[string]HomeSetting{}
	for _, h := range col.Homes {
		prefixes[h.Prefix] = HomeSetting{Prefix: h.Prefix}
	}
	for _, w := range wanted {
		prefixes[w.Prefix] = w
	}
	if len(prefixes) > MaxHomes {
		return nil, fmt.Errorf("%w: %s has or had homes for %d prefixes, at most %d", ErrInvalid, col.Name, len(prefixes), MaxHomes)
	}
	var out []Home
	owners := map[string]bool{}
	var refusal error
	for _, prefix := range slices.Sorted(maps.Keys(prefixes)) {
		want := prefixes[prefix]
		now := Home{HomeSetting: HomeSetting{Prefix: prefix}}
		if h := col.HomeAt(prefix); h != nil {
			now = *h
		}
		if now.Region == want.Region && (now.Region == "" || now.Mode == want.Mode) {
			continue
		}
		if c.held(&now) {
			owners[now.Region] = true
			if now.Region != c.cfg.Region {
				refusal = &NotHomeError{Collection: col.Name, Prefix: prefix, Region: now.Region}
				continue
			}
		}
		next, err := c.nextHome(&now, want)
		if err != nil {
			return nil, err
		}
		out = append(out, next)
	}
	if len(owners) > 1 {
		return nil, fmt.Errorf("%w: %s would all have to change theirs of %s; do one after the other",
			ErrSeveralHomes, strings.Join(slices.Sorted(maps.Keys(owners)), ", "), col.Name)
	}
	return out, refusal
}

// nextHome is what a home that this region may change becomes.
func (c *Core) nextHome(now *Home, want HomeSetting) (Home, error) {
	next := Home{HomeSetting: want, Epoch: now.Epoch + 1}
	if want.Region == "" {
		next.Mode = HomeStrict
	} else if !slices.Contains(c.members, want.Region) {
		return next, fmt.Errorf("%w: home: the cluster has no region %.100q, only %s", ErrInvalid, want.Region, strings.Join(c.members, ", "))
	}
	if !next.Strict() {
		return next, c.mayRelease(now)
	}
	var err error
	if next.Replica, err = c.replicaOf(want.Region); err != nil {
		return next, err
	}
	// Who has authority hands it on; else it is claimed.
	next.Granted = now.Strict() && now.Granted && now.Replica == c.replica
	return next, nil
}

// held reports whether a home is strict and somebody has it, or is to have it: a region that
// was removed does not.
func (c *Core) held(h *Home) bool { return h.Strict() && slices.Contains(c.members, h.Region) }

// mayRelease refuses to give up what this region does not have: authority of a
// replica that is no more has to be claimed first, or it could be elsewhere.
func (c *Core) mayRelease(now *Home) error {
	if now.Strict() && now.Replica != c.replica {
		return fmt.Errorf("%w: the store of %s was replaced since it became home; grant it again first", ErrNoAuthority, now.Region)
	}
	return nil
}

// setHome moves a home, claims it, or takes it by force.
func (c *Core) setHome(ask SetHome) (HomeReceipt, error) {
	if err := c.mayWrite(); err != nil {
		return HomeReceipt{}, err
	}
	col, err := c.catalog.Collection(ask.Collection)
	if err != nil {
		return HomeReceipt{}, err
	}
	if err := checkHomePrefix(ask.Prefix); err != nil {
		return HomeReceipt{}, err
	}
	now := Home{HomeSetting: HomeSetting{Prefix: ask.Prefix}}
	if h := col.HomeAt(ask.Prefix); h != nil {
		now = *h
	} else if len(col.Homes) >= MaxHomes {
		return HomeReceipt{}, fmt.Errorf("%w: %s has or had homes for %d prefixes, no more are possible", ErrInvalid, col.Name, len(col.Homes))
	}
	executor := c.cfg.Region
	if ask.Force {
		executor = ask.Region
	} else if c.held(&now) {
		executor = now.Region
	}
	if err := col.Settings.checkHomeRegion(ask.Region); err != nil {
		return HomeReceipt{}, err
	}
	next, err := c.nextHome(&now, HomeSetting{Prefix: ask.Prefix, Region: ask.Region})
	if err != nil {
		return HomeReceipt{}, err
	}
	if executor != c.cfg.Region {
		return HomeReceipt{}, &NotHomeError{Collection: col.Name, Prefix: ask.Prefix, Region: executor}
	}
	receipt := HomeReceipt{}
	mine := now.Strict() && now.Region == c.cfg.Region && now.Replica == c.replica
	switch {
	case mine && ask.Region == c.cfg.Region && (now.Granted || !ask.Force):
		receipt.Collection, receipt.Home, receipt.Have = col, now, c.have
		return receipt, nil
	case ask.Force:
		next.Granted, next.Forced = true, true
		if h := col.Home(ask.Prefix); h != nil && h.Strict() { // perhaps that of a shorter prefix
			receipt.MayLose = c.homeLoss(h)
		}
	}
	if err := c.writeHome(col.Incarnation, next); err != nil {
		return HomeReceipt{}, err
	}
	receipt.Collection, receipt.Home, receipt.Have = c.catalog.byDot[col.Incarnation], next, c.have
	return receipt, nil
}

func (c *Core) homeLoss(h *Home) *HomeLoss {
	l := &HomeLoss{Region: h.Region, Replica: h.Replica, Held: c.have.Get(h.Replica)}
	l.Reported = l.Held
	for _, p := range c.peers {
		l.Reported = max(l.Reported, p.have.Get(h.Replica), p.report.Have.Get(h.Replica))
	}
	if p := c.peers[h.Region]; p != nil {
		l.LastHeard = p.news
	}
	return l
}

// writeHome makes the change of a home.
func (c *Core) writeHome(incarnation crdt.Dot, h Home) error {
	id := homeID(incarnation, h.Prefix)
	e, err := c.load(store.DocKey{ID: id}, crdt.TypeDocument)
	if err != nil {
		return err
	}
	return c.writeSystem(c.header(0, e.state.Heads().MaxStamp()), systemDoc{id, h.system()})
}

// grantClaims grants to this replica what was claimed for it and is stable.
func (c *Core) grantClaims() error {
	if ready := c.writable() == nil; len(c.claims) == 0 || !c.announced || !ready {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(c.claims)) {
		if c.claims[id] != c.replica {
			continue
		}
		e, err := c.load(store.DocKey{ID: id}, crdt.TypeDocument)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(e.state.Heads().Dots(), func(d crdt.Dot) bool { return !c.sync.stable.Contains(d) }) {
			continue
		}
		incarnation, prefix, err := parseHomeID(id)
		if err != nil {
			return err
		}
		h, err := parseHome(value.Append(nil, c.systemView(id, e.state).Value, value.Options{}), prefix)
		if err != nil {
			return err
		}
		h.Granted = true
		if err := c.writeHome(incarnation, h); err != nil {
			return err
		}
		c.note(false, "this region is home now", "collection", incarnation, "prefix", prefix, "epoch", h.Epoch)
	}
	return nil
}
