package wire

import (
	"encoding/binary"

	"github.com/meridiandb/meridian/crdt"
)

// Removed is told to a region, instead of a [Hello] or after it, that was removed
// from the cluster, or whose store has what the cluster went on without. Nothing else
// is taken from it on the link; it closes it.
type Removed struct {
	// Incarnation is that of the region which was removed, the last one; 0 if none was.
	Incarnation uint64
	// Added says that the region was added again since: with a new store it is welcome.
	Added bool
	// Have is what the sender holds, Stable what of it all have who go on, or a removal that the
	// receiver's store does not know of: nobody takes a change any more that was made without it.
	Have, Stable crdt.Vector
	// Final is where the logs of the removed regions' replicas end, or up to where what
	// followed there was made anew by a store that came back: the rest was not.
	Final crdt.Vector
	// Unknown says that nobody who remains has any change of the receiver's replica, or will
	// take one: with a new replica it is welcome.
	Unknown bool
	// Reason says it to people.
	Reason string
}

// Kind returns KindRemoved.
func (Removed) Kind() Kind { return KindRemoved }

const (
	flagAdded = 1 << iota
	flagUnknown
)

func (m Removed) size() int {
	return 13 + vectorSize(m.Have) + vectorSize(m.Stable) + vectorSize(m.Final) + len(m.Reason)
}

func (m Removed) appendFields(b []byte) []byte {
	var flags byte
	if m.Added {
		flags |= flagAdded
	}
	if m.Unknown {
		flags |= flagUnknown
	}
	b = append(binary.AppendUvarint(b, m.Incarnation), flags)
	return appendText(appendVector(appendVector(appendVector(b, m.Have), m.Stable), m.Final), clip(m.Reason))
}

func readRemoved(r *crdt.Reader) Removed {
	m := Removed{Incarnation: r.Uvarint()}
	flags := r.Byte()
	m.Added, m.Unknown = flags&flagAdded != 0, flags&flagUnknown != 0
	m.Have, m.Stable, m.Final = r.Vector(), r.Vector(), r.Vector()
	m.Reason = clip(string(r.Bytes(MaxText)))
	return m
}
