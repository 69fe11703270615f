package core

import (
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// overruled records that a deletion wins over a write, neither of which had
// seen the other. Nothing of the write stays in the document: the record is
// what is left of it, one for each write, so that it has the same id in
// whatever order the two arrive. unknown as the value says that it is not known.
func (c *Core) overruled(e *entry, col *Collection, deletion, write crdt.Head, v any) {
	con := crdt.Conflict{Versions: []crdt.Version{
		{Dot: deletion.Dot, Stamp: deletion.Stamp, Deleted: true},
		{Dot: write.Dot, Stamp: write.Stamp},
	}}
	if v != unknown {
		con.Versions[1].Value = v
	}
	slices.SortFunc(con.Versions, func(a, b crdt.Version) int {
		if a.Stamp != b.Stamp {
			if a.Stamp < b.Stamp {
				return -1
			}
			return 1
		}
		return a.Dot.Compare(b.Dot)
	})
	r := &journal.Record{
		ID:         journal.IDOf(e.key.Collection, e.key.ID, "", dotsOf(&con)),
		Collection: col.Incarnation, Name: col.Name, Document: e.key.ID,
		Type: e.state.Type().String(), Policy: PolicyAt(col, ""), Kind: journal.Overruled,
	}
	r.Show(con, crdt.Outcome{Shown: -1, Reason: fmt.Sprintf(
		"a deletion in this mode wins over writes that had not seen it, so %s's deletion stands and %s's write does not; neither had seen the other",
		c.who(deletion.Dot), c.who(write.Dot))}, c.catalog.Region)
	e.watched.ended = append(e.watched.ended, r)
}

// unknown stands for a value that this region never had.
var unknown any = struct{}{}

func (c *Core) who(d crdt.Dot) string {
	if name := c.catalog.Region(d.Replica); name != "" {
		return name
	}
	return "replica " + d.Replica.String()
}

// swallowed records a write that arrived after a deletion that wins.
func (c *Core) swallowed(e *entry, col *Collection, hd crdt.Header, m *crdt.Mutation) error {
	v := unknown
	base, err := c.baseOf(e, m)
	if err != nil {
		return err
	}
	if base != nil && base.Apply(hd, *m) == nil {
		v = base.View(newest).Value
	}
	for _, w := range e.state.Heads().Wins() {
		if hd.Deps.Contains(w) {
			continue
		}
		stamp, err := c.stampOf(e, w)
		if err != nil {
			return err
		}
		c.overruled(e, col, crdt.Head{Dot: w, Stamp: stamp, Delete: crdt.DeleteWins}, crdt.Head{Dot: hd.Dot, Stamp: hd.Stamp}, v)
	}
	return nil
}

// baseOf returns the state that a mutation was written on, a copy, if this
// region still has it.
func (c *Core) baseOf(e *entry, m *crdt.Mutation) (crdt.State, error) {
	if m.Fresh || m.Type == crdt.TypeRegister {
		return newState(m.Type)
	}
	tag := crdt.VersionTag(m.Context)
	record, err := c.olderVersion(e, tag)
	if record == nil || err != nil {
		return nil, err
	}
	s, err := DecodeDocument(record)
	if err != nil {
		return nil, nil //nolint:nilerr // it is damaged, and so not kept any more
	}
	return s, nil
}

func (c *Core) stampOf(e *entry, d crdt.Dot) (crdt.Stamp, error) {
	for _, h := range e.state.Heads().All() {
		if h.Dot == d {
			return h.Stamp, nil
		}
	}
	ch, err := c.changeOf(d)
	if ch == nil || err != nil {
		return 0, err
	}
	return ch.Stamp, nil
}

// changeOf reads a change from the log, nil if it is not there.
func (c *Core) changeOf(d crdt.Dot) (*crdt.Change, error) {
	var encoded []byte
	for i := range c.batch.Log {
		if c.batch.Log[i].Dot == d {
			encoded = c.batch.Log[i].Change
		}
	}
	if encoded == nil {
		for l, err := range c.reader.Log(d.Replica, d.Seq, d.Seq) {
			if err != nil {
				return nil, storeError(err)
			}
			encoded = slices.Clone(l.Change)
		}
	}
	if encoded == nil {
		return nil, nil
	}
	ch, _, err := crdt.DecodeChange(encoded)
	if err != nil {
		return nil, storeError(err)
	}
	return ch, nil
}

// KeptValue returns the value of a version: from its record or, if it is too
// large for that, from the document while it stands, or from the change that
// wrote it. Otherwise the error is journal.ErrNotKept.
func KeptValue(r *journal.Record, d crdt.Dot, doc crdt.State, changeOf func(crdt.Dot) (*crdt.Change, error)) (any, error) {
	v := r.Version(d)
	if v == nil {
		return nil, fmt.Errorf("%w: %v is no version of conflict %v", ErrInvalid, d, r.ID)
	}
	if v.Value != nil {
		return journal.Decode(v.Value)
	}
	if doc != nil {
		found, _ := conflictsIn(doc, newest)
		for i := range found {
			for k := range found[i].Versions {
				if w := &found[i].Versions[k]; found[i].Path == r.Path && w.Dot == d && !w.Deleted && w.Value != nil {
					return w.Value, nil
				}
			}
		}
	}
	if r.Type == crdt.TypeRegister.String() && r.Whole() {
		ch, err := changeOf(d)
		if err != nil {
			return nil, err
		}
		for i := range mutationsOf(ch) {
			if m := &ch.Mutations[i]; m.Collection == r.Collection && m.ID == r.Document && m.Delete == crdt.NotDelete {
				x, _, err := value.DecodeBinary(m.Payload, payloadLimits)
				return x, err
			}
		}
	}
	return nil, fmt.Errorf("%w: version %v of conflict %v has %d bytes", journal.ErrNotKept, d, r.ID, v.Size)
}

var payloadLimits = value.Limits{MaxBytes: crdt.MaxChangeBytes, MaxDepth: 1 << 12, MaxItems: 1 << 21}

func mutationsOf(ch *crdt.Change) []crdt.Mutation {
	if ch == nil {
		return nil
	}
	return ch.Mutations
}
