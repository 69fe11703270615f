package core

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/wire"
)

// A counter with bounds stays within them in all regions at once, since each
// replica takes it down and up only as far as its own share goes (bounded
// counters: Balegas et al. 2015). What a replica may take down is what it has
// added, less what it took, and what others have given it; what it may take up
// the other way round. The sums of all shares are the distances to the bounds.
// The replica that made the collection has what a counter at 0 starts with.
//
// A share can be spent and given only by its replica, in whose changes that is,
// so what others know of it is never too little for them to be safe. A deletion needs all
// shares, and wins: what was written without having seen it, shares given included, has no
// part in a document that is made anew, and whoever writes that has seen the deletion.
// The replica that follows
// another one in a region takes over its shares once it is known to hold all that is left of it.

// ErrNoShare is the error of a write that a region's share of a bounded counter
// is too small for (HTTP 409). The error is a *ShareError.
var ErrNoShare = errors.New("no share of the counter is left")

// A ShareError says which share is too small.
type ShareError struct {
	// Path is where the counter is, Up which of its bounds is meant.
	Path string
	Up   bool
	// Needed is how much the write needs, Here what the region may do.
	Needed, Here int64
	// All says that the write needs the shares of all regions, Fresh that there is
	// no document yet by which they could give theirs.
	All, Fresh bool
	// Regions is what the others may do, as far as it is known here.
	Regions map[string]int64

	key store.DocKey
}

// Elsewhere reports whether the other regions have what is needed.
func (e *ShareError) Elsewhere() bool {
	if e.All || e.Fresh {
		return e.All
	}
	sum := e.Here
	for _, n := range e.Regions {
		sum += n
	}
	return sum >= e.Needed
}

func (e *ShareError) Error() string {
	if e.All {
		return fmt.Sprintf("%v: a document with counters that have bounds can be deleted where all shares of %q are; other regions have %v", ErrNoShare, e.Path, e.Regions)
	}
	bound := "min"
	if e.Up {
		bound = "max"
	}
	hint := ""
	if e.Fresh && len(e.Regions) > 0 {
		hint = "; the document has to be made before they can give it: write it without the counter first"
	}
	return fmt.Sprintf("%v: %q is %d away from its %q here, %d is needed; other regions have %v%s", ErrNoShare, e.Path, e.Here, bound, e.Needed, e.Regions, hint)
}

// Is makes errors.Is match ErrNoShare.
func (e *ShareError) Is(target error) bool { return target == ErrNoShare }

// A ledger is the shares of one counter.
type ledger struct {
	*Bound
	birth  crdt.ReplicaID
	shares map[crdt.ReplicaID]crdt.Share
}

// may is how far a replica may take the counter down, or up; 0 where there is no bound.
func (l *ledger) may(r crdt.ReplicaID, up bool) int64 {
	s, limit := l.shares[r], l.Min
	n := s.Net + s.Down
	if up {
		n, limit = s.Up-s.Net, l.Max
	}
	if limit == nil {
		return 0
	}
	if r == l.birth && up {
		n += *limit
	} else if r == l.birth {
		n -= *limit
	}
	return n
}

// limited reports whether there is such a bound.
func (l *ledger) limited(up bool) bool { return up && l.Max != nil || !up && l.Min != nil }

// holders lists the replicas that have shares, or may have.
func (l *ledger) holders() []crdt.ReplicaID {
	ids := slices.Collect(maps.Keys(l.shares))
	if _, ok := l.shares[l.birth]; !ok {
		ids = append(ids, l.birth)
	}
	slices.SortFunc(ids, crdt.ReplicaID.Compare)
	return ids
}

func (c *Core) ledger(col *Collection, b *Bound, s crdt.Bounded) (ledger, bool) {
	shares, other := s.Shares(b.Path)
	return ledger{b, col.Incarnation.Replica, shares}, other
}

// ours reports whether a replica's shares can be spent here: it is this one, or
// one that it follows and of which it holds all that there will ever be.
func (c *Core) ours(r crdt.ReplicaID) bool {
	if r == c.replica {
		return true
	}
	return c.catalog.Region(r) == c.cfg.Region && c.sync.stable.Contains(crdt.Dot{Replica: c.replica, Seq: 1})
}

