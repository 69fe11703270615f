package core

import (
	"crypto/sha256"
	"fmt"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/store"
)

// MetaName is the name of the store's record of the core. A store that has it can
// be used by a region.
const MetaName = metaCore

// Reborn is the record of a core in a store that was restored: a new replica,
// which has to catch up before it takes writes.
func Reborn(record []byte, replica crdt.ReplicaID) ([]byte, error) {
	var c Core
	if err := c.decodeMeta(record); err != nil {
		return nil, err
	}
	c.rebirth(replica)
	return c.encodeMeta(), nil
}

// rebirth makes this store a new replica, which takes no writes until it has met
// another region and caught up: what it has forgotten may be stable elsewhere.
func (c *Core) rebirth(replica crdt.ReplicaID) {
	c.replica, c.announced, c.synced, c.founder, c.unmet = replica, false, false, false, 0
}

// A Durable is what a store's records say of the region that uses it.
type Durable struct {
	// Replica is what the store is, zero if it was never used.
	Replica crdt.ReplicaID
	// Have is what it holds, and Cut what its log does not have of it any more.
	Have, Cut crdt.Vector
	// Snapshot is that of another region that is being taken, nil if none is.
	Snapshot *DurableSnapshot
}

// A DurableSnapshot is how far the taking of a snapshot was.
type DurableSnapshot struct {
	// Clearing says that what was here before is still being removed, and Replaying
	// that all documents are here, and some wait for changes.
	Clearing, Replaying bool
	// Documents and Bytes are what was copied, Total about how many bytes there
	// are, 0 if that is not known.
	Documents, Bytes, Total uint64
	// Base is the vector of the donor when its first document was copied, from which
	// the log goes on. It is empty if none was.
	Base crdt.Vector
	// Donor joins the vectors of all donors so far, each when it was asked last.
	Donor crdt.Vector
	// Kept are the collections that stay, by their incarnations, with the vector at
	// which their documents are until the log is replayed.
	Kept map[crdt.Dot]crdt.Vector
}

// ReadDurable reads what a store says of itself.
func ReadDurable(reader store.Reader) (Durable, error) {
	var c Core
	record, err := reader.Meta(metaCore)
	if err != nil || record == nil {
		return Durable{}, err
	}
	if err := c.decodeMeta(record); err != nil {
		return Durable{}, fmt.Errorf("store record %q: %w", metaCore, err)
	}
	d := Durable{Replica: c.replica, Have: c.have, Cut: c.cut.vector}
	phase := c.boot.phase
	if record, err = reader.Meta(metaSnapshot); err != nil {
		return d, err
	}
	if record != nil {
		if c.boot, err = decodeBootstrap(record); err != nil {
			return d, fmt.Errorf("store record %q: %w", metaSnapshot, err)
		}
	}
	switch b := &c.boot; {
	case (record == nil) != (phase == bootNone) || b.phase != phase || phase > bootSaving:
		return d, fmt.Errorf("%w: the store record %q does not say of a snapshot what the record %q says", crdt.ErrCorrupt, metaSnapshot, metaCore)
	case phase != bootNone:
		d.Snapshot = &DurableSnapshot{
			Clearing: phase == bootClearing, Replaying: phase == bootReplaying,
			Documents: b.docs, Bytes: b.bytes, Total: b.total, Base: b.base, Donor: b.end(),
			Kept: map[crdt.Dot]crdt.Vector{},
		}
		for _, k := range b.stay {
			d.Snapshot.Kept[k.collection] = k.have
		}
	}
	return d, nil
}

// Log returns the spans of a replica's log that have to be there, in order. Below
// Cut there may be more, which nobody needs: the log of a restored store begins
// where that of its first backup did. Elsewhere there is nothing.
func (d *Durable) Log(r crdt.ReplicaID) []crdt.Span {
	var out []crdt.Span
	add := func(from, to uint64) {
		if from <= to {
			out = append(out, crdt.Span{Replica: r, From: from, To: to})
		}
	}
	have, s := d.Have.Get(r), d.Snapshot
	add(d.Cut.Get(r)+1, have)
	// While documents are copied the log has the last change of each replica before
	// Base, and still has it when the copy was given up, until the clearing begins.
	if s != nil && !s.Replaying {
		if tip := s.Base.Get(r); tip > 0 && (tip > have || !s.Clearing) {
			add(tip, tip)
		}
	}
	return out
}

// DurableHave returns the vector that a store's reader has reached. While a
// snapshot is being taken the documents are not of one moment, and the error is
// ErrCatchingUp.
func DurableHave(reader store.Reader) (crdt.Vector, error) {
	record, err := reader.Meta(metaCore)
	if err != nil || record == nil {
		return crdt.Vector{}, err
	}
	var c Core
	if err = c.decodeMeta(record); err == nil {
		err = c.snapshotError()
	}
	return c.have, err
}

// NextChain is the link of a log's hash chain that follows on prev with a change:
// the same one for a change and its placeholder.
func NextChain(prev [store.ChainSize]byte, change []byte) (next [store.ChainSize]byte) {
	imprint, err := crdt.Imprint(change)
	if err != nil {
		imprint = change // whoever reads it finds out
	}
	var room [smallChange]byte
	if len(prev)+len(imprint) <= len(room) {
		sum := sha256.Sum256(append(append(room[:0], prev[:]...), imprint...))
		copy(next[:], sum[:])
		return next
	}
	h := sha256.New()
	h.Write(prev[:])
	h.Write(imprint)
	copy(next[:], h.Sum(nil))
	return next
}

// smallChange is what is hashed without memory of the heap.
const smallChange = 1024

// CheckDocument reads a stored document and compares it with its checksum and its
// digest. It returns what the document weighs in the digests. The error wraps
// ErrDamaged.
func CheckDocument(key store.DocKey, b []byte) (digest.Digest, error) {
	r, err := decodeRecord(b)
	if err != nil {
		return digest.Digest{}, err
	}
	weight := digest.Of(key.Collection, key.ID, r.state.Heads(), r.content)
	if r.content != r.state.Digest() {
		return weight, fmt.Errorf("%w: its digest does not match", ErrDamaged)
	}
	return weight, nil
}
