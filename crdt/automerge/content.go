package automerge

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"slices"
	"sort"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
	"github.com/meridiandb/meridian/crdt/automerge/validate"
)

// Hash names an Automerge change.
type Hash = validate.Hash

// A carrier is a mutation that brought a change.
type carrier struct {
	dot   crdt.Dot
	stamp crdt.Stamp
	// covers are the Fresh mutations that cover it, in dot order.
	covers []crdt.Dot
}

// cover returns c covered by a Fresh mutation, if that had seen it.
func (c carrier) cover(by crdt.Header) carrier {
	if i, found := slices.BinarySearchFunc(c.covers, by.Dot, crdt.Dot.Compare); !found && by.Deps.Contains(c.dot) {
		c.covers = slices.Insert(slices.Clone(c.covers), i, by.Dot)
	}
	return c
}

// join returns c with what is known elsewhere of the same carrier.
func (c carrier) join(o carrier) carrier {
	for _, d := range o.covers {
		if i, found := slices.BinarySearchFunc(c.covers, d, crdt.Dot.Compare); !found {
			c.covers = slices.Insert(slices.Clone(c.covers), i, d)
		}
	}
	return c
}

// outlives reports whether less covers c than o.
func (c carrier) outlives(o carrier) bool {
	return len(c.covers) < len(o.covers) && !slices.ContainsFunc(c.covers, func(d crdt.Dot) bool { return !slices.Contains(o.covers, d) })
}

func compareCarriers(a, b carrier) int {
	return cmp.Or(cmp.Compare(a.stamp, b.stamp), a.dot.Compare(b.dot))
}

// An entry is what is known of a change: what brought it, least first (two
// regions may get the same change from a client), and its first operation.
type entry struct {
	startOp  uint64
	carriers []carrier
}

// covered reports whether nothing keeps the change alive by itself.
func (e *entry) covered() bool {
	return !slices.ContainsFunc(e.carriers, func(c carrier) bool { return len(c.covers) == 0 })
}

// origin is the mutation that the change is known by: the least of those that no
// other outlives. The others may be forgotten where what covers them is stable:
// everything that comes later covers them too, and not what came later.
func (e *entry) origin() carrier {
	if len(e.carriers) == 1 {
		return e.carriers[0]
	}
	i := slices.IndexFunc(e.carriers, func(c carrier) bool {
		return !slices.ContainsFunc(e.carriers, func(o carrier) bool { return o.outlives(c) })
	})
	return e.carriers[i]
}

// cover covers what a Fresh mutation had seen. The carriers are shared with
// other states, so they are copied.
func (e *entry) cover(by crdt.Header) {
	e.carriers = slices.Clone(e.carriers)
	for i, c := range e.carriers {
		e.carriers[i] = c.cover(by)
	}
}

// carry adds a carrier, or joins it with what is known of it.
func (e *entry) carry(c carrier) {
	i, found := slices.BinarySearchFunc(e.carriers, c, compareCarriers)
	e.carriers = slices.Clone(e.carriers)
	if found {
		e.carriers[i] = e.carriers[i].join(c)
		return
	}
	e.carriers = slices.Insert(e.carriers, i, c)
}

// An actorLog has the changes of an actor, by sequence number from 1.
type actorLog struct {
	actor   string
	entries []entry
}

// content is a set of changes that is closed under their dependencies. It is
// bytes; the library's form is in the pool.
type content struct {
	snapshot []byte // a saved document, or nothing
	tail     []byte // chunks of changes
	// failed is the size of the tail at which compaction did not work.
	failed int
	heads  []Hash // ascending
	ops    int    // in the whole history
	// branched says that there were ever two heads: only then can there be
	// several values in one place.
	branched bool
	log      []actorLog // by actor
}

func compareHashes(a, b Hash) int { return bytes.Compare(a[:], b[:]) }

func (c *content) empty() bool { return len(c.heads) == 0 }

// clone returns a copy that can be changed without changing c.
func (c *content) clone() *content {
	n := *c
	n.tail = slices.Clip(c.tail)
	n.heads = slices.Clip(c.heads)
	n.log = slices.Clone(c.log)
	for i := range n.log {
		n.log[i].entries = slices.Clip(n.log[i].entries)
	}
	return &n
}

