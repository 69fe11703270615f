package core

import (
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/transport/wire"
)

// outgoing is a change made durable by this step.
type outgoing struct {
	dot   crdt.Dot
	bytes []byte
	from  string // peer that sent it, "" if it was written here
	// residency says who may have what it does, and withheld is its placeholder,
	// once it was needed.
	residency *crdt.Residency
	withheld  []byte
}

// push sends what this step made durable along the plan.
func (c *Core) push() error {
	var sent [][][]byte // the Changes of each message
	send := func(name string, msg wire.Changes) {
		if i := slices.IndexFunc(sent, func(x [][]byte) bool { return slices.EqualFunc(x, msg.Changes, sameBytes) }); i >= 0 {
			msg.Changes = sent[i]
		} else {
			sent = append(sent, msg.Changes)
		}
		c.send(name, msg)
	}
	for _, name := range c.peerNames() {
		p := c.peers[name]
		if !p.up {
			continue
		}
		var msg wire.Changes
		size := 0
		for i := range c.out {
			o := &c.out[i]
			if o.from == name || p.have.Contains(o.dot) || !c.sync.plan.Forward(c.catalog.Region(o.dot.Replica), name) {
				continue
			}
			form, ok, err := o.formFor(name)
			if err != nil {
				return storeError(err) // it was decoded, or written here
			}
			if !ok {
				continue
			}
			if size > 0 && size+len(form) > maxPushBytes {
				send(name, msg)
				msg, size = wire.Changes{}, 0
			}
			msg.Changes = append(msg.Changes, form)
			size += len(form)
		}
		if size > 0 {
			send(name, msg)
		}
		if c.acks && p.greeted {
			c.send(name, wire.Ack{Have: c.have})
		}
	}
	return nil
}

// sameBytes reports whether a and b, which are not empty, are the same memory.
func sameBytes(a, b []byte) bool { return len(a) == len(b) && &a[0] == &b[0] }

// maxPushBytes is where a message of live changes is cut.
const maxPushBytes = 1 << 20

// formFor is what a peer is sent of a change; false if it would be of no use.
func (o *outgoing) formFor(peer string) ([]byte, bool, error) {
	switch {
	case o.residency == nil:
		return o.bytes, true, nil
	case o.residency.HeldBy(peer):
		return o.bytes, !o.residency.Withheld || o.residency.Lost, nil
	case o.withheld == nil:
		var err error
		if o.withheld, err = crdt.FormFor(o.bytes, peer); err != nil {
			return nil, false, err
		}
	}
	return o.withheld, true, nil
}
