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
	c.replica, c.announced, c.synced, c.unmet = replica, false, false, 0
}

// Durable returns the replica that a store is, and what it holds. The replica of
// a store that was never used is zero.
func Durable(reader store.Reader) (crdt.ReplicaID, crdt.Vector, error) {
	record, err := reader.Meta(metaCore)
	if err != nil || record == nil {
		return crdt.ReplicaID{}, crdt.Vector{}, err
	}
	var c Core
	err = c.decodeMeta(record)
	return c.replica, c.have, err
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

// NextChain is the link of a log's hash chain that follows on prev with a change.
func NextChain(prev [store.ChainSize]byte, change []byte) (next [store.ChainSize]byte) {
	h := sha256.New()
	h.Write(prev[:])
	h.Write(change)
	copy(next[:], h.Sum(nil))
	return next
}

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