// elsewhere sums up what others may do, by region.
func (c *Core) elsewhere(l *ledger, up bool) map[string]int64 {
	out := map[string]int64{}
	for _, r := range l.holders() {
		if n := l.may(r, up); n > 0 && !c.ours(r) {
			out[c.catalog.Region(r)] += n
		}
	}
	return out
}

// inherit moves to this replica what it may take over.
func (c *Core) inherit(l *ledger) []crdt.Transfer {
	var out []crdt.Transfer
	for _, r := range l.holders() {
		if r == c.replica || !c.ours(r) {
			continue
		}
		t := crdt.Transfer{Path: l.Path, From: r, To: c.replica, Down: max(l.may(r, false), 0), Up: max(l.may(r, true), 0)}
		if t.Down > 0 || t.Up > 0 {
			out = append(out, t)
		}
	}
	return out
}

// prepareBounded prepares an edit in a collection with bounds, within the shares
// of this replica.
func (c *Core) prepareBounded(t *target, e crdt.Edit, hd crdt.Header, view crdt.Resolve) (m crdt.Mutation, err error) {
	before, ok := t.entry.state.(crdt.Bounded)
	if !ok {
		return m, fmt.Errorf("%w: %v documents have no counters with bounds", crdt.ErrRefused, t.col.Settings.Type)
	}
	if e, err = t.col.Settings.Bounds.edit(e); err != nil {
		return m, err
	}
	if m, err = before.Prepare(e, hd, view, c.cfg.Limits.Doc); err != nil {
		return m, err
	}
	var lack *ShareError
	if lack, err = c.judge(t, before, hd, m); err != nil || lack == nil || lack.All {
		return m, errors.Join(err, asError(lack))
	}
	for i := range t.col.Settings.Bounds {
		l, _ := c.ledger(t.col, &t.col.Settings.Bounds[i], before)
		e.Transfers = append(e.Transfers, c.inherit(&l)...)
	}
	if len(e.Transfers) == 0 {
		return m, lack
	}
	if m, err = before.Prepare(e, hd, view, c.cfg.Limits.Doc); err != nil {
		return m, err
	}
	lack, err = c.judge(t, before, hd, m)
	return m, errors.Join(err, asError(lack))
}

func asError(e *ShareError) error {
	if e == nil {
		return nil
	}
	return e
}

// judge looks at what a mutation would make of the counters. It returns the
// share that is too small for it, if one is.
func (c *Core) judge(t *target, before crdt.Bounded, hd crdt.Header, m crdt.Mutation) (*ShareError, error) {
	after, ok := before.Clone().(crdt.Bounded)
	if !ok {
		panic("core: a copy of another type")
	}
	if err := after.Apply(hd, m); err != nil {
		return nil, storeError(err)
	}
	for i := range t.col.Settings.Bounds {
		b := &t.col.Settings.Bounds[i]
		was, _ := c.ledger(t.col, b, before)
		is, other := c.ledger(t.col, b, after)
		if other {
			return nil, fmt.Errorf("%w: %q has bounds and can only be a counter", crdt.ErrRefused, b.Path.String())
		}
		for r, s := range was.shares {
			if m.Delete == crdt.NotDelete && r != c.replica && s.Net != is.shares[r].Net {
				return nil, fmt.Errorf("%w: %q has bounds: it can be incremented, or be given another value, and goes with its document only", crdt.ErrRefused, b.Path.String())
			}
		}
		for _, up := range []bool{false, true} {
			lack := &ShareError{
				Path: b.Path.String(), Up: up, Here: max(was.may(c.replica, up), 0), All: m.Delete != crdt.NotDelete, Fresh: m.Fresh,
				Regions: c.elsewhere(&was, up), key: t.entry.key,
			}
			if lack.All {
				if len(lack.Regions) > 0 {
					return lack, nil
				}
				continue
			}
			delta := is.shares[c.replica].Net - was.shares[c.replica].Net
			if up {
				delta = -delta
			}
			if n := is.may(c.replica, up); delta < 0 && n < 0 && is.limited(up) {
				lack.Needed = lack.Here - n
				return lack, nil
			}
		}
	}
	return nil, nil //nolint:nilnil // nothing is lacking
}

