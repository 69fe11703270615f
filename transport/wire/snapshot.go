package wire

import (
	"encoding/binary"

	"github.com/meridiandb/meridian/crdt"
)

// The messages by which a region takes a snapshot of another one.

// Bounds of a SnapshotPart.
const (
	// MaxSnapshotDocs and MaxSnapshotTips are the most records in one part.
	MaxSnapshotDocs = 1 << 16
	MaxSnapshotTips = 1 << 12
	// MaxSnapshotRequests is the most requests in one part, MaxRequestRecord the
	// greatest size of one.
	MaxSnapshotRequests = 1 << 16
	MaxRequestRecord    = crdt.MaxChangeBytes
	// MaxDocID and MaxDocState bound a document of a snapshot.
	MaxDocID    = 4096
	MaxDocState = crdt.MaxChangeBytes
)

// Behind says that the sender's log begins too late for a Request, and what it
// does not have any more. It comes before the CatchUp that refuses.
type Behind struct {
	ID  uint64
	Cut crdt.Vector
}

// SnapshotRequest asks for the documents that the receiver holds, all of one
// moment. It is answered by SnapshotParts with the same ID on a bulk stream.
type SnapshotRequest struct {
	ID uint64
	// Have is what the sender holds, or, if Resume is set, the vector at which the
	// snapshot began that it goes on with: the donor's own must cover it.
	Have crdt.Vector
	// Resume asks for the documents behind After, in the order of the keys, of
	// the collections that Have knows.
	Resume bool
	After  DocKey
	// Ended is where the logs of removed regions end, as the donor has to know it, and what
	// was made anew of what followed there; see Removed.Final.
	Ended crdt.Vector
}

// A DocKey names a document: the incarnation of its collection, and its id.
type DocKey struct {
	Collection crdt.Dot
	ID         string
}

// SnapshotPart is a part of the answer to a SnapshotRequest: the tips first, then
// documents in the order of their keys, then what is remembered of requests.
type SnapshotPart struct {
	ID uint64
	// Have is the vector that the documents stand for, and Forgotten the greatest
	// stamp of a document that is not remembered any more. Both are the same in
	// all parts of an answer.
	Have      crdt.Vector
	Forgotten crdt.Stamp
	// Total is about how many bytes the documents have.
	Total uint64
	// Tips are the last changes of all replicas.
	Tips []LogTip
	Docs []SnapshotDoc
	// Requests are those that were made under idempotency keys.
	Requests []RequestRecord
	// Elsewhere, if not zero, is the next collection that the receiver holds and the
	// sender does not: this is the last part, and a region that holds it has to go
	// on. Since version 8.
	Elsewhere crdt.Dot
	// Sum is a checksum over this part and all that came before it.
	Sum [16]byte
	// Done marks the last part; Refused says, if not empty, why there is no more.
	Done    bool
	Refused string
}

// A LogTip is the last change of a replica, and the hash of its log up to there.
type LogTip struct {
	Chain  [16]byte
	Change []byte
}

// A SnapshotDoc is a document as the store keeps it.
type SnapshotDoc struct {
	Key   DocKey
	State []byte
}

// A RequestRecord is what a store remembers of a request under an idempotency key.
type RequestRecord struct {
	Key    crdt.RequestHash
	Record []byte
}

// Kind returns KindBehind.
func (Behind) Kind() Kind { return KindBehind }

// Kind returns KindSnapshotRequest.
func (SnapshotRequest) Kind() Kind { return KindSnapshotRequest }

// Kind returns KindSnapshotPart.
func (SnapshotPart) Kind() Kind { return KindSnapshotPart }

const (
	flagResume  = 1
	flagEnded   = 2
	minKey      = minDot + 1
	maxDotBytes = 26
)

func (m Behind) size() int { return 10 + vectorSize(m.Cut) }

func (m Behind) appendFields(b []byte) []byte {
	return appendVector(binary.AppendUvarint(b, m.ID), m.Cut)
}

func (m SnapshotRequest) size() int {
	return 16 + vectorSize(m.Have) + m.After.size() + vectorSize(m.Ended)
}

func (m SnapshotRequest) appendFields(b []byte) []byte {
	b = binary.AppendUvarint(b, m.ID)
	var flags byte
	if m.Resume {
		flags |= flagResume
	}
	if m.Ended.Len() > 0 {
		flags |= flagEnded
	}
	b = append(b, flags)
	b = m.After.append(appendVector(b, m.Have))
	if m.Ended.Len() > 0 {
		b = appendVector(b, m.Ended)
	}
	return b
}

