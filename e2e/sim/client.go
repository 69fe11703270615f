package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// A client talks to one region at a time, and carries its token along when it
// moves to another.
type client struct {
	index int
	token crdt.Vector
	// tags are versions of documents that it has seen.
	tags map[doc][]string
}

// tallies is the collection whose documents are only ever incremented.
const tallies = "tallies"

type collectionSpec struct{ name, settings string }

// collections are what clients use, with the settings that they are made with.
// What has none is made by the first write to it.
var collections = []collectionSpec{
	{"notes", ""},
	{"orders", `{"type":"document","policy":"lww"}`},
	{"drafts", `{"type":"document","delete":"wins","keep":{"versions":2}}`},
	{"flags", `{"type":"register"}`},
	{"carts", `{"type":"register","policy":"siblings","keep":{"versions":1}}`},
	{"places", `{"type":"register","policy":{"region-priority":["eu-west","ap-south"]},"delete":"wins"}`},
	{tallies, `{"type":"document"}`},
	{"offers", `{"type":"register","policy":` + callbackPolicy + `}`},
	{"plans", `{"type":"document","policy":` + callbackPolicy + `,"delete":"wins"}`},
}

// someCollection picks one: in some scenarios, mostly those that the application
// decides about.
func (w *world) someCollection(r *rand.Rand) collectionSpec {
	if w.sc.asks && chance(r, 0.6) {
		return collections[len(collections)-1-r.IntN(2)]
	}
	return collections[r.IntN(len(collections))]
}

// expected are the errors that a request may be answered with.
var expected = []error{
	core.ErrNoShare, core.ErrUnknownCollection, core.ErrPrecondition, core.ErrBaseGone, core.ErrInvalid, core.ErrExists, core.ErrCatchingUp, core.ErrDamaged,
	core.ErrNotHeld, core.ErrSeveralHolders, core.ErrNotHome, core.ErrSeveralHomes, core.ErrHomePending, core.ErrNoAuthority, core.ErrUnknownReplica, core.ErrNotMember, core.ErrRemoved, core.ErrRemoving,
	crdt.ErrRefused, crdt.ErrConflict, crdt.ErrNotFound, crdt.ErrTooManySiblings, crdt.ErrTooLarge, store.ErrFull,
}

// work is one action of a client: a few requests to one region.
func (w *world) work(r *rand.Rand) {
	c := w.clients[r.IntN(len(w.clients))]
	n := w.nodes[(c.index+r.IntN(1+r.IntN(len(w.nodes))))%len(w.nodes)]
	for range len(w.nodes) {
		if n.up && !n.mute && !n.copying && n.have.Covers(c.token) {
			break
		}
		n = w.nodes[(n.index+1)%len(w.nodes)]
	}
	if !n.up || n.mute || n.copying || !n.have.Covers(c.token) {
		return // it waits until the region has caught up, or is back
	}
	for range 1 + r.IntN(1+r.IntN(6)) {
		switch k := r.IntN(100); {
		case k < 20:
			n.read(c, r)
		case k < 90:
			n.write(c, r)
		case k < 99:
			n.putCollection(c, r)
		default:
			n.dropCollection(c, r)
		}
	}
}

// finished takes in what became of a request of a client that had seen token.
func (n *node) finished(c *client, what string, token, have crdt.Vector, err error) bool {
	if err == nil {
		n.w.stats.Writes++
		if !have.Covers(token) {
			n.w.fail("checkSession", "%s answers %s at %v, the client had seen %v", n.name, what, have, token)
		}
		c.token = c.token.Join(have)
		return true
	}
	n.w.stats.Refused++
	n.w.tracef("%s refuses %s: %v", n.name, what, err)
	if !slices.ContainsFunc(expected, func(e error) bool { return errors.Is(err, e) }) {
		n.w.fail("reply", "%s answers %s: %v", n.name, what, err)
	}
	return false
}

