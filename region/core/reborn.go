package core

import "github.com/meridiandb/meridian/crdt"

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
	c.replica, c.synced = replica, false
	return c.encodeMeta(), nil
}
