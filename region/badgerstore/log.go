package badgerstore

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/internal/record"
	"github.com/meridiandb/meridian/region/store"
)

// The log is kept in segments: what a batch appends to the log of one replica
// is one record, and is cut off as one.
//
//	l replica last count    count entries that follow on each other, up to last:
//	                        chain len(change) change …
//
// Segments do not overlap. last has 8 bytes and count 2, both big endian, so a
// seek to a number finds the segment that it is in.
const (
	segmentKeySize = 1 + len(crdt.ReplicaID{}) + 8 + 2
	// A segment is no longer than that, unless a single entry is: who reads one
	// entry reads it all.
	maxSegmentBytes   = 64 << 10
	maxSegmentEntries = 256
)

// A segment is what the key of one says.
type segment struct {
	replica     crdt.ReplicaID
	first, last uint64
}

func appendSegmentKey(b []byte, s segment) []byte {
	b = record.AppendLogKey(b, crdt.Dot{Replica: s.replica, Seq: s.last})
	return binary.BigEndian.AppendUint16(b, uint16(s.last-s.first+1))
}

func parseSegment(key []byte) (segment, error) {
	if len(key) != segmentKeySize {
		return segment{}, fmt.Errorf("%w: log segment under a key of %d bytes", store.ErrCorrupt, len(key))
	}
	last, count := record.LogDot(key), uint64(binary.BigEndian.Uint16(key[segmentKeySize-2:]))
	if count == 0 || count-1 > last.Seq {
		return segment{}, fmt.Errorf("%w: log segment of %d entries up to %v", store.ErrCorrupt, count, last)
	}
	return segment{last.Replica, last.Seq - (count - 1), last.Seq}, nil
}

func appendEntry(b []byte, e *store.LogPut) []byte {
	b = binary.AppendUvarint(append(b, e.Chain[:]...), uint64(len(e.Change)))
	return append(b, e.Change...)
}

