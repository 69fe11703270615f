package sim

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/transport/wire"
)

// Some collections are held by some regions only. What is written to them has a
// mark that must be in no store of another region, nor in any message to one.

// secret begins what is written to them, and their documents' ids.
const secret = "sEcReT"

// A vault is a collection that only some regions hold.
type vault struct {
	name, kind string
	regions    []string // patterns
}

// keepVaults schedules what clients do to the collections that only some regions hold.
func (w *world) keepVaults() {
	if !w.sc.faults[Residency] {
		return
	}
	r := source(w.opts.Seed, streamResidency)
	for i := range 1 + r.IntN(2) {
		v := vault{name: []string{"vault", "safe"}[i], kind: pick(r, "document", "register")}
		v.regions = pick(r, []string{"eu-*", "us-*"}, []string{"*-east", "*-west"}, []string{"us-east"}, []string{"us-east", "eu-west"}, []string{"*a*"}, []string{"eu-west", "sa-*", "us-east"})
		w.vaults = append(w.vaults, v)
		w.tracef("%s is held by %v", v.name, v.regions)
	}
	for range pick(r, 20, 60, 200) {
		at, seed := between(r, 0, w.sc.duration), r.Uint64()
		w.at(at, func() { w.guard(source(seed, streamResidency)) })
	}
}

// guard is one request of a client about a vault.
func (w *world) guard(r *rand.Rand) {
	v, n := &w.vaults[r.IntN(len(w.vaults))], w.nodes[r.IntN(len(w.nodes))]
	if !n.up || n.mute || n.copying || n.catalog == nil {
		return
	}
	c := &client{index: n.index, tags: map[doc][]string{}}
	holds := crdt.MatchRegion(v.regions, n.name)
	col, err := n.catalog.Collection(v.name)
	if err != nil {
		// Two that are made at once are two collections, of which one goes by the name.
		s, err := core.ParseSettings([]byte(`{"type":"` + v.kind + `","regions":["` + strings.Join(v.regions, `","`) + `"]}`))
		if err != nil {
			w.fail("settings", "%v", err)
			return
		}
		n.submit(core.PutCollection{Name: v.name, Settings: s}, nil, func(rep core.Reply) {
			res, _ := rep.Result.(core.CollectionReceipt)
			n.finished(c, "a vault", c.token, res.Have, rep.Err)
		})
		return
	}
	count := 1 + r.IntN(2)
	var write core.Write
	for i := range count {
		d := core.DocWrite{Collection: col.Incarnation.String(), ID: pick(r, secret+"x", secret+"y") + string(rune('0'+i))}
		k := doc{Collection: col.Incarnation, ID: d.ID}
		switch {
		case v.kind == "register":
			n.editRegister(&d, k, c, r)
			if d.Edit.Kind == crdt.EditPut {
				d.Edit.Value = map[string]any{"v": secret + mark(n, r)}
			}
		case chance(r, 0.3):
			d.Edit = crdt.Edit{Kind: crdt.EditMergePatch, Value: map[string]any{secret: secret + mark(n, r)}}
		default:
			n.editDocument(&d, k, c, r)
		}
		write.Docs = append(write.Docs, d)
	}
	if chance(r, 0.05) {
		write.Docs = append(write.Docs, core.DocWrite{Collection: "notes", ID: "d0", Edit: n.editOps(r)})
	}
	n.submit(write, nil, func(rep core.Reply) {
		res, _ := rep.Result.(core.Receipt)
		if !n.finished(c, "a secret", c.token, res.Have, rep.Err) {
			return
		}
		w.befell(Residency)
		if w.stats.Secrets++; !holds {
			w.fail("checkResidency", "%s takes a write to %s, which it does not hold", n.name, v.name)
		}
	})
}

