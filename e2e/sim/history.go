package sim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/crdt/document"
	"github.com/meridiandb/meridian/crdt/register"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/wire"
)

// doc names a document of one incarnation.
type doc = store.DocKey

func mapKeys[K comparable, V any](m map[K]V) iter.Seq[K] { return maps.Keys(m) }

// A change that was committed anywhere, as an observer outside knows it.
type change struct {
	*crdt.Change
	encoded []byte
	region  int
	acked   bool
	lost    bool // it was written to a vault, and no region has what it did any more
	// incs are the increments that it makes in documents of the tallies.
	incs map[doc]int64
	// counted are the documents whose bounded counters it takes up or down.
	counted map[doc]bool
	// anew says that a store that came back made it of what it had set aside.
	anew bool
}

// history is all that the observer saw.
type history struct {
	changes map[crdt.Dot]*change
	order   []*change
	docs    map[doc][]*change
	// digests holds what was found in a region under a Have.
	digests map[string]string
	// contents of documents by their versions, as they were found in any region.
	contents map[versionKey][crdt.DigestSize]byte
	// gone are acknowledged changes that a rollback or removal took away for good.
	gone map[crdt.Dot]bool
	// owed are marks that stores have to make anew, with where they were.
	owed map[string]string
	// replaced are marks that a store does not have to make anew, since it had seen what came
	// in their place.
	replaced map[string]bool
	// forced are collections of which a home was taken by force.
	forced map[crdt.Dot]bool
}

// versionKey names the versions that a document consists of.
type versionKey struct {
	doc
	tag string
}

func (h *history) init() {
	h.changes = map[crdt.Dot]*change{}
	h.docs = map[doc][]*change{}
	h.digests = map[string]string{}
	h.contents = map[versionKey][crdt.DigestSize]byte{}
	h.owed, h.replaced = map[string]string{}, map[string]bool{}
	h.gone = map[crdt.Dot]bool{}
	h.forced = map[crdt.Dot]bool{}
}

func (h *history) add(c *change) {
	h.changes[c.Dot] = c
	h.order = append(h.order, c)
	for i := range c.Mutations {
		k := keyOf(&c.Mutations[i])
		h.docs[k] = append(h.docs[k], c)
	}
}

// forget takes a change for one that does nothing.
func (h *history) forget(c *change) {
	for i := range c.Mutations {
		k := keyOf(&c.Mutations[i])
		h.docs[k] = slices.DeleteFunc(h.docs[k], func(o *change) bool { return o == c })
	}
	whole := *c.Change
	whole.Mutations = nil
	c.Change, c.lost = &whole, true
}

func keyOf(m *crdt.Mutation) doc { return doc{Collection: m.Collection, ID: m.ID} }

// count notes in which documents the writer's counter moved.
func (c *change) count(before, after map[doc]int64) {
	for k, sum := range after {
		if sum == before[k] {
			continue
		}
		if c.counted == nil {
			c.counted = map[doc]bool{}
		}
		c.counted[k] = true
	}
}

func (c *change) mutation(k doc) *crdt.Mutation {
	for i := range c.Mutations {
		if keyOf(&c.Mutations[i]) == k {
			return &c.Mutations[i]
		}
	}
	return nil
}

// durable is what a region's disk holds, as the observer knows it.
type durable struct {
	have    crdt.Vector
	applied []crdt.Dot
	// copied is what a snapshot brought, which is not remembered by its requests.
	copied  crdt.Vector
	catalog *core.Catalog
	// shadow is the reference: the same changes in the same order, never trimmed.
	shadow map[doc]crdt.State
	// digests of the documents in the store, those that are zero left out.
	digests map[doc][crdt.DigestSize]byte
	// sum of the digests with their keys.
	sum [4]uint64
	// total is the digest that the core keeps.
	total digest.Digest
	// copying says that a snapshot is being taken: the documents are not of one
	// moment, and may not be read.
	copying bool
	// kept are the collections that stay through it, and at which vectors they are;
	// base is the vector from which the log goes on then.
	kept map[crdt.Dot]crdt.Vector
	base crdt.Vector
	// broken are documents that were damaged and have not been written since.
	broken map[doc]bool
}

func (d *durable) init() {
	*d = durable{shadow: map[doc]crdt.State{}, digests: map[doc][crdt.DigestSize]byte{}}
}

// copy is for a backup; the shadow is made again from applied.
func (d *durable) copy() durable {
	return durable{
		have: d.have, applied: slices.Clone(d.applied), copied: d.copied, catalog: d.catalog,
		digests: maps.Clone(d.digests), sum: d.sum, total: d.total,
	}
}

