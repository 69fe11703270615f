package document

import (
	"fmt"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// The shares of bounded counters are counters themselves, in a member of the
// root that is not shown and that clients cannot write. So they are merged
// and deleted together with the counters that they are about:
//
//	hidden / JSON pointer of the counter / replica / down or up
const (
	hidden = "\x00shares"
	down   = "down"
	up     = "up"
)

// Shares implements [crdt.Bounded].
func (d *Doc) Shares(p value.Pointer) (shares map[crdt.ReplicaID]crdt.Share, other bool) {
	shares = map[crdt.ReplicaID]crdt.Share{}
	if !d.heads.Visible() {
		return shares, false
	}
	var at path
	for _, key := range p {
		at = at.key(key)
	}
	if s := d.find(at); s != nil {
		other = len(s.scalars) > 0 || s.m.alive() || s.l.alive() || s.s.alive()
		if s.c != nil {
			for i := range s.c.cells {
				if x := &s.c.cells[i]; x.live() {
					share := shares[x.tag.dot.Replica]
					share.Net += x.total - x.floorTotal
					shares[x.tag.dot.Replica] = share
				}
			}
		}
	}
	moved := d.find(path(nil).key(hidden).key(p.String()))
	if moved == nil || moved.m == nil {
		return shares, other
	}
	for name, s := range moved.m.children {
		id, err := crdt.ParseReplicaID(name)
		if err != nil || s.m == nil {
			continue // no writer of ours makes that
		}
		share := shares[id]
		share.Down, share.Up = s.m.count(down), s.m.count(up)
		shares[id] = share
	}
	return shares, other
}

// count is what the counter in a member of a map sums to.
func (m *mapNode) count(key string) int64 {
	if s := m.child(key); s != nil && s.c != nil {
		return s.c.sum()
	}
	return 0
}

// transfer moves shares from one replica to another.
func (ed *editor) transfer(t crdt.Transfer) error {
	for _, move := range []struct {
		of   crdt.ReplicaID
		what string
		n    int64
	}{{t.From, down, -t.Down}, {t.To, down, t.Down}, {t.From, up, -t.Up}, {t.To, up, t.Up}} {
		if move.n == 0 {
			continue
		}
		o := value.Op{Op: "inc", Path: value.Pointer{hidden, t.Path.String(), move.of.String(), move.what}, Value: move.n}
		if err := ed.incAt(&o); err != nil {
			return err
		}
	}
	return nil
}

// checkHidden refuses what a client would write where shares are.
func checkHidden(e *crdt.Edit) error {
	touches := func(v any) bool {
		m, _ := v.(map[string]any)
		_, ok := m[hidden]
		return ok
	}
	into := func(p value.Pointer) bool { return len(p) > 0 && p[0] == hidden }
	bad := touches(e.BaseValue) || touches(e.Value) && len(e.Path) == 0 || into(e.Path)
	for i := range e.Ops {
		o := &e.Ops[i]
		bad = bad || into(o.Path) || into(o.From) || len(o.Path) == 0 && touches(o.Value)
	}
	if bad {
		return fmt.Errorf("%w: the member %q is reserved", crdt.ErrRefused, hidden)
	}
	return nil
}
