package automerge

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/crdt"
)

const stateFormat = 1

// Flags of an encoded state.
const (
	flagBase = 1 << iota
	flagForked
	stateFlags = flagBase | flagForked
)

// Flags of an encoded content.
const (
	flagBranched = 1 << iota
	// flagMarks: some change is covered, or has several carriers.
	flagMarks
	contentFlags = flagBranched | flagMarks
)

// Bounds of the decoder.
const (
	maxStateBytes = 1 << 30
	maxActorBytes = 128
	maxCarriers   = 1 << 16
)

// AppendBinary appends a format version, the heads, the era, what lives, and what
// was set aside.
func (s *State) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, stateFormat)
	b, err := s.heads.AppendBinary(b)
	if err != nil {
		return nil, err
	}
	var flags byte
	if s.base != nil {
		flags |= flagBase
	}
	if s.forked {
		flags |= flagForked
	}
	b = append(b, flags)
	b = appendDot(b, s.era)
	b = s.live.appendBinary(b)
	if s.base != nil {
		b = s.base.appendBinary(b)
	}
	b = binary.AppendUvarint(b, uint64(len(s.loose)))
	for _, l := range s.loose {
		b = appendBytes(b, l.raw)
		b = appendCarriers(b, l.carriers)
	}
	return appendDots(b, s.fresh), nil
}

func appendDot(b []byte, d crdt.Dot) []byte {
	b = append(b, d.Replica[:]...)
	return binary.AppendUvarint(b, d.Seq)
}

func appendBytes(b, s []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }

// appendCarriers writes the carriers of a change by themselves.
func appendCarriers(b []byte, cs []carrier) []byte {
	b = binary.AppendUvarint(b, uint64(len(cs)))
	for _, c := range cs {
		b = appendDot(b, c.dot)
		b = binary.AppendUvarint(b, uint64(c.stamp))
		b = appendDots(b, c.covers)
	}
	return b
}

func appendDots(b []byte, ds []crdt.Dot) []byte {
	b = binary.AppendUvarint(b, uint64(len(ds)))
	for _, d := range ds {
		b = appendDot(b, d)
	}
	return b
}

// readDots reads dots in order.
func readDots(r *crdt.Reader) []crdt.Dot {
	n := r.Count(maxCarriers, 17)
	if n == 0 {
		return nil
	}
	ds := make([]crdt.Dot, n)
	for i := range ds {
		ds[i] = r.Dot()
		if ds[i].IsZero() || i > 0 && ds[i-1].Compare(ds[i]) >= 0 {
			r.Fail("dots out of order")
		}
	}
	return ds
}

