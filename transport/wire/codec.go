package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
)

// Errors of the codec.
var (
	// ErrCorrupt: bytes that no correct peer sends.
	ErrCorrupt = errors.New("corrupt message")
	// ErrUnknownKind: a message of a kind that this version does not know. It is
	// to be passed over.
	ErrUnknownKind = errors.New("unknown kind of message")
	// ErrTooLarge: a message that is beyond the bounds, and would not be taken.
	ErrTooLarge = errors.New("message too large")
)

// The least sizes of encoded records, for bounds on their number.
const (
	minDot    = 17 // replica, seq
	minRecord = 2  // length, and something
)

// Size is a bound on the number of bytes that m takes, and not far from it. It
// is cheap.
func Size(m Message) int { return 1 + m.size() }

// Check says whether m keeps the bounds of this package, so that a peer will
// take it. The error wraps ErrTooLarge.
func Check(m Message) error {
	over := func(what string, n, limit int) error {
		if n <= limit {
			return nil
		}
		return fmt.Errorf("%w: %d %s in a message of kind %s, at most %d are allowed", ErrTooLarge, n, what, m.Kind(), limit)
	}
	var err error
	if p, ok := m.(*Packed); ok {
		m = p.Message
	}
	switch m := m.(type) {
	case Changes:
		err = over("changes", len(m.Changes), MaxChanges)
	case CatchUp:
		err = over("changes", len(m.Changes), MaxChanges)
	case Request:
		err = over("spans", len(m.Spans), MaxSpans)
	case Status:
		err = over("reports", len(m.Reports), MaxReports)
	case Acks:
		err = over("acks", len(m.Acks), MaxReports)
	case DigestReply:
		err = over("digests", len(m.Digests), MaxDigests)
	case Presence:
		err = over("bytes of data", len(m.Data), MaxPresence)
	case Forward:
		err = over("bytes of request", len(m.Request), MaxForwarded)
	case Forwarded:
		err = over("bytes of response", len(m.Response), MaxForwarded)
	case Hello:
		err = over("tips", len(m.Tips), crdt.MaxReplicas)
	case SnapshotPart:
		err = errors.Join(over("documents", len(m.Docs), MaxSnapshotDocs), over("tips", len(m.Tips), MaxSnapshotTips),
			over("requests", len(m.Requests), MaxSnapshotRequests))
	}
	if err != nil {
		return err
	}
	return over("bytes", Size(m), MaxMessage)
}

// Append appends the encoding of m, without a length before it.
func Append(b []byte, m Message) []byte {
	return m.appendFields(append(b, byte(m.Kind())))
}