// putHoldersBack replaces the stores of all holders of a vault by older copies of themselves, of
// different moments. What was written since is left where others hold it.
func (w *world) putHoldersBack(r *rand.Rand) {
	if len(w.vaults) == 0 || w.muted() {
		return
	}
	v := w.vaults[r.IntN(len(w.vaults))]
	var holders []*node
	for _, n := range w.nodes {
		if !crdt.MatchRegion(v.regions, n.name) {
			continue
		}
		if !n.up || len(n.archive) == 0 {
			return
		}
		holders = append(holders, n)
	}
	w.tracef("all holders of %s are put back", v.name)
	w.befell(Vaults)
	for _, n := range holders {
		backup := n.archive[r.IntN(len(n.archive))]
		w.stop(n, backup)
		delay, seed := between(r, 200*time.Millisecond, 3*time.Second), r.Uint64()
		w.startAfter(delay, n, func() {
			w.restore(n, backup, false)
			n.mute = false
			w.delayLinks(n, source(seed, streamVaults))
		})
	}
}

// hasWhole reports whether a region is to have what a change does.
func (n *node) hasWhole(c *change) bool { return c.Residency.HeldBy(n.name) }

// holdings names the vaults that a region holds.
func (n *node) holdings() string {
	out := ""
	for i := range n.w.vaults {
		if crdt.MatchRegion(n.w.vaults[i].regions, n.name) {
			out += n.w.vaults[i].name
		}
	}
	return out
}

// keeps reports whether a region holds a collection, as its catalog has it.
func (n *node) keeps(collection crdt.Dot) bool {
	if n.catalog == nil || collection.IsZero() {
		return true
	}
	col, err := n.catalog.Collection(collection.String())
	return err != nil || col.Settings.HeldBy(n.name)
}

// checkForm: a region has a change whole if it is to hold it, and its placeholder
// else; a holder has a placeholder of what is lost, and then nobody has the whole.
func (n *node) checkForm(c *change, encoded []byte) {
	const check = "checkResidency"
	ch, _, err := crdt.DecodeChange(encoded)
	if err != nil {
		n.w.fail("codec", "%s holds %v, which cannot be read: %v", n.name, c.Dot, err)
		return
	}
	if n.hasWhole(c) == ch.Residency.IsWithheld() && (ch.Residency == nil || !ch.Residency.Lost) {
		n.w.fail(check, "%s holds %v in the form that it is not to have: %+v", n.name, c.Dot, ch.Residency)
	}
	n.checkLoss(c, encoded)
}

// checkLoss: what a holder takes in as lost nobody has.
func (n *node) checkLoss(c *change, encoded []byte) {
	ch, _, err := crdt.DecodeChange(encoded)
	if err == nil && ch.Residency != nil && ch.Residency.Lost && n.hasWhole(c) && !c.lost {
		n.w.lose(n, c)
	}
}

// lose takes a change for lost, as a region does, if no other has it any more: in the log, or in its
// documents.
func (w *world) lose(n *node, c *change) {
	for _, o := range w.nodes {
		if !o.hasWhole(c) {
			continue
		}
		if o != n && !o.copying && o.have.Contains(c.Dot) {
			w.fail("checkResidency", "%v is taken for lost by %s, and the documents of %s have it", c.Dot, n.name, o.name)
			return
		}
		for l, err := range o.store.Log(c.Dot.Replica, c.Dot.Seq, c.Dot.Seq) {
			ch, _, derr := crdt.DecodeChange(l.Change)
			if err == nil && derr == nil && !ch.Residency.Withheld {
				w.fail("checkResidency", "%v is taken for lost, and %s has it", c.Dot, o.name)
				return
			}
		}
	}
	w.stats.Lost++
	w.hist.forget(c)
}