// entries splits the value of a segment. What it yields shares the value's memory.
func (s segment) entries(value []byte) iter.Seq2[store.LogEntry, error] {
	return func(yield func(store.LogEntry, error) bool) {
		for n := range s.last - s.first + 1 {
			e := store.LogEntry{Dot: crdt.Dot{Replica: s.replica, Seq: s.first + n}}
			k := copy(e.Chain[:], value)
			size, m := binary.Uvarint(value[k:])
			if k < store.ChainSize || m <= 0 || size > uint64(len(value)-k-m) {
				yield(e, fmt.Errorf("%w: log segment is cut short at %v", store.ErrCorrupt, e.Dot))
				return
			}
			end := k + m + int(size)
			e.Change, value = value[k+m:end:end], value[end:]
			if e.Dot.Seq == s.last && len(value) > 0 {
				yield(e, fmt.Errorf("%w: %d bytes behind a log segment", store.ErrCorrupt, len(value)))
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// A logCommit turns what a batch does to the log into operations. What comes
// behind all that the log has of a replica becomes new segments; only where
// entries are removed or replaced are the segments looked at that have them.
type logCommit struct {
	s   *Store
	ops []record.Op
	// tips are the greatest numbers that the log has after it.
	tips map[crdt.ReplicaID]uint64
}

// A logPart is what a batch does to the log of one replica.
type logPart struct {
	puts  []store.LogPut
	trims []crdt.Span
}

func (s *Store) logCommit(b *store.Batch) (*logCommit, error) {
	c := &logCommit{s: s, tips: map[crdt.ReplicaID]uint64{}}
	parts := map[crdt.ReplicaID]*logPart{}
	part := func(r crdt.ReplicaID) *logPart {
		p := parts[r]
		if p == nil {
			p = &logPart{}
			parts[r] = p
		}
		return p
	}
	for i := range b.Log {
		p := part(b.Log[i].Dot.Replica)
		p.puts = append(p.puts, b.Log[i])
	}
	for _, span := range b.TrimLog {
		if span.From <= span.To {
			p := part(span.Replica)
			p.trims = append(p.trims, span)
		}
	}
	for replica, p := range parts {
		if err := c.add(replica, p); err != nil {
			return nil, fmt.Errorf("log of %v: %w", replica, err)
		}
	}
	return c, nil
}

// done notes, after the commit, how far the log goes now.
func (c *logCommit) done() { maps.Copy(c.s.tips, c.tips) }

func (c *logCommit) add(replica crdt.ReplicaID, p *logPart) error {
	tip, err := c.s.tip(replica)
	if err != nil {
		return err
	}
	last, touched := tip, slices.Clone(p.trims)
	for i := range p.puts {
		seq := p.puts[i].Dot.Seq
		if seq <= last {
			touched = append(touched, crdt.Span{Replica: replica, From: seq, To: seq})
		}
		last = max(last, seq)
	}
	c.tips[replica] = last
	puts := p.puts
	if len(touched) > 0 {
		kept, err := c.remove(replica, joined(touched))
		if err != nil {
			return err
		}
		puts = settle(append(kept, puts...), joined(p.trims))
	}
	c.write(puts)
	return nil
}

// joined sorts spans and joins those that meet.
func joined(spans []crdt.Span) []crdt.Span {
	slices.SortFunc(spans, func(a, b crdt.Span) int { return cmp.Compare(a.From, b.From) })
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && s.From <= out[n-1].To {
			out[n-1].To = max(out[n-1].To, s.To)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// within reports whether one of the joined spans has seq.
func within(spans []crdt.Span, seq uint64) bool {
	i, found := slices.BinarySearchFunc(spans, seq, func(s crdt.Span, seq uint64) int { return cmp.Compare(s.From, seq) })
	return found || i > 0 && seq <= spans[i-1].To
}

// settle puts entries into order. Of several with one number the last one
// counts, and none that is trimmed.
func settle(puts []store.LogPut, trims []crdt.Span) []store.LogPut {
	slices.SortStableFunc(puts, func(a, b store.LogPut) int { return cmp.Compare(a.Dot.Seq, b.Dot.Seq) })
	out := puts[:0]
	for i := range puts {
		seq := puts[i].Dot.Seq
		if i+1 < len(puts) && puts[i+1].Dot.Seq == seq || within(trims, seq) {
			continue
		}
		out = append(out, puts[i])
	}
	return out
}

// remove removes the segments that the joined spans touch, and returns what of
// them is outside.
func (c *logCommit) remove(replica crdt.ReplicaID, spans []crdt.Span) (kept []store.LogPut, err error) {
	txn := c.s.db.NewTransactionAt(c.s.readTs, false)
	defer txn.Discard()
	it := txn.NewIterator(badger.IteratorOptions{Prefix: record.AppendLogPrefix(nil, replica)})
	defer it.Close()
	var next uint64 // the segments before it are done
	for _, span := range spans {
		for it.Seek(record.AppendLogKey(nil, crdt.Dot{Replica: replica, Seq: max(span.From, next)})); it.Valid(); it.Next() {
			seg, err := parseSegment(it.Item().Key())
			if err != nil {
				return nil, err
			}
			if seg.first > span.To {
				break
			}
			c.ops = append(c.ops, record.Op{Key: it.Item().KeyCopy(nil), Remove: true})
			next = seg.last + 1
			if span.From > seg.first || span.To < seg.last {
				if kept, err = seg.outside(kept, spans, txn, it.Item()); err != nil {
					return nil, err
				}
			}
		}
	}
	return kept, nil
}

// outside appends the entries of a segment that the joined spans do not have.
func (s segment) outside(kept []store.LogPut, spans []crdt.Span, txn *badger.Txn, item *badger.Item) ([]store.LogPut, error) {
	value, err := appendValue(nil, txn, item)
	if err != nil {
		return nil, err
	}
	for e, err := range s.entries(value) {
		if err != nil {
			return nil, err
		}
		if !within(spans, e.Dot.Seq) {
			kept = append(kept, store.LogPut(e))
		}
	}
	return kept, nil
}

// write makes segments of entries that are in order.
func (c *logCommit) write(puts []store.LogPut) {
	for len(puts) > 0 {
		n, bytes := 1, entrySize(&puts[0])
		for n < min(len(puts), maxSegmentEntries) && puts[n].Dot.Seq == puts[n-1].Dot.Seq+1 {
			size := entrySize(&puts[n])
			if bytes+size > maxSegmentBytes {
				break
			}
			bytes += size
			n++
		}
		b := make([]byte, 0, segmentKeySize+bytes)
		b = appendSegmentKey(b, segment{puts[0].Dot.Replica, puts[0].Dot.Seq, puts[n-1].Dot.Seq})
		for i := range puts[:n] {
			b = appendEntry(b, &puts[i])
		}
		c.ops = append(c.ops, record.Op{Key: b[:segmentKeySize:segmentKeySize], Value: b[segmentKeySize:]})
		puts = puts[n:]
	}
}

// entrySize is how much an entry takes in a segment at the most.
func entrySize(e *store.LogPut) int { return store.ChainSize + binary.MaxVarintLen32 + len(e.Change) }

// tip is a number above which the log has nothing of a replica.
func (s *Store) tip(replica crdt.ReplicaID) (uint64, error) {
	if tip, ok := s.tips[replica]; ok {
		return tip, nil
	}
	txn := s.db.NewTransactionAt(s.readTs, false)
	defer txn.Discard()
	prefix := record.AppendLogPrefix(nil, replica)
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: true})
	defer it.Close()
	it.Seek(append(record.AppendLogKey(nil, crdt.Dot{Replica: replica, Seq: math.MaxUint64}), 0xff, 0xff))
	if !it.Valid() {
		return 0, nil
	}
	seg, err := parseSegment(it.Item().Key())
	return seg.last, err
}

// Log implements store.Reader.
func (v view) Log(replica crdt.ReplicaID, from, to uint64) iter.Seq2[store.LogEntry, error] {
	return func(yield func(store.LogEntry, error) bool) {
		r := logReader{v: v, from: from, to: to, yield: yield}
		prefix := record.AppendLogPrefix(nil, replica)
		err := v.scan(prefix, record.AppendLogKey(nil, crdt.Dot{Replica: replica, Seq: from}), r.segment)
		if r.err == nil {
			r.err = err
		}
		if r.err != nil && !r.stopped {
			yield(store.LogEntry{}, r.err)
		}
	}
}

// A logReader yields the entries of segments, one by one.
type logReader struct {
	v        view
	from, to uint64
	yield    func(store.LogEntry, error) bool
	buf      []byte
	err      error
	stopped  bool
}

func (r *logReader) segment(txn *badger.Txn, item *badger.Item) bool {
	var seg segment
	if seg, r.err = parseSegment(item.Key()); r.err != nil || seg.first > r.to {
		return false
	}
	if r.buf, r.err = appendValue(r.buf[:0], txn, item); r.err != nil {
		return false
	}
	for e, err := range seg.entries(r.buf) {
		if err != nil {
			r.err = err
			return false
		}
		switch {
		case e.Dot.Seq < r.from:
			continue
		case e.Dot.Seq > r.to:
			return false
		case e.Dot.Seq > max(r.from, seg.first) && r.v.ended():
			r.err = store.ErrClosed
			return false
		}
		if r.stopped = !r.yield(e, nil); r.stopped {
			return false
		}
	}
	return true
}

// LogChain implements store.Reader.
func (v view) LogChain(dot crdt.Dot) (chain [store.ChainSize]byte, ok bool, err error) {
	for e, err := range v.Log(dot.Replica, dot.Seq, dot.Seq) {
		return e.Chain, err == nil, err
	}
	return chain, false, nil
}