// Bounds of the work.
const (
	// maxParked is the most writes that wait for shares, further ones are refused at once.
	maxParked = 4096
	// maxGiven bounds what is remembered of shares that are on their way.
	maxGiven = 4096
)

// A parked write waits for shares of other regions.
type parked struct {
	id    uint64
	write Write
	until time.Duration
	lack  *ShareError
}

type givenKey struct {
	doc  store.DocKey
	path string
	to   crdt.ReplicaID
}

type askedBy struct {
	session crdt.ReplicaID
	id      uint64
}

// sharing is what a core does to get and give shares.
type sharing struct {
	parked  []*parked
	touched map[store.DocKey]bool // by this step
	urgent  bool
	next    time.Duration // uptime at which shares are asked for anew
	asks    int           // in a row
	nextID  uint64
	passed  map[string]askedBy // origin to its last request that was seen
	given   map[givenKey]uint64
	pass    []wire.ShareRequest
	via     []string
	status  ShareStatus
}

// ShareStatus tells of the shares of bounded counters.
type ShareStatus struct {
	// Waiting is how many writes wait for shares now.
	Waiting int
	// Asked and Given count the requests for shares that were made of others, and
	// those of others that were met, since the start.
	Asked, Given uint64
}

// park keeps a write that may get the share that it lacks.
func (c *Core) park(id uint64, w Write, err error) bool {
	lack, ok := errors.AsType[*ShareError](err)
	if !ok || w.Shares <= 0 || !lack.Elsewhere() || len(c.shares.parked) >= maxParked {
		return false
	}
	c.shares.parked = append(c.shares.parked, &parked{id, w, c.uptime + w.Shares, lack})
	c.shares.urgent = true
	return true
}

// retryParked makes the writes whose shares have come, and answers those whose time is up.
func (c *Core) retryParked() error {
	s := &c.shares
	var waiting []*parked
	for _, p := range s.parked {
		late := c.uptime >= p.until
		if !late && !s.touched[p.lack.key] {
			waiting = append(waiting, p)
			continue
		}
		receipt, err := c.write(p.write)
		if errors.Is(err, errStore) {
			return err
		}
		if lack, ok := errors.AsType[*ShareError](err); ok && !late && lack.Elsewhere() {
			p.lack = lack
			waiting = append(waiting, p)
			continue
		}
		c.reply(p.id, receipt, err)
	}
	s.parked = waiting
	clear(s.touched)
	return nil
}

type need struct {
	doc  store.DocKey
	path string
	up   bool
}

// askForShares asks other regions for what the parked writes lack: those that
// have most of it, or after a while all that have some.
func (c *Core) askForShares() {
	s := &c.shares
	for i, m := range s.pass {
		c.spreadAmongHolders(m, m.Collection, m.Origin, s.via[i])
	}
	s.pass, s.via = nil, nil
	s.status.Waiting = len(s.parked)
	if len(s.parked) == 0 {
		s.urgent, s.asks = false, 0
		return
	}
	if !s.urgent && c.uptime < s.next {
		return
	}
	if c.uptime >= s.next {
		s.asks++
	}
	s.urgent, s.next = false, c.uptime+awaitEvery
	needs := map[need]int64{}
	lacks := map[need]*ShareError{}
	for _, p := range s.parked {
		k := need{p.lack.key, p.lack.Path, p.lack.Up}
		needs[k] = add(needs[k], p.lack.Needed-p.lack.Here)
		if p.lack.All {
			needs[k] = math.MaxInt64
		}
		lacks[k] = p.lack
	}
	for _, k := range slices.SortedFunc(maps.Keys(needs), need.compare) {
		c.askShares(k, needs[k], lacks[k].Regions)
	}
}

