package sim

import (
	"encoding/binary"
	"reflect"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
)

// keyed is a write under an idempotency key, and what is known of it.
type keyed struct {
	write  core.Write
	incs   map[int]int64
	answer *core.Receipt // the first that came
	made   []crdt.Dot
}

// repeatAge is for how long regions remember requests: for longer than clocks jump.
const repeatAge = 10_000 * time.Hour

// underKey gives some writes an idempotency key, and sends them again later, to
// the same region or another, whether they were answered or not.
func (n *node) underKey(c *client, write *core.Write, incs map[int]int64) {
	w := n.w
	if !w.sc.faults[Repeat] || !chance(w.keys, 0.5) {
		return
	}
	key := binary.BigEndian.AppendUint64(nil, uint64(len(w.keyed)+1))
	copy(write.Request.Key[:], key)
	copy(write.Request.Body[8:], key)
	k := &keyed{write: *write, incs: incs}
	w.keyed[write.Request.Key] = k
	for range 1 + w.keys.IntN(3) {
		to := n
		if chance(w.keys, 0.6) {
			to = w.nodes[w.keys.IntN(len(w.nodes))]
		}
		w.after(between(w.keys, 0, pick(w.keys, 10*time.Millisecond, time.Second, 8*time.Second)), func() { to.repeat(c, k) })
	}
}

func (n *node) repeat(c *client, k *keyed) {
	if n.w.calm || !n.up || n.mute || !n.have.Covers(c.token) {
		return
	}
	n.w.befell(Repeat)
	n.w.tracef("%s is asked again under the key %x", n.name, k.write.Request.Key[:8])
	n.sendWrite(c, c.token, k.write, k.incs, len(n.w.nodes))
}

// checkOnce: a region that holds what was made for a request, and did not get it
// by a snapshot, answers it as the first time, and does nothing.
func (n *node) checkOnce(q core.RequestID, held crdt.Vector, r core.Receipt) {
	const check = "checkOnce"
	k := n.w.keyed[q.Key]
	if k == nil {
		return
	}
	if ch := n.w.hist.changes[r.Dot]; ch.Request == nil || ch.Request.Key != q.Key {
		n.w.fail(check, "%s answers a request with %v, which was made for another one", n.name, r.Dot)
		return
	}
	if !r.Repeated {
		for _, d := range k.made {
			if held.Contains(d) && !n.copied.Contains(d) {
				n.w.fail(check, "%s carries out a request as %v, it held %v", n.name, r.Dot, d)
			}
		}
		k.made = append(k.made, r.Dot)
	} else {
		n.w.stats.Repeats++
	}
	if k.answer == nil {
		k.answer = &r
		return
	}
	if k.answer.Dot != r.Dot {
		return
	}
	if !reflect.DeepEqual(answered(*k.answer), answered(r)) {
		n.w.fail(check, "%s answers a request again by %+v, the first answer was %+v", n.name, answered(r), answered(*k.answer))
	}
}

// answered is what has to be the same in all answers to one request.
func answered(r core.Receipt) core.Receipt {
	docs := make([]core.DocReceipt, len(r.Docs))
	for i, d := range r.Docs {
		docs[i] = d
		docs[i].Collection = &core.Collection{Incarnation: d.Collection.Incarnation}
	}
	return core.Receipt{Dot: r.Dot, Stamp: r.Stamp, Docs: docs}
}
