package wire

import (
	"encoding/binary"

	"github.com/meridiandb/meridian/crdt"
)

// The message by which a region asks another for shares of a counter.

const flagUp = 1

func (m ShareRequest) size() int {
	return 88 + len(m.Origin) + len(m.To) + len(m.Document) + len(m.Path)
}

func (m ShareRequest) appendFields(b []byte) []byte {
	b = append(appendText(b, m.Origin), m.Session[:]...)
	b = appendText(binary.AppendUvarint(b, m.ID), m.To)
	b = append(append(b, m.Replica[:]...), m.Collection.Replica[:]...)
	b = binary.AppendUvarint(b, m.Collection.Seq)
	b = appendText(appendText(b, m.Document), m.Path)
	var flags byte
	if m.Up {
		flags = flagUp
	}
	return binary.AppendUvarint(binary.AppendUvarint(append(b, flags), m.Amount), m.Seen)
}

func readShareRequest(r *crdt.Reader) ShareRequest {
	m := ShareRequest{
		Origin: string(r.Bytes(MaxName)), Session: r.Replica(), ID: r.Uvarint(), To: string(r.Bytes(MaxName)),
		Replica: r.Replica(),
	}
	m.Collection.Replica, m.Collection.Seq = r.Replica(), r.Uvarint()
	m.Document, m.Path = string(r.Bytes(crdt.MaxIDBytes)), string(r.Bytes(crdt.MaxIDBytes))
	m.Up = r.Byte()&flagUp != 0
	m.Amount, m.Seen = r.Uvarint(), r.Uvarint()
	return m
}