func (k need) compare(o need) int {
	return cmp.Or(k.doc.Collection.Compare(o.doc.Collection), strings.Compare(k.doc.ID, o.doc.ID), strings.Compare(k.path, o.path), compareBool(k.up, o.up))
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// add adds without leaving the range.
func add(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

func (c *Core) askShares(k need, n int64, regions map[string]int64) {
	names := slices.SortedFunc(maps.Keys(regions), func(a, b string) int {
		return cmp.Or(cmp.Compare(regions[b], regions[a]), strings.Compare(a, b))
	})
	s := &c.shares
	for _, name := range names {
		p := c.peers[name]
		if p == nil || n <= 0 {
			continue
		}
		if c.gatherer.session.IsZero() {
			c.gatherer.session = c.cfg.NewReplica()
		}
		s.nextID++
		s.status.Asked++
		c.spreadAmongHolders(wire.ShareRequest{
			Origin: c.cfg.Region, Session: c.gatherer.session, ID: s.nextID, To: name, Replica: c.replica,
			Collection: k.doc.Collection, Document: k.doc.ID, Path: k.path, Up: k.up, Amount: uint64(n),
			Seen: c.have.Get(p.report.Replica),
		}, k.doc.Collection, c.cfg.Region, "")
		if s.asks < 2 && n != math.MaxInt64 {
			n -= regions[name]
		}
	}
}

func (c *Core) receiveShareRequest(p *peer, m wire.ShareRequest) error {
	s := &c.shares
	if c.peers[m.Origin] == nil {
		return nil
	}
	if last := s.passed[m.Origin]; last.session == m.Session && m.ID <= last.id {
		return nil
	}
	s.passed[m.Origin] = askedBy{m.Session, m.ID}
	if m.To != c.cfg.Region {
		s.pass, s.via = append(s.pass, m), append(s.via, p.name)
		return nil
	}
	return c.give(m)
}

// give hands shares over: what is asked for, or half of what there is, which
// spares the next request.
func (c *Core) give(m wire.ShareRequest) error {
	col := c.catalog.byDot[m.Collection]
	path, err := value.ParsePointer(m.Path)
	if err != nil || col == nil || c.writable() != nil || c.catalog.Region(m.Replica) != m.Origin || m.Amount == 0 {
		return nil //nolint:nilerr // whoever asks may know less, or more, than this region
	}
	bound := col.Settings.Bounds.at(path)
	key := store.DocKey{Collection: m.Collection, ID: m.Document}
	given := givenKey{key, m.Path, m.Replica}
	if bound == nil || c.shares.given[given] > m.Seen || c.wantsItself(key, m) {
		return nil
	}
	e, err := c.load(key, col.Settings.Type)
	if errors.Is(err, ErrDamaged) {
		return nil // until it is repaired others may give
	}
	if err != nil {
		return err
	}
	state, ok := e.state.(crdt.Bounded)
	if !ok || !state.Heads().Visible() {
		return nil
	}
	l, _ := c.ledger(col, bound, state)
	transfers := c.inherit(&l)
	have := l.may(c.replica, m.Up)
	for _, t := range transfers {
		if m.Up {
			have += t.Up
		} else {
			have += t.Down
		}
	}
	if have <= 0 {
		return nil
	}
	n := min(have, max(int64(min(m.Amount, math.MaxInt64)), have/2))
	t := crdt.Transfer{Path: path, From: c.replica, To: m.Replica, Down: n}
	if m.Up {
		t.Down, t.Up = 0, n
	}
	receipt, err := c.write(Write{Docs: []DocWrite{{
		Collection: col.Incarnation.String(), ID: m.Document,
		Edit: crdt.Edit{Kind: crdt.EditOps, Transfers: append(transfers, t)},
	}}})
	if err != nil {
		if errors.Is(err, errStore) {
			return err
		}
		c.note(true, "a share of a counter cannot be given away", "to", m.Origin, "document", m.Document, "error", err)
		return nil
	}
	if len(c.shares.given) >= maxGiven {
		clear(c.shares.given)
	}
	c.shares.given[given] = receipt.Dot.Seq
	c.shares.status.Given++
	return nil
}

// wantsItself reports whether this region waits for the same shares, and goes
// before the other: otherwise they could hand them back and forth.
func (c *Core) wantsItself(key store.DocKey, m wire.ShareRequest) bool {
	return c.cfg.Region < m.Origin && slices.ContainsFunc(c.shares.parked, func(p *parked) bool {
		return p.lack.key == key && p.lack.Path == m.Path && p.lack.Up == m.Up
	})
}
