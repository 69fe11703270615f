package wire

import (
	"encoding/binary"

	"github.com/meridiandb/meridian/crdt"
)

// MaxForwarded is the greatest size of a forwarded request or response.
const MaxForwarded = crdt.MaxChangeBytes

func (m Forward) size() int { return 40 + len(m.Origin) + len(m.To) + len(m.Request) }

func (m Forward) appendFields(b []byte) []byte {
	b = appendText(appendText(b, m.Origin), m.To)
	b = append(b, m.Session[:]...)
	b = binary.AppendUvarint(b, m.ID)
	b = binary.AppendUvarint(b, m.Hops)
	return appendBytes(b, m.Request)
}

func readForward(r *crdt.Reader) Forward {
	return Forward{
		Origin: string(r.Bytes(MaxName)), To: string(r.Bytes(MaxName)), Session: r.Replica(),
		ID: r.Uvarint(), Hops: r.Uvarint(), Request: r.Bytes(MaxForwarded),
	}
}

func (m Forwarded) size() int {
	return 45 + len(m.Origin) + len(m.From) + len(m.Refused) + len(m.Response)
}

func (m Forwarded) appendFields(b []byte) []byte {
	b = appendText(appendText(b, m.Origin), m.From)
	b = append(b, m.Session[:]...)
	b = binary.AppendUvarint(b, m.ID)
	b = binary.AppendUvarint(b, m.Hops)
	return appendBytes(appendText(b, m.Refused), m.Response)
}

func readForwarded(r *crdt.Reader) Forwarded {
	return Forwarded{
		Origin: string(r.Bytes(MaxName)), From: string(r.Bytes(MaxName)), Session: r.Replica(),
		ID: r.Uvarint(), Hops: r.Uvarint(), Refused: string(r.Bytes(MaxText)), Response: r.Bytes(MaxForwarded),
	}
}