// Decode reads a message. Byte slices in it share b's memory. The error wraps
// ErrUnknownKind or ErrCorrupt.
func Decode(b []byte) (Message, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: empty", ErrCorrupt)
	}
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrCorrupt, len(b), MaxMessage)
	}
	r := crdt.NewReader(b[1:])
	var m Message
	switch k := Kind(b[0]); k {
	case KindHello:
		m = readHello(r)
	case KindChanges:
		m = Changes{Changes: readChanges(r)}
	case KindAck:
		m = Ack{Have: r.Vector()}
	case KindStatus:
		m = readStatus(r)
	case KindRequest:
		m = readRequest(r)
	case KindCatchUp:
		m = readCatchUp(r)
	case KindAwait:
		m = Await{Origin: string(r.Bytes(MaxName)), Want: r.Vector()}
	case KindAcks:
		m = readAcks(r)
	case KindVectorQuery:
		m = VectorQuery{Origin: string(r.Bytes(MaxName)), Session: r.Replica(), ID: r.Uvarint()}
	case KindVectorReply:
		m = readVectorReply(r)
	case KindShareRequest:
		m = readShareRequest(r)
	case KindDocQuery:
		m = readDocQuery(r)
	case KindDocReply:
		m = readDocReply(r)
	case KindRemoved:
		m = readRemoved(r)
	case KindDigestQuery:
		m = readDigestQuery(r)
	case KindDigestReply:
		m = readDigestReply(r)
	case KindPresence:
		m = readPresence(r)
	case KindForward:
		m = readForward(r)
	case KindForwarded:
		m = readForwarded(r)
	case KindBehind:
		m = Behind{ID: r.Uvarint(), Cut: r.Vector()}
	case KindSnapshotRequest:
		m = readSnapshotRequest(r)
	case KindSnapshotPart:
		m = readSnapshotPart(r)
	default:
		return nil, fmt.Errorf("%w: %d", ErrUnknownKind, byte(k))
	}
	// What follows are fields of a later version.
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, m.Kind(), err)
	}
	return m, nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendBytes(b, s []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendVector(b []byte, v crdt.Vector) []byte {
	b, _ = v.AppendBinary(b) // it has no error to return
	return b
}

// appendRecord puts the length of what f appends before it.
func appendRecord(b []byte, f func([]byte) []byte) []byte {
	start := len(b)
	b = f(b)
	var head [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(head[:], uint64(len(b)-start))
	b = append(b, head[:n]...)
	copy(b[start+n:], b[start:len(b)-n])
	copy(b[start:], head[:n])
	return b
}

// readRecord calls f with a reader of the next record's bytes.
func readRecord(r *crdt.Reader, f func(*crdt.Reader)) {
	inner := crdt.NewReader(r.Bytes(MaxMessage))
	f(inner)
	if inner.Err() != nil {
		r.Fail("bad record")
	}
}

func (m Hello) size() int {
	return 64 + len(m.Cluster) + len(m.Region) + vectorSize(m.Have) + len(m.Tips)*(minDot+26)
}

func (m Hello) appendFields(b []byte) []byte {
	b = binary.AppendUvarint(b, m.MinVersion)
	b = binary.AppendUvarint(b, m.MaxVersion)
	b = appendText(b, m.Cluster)
	b = appendText(b, m.Region)
	b = append(b, m.Replica[:]...)
	b = appendVector(b, m.Have)
	b = binary.AppendUvarint(b, uint64(len(m.Tips)))
	for _, t := range m.Tips {
		b = appendRecord(b, func(b []byte) []byte {
			b = append(b, t.Replica[:]...)
			b = binary.AppendUvarint(b, t.Seq)
			return append(b, t.Hash[:]...)
		})
	}
	b = binary.AppendVarint(b, m.Now)
	return append(b, flags(m.Lists, m.Copying))
}

// flags packs what is true or false into a byte, the first in its lowest bit.
func flags(is ...bool) (b byte) {
	for i, set := range is {
		if set {
			b |= 1 << i
		}
	}
	return b
}

func readHello(r *crdt.Reader) Hello {
	m := Hello{
		MinVersion: r.Uvarint(), MaxVersion: r.Uvarint(),
		Cluster: string(r.Bytes(MaxName)), Region: string(r.Bytes(MaxName)),
		Replica: r.Replica(), Have: r.Vector(),
	}
	if n := r.Count(crdt.MaxReplicas, minRecord+minDot); n > 0 {
		m.Tips = make([]Tip, n)
		for i := range m.Tips {
			readRecord(r, func(r *crdt.Reader) {
				m.Tips[i] = Tip{Replica: r.Replica(), Seq: r.Uvarint(), Hash: [16]byte(r.Fixed(16))}
			})
		}
	}
	m.Now = r.Varint()
	is := r.Byte()
	m.Lists, m.Copying = is&1 != 0, is&2 != 0
	if r.Err() == nil && (m.MinVersion == 0 || m.MaxVersion < m.MinVersion) {
		r.Fail("bad version range")
	}
	return m
}

func (m Changes) size() int { return 4 + changesSize(m.Changes) }

func (m Changes) appendFields(b []byte) []byte { return appendChanges(b, m.Changes) }

func appendChanges(b []byte, changes [][]byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(changes)))
	for _, c := range changes {
		b = appendBytes(b, c)
	}
	return b
}

func readChanges(r *crdt.Reader) [][]byte {
	n := r.Count(MaxChanges, minRecord)
	if n == 0 {
		return nil
	}
	changes := make([][]byte, n)
	for i := range changes {
		if changes[i] = r.Bytes(crdt.MaxChangeBytes); len(changes[i]) == 0 {
			r.Fail("empty change")
			return nil
		}
	}
	return changes
}

func changesSize(changes [][]byte) int {
	n := 0
	for _, c := range changes {
		n += len(c) + 4
	}
	return n
}

func vectorSize(v crdt.Vector) int { return 3 + 26*v.Len() }

func (m Ack) size() int { return vectorSize(m.Have) }

func (m Ack) appendFields(b []byte) []byte { return appendVector(b, m.Have) }

