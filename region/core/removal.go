package core

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/transport/wire"
)

// Removing a region is an epoch: all that remain agree on where the logs of its
// replicas end, and go on without it. Each removal is asked for in a document
// "e:<region>:<incarnation>" of the system collection. A region that is heard is first
// asked to leave: its last change says that there will be no more of it
// ("f:<region>:<incarnation>" with "left"). Then, or at once if it is not heard, each
// remaining member *freezes*: it takes nothing from the removed region itself any
// more, writes into its own document "f:…" for which removals that holds and what it
// has of their replicas, and does so anew when one more is due, or when its own
// store is another replica. All removals that are due are complete together when every
// remaining member has frozen for just these, with all its replicas that are known, and the
// remaining ones are a majority of the members (those not counted that an operator
// removed by force). Whoever sees that writes down where the logs end,
// "g:<region>:<incarnation>".
//
// Where a log ends is the same for all that complete a removal, the greatest that
// was frozen: after its freeze a member gets more of the replica only from members
// that are not frozen yet, whose own freeze tells of it. And whoever has all those
// documents has all that they tell of (they are in the Deps of these changes). So from
// the moment of completion on, a member holds all that there will ever be of the removed
// region, and it need not count for what is stable (I12) nor keep the log from being cut.
//
// That leaves the replicas that are not known where a removal is completed: those of
// regions that were added and have not announced themselves, for which nobody
// waits, and those of stores that were put back or emptied meanwhile. Such a one may have
// more of the removed region, from that itself. So a member that has frozen
// does not link with a store whose replica it does not know (keepsOut), unless it still waits
// for that region's freeze; and who knows that a removal is complete takes no first change
// of a replica whose writer did not (firstOf). Then a replica of which anybody has a
// change who remains was either known where the removal was completed, and froze, or
// its writer knew the end of the logs before it made that change, and took nothing beyond.
// Any other replica is known to nobody, with all that it wrote; its store is told so, and
// comes back as one of a removed region does (rejoin.go).
//
// Two sets of removals that are due at a time cannot both be completed: a majority
// remains of either, so some member is in both, which would have frozen for just the
// one and just the other; it froze for the smaller one first, and those who complete that one
// and are not in the other have their word known by the time that it freezes again.

// When a store comes back and makes anew what it had set aside, "b:<replica>:<by>" says up to
// where and by which replica (claim), so that another store with the same changes does not make
// them anew once more.

const (
	removalPrefix = "e:"
	freezePrefix  = "f:"
	gonePrefix    = "g:"
	broughtPrefix = "b:"
)

// Errors of removing regions.
var (
	// ErrRemoved: this region was removed from the cluster, or is about to be (HTTP 503).
	ErrRemoved = errors.New("removed from the cluster")
	// ErrNoMajority: what would remain is no majority, so that two parts of the
	// cluster could each go on without the other (HTTP 409).
	ErrNoMajority = errors.New("no majority would remain")
	// ErrRemoving: the region is about to be removed (HTTP 409).
	ErrRemoving = errors.New("the region is being removed")
	// ErrWriteLost: the write was made in a region that was removed before another
	// one had it (HTTP 410).
	ErrWriteLost = errors.New("the write is lost")
)

// RemoveRegion asks to remove a member for good.
type RemoveRegion struct {
	Region string
	// Force does not ask the region to leave, though it may be heard, does not ask
	// for a majority, and lets a replica that takes no writes yet wait for the region no
	// more (see giveUp).
	Force bool
}

// A Removal is that of one incarnation of a region.
type Removal struct {
	Region      string
	Incarnation uint64
	// By is the region that was asked for it.
	By string
	// Forced says that it does not count among those of which a majority is needed,
	// Waits that the region is asked to leave first.
	Forced, Waits bool
	// Done says that it is complete; Final is then where the logs of its replicas end.
	Done  bool
	Final crdt.Vector
}

// A RemovalReceipt answers RemoveRegion.
type RemovalReceipt struct {
	Removal Removal
	// Waiting are the regions that are still to do something about it, in order.
	Waiting []string
	Have    crdt.Vector
}

// removing is what this region knows of removals beside the catalog.
type removing struct {
	// turned is what a peer told last that goes on without this region, nil if none did:
	// it holds until this is a new replica, or knows that the region was added again.
	turned *wire.Removed
	// completed says that a change that is being applied completes a removal.
	completed bool
	// givenUp are regions that are not waited for, and the incarnation that each was then.
	givenUp map[string]uint64
}

// An incarnation names a member at a time.
type incarnation struct {
	region string
	n      uint64
}

func (i incarnation) String() string { return i.region + ":" + strconv.FormatUint(i.n, 10) }

func compareIncarnations(a, b incarnation) int {
	return cmp.Or(strings.Compare(a.region, b.region), cmp.Compare(a.n, b.n))
}

func parseIncarnation(s string) (incarnation, error) {
	name, n, ok := strings.Cut(s, ":")
	i, err := strconv.ParseUint(n, 10, 64)
	if !ok || err != nil || name == "" || len(name) > wire.MaxName {
		return incarnation{}, fmt.Errorf("%w: %.300q is no member", crdt.ErrCorrupt, s)
	}
	return incarnation{name, i}, nil
}

func (m *Member) incarnation() incarnation { return incarnation{m.Region, m.Incarnation} }

func (r *Removal) incarnation() incarnation { return incarnation{r.Region, r.Incarnation} }

// A freeze is what a member says of the removals that are due.
type freeze struct {
	of   []incarnation // in order
	held crdt.Vector   // of their replicas
	as   crdt.Vector   // the first changes of the member's own replicas that it knew
	left bool          // the member has left itself
}

