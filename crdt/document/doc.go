// Package document is the document type: a JSON document that is merged per
// field, without keeping its history.
//
// A document is a tree of slots. A slot holds what concurrent writers have put
// into one place, side by side: the values of a multi-value register, a map, a
// list, a set, a counter. Maps, lists, sets and counters are identified by their
// place, so that those which two writers create at one place merge. Which of
// several kinds or values is shown is up to a policy ([crdt.Resolve]); without
// one it is the newest.
//
// Everything that can be removed carries a tag, and a removal names the tags
// that its writer saw. Changes arrive in causal order, so a removed tag never
// has to be remembered, and what a writer had not seen survives. Only the
// positions of a list and the cells of a counter outlive their removal, until
// it is causally stable (see trim.go).
//
// What an increment does to a plain integer: it counts on top of it. The slot
// then shows a counter of their sum, so that `{"likes": 10}` can be incremented
// in several regions at once without anybody having to convert it first. A
// counter made with {"$counter": n} does not add itself to an integer that is
// set concurrently; that is a conflict of kinds.
package document

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/meridiandb/meridian/crdt"
)

// A Doc is the state of one document. It implements [crdt.State].
type Doc struct {
	heads crdt.Heads
	own   *owner
	root  *slot // holds a map only
	// garbage says that something may be dead since the last barrier; barrier
	// holds the heads when it was set, nil if nothing died before it.
	garbage bool
	barrier []crdt.Dot
	// size is how long the encoding was at last, and what came on top since,
	// counted generously.
	size int
	// memory is about how much the parts took beside their values when they were
	// encoded or decoded last.
	memory int
	// prepared is what the document will be once what was prepared last is applied.
	prepared *prepared
}

// What a writer has prepared was applied to a fork on the way: that is what the
// document becomes when the mutation is applied to it.
type prepared struct {
	dot     crdt.Dot
	payload []byte
	doc     *Doc
}

// become makes d what it was prepared to be, if m is the mutation that was
// prepared last. Heads are up to the caller.
func (d *Doc) become(hd crdt.Header, m *crdt.Mutation) bool {
	p := d.prepared
	if p == nil || p.dot != hd.Dot || len(p.payload) != len(m.Payload) || &p.payload[0] != &m.Payload[0] {
		return false
	}
	d.own, d.root, d.garbage, d.barrier = p.doc.own, p.doc.root, p.doc.garbage, p.doc.barrier
	d.size += grown(m.Payload)
	return true
}

var _ crdt.Rebaser = (*Doc)(nil)

// New returns the state of a document that was never written.
func New() *Doc {
	own := &owner{}
	return &Doc{own: own, root: own.slot(nil)}
}

// Type implements [crdt.State].
func (d *Doc) Type() crdt.Type { return crdt.TypeDocument }

// Heads implements [crdt.State].
func (d *Doc) Heads() *crdt.Heads { return &d.heads }

// What a slot, and a position of a list or a member of a set, takes in memory, as measured.
const (
	slotMemory = 200
	nodeMemory = 150
)

// Memory implements [crdt.Sized].
func (d *Doc) Memory() int { return d.size + d.memory }

// Versions implements [crdt.State]. The versions have no values: a document's
// concurrent values belong to its fields.
func (d *Doc) Versions() []crdt.Version {
	heads := slices.Clone(d.heads.All())
	slices.SortFunc(heads, func(a, b crdt.Head) int {
		return cmp.Or(cmp.Compare(a.Stamp, b.Stamp), a.Dot.Compare(b.Dot))
	})
	out := make([]crdt.Version, len(heads))
	for i, h := range heads {
		out[i] = crdt.Version{Dot: h.Dot, Stamp: h.Stamp, Deleted: h.Delete != crdt.NotDelete}
	}
	return out
}

// Clone implements [crdt.State].
func (d *Doc) Clone() crdt.State {
	own := &owner{}
	return &Doc{
		heads: d.heads.Clone(), own: own, root: d.root.clone(own),
		garbage: d.garbage, barrier: slices.Clone(d.barrier), size: d.size, memory: d.memory,
	}
}

// fork returns a document that starts as d and shares its parts; d must not
// change while the fork is in use.
func (d *Doc) fork(handOver bool) *Doc {
	return &Doc{
		heads: d.heads.Clone(), own: &owner{handOver: handOver}, root: d.root,
		garbage: d.garbage, barrier: d.barrier, size: d.size, memory: d.memory,
	}
}

func (d *Doc) applier(hd crdt.Header) *applier {
	return &applier{doc: d, own: d.own, dot: hd.Dot, stamp: hd.Stamp}
}

// Apply implements [crdt.State].
func (d *Doc) Apply(hd crdt.Header, m crdt.Mutation) error { return d.take(hd, m, false) }

// Rebase implements [crdt.Rebaser]: an increment counts without what its writer had counted
// before, and elements whose place is gone come to the end of their list.
func (d *Doc) Rebase(hd crdt.Header, m crdt.Mutation) error { return d.take(hd, m, true) }

func (d *Doc) take(hd crdt.Header, m crdt.Mutation, apart bool) error {
	if m.Type != crdt.TypeDocument {
		return corrupt("a mutation of type %v for a document", m.Type)
	}
	if m.Delete != crdt.NotDelete && len(m.Payload) > 0 {
		return corrupt("a deletion with operations")
	}
	if m.Decision == crdt.DecisionKeep {
		if err := m.Check(hd); err != nil {
			return err
		}
		d.heads.Apply(hd, m)
		return nil
	}
	f := d.fork(true)
	if !f.heads.Apply(hd, m) { // swallowed, but not without being looked at
		err := decodeOps(hd, m.Payload, func(*op) error { return nil })
		if err == nil {
			d.heads = f.heads
		}
		return err
	}
	if d.become(hd, &m) {
		d.heads, d.prepared = f.heads, nil
		return nil
	}
	if err := f.apply(hd, m, apart); err != nil {
		return err
	}
	f.own.handOver = false
	f.size += grown(m.Payload)
	*d = *f
	return nil
}

func (d *Doc) apply(hd crdt.Header, m crdt.Mutation, apart bool) error {
	switch {
	case m.Delete == crdt.DeleteWins:
		// Writes from now on either saw this and all that is removed, so that
		// they refer to none of it, or are swallowed.
		d.clear()
		return nil
	case m.Fresh:
		d.leave(hd)
	}
	a := d.applier(hd)
	a.apart = apart
	return decodeOps(hd, m.Payload, a.do)
}

// clear drops all content at once.
func (d *Doc) clear() {
	d.root, d.garbage, d.barrier, d.size = d.own.slot(nil), false, nil, 0
}

// leave removes the content that a fresh write leaves behind: what its writer's
// region had, whether or not it had forgotten it.
func (d *Doc) leave(hd crdt.Header) {
	d.root, _ = d.applier(hd).remove(d.root, &removal{deps: &hd.Deps})
}

// sortedKeys returns the names of a JSON object in order.
func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Equal reports whether two states are the same to the byte. Replicas that have
// applied the same changes have equal digests, but not equal states when one of
// them has trimmed what the other has not.
func (d *Doc) Equal(o *Doc) bool {
	a, _ := d.AppendBinary(nil)
	b, _ := o.AppendBinary(nil)
	return bytes.Equal(a, b)
}

// grown is more than applying a payload adds to the encoding of a state: a null
// in a list takes one byte of the one and some seven of the other.
func grown(payload []byte) int { return 64 + 8*len(payload) }