func bit(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func readCarriers(r *crdt.Reader) []carrier {
	cs := make([]carrier, r.Count(maxCarriers, 19))
	for i := range cs {
		cs[i] = carrier{dot: r.Dot(), stamp: crdt.Stamp(r.Uvarint()), covers: readDots(r)}
		if cs[i].dot.IsZero() || i > 0 && compareCarriers(cs[i-1], cs[i]) >= 0 {
			r.Fail("carriers out of order")
		}
	}
	if len(cs) == 0 {
		r.Fail("a change that nothing brought")
	}
	return cs
}

func (c *content) appendBinary(b []byte) []byte {
	var replicas []crdt.ReplicaID
	marks := false
	var covers coverSets
	for i := range c.log {
		for _, e := range c.log[i].entries {
			by := e.carriers[0]
			replicas = appendReplica(replicas, by.dot.Replica)
			marks = marks || len(by.covers) > 0 || len(e.carriers) > 1
			covers.ref(by.covers)
		}
	}
	flags := bit(c.branched) * flagBranched
	if marks {
		flags |= flagMarks
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(c.ops))
	b = appendBytes(b, c.snapshot)
	b = appendBytes(b, c.tail)
	b = binary.AppendUvarint(b, uint64(len(c.heads)))
	for _, h := range c.heads {
		b = append(b, h[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(replicas)))
	for _, r := range replicas {
		b = append(b, r[:]...)
	}
	if marks {
		b = binary.AppendUvarint(b, uint64(len(covers)))
		for _, set := range covers {
			b = appendDots(b, set)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(c.log)))
	for i := range c.log {
		b = c.log[i].append(b, replicas, marks, &covers)
	}
	return b
}

// coverSets numbers the few different sets of mutations that cover changes.
type coverSets [][]crdt.Dot

// ref returns the number of a set; that of the empty one is 0.
func (s *coverSets) ref(covers []crdt.Dot) uint64 {
	if len(covers) == 0 {
		return 0
	}
	for i := len(*s) - 1; i >= 0; i-- {
		if slices.Equal((*s)[i], covers) {
			return uint64(i) + 1
		}
	}
	*s = append(*s, covers)
	return uint64(len(*s))
}

func appendReplica(rs []crdt.ReplicaID, r crdt.ReplicaID) []crdt.ReplicaID {
	if i, found := slices.BinarySearchFunc(rs, r, crdt.ReplicaID.Compare); !found {
		return slices.Insert(rs, i, r)
	}
	return rs
}

// append writes an actor's entries, each as its difference to the one before.
func (l *actorLog) append(b []byte, replicas []crdt.ReplicaID, marks bool, covers *coverSets) []byte {
	b = appendBytes(b, []byte(l.actor))
	b = binary.AppendUvarint(b, uint64(len(l.entries)))
	var last entry
	var was carrier
	for _, e := range l.entries {
		by := e.carriers[0]
		i, _ := slices.BinarySearchFunc(replicas, by.dot.Replica, crdt.ReplicaID.Compare)
		b = binary.AppendUvarint(b, e.startOp-last.startOp)
		b = binary.AppendUvarint(b, uint64(i))
		b = binary.AppendVarint(b, int64(by.dot.Seq-was.dot.Seq))
		b = binary.AppendVarint(b, int64(by.stamp-was.stamp))
		if marks {
			b = binary.AppendUvarint(b, covers.ref(by.covers))
			b = binary.AppendUvarint(b, uint64(len(e.carriers)-1))
			if len(e.carriers) > 1 {
				b = appendCarriers(b, e.carriers[1:])
			}
		}
		last, was = e, by
	}
	return b
}

func readLog(r *crdt.Reader, replicas []crdt.ReplicaID, marks bool, covers coverSets) actorLog {
	l := actorLog{actor: string(r.Bytes(maxActorBytes))}
	n := r.Count(peerLimits.Changes, 4)
	if r.Err() != nil || l.actor == "" || n == 0 {
		r.Fail("bad actor")
		return l
	}
	l.entries = make([]entry, n)
	first := make([]carrier, n)
	startOp := uint64(0)
	var was carrier
	for i := range l.entries {
		startOp += r.Uvarint()
		k := r.Uvarint()
		if k >= uint64(len(replicas)) {
			r.Fail("bad replica reference")
			return l
		}
		by := carrier{dot: crdt.Dot{Replica: replicas[k], Seq: was.dot.Seq + uint64(r.Varint())}, stamp: was.stamp + crdt.Stamp(r.Varint())}
		if by.dot.Seq == 0 || startOp == 0 {
			r.Fail("bad change")
		}
		first[i], was = by, by
		l.entries[i] = entry{startOp: startOp, carriers: first[i : i+1 : i+1]}
		if marks {
			k := r.Uvarint()
			if k > uint64(len(covers)) {
				r.Fail("bad reference")
				return l
			}
			if k > 0 {
				first[i].covers = covers[k-1]
			}
			if more := r.Uvarint(); more > 0 {
				rest := readCarriers(r)
				if uint64(len(rest)) != more || compareCarriers(first[i], rest[0]) >= 0 {
					r.Fail("carriers out of order")
				}
				l.entries[i].carriers = append(l.entries[i].carriers, rest...)
			}
		}
		if r.Err() != nil {
			return l
		}
	}
	return l
}

func readContent(r *crdt.Reader) *content {
	flags := r.Byte()
	if flags&^contentFlags != 0 {
		r.Fail("bad flags")
	}
	c := &content{branched: flags&flagBranched != 0, ops: int(r.Uvarint() & (1<<40 - 1))}
	c.snapshot = bytes.Clone(r.Bytes(maxStateBytes))
	c.tail = bytes.Clone(r.Bytes(maxStateBytes))
	if n := r.Count(maxCarriers, len(Hash{})); n > 0 {
		c.heads = make([]Hash, n)
		for i := range c.heads {
			copy(c.heads[i][:], r.Fixed(len(Hash{})))
			if i > 0 && compareHashes(c.heads[i-1], c.heads[i]) >= 0 {
				r.Fail("heads out of order")
			}
		}
	}
	replicas := make([]crdt.ReplicaID, r.Count(crdt.MaxReplicas, 16))
	for i := range replicas {
		replicas[i] = r.Replica()
	}
	marks := flags&flagMarks != 0
	var covers coverSets
	if marks {
		for range r.Count(maxCarriers, 1) {
			covers = append(covers, readDots(r))
		}
	}
	c.log = make([]actorLog, r.Count(peerLimits.Changes, 3))
	for i := range c.log {
		c.log[i] = readLog(r, replicas, marks, covers)
		if i > 0 && c.log[i-1].actor >= c.log[i].actor {
			r.Fail("actors out of order")
		}
		if r.Err() != nil {
			break
		}
	}
	return c
}

// Decode reads what AppendBinary writes. It keeps nothing of b. What lives of a
// document that exists is loaded, so that a damaged one is noticed here. Errors
// wrap crdt.ErrCorrupt.
func Decode(b []byte) (*State, error) {
	s, err := Peek(b)
	if err != nil || !s.heads.Visible() {
		return s, err
	}
	h, err := s.live.open()
	if err != nil {
		return nil, corrupt("%v", err)
	}
	s.live.give(h)
	return s, nil
}

// Peek is Decode for who only asks about changes and their hashes: it does not
// find out whether the document can be loaded.
func Peek(b []byte) (*State, error) {
	r := crdt.NewReader(b)
	if f := r.Byte(); r.Err() == nil && f != stateFormat {
		return nil, fmt.Errorf("%w: Automerge state format %d is not known here", crdt.ErrCorrupt, f)
	}
	s := &State{heads: r.Heads()}
	flags := r.Byte()
	if flags&^stateFlags != 0 {
		r.Fail("bad flags")
	}
	s.era = r.Dot()
	s.live = readContent(r)
	if flags&flagBase != 0 && r.Err() == nil {
		s.base = readContent(r)
	}
	s.forked = flags&flagForked != 0
	for range r.Count(peerLimits.Changes, 20) {
		s.loose = append(s.loose, loose{raw: bytes.Clone(r.Bytes(crdt.MaxChangeBytes)), carriers: readCarriers(r)})
		if r.Err() != nil {
			break
		}
	}
	s.fresh = readDots(r)
	if s.forked && s.base != nil {
		r.Fail("forks are kept aside by themselves")
	}
	if err := r.Done(); err != nil {
		return nil, err
	}
	return s, nil
}
