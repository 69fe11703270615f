package wire

import (
	"encoding/binary"

	"github.com/meridiandb/meridian/crdt"
)

const (
	// MaxPresence is the greatest size of what a Presence carries.
	MaxPresence = 64 << 10
	// maxDocument is the greatest length of a document's id.
	maxDocument = 1 << 10
)

// Presence passes on what somebody who has a document open tells the others who
// have: where his cursor is, say. It is not kept, and not sent again if it is
// lost. It travels along the way of the origin's changes.
type Presence struct {
	// Origin is the region that it comes from, Session the present run of its
	// process, and ID ascends within that.
	Origin  string
	Session crdt.ReplicaID
	ID      uint64
	// Collection and Document say what it is about.
	Collection crdt.Dot
	Document   string
	Data       []byte
}

// Kind returns KindPresence.
func (Presence) Kind() Kind { return KindPresence }

func (m Presence) size() int { return 72 + len(m.Origin) + len(m.Document) + len(m.Data) }

func (m Presence) appendFields(b []byte) []byte {
	b = append(appendText(b, m.Origin), m.Session[:]...)
	b = binary.AppendUvarint(b, m.ID)
	b = append(b, m.Collection.Replica[:]...)
	b = binary.AppendUvarint(b, m.Collection.Seq)
	return appendBytes(appendText(b, m.Document), m.Data)
}

func readPresence(r *crdt.Reader) Presence {
	m := Presence{
		Origin: string(r.Bytes(MaxName)), Session: r.Replica(), ID: r.Uvarint(),
		Collection: crdt.Dot{Replica: r.Replica(), Seq: r.Uvarint()}, Document: string(r.Bytes(maxDocument)),
	}
	if b := r.Bytes(MaxPresence); len(b) > 0 {
		m.Data = b
	}
	return m
}
