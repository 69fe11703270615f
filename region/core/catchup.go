package core

import (
	"fmt"
	"iter"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/wire"
)

// catchUpBytes is where a message of a catch-up stream is cut.
const catchUpBytes = 256 << 10

// CatchUp yields the messages that answer a request of the region to: the changes of the spans
// in an order that respects causality among them, so that the receiver can
// apply them as they come. The last one has Done set. If the log does not reach
// back so far, a wire.Behind comes before a refusal. reader must not change
// under it: use a snapshot.
func CatchUp(reader store.Reader, to string, id uint64, spans []crdt.Span) iter.Seq2[wire.Message, error] {
	return func(yield func(wire.Message, error) bool) {
		cut, err := durableCut(reader)
		if err != nil {
			yield(wire.CatchUp{ID: id, Done: true, Refused: err.Error()}, err)
			return
		}
		for _, s := range spans {
			if n := cut.Get(s.Replica); n >= s.From {
				why := fmt.Sprintf("the log of %v was cut up to %d, %d was asked for", s.Replica, n, s.From)
				_ = yield(wire.Behind{ID: id, Cut: cut}, nil) && yield(wire.CatchUp{ID: id, Done: true, Refused: why}, nil)
				return
			}
		}
		msg, size := wire.CatchUp{ID: id}, 0
		for encoded, err := range merged(reader, spans) {
			if err == nil {
				encoded, err = crdt.FormFor(encoded, to)
			}
			if err != nil {
				yield(wire.CatchUp{ID: id, Done: true, Refused: err.Error()}, err)
				return
			}
			if size > 0 && (size+len(encoded) > catchUpBytes || len(msg.Changes) == wire.MaxChanges) {
				if !yield(msg, nil) {
					return
				}
				msg, size = wire.CatchUp{ID: id}, 0
			}
			msg.Changes = append(msg.Changes, encoded)
			size += len(encoded)
		}
		msg.Done = true
		yield(msg, nil)
	}
}

// durableCut is what the log of a store does not have any more.
func durableCut(reader store.Reader) (crdt.Vector, error) {
	record, err := reader.Meta(metaCore)
	if err != nil || record == nil {
		return crdt.Vector{}, err
	}
	var c Core
	err = c.decodeMeta(record)
	return c.cut.vector, err
}

// A source is one origin's span while it is merged with the others.
type source struct {
	span crdt.Span
	next func() (store.LogEntry, error, bool)
	stop func()
	// The head is the next change to go out.
	encoded []byte
	deps    crdt.Vector
	seq     uint64
}

// pull moves to the next change of the span. It reports false at its end, which
// is where the log has nothing more.
func (s *source) pull() (bool, error) {
	e, err, ok := s.next()
	if !ok || err != nil {
		return false, err
	}
	if e.Dot.Seq != s.seq+1 {
		return false, fmt.Errorf("%w: the log of %v starts at %d, %d was asked for", ErrTrimmed, s.span.Replica, e.Dot.Seq, s.seq+1)
	}
	// The entry's memory is the scan's.
	s.encoded = append([]byte(nil), e.Change...)
	ch, _, err := crdt.DecodeChange(s.encoded)
	if err != nil {
		return false, err
	}
	s.deps, s.seq = ch.Deps, e.Dot.Seq
	return true, nil
}

// merged yields the encoded changes of several logs in causal order. A change
// goes out once what it depends on within the spans has gone out; what it
// depends on below them the receiver has, or gets elsewhere.
func merged(reader store.Reader, spans []crdt.Span) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		var sources []*source
		defer func() {
			for _, s := range sources {
				s.stop()
			}
		}()
		sent := map[crdt.ReplicaID]uint64{} // of spans that are still under way
		for _, span := range spans {
			if _, twice := sent[span.Replica]; twice || span.From == 0 || span.To < span.From {
				yield(nil, fmt.Errorf("%w: bad span %d to %d of %v", ErrNonsense, span.From, span.To, span.Replica))
				return
			}
			s := &source{span: span, seq: span.From - 1}
			s.next, s.stop = iter.Pull2(reader.Log(span.Replica, span.From, span.To))
			sources = append(sources, s)
			sent[span.Replica] = s.seq
			if !step(s, &sources, sent, yield) {
				return
			}
		}
		for len(sources) > 0 {
			s := due(sources, sent)
			if !yield(s.encoded, nil) {
				return
			}
			sent[s.span.Replica] = s.seq
			if !step(s, &sources, sent, yield) {
				return
			}
		}
	}
}

// step advances a source, and takes it out when it has ended.
func step(s *source, sources *[]*source, sent map[crdt.ReplicaID]uint64, yield func([]byte, error) bool) bool {
	more, err := s.pull()
	if err != nil {
		yield(nil, err)
		return false
	}
	if more {
		return true
	}
	s.stop()
	delete(sent, s.span.Replica)
	for i, x := range *sources {
		if x == s {
			*sources = append((*sources)[:i:i], (*sources)[i+1:]...)
			break
		}
	}
	return true
}

// due finds a source whose head depends on nothing that is still to go out.
// The heads' dependencies form no cycle, so there is one.
func due(sources []*source, sent map[crdt.ReplicaID]uint64) *source {
	for _, s := range sources {
		ready := true
		for r, seq := range sent {
			if r != s.span.Replica && s.deps.Get(r) > seq {
				ready = false
				break
			}
		}
		if ready {
			return s
		}
	}
	return sources[0]
}