// loseWith takes for lost what a region that has just copied a snapshot should hold whole, of
// which no other region that should has anything, nor has the copy: it passed over a vault
// that none has any more. So is what it should have beyond what was here of a vault that it kept.
func (w *world) loseWith(n *node) {
	w.stats.Kept += len(n.kept)
	for _, c := range w.hist.order {
		if c.lost || c.Residency == nil || !n.hasWhole(c) || !n.have.Contains(c.Dot) {
			continue
		}
		if at, ok := n.keptAt(c); ok {
			if n.base.Contains(c.Dot) && !at.Contains(c.Dot) {
				w.lose(n, c)
			}
			continue
		}
		held := slices.ContainsFunc(w.nodes, func(o *node) bool {
			return o != n && o.hasWhole(c) && o.have.Contains(c.Dot) && (!o.copying || o.stores(c))
		})
		if !held && !n.stores(c) {
			w.stats.Lost++
			w.hist.forget(c)
		}
	}
}

// stores reports whether a region has documents that a change is about.
func (n *node) stores(c *change) bool {
	return slices.ContainsFunc(c.Mutations, func(m crdt.Mutation) bool {
		record, err := n.store.Doc(keyOf(&m))
		return err != nil || record != nil
	})
}

// keptAt is the vector of the kept vault that a change is about, if it is.
func (n *node) keptAt(c *change) (crdt.Vector, bool) {
	for i := range c.Mutations {
		if at, ok := n.kept[c.Mutations[i].Collection]; ok {
			return at, true
		}
	}
	return crdt.Vector{}, false
}

// checkSecrets: nothing of a vault is in a message to a region that does not hold it.
func (n *node) checkSecrets(to string, m wire.Message) {
	if len(n.w.vaults) == 0 || !bytes.Contains(wire.Append(nil, m), []byte(secret)) {
		return
	}
	for i := range n.w.vaults {
		if crdt.MatchRegion(n.w.vaults[i].regions, to) {
			return // it may be of that one
		}
	}
	n.w.fail("checkResidency", "%s tells %s, which holds no vault, of what is in one: %s", n.name, to, describe(m))
}

// checkStoreHasNoSecrets: nor is it in its store.
func (n *node) checkStoreHasNoSecrets() {
	for k := range n.shadow {
		if !n.keeps(k.Collection) {
			n.w.fail("checkResidency", "%s has a document of %v, which it does not hold", n.name, k.Collection)
		}
	}
	if n.holdings() != "" {
		return
	}
	has := func(what string, b []byte) {
		if bytes.Contains(b, []byte(secret)) {
			n.w.fail("checkResidency", "the store of %s has %s with what is in a vault", n.name, what)
		}
	}
	for e, err := range n.store.MetaRange("", "") {
		if err == nil {
			has("a record "+e.Name, append([]byte(e.Name), e.Value...))
		}
	}
	for r := range n.have.All() {
		for l, err := range n.store.Log(r, 1, ^uint64(0)) {
			if err == nil {
				has("the change "+l.Dot.String(), l.Change)
			}
		}
	}
	for _, col := range n.catalog.Collections() {
		for d, err := range n.store.Docs(col.Incarnation, "", "") {
			if err == nil {
				has("the document "+d.ID, append([]byte(d.ID), d.State...))
			}
		}
	}
}

// certifyVaultsWithin is how long regions that hold a vault may take to know that
// they have the same: they ask each other every two seconds, by clocks that may be slow.
const certifyVaultsWithin = 8 * time.Second

// operate does what an operator has to where a region would delete the only copy of a vault
// if it took the snapshot that it needs, and may not keep it, as another holder that takes writes
// is behind, too (cmd/OPERATIONS.md): empties its store. It reports whether there was one.
func (w *world) operate() (some bool) {
	for _, n := range w.nodes {
		if !n.up || !errors.Is(n.writable, core.ErrOnlyCopy) {
			continue
		}
		w.tracef("%s has the only copy of a vault, and is emptied", n.name)
		for _, d := range n.applied {
			c := w.hist.changes[d]
			if !c.lost && !slices.ContainsFunc(w.nodes, func(o *node) bool { return o != n && o.have.Contains(d) && o.hasWhole(c) }) {
				w.stats.Lost++
				w.hist.forget(c)
			}
		}
		w.wipe(n, source(w.opts.Seed, streamResidency))
		some = true
	}
	return some
}
