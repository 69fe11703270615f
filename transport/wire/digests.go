package wire

import (
	"encoding/binary"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
)

// The messages by which regions compare their documents.

func (m DigestQuery) size() int { return 52 + len(m.After) }

func (m DigestQuery) appendFields(b []byte) []byte {
	b = append(binary.AppendUvarint(b, m.ID), byte(m.Level))
	b = binary.AppendUvarint(append(b, m.Collection.Replica[:]...), m.Collection.Seq)
	return appendBytes(binary.AppendUvarint(b, m.Part), m.After)
}

func readDigestQuery(r *crdt.Reader) DigestQuery {
	m := DigestQuery{ID: r.Uvarint(), Level: DigestLevel(r.Byte())}
	m.Collection.Replica, m.Collection.Seq = r.Replica(), r.Uvarint()
	m.Part = r.Uvarint()
	m.After = readKey(r)
	return m
}

// readKey returns nil for an empty key.
func readKey(r *crdt.Reader) []byte {
	if b := r.Bytes(crdt.MaxIDBytes); len(b) > 0 {
		return b
	}
	return nil
}

func (m DigestReply) size() int {
	n := 16 + vectorSize(m.Have)
	for i := range m.Digests {
		n += 6 + len(m.Digests[i].Key) + digest.Size
	}
	return n
}

func (m DigestReply) appendFields(b []byte) []byte {
	b = appendVector(binary.AppendUvarint(b, m.ID), m.Have)
	var flags byte
	if m.More {
		flags = flagMore
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(len(m.Digests)))
	for i := range m.Digests {
		b = appendRecord(b, func(b []byte) []byte { return m.Digests[i].Digest.Append(appendBytes(b, m.Digests[i].Key)) })
	}
	return b
}

const flagMore = 1

func readDigestReply(r *crdt.Reader) DigestReply {
	m := DigestReply{ID: r.Uvarint(), Have: r.Vector(), More: r.Byte()&flagMore != 0}
	if n := r.Count(MaxDigests, minRecord+minDigest); n > 0 {
		m.Digests = make([]KeyDigest, n)
		for i := range m.Digests {
			readRecord(r, func(r *crdt.Reader) {
				m.Digests[i] = KeyDigest{Key: readKey(r), Digest: digest.Read(r)}
			})
		}
	}
	return m
}

// minDigest is the least size of an encoded digest.
const minDigest = digest.Size - binary.MaxVarintLen64 + 1

func (m DocQuery) size() int { return 40 + len(m.Document) }

func (m DocQuery) appendFields(b []byte) []byte {
	b = append(binary.AppendUvarint(b, m.ID), m.Collection.Replica[:]...)
	return appendText(binary.AppendUvarint(b, m.Collection.Seq), m.Document)
}

func readDocQuery(r *crdt.Reader) DocQuery {
	m := DocQuery{ID: r.Uvarint()}
	m.Collection.Replica, m.Collection.Seq = r.Replica(), r.Uvarint()
	m.Document = string(r.Bytes(crdt.MaxIDBytes))
	return m
}

func (m DocReply) size() int { return 34 + vectorSize(m.Have) + len(m.Record) + len(m.Refused) }

func (m DocReply) appendFields(b []byte) []byte {
	b = appendVector(binary.AppendUvarint(b, m.ID), m.Have)
	b = appendText(binary.AppendUvarint(b, uint64(m.Forgotten)), clip(m.Refused))
	return appendBytes(b, m.Record)
}

func readDocReply(r *crdt.Reader) DocReply {
	m := DocReply{ID: r.Uvarint(), Have: r.Vector(), Forgotten: crdt.Stamp(r.Uvarint()), Refused: clip(string(r.Bytes(MaxText)))}
	if b := r.Bytes(MaxDocState); len(b) > 0 {
		m.Record = b
	}
	return m
}
