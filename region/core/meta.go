package core

import (
	"encoding/binary"
	"fmt"

	"github.com/meridiandb/meridian/crdt"
)

// metaCore is the store's record of the core: replica, clock, vector.
const metaCore = "core"

const metaFormat = 2

// How a replica stands in the core's record; 0 is neither.
const (
	metaSynced  = 1
	metaFounder = 2
)

// Sizes to make room for: the core's record but for its vector, and the most of a dot.
const (
	metaSize = 64
	dotSize  = 26
)

func (c *Core) encodeMeta() []byte {
	b := make([]byte, 0, metaSize+dotSize*c.have.Len())
	b = append(append(b, metaFormat), c.replica[:]...)
	switch {
	case c.synced:
		b = append(b, metaSynced)
	case c.founder:
		b = append(b, metaFounder)
	default:
		b = append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(c.clock.Last()))
	b = binary.AppendUvarint(b, uint64(c.forgotten))
	b, _ = c.have.AppendBinary(b)
	b, _ = c.cut.vector.AppendBinary(b)
	b = binary.AppendUvarint(b, c.unmet)
	return append(b, byte(c.boot.phase))
}

func (c *Core) decodeMeta(b []byte) error {
	r := crdt.NewReader(b)
	if f := r.Byte(); f != metaFormat {
		return fmt.Errorf("%w: format %d is not known here", crdt.ErrCorrupt, f)
	}
	c.replica = r.Replica()
	standing := r.Byte()
	c.synced, c.founder = standing == metaSynced, standing == metaFounder
	c.clock = crdt.NewClock(c.cfg.MaxSkew, crdt.Stamp(r.Uvarint()))
	c.forgotten = crdt.Stamp(r.Uvarint())
	c.have = r.Vector()
	c.cut.vector = r.Vector()
	c.unmet = r.Uvarint()
	c.boot.phase = bootPhase(r.Byte())
	c.announced = c.have.Get(c.replica) > 0
	return r.Done()
}