func (n *node) putCollection(c *client, r *rand.Rand) {
	spec := n.w.someCollection(r)
	settings := spec.settings
	if settings == "" {
		settings = `{"policy":"lww"}`
	}
	s, err := core.ParseSettings([]byte(settings))
	if err != nil {
		n.w.fail("settings", "%v", err)
		return
	}
	if chance(r, 0.3) {
		callback, err := conflict.Parse([]byte(callbackPolicy))
		if err != nil {
			n.w.fail("settings", "%v", err)
			return
		}
		s.Policy = pick(r, conflict.LWW(), conflict.Siblings(), conflict.RegionPriority("ap-south", "us-east"), callback)
	}
	if n.catalog != nil {
		if col, err := n.catalog.Collection(spec.name); err == nil {
			s.Homes = col.Settings.Homes // it does not mean to change them
		}
	}
	token := c.token
	n.submit(core.PutCollection{Name: spec.name, Settings: s}, nil, func(rep core.Reply) {
		have := crdt.Vector{}
		if res, ok := rep.Result.(core.CollectionReceipt); ok {
			have = res.Have
		}
		n.finished(c, "a collection", token, have, rep.Err)
	})
}

func (n *node) dropCollection(c *client, r *rand.Rand) {
	name := n.w.someCollection(r).name
	if name == tallies {
		return
	}
	token := c.token
	n.submit(core.DropCollection{Name: name}, nil, func(rep core.Reply) {
		have := crdt.Vector{}
		if res, ok := rep.Result.(core.CollectionReceipt); ok {
			have = res.Have
		}
		n.finished(c, "dropping a collection", token, have, rep.Err)
	})
}

// stored reads a document as package region does.
func (n *node) stored(k doc) crdt.State {
	record, err := n.store.Doc(k)
	if err != nil {
		n.w.fail("read", "%s: %v", n.name, err)
	}
	if record == nil || err != nil {
		return nil
	}
	s, err := core.DecodeDocument(record)
	if err != nil {
		if !n.broken[k] || !errors.Is(err, core.ErrDamaged) {
			n.w.fail("read", "%s: %v", n.name, err)
		}
		return nil
	}
	return s
}

// read is a client's read: of the present, with all that its token names, and
// equal to the model.
func (n *node) read(c *client, r *rand.Rand) {
	n.w.stats.Reads++
	have, err := core.DurableHave(n.store)
	if err != nil || !have.Equal(n.have) || !have.Covers(c.token) {
		n.w.fail("checkSession", "%s reads at %v, durable is %v, the client has seen %v: %v", n.name, have, n.have, c.token, err)
		return
	}
	c.token = have
	if n.catalog == nil {
		return
	}
	col, err := n.catalog.Collection(n.w.someCollection(r).name)
	if err != nil {
		return
	}
	k := doc{Collection: col.Incarnation, ID: n.w.docID(r)}
	n.checkRead(k)
	if s := n.stored(k); s != nil {
		c.see(k, crdt.VersionTag(s.Heads().Dots()))
	}
}

// checkRead compares any document with the model, whether it is stored or not.
func (n *node) checkRead(k doc) {
	if n.broken[k] {
		return
	}
	if s := n.stored(k); s != nil {
		n.checkModel(k, s)
	} else if alive := n.w.hist.modelVersions(k, n.have); len(alive) > 0 {
		n.w.fail("checkModel", "%s has nothing under %s, the model the versions %v", n.name, k.ID, changeDots(alive))
	}
}

func (w *world) docID(r *rand.Rand) string { return fmt.Sprintf("d%d", r.IntN(w.sc.docs)) }

// maxTags bounds the versions that a client remembers of a document.
const maxTags = 8

func (c *client) see(k doc, tag string) {
	c.tags[k] = append(c.tags[k], tag)
	if len(c.tags[k]) > maxTags {
		c.tags[k] = c.tags[k][1:]
	}
}

