package core

import (
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/wire"
)

// Tell passes something about a document on to the other regions, for whoever
// has it open there. It is not durable, and may be lost.
type Tell struct {
	Key store.DocKey
	// Data has at most wire.MaxPresence bytes.
	Data []byte
}

// versionPresence is the first version of the vocabulary that has Presence.
const versionPresence = 4

// presence is what was told.
type presence struct {
	nextID uint64
	heard  map[string]mark // by origin
}

// A mark is the last that was heard of an origin. What comes behind it has taken
// another way, and was heard or is late.
type mark struct {
	session crdt.ReplicaID
	id      uint64
}

func (c *Core) tell(t Tell) {
	if len(t.Data) > wire.MaxPresence {
		return
	}
	c.presence.nextID++
	c.spreadAmongHolders(wire.Presence{
		Origin: c.cfg.Region, Session: c.session(), ID: c.presence.nextID,
		Collection: t.Key.Collection, Document: t.Key.ID, Data: t.Data,
	}, t.Key.Collection, c.cfg.Region, "")
}

func (c *Core) receivePresence(p *peer, m wire.Presence) {
	last := c.presence.heard[m.Origin]
	if c.peers[m.Origin] == nil || last.session == m.Session && m.ID <= last.id {
		return
	}
	c.presence.heard[m.Origin] = mark{m.Session, m.ID}
	c.fx.Heard = append(c.fx.Heard, Tell{store.DocKey{Collection: m.Collection, ID: m.Document}, m.Data})
	c.spreadAmongHolders(m, m.Collection, m.Origin, p.name)
}
