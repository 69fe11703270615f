package core

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/wire"
)

// A snapshot is all documents of one store at one vector, in the order of their
// keys: the system collection, then the others in the order of their
// incarnations. See bootstrap for how one is taken.

// SnapshotBytes is where a message of a snapshot should be cut.
const SnapshotBytes = 256 << 10

// Snapshot yields the messages by which the region from answers a request of the
// region to for a snapshot: of the collections that both hold. reader must
// not change under it: use a snapshot of the store. total is about how many
// bytes all documents have; a message is cut at limit.
func Snapshot(reader store.Reader, from, to string, q wire.SnapshotRequest, total uint64, limit int) iter.Seq2[wire.Message, error] {
	return func(yield func(wire.Message, error) bool) {
		s := snapshotter{id: q.ID, from: from, to: to, reader: reader, yield: yield, total: total, limit: limit}
		if err := s.send(q); err != nil && !errors.Is(err, errReceiver) {
			yield(wire.SnapshotPart{ID: q.ID, Done: true, Refused: err.Error()}, err)
		}
	}
}

// errReceiver ends a snapshot that is not wanted any more.
var errReceiver = errors.New("the receiver has gone")

type snapshotter struct {
	id        uint64
	from, to  string
	catalog   *Catalog
	reader    store.Reader
	yield     func(wire.Message, error) bool
	total     uint64
	limit     int
	have      crdt.Vector
	forgotten crdt.Stamp
	part      wire.SnapshotPart
	size      int
	sum       snapshotSum
}

func (s *snapshotter) send(q wire.SnapshotRequest) error {
	record, err := s.reader.Meta(metaCore)
	if err != nil {
		return err
	}
	var c Core
	if record == nil {
		return errors.New("this region holds nothing yet")
	}
	if err := c.decodeMeta(record); err != nil {
		return err
	}
	switch {
	case c.boot.phase != bootNone:
		return errors.New("this region takes a snapshot itself")
	case !c.have.Covers(q.Have):
		return fmt.Errorf("this region lacks %d changes of the one that asks", c.have.Lacks(q.Have))
	}
	s.have, s.forgotten = c.have, c.forgotten
	c.catalog, c.reader, c.inbox, c.claims = newCatalog(), s.reader, newInbox(0), map[string]crdt.ReplicaID{}
	if err := c.loadCatalog(); err != nil {
		return err
	}
	s.catalog = c.catalog
	if !s.catalog.ended.Join(s.catalog.brought).Covers(q.Ended) {
		return errors.New("this region has still to hear of the removal of one")
	}
	base := q.Have
	if !q.Resume {
		base = s.have
		if err := s.tips(); err != nil {
			return err
		}
	}
	collections, err := snapshotCollections(s.reader, base)
	if err != nil {
		return err
	}
	for _, col := range collections {
		if !s.held(col, s.to) {
			continue
		}
		after := ""
		if q.Resume {
			switch d := col.Compare(q.After.Collection); {
			case d < 0:
				continue
			case d == 0:
				after = q.After.ID
			}
		}
		if !s.held(col, s.from) {
			s.part.Elsewhere = col
			return s.flush()
		}
		if err := s.documents(col, after); err != nil {
			return err
		}
	}
	if err := s.requests(); err != nil {
		return err
	}
	s.part.Done = true
	return s.flush()
}

func (s *snapshotter) held(collection crdt.Dot, region string) bool {
	col := s.catalog.byDot[collection]
	return col == nil || col.Settings.HeldBy(region)
}

// requests sends what is remembered of requests, so that they are known again.
func (s *snapshotter) requests() error {
	for e, err := range s.reader.MetaRange(requestPrefix, "") {
		if err != nil {
			return err
		}
		name := e.Name[len(requestPrefix):]
		if len(name) != crdt.RequestHashSize {
			return fmt.Errorf("%w: the record %q", store.ErrCorrupt, e.Name)
		}
		q, err := decodeRequest(e.Value)
		if err != nil {
			return fmt.Errorf("%w: the record %q: %w", store.ErrCorrupt, e.Name, err)
		}
		if slices.ContainsFunc(q.docs, func(d requestDoc) bool { return !s.held(d.collection, s.to) }) {
			continue
		}
		if err := s.room(len(e.Name) + len(e.Value)); err != nil {
			return err
		}
		s.part.Requests = append(s.part.Requests, wire.RequestRecord{Key: crdt.RequestHash([]byte(name)), Record: slices.Clone(e.Value)})
	}
	return nil
}

// tips sends the last change of each replica, so that the logs can go on.
func (s *snapshotter) tips() error {
	for r, seq := range s.have.All() {
		found := false
		for l, err := range s.reader.Log(r, seq, seq) {
			if err != nil {
				return err
			}
			found = true
			form, err := crdt.FormFor(l.Change, s.to)
			if err != nil {
				return err
			}
			tip := wire.LogTip{Chain: l.Chain, Change: slices.Clone(form)}
			if err := s.room(len(tip.Change)); err != nil {
				return err
			}
			s.part.Tips = append(s.part.Tips, tip)
		}
		if !found {
			return fmt.Errorf("%w: the log lacks change %d of %v", store.ErrCorrupt, seq, r)
		}
	}
	return s.flush()
}

func (s *snapshotter) documents(col crdt.Dot, after string) error {
	for d, err := range s.reader.Docs(col, "", after) {
		if err != nil {
			return err
		}
		if len(d.State) > wire.MaxDocState {
			return fmt.Errorf("document %q of %v has %d bytes, at most %d can be sent", d.ID, col, len(d.State), wire.MaxDocState)
		}
		if err := s.room(len(d.ID) + len(d.State)); err != nil {
			return err
		}
		s.part.Docs = append(s.part.Docs, wire.SnapshotDoc{
			Key: wire.DocKey{Collection: col, ID: d.ID}, State: slices.Clone(d.State),
		})
	}
	return nil
}

// room sends what is there if so many bytes more were too much.
func (s *snapshotter) room(n int) error {
	if full := s.size > 0 && s.size+n > s.limit; full || len(s.part.Docs) == wire.MaxSnapshotDocs ||
		len(s.part.Tips) == wire.MaxSnapshotTips || len(s.part.Requests) == wire.MaxSnapshotRequests {
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.size += n
	return nil
}

func (s *snapshotter) flush() error {
	p := s.part
	p.ID, p.Have, p.Forgotten, p.Total = s.id, s.have, s.forgotten, s.total
	p.Sum = s.sum.next(&p)
	s.part, s.size = wire.SnapshotPart{}, 0
	if !s.yield(p, nil) {
		return errReceiver
	}
	return nil
}

// A snapshotSum is the checksum over the parts of an answer so far.
type snapshotSum [16]byte

// next returns the checksum with one more part.
func (s *snapshotSum) next(p *wire.SnapshotPart) [16]byte {
	h := sha256.New()
	h.Write(s[:])
	h.Write(p.AppendContent(nil))
	copy(s[:], h.Sum(nil))
	return *s
}

// snapshotCollections lists the collections that a vector knows, in the order of
// a snapshot.
func snapshotCollections(reader store.Reader, base crdt.Vector) ([]crdt.Dot, error) {
	all, err := StoredCollections(reader)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(d crdt.Dot) bool { return !d.IsZero() && !base.Contains(d) })
	slices.SortFunc(all, crdt.Dot.Compare)
	return all, nil
}