func (m Status) size() int {
	n := 4
	for i := range m.Reports {
		x := &m.Reports[i]
		n += 59 + len(x.Region) + vectorSize(x.Have) + digest.Size + len(x.Wants)*(maxDotBytes+8)
		for _, l := range x.Links {
			n += 2 + len(l)
		}
	}
	return n
}

func (m Status) appendFields(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(m.Reports)))
	for i := range m.Reports {
		b = appendRecord(b, m.Reports[i].append)
	}
	return b
}

func (x *Report) append(b []byte) []byte {
	b = appendText(b, x.Region)
	b = append(b, x.Replica[:]...)
	b = binary.AppendUvarint(b, x.Seq)
	b = appendVector(b, x.Have)
	b = binary.AppendUvarint(b, uint64(len(x.Links)))
	for _, l := range x.Links {
		b = appendText(b, l)
	}
	b = x.Digest.Append(binary.AppendVarint(b, x.Now))
	b = binary.AppendUvarint(append(b, flags(x.Settled, x.Copying, x.Founder)), uint64(len(x.Wants)))
	for _, w := range x.Wants {
		b = binary.AppendUvarint(append(b, w.Dot.Replica[:]...), w.Dot.Seq)
		b = binary.BigEndian.AppendUint64(b, w.Regions)
	}
	return b
}

func readStatus(r *crdt.Reader) Status {
	var m Status
	if n := r.Count(MaxReports, minRecord+minDot); n > 0 {
		m.Reports = make([]Report, n)
		for i := range m.Reports {
			readRecord(r, m.Reports[i].read)
		}
	}
	return m
}

func (x *Report) read(r *crdt.Reader) {
	x.Region, x.Replica, x.Seq = string(r.Bytes(MaxName)), r.Replica(), r.Uvarint()
	x.Have = r.Vector()
	if n := r.Count(MaxReports, 1); n > 0 {
		x.Links = make([]string, n)
		for i := range x.Links {
			x.Links[i] = string(r.Bytes(MaxName))
		}
	}
	x.Now = r.Varint()
	if len(r.Rest()) > 0 {
		x.Digest = digest.Read(r)
	}
	if len(r.Rest()) == 0 {
		return
	}
	is := r.Byte()
	x.Settled, x.Copying, x.Founder = is&1 != 0, is&2 != 0, is&4 != 0
	if n := r.Count(MaxWants, minDot+8); n > 0 {
		x.Wants = make([]Want, n)
		for i := range x.Wants {
			x.Wants[i] = Want{Dot: r.Dot(), Regions: binary.BigEndian.Uint64(r.Fixed(8))}
		}
	}
}

func (m Request) size() int { return 14 + len(m.Spans)*36 }

func (m Request) appendFields(b []byte) []byte {
	b = binary.AppendUvarint(b, m.ID)
	b = binary.AppendUvarint(b, uint64(len(m.Spans)))
	for _, s := range m.Spans {
		b = append(b, s.Replica[:]...)
		b = binary.AppendUvarint(b, s.From)
		b = binary.AppendUvarint(b, s.To-s.From)
	}
	return b
}

func readRequest(r *crdt.Reader) Request {
	m := Request{ID: r.Uvarint()}
	if n := r.Count(MaxSpans, minDot+1); n > 0 {
		m.Spans = make([]crdt.Span, n)
		for i := range m.Spans {
			s := &m.Spans[i]
			s.Replica, s.From = r.Replica(), r.Uvarint()
			s.To = s.From + r.Uvarint()
			if r.Err() == nil && (s.From == 0 || s.To < s.From) {
				r.Fail("bad span")
			}
		}
	}
	return m
}

const flagDone = 1

// clip cuts a text for people to what may be sent.
func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), MaxText)], "")
}

func (m CatchUp) size() int { return 16 + changesSize(m.Changes) + len(m.Refused) }

func (m CatchUp) appendFields(b []byte) []byte {
	b = binary.AppendUvarint(b, m.ID)
	var flags byte
	if m.Done || m.Refused != "" {
		flags |= flagDone
	}
	b = append(b, flags)
	b = appendText(b, clip(m.Refused))
	return appendChanges(b, m.Changes)
}

func readCatchUp(r *crdt.Reader) CatchUp {
	m := CatchUp{ID: r.Uvarint()}
	done := r.Byte()&flagDone != 0
	m.Refused = clip(string(r.Bytes(MaxText)))
	m.Done = done || m.Refused != ""
	m.Changes = readChanges(r)
	return m
}