// write asks for a write of one or a few documents.
func (n *node) write(c *client, r *rand.Rand) {
	count := 1
	if chance(r, 0.25) {
		count += 1 + r.IntN(3)
	}
	var write core.Write
	incs := map[int]int64{}
	for i := range count {
		d := core.DocWrite{Collection: n.w.someCollection(r).name, ID: n.w.docID(r)}
		typ, k := crdt.TypeDocument, doc{}
		if n.catalog != nil {
			if col, err := n.catalog.Collection(d.Collection); err == nil {
				typ, k = col.Settings.Type, doc{Collection: col.Incarnation, ID: d.ID}
			} else if chance(r, 0.5) {
				n.putCollection(c, r)
			}
		}
		switch {
		case d.Collection == tallies:
			by := int64(r.IntN(9) - 2)
			d.Edit = n.ops(`[{"op":"inc","path":"/n","value":%d}]`, by)
			incs[i] = by
		case typ == crdt.TypeRegister:
			n.editRegister(&d, k, c, r)
		default:
			n.editDocument(&d, k, c, r)
		}
		if chance(r, 0.1) {
			condition(&d.If, c.tags[k], r)
		}
		write.Docs = append(write.Docs, d)
	}
	n.underKey(c, &write, incs)
	n.sendWrite(c, c.token, write, incs, len(n.w.nodes))
}

// sendWrite asks for a write, and another region for it if that is its home.
func (n *node) sendWrite(c *client, token crdt.Vector, write core.Write, incs map[int]int64, hops int) {
	held := n.have
	n.submit(write, incs, func(rep core.Reply) {
		if home := n.w.homeOf(rep.Err); home != nil && hops > 0 && home.have.Covers(token) {
			home.sendWrite(c, token, write, incs, hops-1)
			return
		}
		res, _ := rep.Result.(core.Receipt)
		if !n.finished(c, "a write", token, res.Have, rep.Err) {
			return
		}
		n.checkOnce(write.Request, held, res)
		if res.Repeated {
			return
		}
		if deps := n.w.hist.changes[res.Dot].Deps; !deps.Covers(token) {
			n.w.fail("checkSession", "%v was written by a client that has seen %v, and depends on %v", res.Dot, token, deps)
		}
		for _, d := range res.Docs {
			c.see(doc{Collection: d.Collection.Incarnation, ID: d.ID}, d.Tag)
		}
	})
}

func condition(f *core.Condition, tags []string, r *rand.Rand) {
	switch r.IntN(4) {
	case 0:
		f.Absent = true
	case 1:
		f.MatchAny = true
	case 2:
		f.Match = tags
	default:
		f.NoneMatch = tags
	}
}

// mark is a value that no other write has.
func mark(n *node, r *rand.Rand) string { return fmt.Sprintf("%s-%x", n.name, r.Uint32()) }

func (n *node) editRegister(d *core.DocWrite, k doc, c *client, r *rand.Rand) {
	d.Edit = crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"v": mark(n, r)}}
	switch p := r.IntN(100); {
	case p < 55:
	case p < 70:
		d.Edit = crdt.Edit{Kind: crdt.EditDelete, Mode: pick(r, crdt.NotDelete, crdt.DeleteEditWins, crdt.DeleteWins)}
	case p < 80:
		if covers := n.some(k, r); covers != nil {
			d.Edit = crdt.Edit{Kind: crdt.EditResolve, Value: map[string]any{"r": mark(n, r)}, Covers: covers}
			if chance(r, 0.2) {
				d.Edit.Value, d.Edit.Mode = nil, pick(r, crdt.DeleteEditWins, crdt.DeleteWins)
			}
		}
	case p < 90:
		d.Edit = crdt.Edit{Kind: crdt.EditMergePatch, Value: map[string]any{mark(n, r)[:4]: int64(r.IntN(9))}}
		d.BaseTag = c.base(k, r)
	default:
		d.BaseTag = c.base(k, r)
	}
}

// base is an older version that the client has seen, or "".
func (c *client) base(k doc, r *rand.Rand) string {
	if tags := c.tags[k]; len(tags) > 0 && chance(r, 0.7) {
		return tags[r.IntN(len(tags))]
	}
	return ""
}

// some picks a few of the present versions.
func (n *node) some(k doc, r *rand.Rand) []crdt.Dot {
	s := n.stored(k)
	if s == nil {
		return nil
	}
	var out []crdt.Dot
	for _, v := range s.Versions() {
		if chance(r, 0.6) {
			out = append(out, v.Dot)
		}
	}
	return out
}