// A removalDoc is a removal as the system collection has it. What is said once stays, also
// when two ask for it at a time: a removal that some have frozen for stays due.
type removalDoc struct {
	By     string `json:"by"`
	Forced bool   `json:"forced,omitempty"`
	Now    bool   `json:"now,omitempty"` // the region is not asked to leave first
}

func (r *Removal) system() systemDoc {
	return systemDoc{removalPrefix + r.incarnation().String(), removalDoc{r.By, r.Forced, !r.Waits}}
}

// A goneDoc says that a removal is complete, and where the logs end, kept as one text.
type goneDoc struct {
	Final string `json:"final"`
}

func (r *Removal) gone() systemDoc {
	return systemDoc{gonePrefix + r.incarnation().String(), goneDoc{text(seqsOf(r.Final))}}
}

// A freezeDoc is a freeze as the system collection has it, kept as one text.
type freezeDoc struct {
	Freeze string `json:"freeze"`
}

type freezeRecord struct {
	Of   []string          `json:"of,omitempty"`
	Held map[string]uint64 `json:"held,omitempty"`
	As   map[string]uint64 `json:"as,omitempty"`
	Left bool              `json:"left,omitempty"`
}

func (f *freeze) system(of incarnation) systemDoc {
	r := freezeRecord{Held: seqsOf(f.held), As: seqsOf(f.as), Left: f.left}
	for _, i := range f.of {
		r.Of = append(r.Of, i.String())
	}
	return systemDoc{freezePrefix + of.String(), freezeDoc{text(r)}}
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts and numbers
	}
	return string(b)
}

func seqsOf(v crdt.Vector) map[string]uint64 {
	out := make(map[string]uint64, v.Len())
	for r, seq := range v.All() {
		out[r.String()] = seq
	}
	return out
}

func vectorFrom(seqs map[string]uint64) (v crdt.Vector, err error) {
	for id, seq := range seqs {
		r, err := crdt.ParseReplicaID(id)
		if err != nil || seq == 0 {
			return v, fmt.Errorf("%w: the end of a log: %w", crdt.ErrCorrupt, err)
		}
		v = v.With(crdt.Dot{Replica: r, Seq: seq})
	}
	return v, nil
}

// removalChanged takes a changed document of a removal into the catalog.
func (c *Core) removalChanged(id string, doc []byte) error {
	i, err := parseIncarnation(strings.TrimPrefix(id, removalPrefix))
	if err != nil {
		return err
	}
	var d removalDoc
	if err := json.Unmarshal(doc, &d); err != nil {
		return fmt.Errorf("%w: removal %q: %w", crdt.ErrCorrupt, id, err)
	}
	r := c.catalog.removals[i]
	r.Region, r.Incarnation, r.By, r.Forced, r.Waits = i.region, i.n, d.By, d.Forced, !d.Now
	out := *c.catalog
	out.removals = maps.Clone(out.removals)
	out.removals[i] = r
	c.catalog = &out
	return nil
}

// goneChanged takes the end of a removed region's logs into the catalog. The heads are
// changes that say where it is; all say the same.
func (c *Core) goneChanged(id string, doc []byte, heads []crdt.Dot) error {
	i, err := parseIncarnation(strings.TrimPrefix(id, gonePrefix))
	if err != nil {
		return err
	}
	var d goneDoc
	var seqs map[string]uint64
	if err := cmp.Or(json.Unmarshal(doc, &d), json.Unmarshal([]byte(d.Final), &seqs)); err != nil {
		return fmt.Errorf("%w: document %q: %w", crdt.ErrCorrupt, id, err)
	}
	final, err := vectorFrom(seqs)
	if err != nil {
		return err
	}
	known := c.catalog.removals[i].Done
	c.catalog = c.catalog.withGone(i, final, heads)
	if known || c.boot.phase != bootNone {
		return nil // it may have been added again, in what is still to be copied
	}
	c.removing.completed = true
	for _, r := range c.inbox.replicas() {
		if c.catalog.Region(r) == i.region {
			c.inbox.drop(r)
		}
	}
	maps.DeleteFunc(c.sync.lacks, func(r crdt.ReplicaID, l *lack) bool {
		end := final.Get(r)
		return end > 0 && l.seq > end
	})
	if c.peers[i.region] != nil {
		c.dropPeer(i.region) // it is another one if the region is added again
		c.members = nil
	}
	return nil
}

// freezeChanged takes a changed document of a freeze into the catalog.
func (c *Core) freezeChanged(id string, doc []byte) error {
	by, err := parseIncarnation(strings.TrimPrefix(id, freezePrefix))
	if err != nil {
		return err
	}
	var d freezeDoc
	var r freezeRecord
	if err := cmp.Or(json.Unmarshal(doc, &d), json.Unmarshal([]byte(d.Freeze), &r)); err != nil {
		return fmt.Errorf("%w: freeze %q: %w", crdt.ErrCorrupt, id, err)
	}
	f := freeze{left: r.Left}
	for _, s := range r.Of {
		i, err := parseIncarnation(s)
		if err != nil {
			return err
		}
		f.of = append(f.of, i)
	}
	var herr error
	f.held, herr = vectorFrom(r.Held)
	f.as, err = vectorFrom(r.As)
	if err = cmp.Or(herr, err); err != nil {
		return err
	}
	out := *c.catalog
	out.freezes = maps.Clone(out.freezes)
	out.freezes[by] = f
	c.catalog = &out
	return nil
}