func (n *node) replay(h *history) error {
	d := &n.durable
	d.shadow = map[doc]crdt.State{}
	for _, dot := range d.applied {
		if err := n.apply(h.changes[dot]); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) apply(c *change) error {
	d := &n.durable
	if !n.hasWhole(c) {
		return nil
	}
	for i := range c.Mutations {
		m := &c.Mutations[i]
		s := d.shadow[keyOf(m)]
		if s == nil {
			if m.Type == crdt.TypeRegister {
				s = register.New()
			} else {
				s = document.New()
			}
			d.shadow[keyOf(m)] = s
		}
		if err := s.Apply(c.Header, *m); err != nil {
			return fmt.Errorf("change %v, document %v: %w", c.Dot, keyOf(m), err)
		}
	}
	return nil
}

// setDigest keeps the sum of the digests up to date.
func (d *durable) setDigest(k doc, digest [crdt.DigestSize]byte) {
	if old, ok := d.digests[k]; ok {
		d.weigh(k, old, -1)
		delete(d.digests, k)
	}
	if digest != ([crdt.DigestSize]byte{}) {
		d.digests[k] = digest
		d.weigh(k, digest, 1)
	}
}

func (d *durable) weigh(k doc, digest [crdt.DigestSize]byte, sign int64) {
	h := mix(0x9e3779b97f4a7c15, k.Collection.Replica[:])
	h = mix(h^k.Collection.Seq, []byte(k.ID))
	h = mix(h, digest[:])
	for i := range d.sum {
		h = mix(h, digest[:8])
		d.sum[i] += uint64(sign) * h
	}
}

// mix is FNV-1a with a better end.
func mix(h uint64, b []byte) uint64 {
	for _, c := range b {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	return h ^ h>>32
}

// record adds a step's effects to the trace hash (I10). It returns the messages
// that are sent, encoded.
func (w *world) record(n *node, fx core.Effects) [][]byte {
	b := binary.AppendUvarint(w.scratch[:0], uint64(w.now))
	b = append(b, byte(n.index))
	if fx.Batch != nil {
		for _, d := range fx.Batch.Docs {
			b = append(append(b, d.Key.ID...), d.State...)
		}
		for _, l := range fx.Batch.Log {
			b = append(append(b, l.Chain[:]...), l.Change...)
		}
		for _, v := range fx.Batch.Versions {
			b = append(append(b, v.Tag...), v.State...)
		}
		for _, name := range slices.Sorted(maps.Keys(fx.Batch.Meta)) {
			b = append(append(b, name...), fx.Batch.Meta[name]...)
		}
	}
	for _, r := range fx.Replies {
		b = binary.AppendUvarint(b, r.ID)
		if r.Err != nil {
			b = append(b, r.Err.Error()...)
		}
	}
	sent := make([][]byte, len(fx.Sends))
	for i, s := range fx.Sends {
		b = append(b, s.Peer...)
		from := len(b)
		b = wire.Append(b, s.Message)
		sent[i] = bytes.Clone(b[from:])
	}
	for _, s := range fx.Streams {
		if q := s.Snapshot; q != nil {
			b = append(b, fmt.Sprint(*q)...) // what it is, not where
			s.Snapshot = nil
		}
		b = append(b, fmt.Sprint(s)...)
	}
	if fx.Plan != nil {
		b = append(b, fmt.Sprint(fx.Plan.Peers())...)
	}
	for _, x := range fx.Notes {
		b = append(b, x.Text...)
	}
	w.hash.Write(b)
	w.scratch = b
	if w.opts.Trace == nil {
		return sent
	}
	for _, s := range fx.Sends {
		if k := s.Message.Kind(); k != wire.KindStatus && k != wire.KindAck {
			w.tracef("%s > %s: %s", n.name, s.Peer, describe(s.Message))
		}
	}
	return sent
}

// isEncodedAs reports whether an encoding is of the change, whole or not.
func (c *change) isEncodedAs(encoded []byte) bool {
	x, err := crdt.Imprint(c.encoded)
	y, err2 := crdt.Imprint(encoded)
	return err == nil && err2 == nil && bytes.Equal(x, y)
}

// sameBytes reports whether a change is known with this body.
func (h *history) sameBytes(d crdt.Dot, encoded []byte) bool {
	c := h.changes[d]
	return c != nil && c.isEncodedAs(encoded)
}