func readSnapshotRequest(r *crdt.Reader) SnapshotRequest {
	m := SnapshotRequest{ID: r.Uvarint()}
	flags := r.Byte()
	m.Resume = flags&flagResume != 0
	m.Have = r.Vector()
	m.After.read(r)
	if flags&flagEnded != 0 {
		m.Ended = r.Vector()
	}
	return m
}

func (k DocKey) size() int { return maxDotBytes + 3 + len(k.ID) }

func (k DocKey) append(b []byte) []byte {
	b = append(b, k.Collection.Replica[:]...)
	b = binary.AppendUvarint(b, k.Collection.Seq)
	return appendText(b, k.ID)
}

func (k *DocKey) read(r *crdt.Reader) {
	// The system collection's incarnation is the zero dot.
	k.Collection = crdt.Dot{Replica: r.Replica(), Seq: r.Uvarint()}
	k.ID = string(r.Bytes(MaxDocID))
}

func (m SnapshotPart) size() int {
	n := 64 + maxDotBytes + vectorSize(m.Have) + len(m.Refused)
	for i := range m.Tips {
		n += 24 + len(m.Tips[i].Change)
	}
	for i := range m.Docs {
		n += 8 + m.Docs[i].Key.size() + len(m.Docs[i].State)
	}
	for i := range m.Requests {
		n += crdt.RequestHashSize + 4 + len(m.Requests[i].Record)
	}
	return n
}

func (m SnapshotPart) appendFields(b []byte) []byte {
	b = binary.AppendUvarint(b, m.ID)
	var flags byte
	if m.Done || m.Refused != "" {
		flags |= flagDone
	}
	b = append(b, flags)
	b = appendText(b, clip(m.Refused))
	b = append(b, m.Sum[:]...)
	return m.AppendContent(b)
}

// AppendContent appends what Sum is made over.
func (m SnapshotPart) AppendContent(b []byte) []byte {
	b = appendVector(b, m.Have)
	b = binary.AppendUvarint(b, uint64(m.Forgotten))
	b = binary.AppendUvarint(b, m.Total)
	b = binary.AppendUvarint(b, uint64(len(m.Tips)))
	for i := range m.Tips {
		b = append(b, m.Tips[i].Chain[:]...)
		b = appendBytes(b, m.Tips[i].Change)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Docs)))
	for i := range m.Docs {
		b = m.Docs[i].Key.append(b)
		b = appendBytes(b, m.Docs[i].State)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Requests)))
	for i := range m.Requests {
		b = append(b, m.Requests[i].Key[:]...)
		b = appendBytes(b, m.Requests[i].Record)
	}
	return binary.AppendUvarint(append(b, m.Elsewhere.Replica[:]...), m.Elsewhere.Seq)
}

func readSnapshotPart(r *crdt.Reader) SnapshotPart {
	m := SnapshotPart{ID: r.Uvarint()}
	done := r.Byte()&flagDone != 0
	m.Refused = clip(string(r.Bytes(MaxText)))
	m.Done = done || m.Refused != ""
	m.Sum = [16]byte(r.Fixed(16))
	m.Have, m.Forgotten, m.Total = r.Vector(), crdt.Stamp(r.Uvarint()), r.Uvarint()
	if n := r.Count(MaxSnapshotTips, 17); n > 0 {
		m.Tips = make([]LogTip, n)
		for i := range m.Tips {
			m.Tips[i] = LogTip{Chain: [16]byte(r.Fixed(16)), Change: r.Bytes(crdt.MaxChangeBytes)}
		}
	}
	if n := r.Count(MaxSnapshotDocs, minKey+1); n > 0 {
		m.Docs = make([]SnapshotDoc, n)
		for i := range m.Docs {
			m.Docs[i].Key.read(r)
			m.Docs[i].State = r.Bytes(MaxDocState)
		}
	}
	if n := r.Count(MaxSnapshotRequests, crdt.RequestHashSize+1); n > 0 {
		m.Requests = make([]RequestRecord, n)
		for i := range m.Requests {
			m.Requests[i] = RequestRecord{Key: crdt.RequestHash(r.Fixed(crdt.RequestHashSize)), Record: r.Bytes(MaxRequestRecord)}
		}
	}
	m.Elsewhere = r.Dot()
	return m
}
