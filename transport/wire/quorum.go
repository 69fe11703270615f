package wire

import (
	"encoding/binary"

	"github.com/meridiandb/meridian/crdt"
)

// The messages by which a region learns promptly what others hold.

func (m Await) size() int { return 3 + len(m.Origin) + vectorSize(m.Want) }

func (m Await) appendFields(b []byte) []byte { return appendVector(appendText(b, m.Origin), m.Want) }

func (m Acks) size() int {
	n := 4
	for i := range m.Acks {
		n += m.Acks[i].size()
	}
	return n
}

func (m Acks) appendFields(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(m.Acks)))
	for i := range m.Acks {
		b = appendRecord(b, m.Acks[i].append)
	}
	return b
}

func readAcks(r *crdt.Reader) Acks {
	var m Acks
	if n := r.Count(MaxReports, minRecord+minDot); n > 0 {
		m.Acks = make([]RegionAck, n)
		for i := range m.Acks {
			readRecord(r, m.Acks[i].read)
		}
	}
	return m
}

func (x *RegionAck) size() int { return 36 + len(x.Region) + vectorSize(x.Have) }

func (x *RegionAck) append(b []byte) []byte {
	b = appendText(b, x.Region)
	b = append(b, x.Replica[:]...)
	b = binary.AppendUvarint(b, x.Seq)
	return appendVector(b, x.Have)
}

func (x *RegionAck) read(r *crdt.Reader) {
	x.Region, x.Replica, x.Seq = string(r.Bytes(MaxName)), r.Replica(), r.Uvarint()
	x.Have = r.Vector()
}

func (m VectorQuery) size() int { return 29 + len(m.Origin) }

func (m VectorQuery) appendFields(b []byte) []byte {
	b = append(appendText(b, m.Origin), m.Session[:]...)
	return binary.AppendUvarint(b, m.ID)
}

func (m VectorReply) size() int { return 30 + m.RegionAck.size() }

func (m VectorReply) appendFields(b []byte) []byte {
	b = binary.AppendUvarint(append(b, m.Session[:]...), m.ID)
	return appendRecord(b, m.RegionAck.append)
}

func readVectorReply(r *crdt.Reader) VectorReply {
	m := VectorReply{Session: r.Replica(), ID: r.Uvarint()}
	readRecord(r, m.RegionAck.read)
	return m
}