// key names what c holds: the heads' hashes cover all that is below them.
func key(heads []Hash) [sha256.Size]byte {
	h := sha256.New()
	for _, x := range heads {
		h.Write(x[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// after returns the heads once a change is on top.
func after(heads []Hash, ch *validate.Change) []Hash {
	out := make([]Hash, 0, len(heads)+1)
	for _, h := range heads {
		if _, found := slices.BinarySearchFunc(ch.Deps, h, compareHashes); !found {
			out = append(out, h)
		}
	}
	i, _ := slices.BinarySearchFunc(out, ch.Hash, compareHashes)
	return slices.Insert(out, i, ch.Hash)
}

func (c *content) find(actor string) (int, bool) {
	return slices.BinarySearchFunc(c.log, actor, func(l actorLog, a string) int { return strings.Compare(l.actor, a) })
}

// length is how many changes of an actor there are.
func (c *content) length(actor string) uint64 {
	if i, ok := c.find(actor); ok {
		return uint64(len(c.log[i].entries))
	}
	return 0
}

// changes is how many changes there are.
func (c *content) changes() (n int) {
	for i := range c.log {
		n += len(c.log[i].entries)
	}
	return n
}

// entry returns what is known of a change; nil if it is not there.
func (c *content) entry(actor string, seq uint64) *entry {
	i, ok := c.find(actor)
	if !ok || seq < 1 || seq > uint64(len(c.log[i].entries)) {
		return nil
	}
	return &c.log[i].entries[seq-1]
}

// origin returns what brought an operation.
func (c *content) origin(actor string, ctr uint64) (carrier, uint64) {
	i, ok := c.find(actor)
	if !ok {
		return carrier{}, 0
	}
	es := c.log[i].entries
	k := sort.Search(len(es), func(k int) bool { return es[k].startOp > ctr })
	if k == 0 {
		return carrier{}, 0
	}
	return es[k-1].origin(), uint64(k)
}

// own returns the entries of a log such that they can be changed.
func (c *content) own(i int) []entry {
	c.log[i].entries = slices.Clone(c.log[i].entries)
	return c.log[i].entries
}

// add puts a change on top, which is the next one of its actor and has all its
// dependencies in c.
func (c *content) add(ch *validate.Change, by carrier) {
	c.tail = append(c.tail, ch.Raw...)
	c.note(ch, []carrier{by})
}

// note is add without the bytes.
func (c *content) note(ch *validate.Change, by []carrier) {
	c.heads = after(c.heads, ch)
	c.branched = c.branched || len(c.heads) > 1
	c.ops += len(ch.Ops)
	i, ok := c.find(ch.Actor())
	if !ok {
		c.log = slices.Insert(c.log, i, actorLog{actor: ch.Actor()})
	}
	c.log[i].entries = append(c.log[i].entries, entry{startOp: ch.StartOp, carriers: by})
}

// cover covers what a Fresh mutation had seen, and reports whether anything is
// left uncovered.
func (c *content) cover(by crdt.Header) (left bool) {
	for i := range c.log {
		es := c.own(i)
		for k := range es {
			es[k].cover(by)
			left = left || !es[k].covered()
		}
	}
	return left
}

// load makes the library's form.
func (c *content) load() (*lib.Doc, error) {
	d, err := lib.Load(c.snapshot)
	if err != nil {
		return nil, err
	}
	if err := d.Apply(c.tail); err != nil {
		d.Free()
		return nil, err
	}
	if err := sameHeads(d, c.heads); err != nil {
		d.Free()
		return nil, err
	}
	return d, nil
}

func sameHeads(d *lib.Doc, want []Hash) error {
	have, err := d.Heads()
	if err != nil {
		return err
	}
	if !slices.EqualFunc(have, want, func(a [lib.HashSize]byte, b Hash) bool { return a == b }) {
		return corrupt("a document does not have the heads that it should have")
	}
	return nil
}

// compact saves the document anew and drops the tail, if that has grown enough
// and what was saved can be loaded again.
func (c *content) compact(d *lib.Doc) {
	if len(c.tail) < max(minTail, len(c.snapshot)/2, 2*c.failed) {
		return
	}
	saved, err := d.Save()
	if err == nil {
		err = loads(saved, c.heads)
	}
	if err != nil {
		c.failed = len(c.tail)
		return
	}
	c.snapshot, c.tail, c.failed = saved, nil, 0
}

// loads reports why a saved document does not load with the given heads, or nil.
func loads(saved []byte, heads []Hash) error {
	d, err := lib.Load(saved)
	if err != nil {
		return err
	}
	defer d.Free()
	return sameHeads(d, heads)
}

// all decodes every change.
func (c *content) all(d *lib.Doc) ([]*validate.Change, error) {
	chunks, err := d.Changes()
	if err != nil {
		return nil, err
	}
	out := make([]*validate.Change, len(chunks))
	for i, b := range chunks {
		if out[i], err = validate.ParseChange(b, peerLimits); err != nil {
			return nil, err
		}
	}
	return out, nil
}