func (n *node) ops(format string, args ...any) crdt.Edit {
	ops, err := value.ParseOps(fmt.Appendf(nil, format, args...), value.DefaultLimits)
	if err != nil {
		n.w.fail("ops", format+": %v", append(args, err)...)
	}
	return crdt.Edit{Kind: crdt.EditOps, Ops: ops}
}

func (n *node) editDocument(d *core.DocWrite, k doc, c *client, r *rand.Rand) {
	switch p := r.IntN(100); {
	case p < 22:
		d.Edit = crdt.Edit{Kind: crdt.EditPut, Value: n.changedValue(k, r)}
		if chance(r, 0.3) {
			d.BaseTag = c.base(k, r)
		}
	case p < 42:
		d.Edit = crdt.Edit{Kind: crdt.EditMergePatch, Value: map[string]any{
			pick(r, "a", "b", "c"): pick(r, any(nil), any(int64(r.IntN(9))), any(map[string]any{"x": mark(n, r)}), any("s")),
		}}
	case p < 85:
		d.Edit = n.editOps(r)
	case p < 97:
		d.Edit = crdt.Edit{Kind: crdt.EditDelete, Mode: pick(r, crdt.NotDelete, crdt.DeleteEditWins, crdt.DeleteWins)}
	default:
		if covers := n.some(k, r); covers != nil {
			d.Edit = crdt.Edit{Kind: crdt.EditResolve, Value: map[string]any{"r": mark(n, r)}, Covers: covers}
		} else {
			d.Edit = n.editOps(r)
		}
	}
}

func (n *node) editOps(r *rand.Rand) crdt.Edit {
	i, j, v := r.IntN(4), r.IntN(4), mark(n, r)
	switch r.IntN(12) {
	case 0:
		return n.ops(`[{"op":"inc","path":"/n","value":%d}]`, i-1)
	case 1:
		return n.ops(`[{"op":"add","path":"/tags","value":"t%d"}]`, i)
	case 2:
		return n.ops(`[{"op":"remove","path":"/tags","value":"t%d"}]`, i)
	case 3:
		return n.ops(`[{"op":"set","path":"/items","value":["%s",%d]}]`, v, i)
	case 4, 5:
		return n.ops(`[{"op":"insert","path":"/items/%d","value":"%s"}]`, i, v)
	case 6:
		return n.ops(`[{"op":"insert","path":"/items/-","value":{"id":%d}}]`, i)
	case 7:
		return n.ops(`[{"op":"delete","path":"/items/%d"}]`, i)
	case 8:
		return n.ops(`[{"op":"move","from":"/items/%d","path":"/items/%d"}]`, i, j)
	case 9:
		return n.ops(`[{"op":"set","path":"/a/b","value":"%s"}]`, v)
	case 10:
		return n.ops(`[{"op":"unset","path":"/%s"}]`, pick(r, "a", "a/b", "n", "items", "tags"))
	default:
		return n.ops(`[{"op":"set","path":"/n","value":{"$counter":%d}}]`, i)
	}
}

// changedValue is what a client puts that has read a document and changed it.
func (n *node) changedValue(k doc, r *rand.Rand) map[string]any {
	m := map[string]any{}
	if s := n.stored(k); s != nil {
		if _, view := n.view(k, s); view.Exists {
			if old, ok := value.Clone(view.Value).(map[string]any); ok {
				m = old
			}
		}
	}
	for range 1 + r.IntN(2) {
		switch r.IntN(5) {
		case 0:
			delete(m, pick(r, "a", "b", "items", "n"))
		case 1:
			m[pick(r, "a", "b", "c")] = int64(r.IntN(5))
		case 2:
			m["a"] = map[string]any{"b": mark(n, r), "c": int64(r.IntN(3))}
		case 3:
			list, _ := m["items"].([]any)
			list = append(slices.Clone(list), mark(n, r))
			if len(list) > 4 {
				list = slices.Delete(list, 1, 3)
			}
			m["items"] = list
		default:
			m["t"] = mark(n, r)
		}
	}
	return m
}
