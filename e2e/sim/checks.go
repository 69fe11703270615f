package sim

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/core/digests"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/wire"
)

// look takes what Inspect tells of the vectors before the step's batch is judged.
func (n *node) look(fx core.Effects) {
	for _, r := range fx.Replies {
		if s, ok := r.Result.(core.Status); ok {
			n.stable, n.inbox, n.cut, n.unmet, n.aside = s.Stable, s.Inbox.Changes, s.Log.Cut, s.Unmet > 0, s.Rebased.Left
		}
	}
}

// committed judges a batch that has just become durable. It reports false if
// something was wrong with it.
func (n *node) committed(fx core.Effects) bool {
	if n.copying || fx.Readable != nil {
		return n.committedCopy(fx)
	}
	n.checkI07OnlyAskedFor(fx)
	for i := range fx.Batch.Log {
		if !n.judge(&fx.Batch.Log[i], fx) {
			return false
		}
	}
	if !n.have.Equal(fx.Have) {
		n.w.fail("checkI06HaveGrows", "%s says that it has %v, its log has %v", n.name, fx.Have, n.have)
	}
	n.catalog = fx.Catalog
	n.checkHomes()
	n.checkI12CutBelowHeld(fx.Batch)
	n.checkI13WholeChanges(fx.Batch)
	for i := range fx.Batch.Docs {
		k := fx.Batch.Docs[i].Key
		delete(n.broken, k)
		n.checkI14Document(k)
		n.checkBounds(k)
		if ref := n.shadow[k]; ref != nil {
			n.checkConflictLog(k, ref)
		}
	}
	n.checkI05SameDigests(fx)
	return n.w.failure == nil
}

// judge looks at one change that a region's log got, and applies it to the shadow.
func (n *node) judge(l *store.LogPut, fx core.Effects) bool {
	w := n.w
	c := w.hist.changes[l.Dot]
	first := c == nil
	if first {
		if c = n.wrote(l, fx); c == nil {
			return false
		}
	}
	w.tracef("%s commits %v %safter %v", n.name, l.Dot, mutations(c), c.Deps)
	n.checkI01OneBody(l, c, first)
	n.checkForm(c, l.Change)
	n.checkI04CausalDelivery(c)
	n.checkI12StableIsStable(c)
	if w.failure != nil {
		return false
	}
	before := n.counts(c)
	if err := n.apply(c); err != nil {
		w.fail("apply", "the reference of %s: %v", n.name, err)
		return false
	}
	if first {
		c.count(before, n.counts(c))
	}
	n.checkDeletesAll(c)
	n.have = n.have.With(c.Dot)
	n.applied = append(n.applied, c.Dot)
	return true
}

// wrote takes a new change into the history. It returns nil if it cannot be read.
func (n *node) wrote(l *store.LogPut, fx core.Effects) *change {
	ch, rest, err := crdt.DecodeChange(bytes.Clone(l.Change))
	if err != nil || len(rest) > 0 || ch.Dot != l.Dot {
		n.w.fail("codec", "%s wrote %v, which cannot be read: %v", n.name, l.Dot, err)
		return nil
	}
	c := &change{Change: ch, encoded: bytes.Clone(l.Change), region: n.index, incs: map[doc]int64{}}
	if !n.asOf(c, fx) {
		n.rebased(c, fx.Catalog)
	}
	n.w.hist.add(c)
	n.w.stats.Changes++
	n.w.checkI11Stamps(c)
	n.checkOneHome(c)
	return c
}

// asOf compares a new change with the request that it answers, if it answers one.
func (n *node) asOf(c *change, fx core.Effects) (asked bool) {
	for _, rep := range fx.Replies {
		r, ok := rep.Result.(core.Receipt)
		if !ok || r.Dot != c.Dot || n.asked[rep.ID] == nil {
			continue
		}
		asked = true
		for i, by := range n.asked[rep.ID].incs {
			c.incs[keyOf(&c.Mutations[i])] = by
		}
		if write, ok := n.asked[rep.ID].ask.(core.Write); ok {
			for i := range write.Docs {
				n.checkContext(c, i, &write.Docs[i])
			}
		}
	}
	return asked
}

// checkContext: an edit that says nothing of an older version replaces all that
// its region shows at that moment.
func (n *node) checkContext(c *change, i int, d *core.DocWrite) {
	if d.BaseTag != "" || d.Edit.Kind == crdt.EditResolve {
		return
	}
	var heads []crdt.Dot
	if s := n.shadow[keyOf(&c.Mutations[i])]; s != nil && s.Heads().Visible() {
		heads = s.Heads().Dots()
	}
	for _, h := range heads {
		if !slices.Contains(c.Mutations[i].Context, h) {
			n.w.fail("checkContext", "%v replaces %v of %s, its region had %v", c.Dot, c.Mutations[i].Context, d.ID, heads)
		}
	}
}

func mutations(c *change) string {
	var b strings.Builder
	for _, m := range c.Mutations {
		what := "writes"
		if m.Delete != crdt.NotDelete {
			what = fmt.Sprintf("deletes(%d)", m.Delete)
		}
		switch m.Decision {
		case crdt.DecisionAnswer:
			what += " as answered"
		case crdt.DecisionKeep:
			what = "keeps"
		case crdt.Undecided:
		}
		if m.Fresh {
			what += " fresh"
		}
		fmt.Fprintf(&b, "%s %v/%s over %v; ", what, m.Collection, m.ID, m.Context)
	}
	return b.String()
}

// checkI01OneBody: a dot names one body, and a replica's seqs have no gaps. A
// dot that is new must come from the region that its replica belongs to (I2).
func (n *node) checkI01OneBody(l *store.LogPut, c *change, first bool) {
	const check = "checkI01OneBody"
	switch {
	case l.Dot.Seq != n.have.Get(l.Dot.Replica)+1:
		n.w.fail(check, "%s commits %v after %d", n.name, l.Dot, n.have.Get(l.Dot.Replica))
	case !c.isEncodedAs(l.Change):
		n.w.fail(check, "%s holds another change under %v than region %s", n.name, l.Dot, n.w.sc.regions[c.region])
	case first && l.Dot.Replica != n.core.Replica():
		n.w.fail(check, "%s is the first to hold %v, which is not its own", n.name, l.Dot)
	case !n.w.minted[l.Dot.Replica]:
		n.w.fail(check, "%s uses the replica id %v, which was never minted", n.name, l.Dot.Replica)
	}
}

// checkI03Reply: what is acknowledged is durable.
func (n *node) checkI03Reply(rep core.Reply) {
	r, ok := rep.Result.(core.Receipt)
	if !ok || rep.Err != nil {
		return
	}
	chain, found, err := n.store.LogChain(r.Dot)
	if err != nil || !found && !r.Repeated || !n.have.Covers(r.Have) {
		n.w.fail("checkI03DurableFirst", "%s acknowledges %v at %v, durable is %v (in the log: %v %x %v)", n.name, r.Dot, r.Have, n.have, found, chain, err)
		return
	}
	n.w.hist.changes[r.Dot].acked = true
}

// checkSent: nothing is told to a peer before it is durable (I3), and what is
// told is within the bounds of the wire.
func (n *node) checkSent(to string, m wire.Message) {
	n.checkSecrets(to, m)
	const check = "checkI03DurableFirst"
	if err := wire.Check(m); err != nil {
		n.w.fail("wire", "%s sends %s: %v", n.name, describe(m), err)
	}
	told := func(v crdt.Vector) {
		if !n.have.Covers(v) {
			n.w.fail(check, "%s tells %s, durable is %v", n.name, describe(m), n.have)
		}
	}
	sent := func(changes [][]byte) {
		for _, b := range changes {
			ch, _, err := crdt.DecodeChange(b)
			if err != nil || !n.have.Contains(ch.Dot) {
				n.w.fail(check, "%s sends %s, durable is %v", n.name, describe(m), n.have)
			} else if !n.w.hist.sameBytes(ch.Dot, b) {
				n.w.fail("checkI01OneBody", "%s sends another body of %v", n.name, ch.Dot)
			}
		}
	}
	switch m := m.(type) {
	case wire.Hello:
		told(m.Have)
	case wire.Ack:
		told(m.Have)
	case wire.Status:
		told(m.Reports[0].Have)
	case wire.Changes:
		sent(m.Changes)
	case wire.CatchUp:
		sent(m.Changes)
	case wire.SnapshotPart:
		told(m.Have)
	}
}

// checkI04CausalDelivery: a change comes after everything in its Deps.
func (n *node) checkI04CausalDelivery(c *change) {
	if !n.have.Covers(c.Deps) {
		n.w.fail("checkI04CausalDelivery", "%s has %v and applies %v, which depends on %v", n.name, n.have, c.Dot, c.Deps)
	}
}

// checkI05SameDigests: equal Have, equal documents. The sum over all documents,
// and the one that the core keeps, are compared with what was found in any
// region that ever had the same.
func (n *node) checkI05SameDigests(fx core.Effects) {
	n.total = fx.Digest
	if len(n.broken) > 0 {
		return
	}
	n.compareSum("", fmt.Sprint(n.sum))
	if !n.w.tainted { // after a repair the digests are corrected a little later
		n.compareSum("digest ", fx.Digest.String())
	}
}

func (n *node) compareSum(what, sum string) {
	key := what + n.have.String() + n.holdings()
	if old, ok := n.w.hist.digests[key]; ok && old != sum {
		n.w.fail("checkI05EqualHaveEqualDocuments", "%s has %v as another region had, and other documents", n.name, n.have)
	}
	n.w.hist.digests[key] = sum
}

// checkI05SameVersionsSameContent: a document of the same versions is the same
// everywhere, whatever the regions hold besides.
func (n *node) checkI05SameVersionsSameContent(k doc, s crdt.State, content [crdt.DigestSize]byte) {
	if !s.Heads().Visible() {
		return
	}
	key := versionKey{k, crdt.VersionTag(s.Heads().Dots())}
	if old, ok := n.w.hist.contents[key]; ok && old != content {
		n.w.fail("checkI05EqualHaveEqualDocuments", "%s has %s in the same versions as another region had, and not the same: %s", n.name, k.ID, n.render(k, s))
	}
	n.w.hist.contents[key] = content
}

// checkI05NoAlarm: no region takes another for different.
func (n *node) checkI05NoAlarm() {
	for _, p := range n.peers {
		if p.Compared.Verdict == core.Different && !n.w.tainted {
			n.w.fail("checkI05NoAlarm", "%s says that %s has other documents: %+v", n.name, p.Region, p.Compared)
		}
	}
}

// checkCertified: where all is the same, the regions know that of each other.
func (n *node) checkCertified() {
	for _, p := range n.peers {
		if p.Compared.Verdict != core.Same || !p.Compared.Have.Equal(n.have) {
			n.w.fail("checkCertified", "%s does not know that %s has the same: %v at %v", n.name, p.Region, p.Compared.Verdict, p.Compared.Have)
		}
	}
}

// checkDigestsAreOfDocuments: the digests that the core keeps are those of what
// is in the store.
func (n *node) checkDigestsAreOfDocuments() {
	const check = "checkDigestsAreOfDocuments"
	var want, common digest.Digest
	for k, content := range n.digests {
		weight := digest.Of(k.Collection, k.ID, n.shadow[k].Heads(), content)
		want = want.Plus(weight)
		if col, err := n.catalog.Collection(k.Collection.String()); err != nil || col.Settings.Regions == nil {
			common = common.Plus(weight)
		}
	}
	t, err := digests.Open(n.store)
	if err != nil {
		n.w.fail(check, "%s: %v", n.name, err)
		return
	}
	if got := t.Total(); got != want || n.total != common {
		n.w.fail(check, "%s keeps the digest %v of %d documents, its store %v of %d; that of the documents is %v of %d", n.name,
			n.total, n.total.Documents, got, got.Documents, want, want.Documents)
	}
}

// checkI06HaveGrows: a start finds what was committed.
func (n *node) checkI06HaveGrows(have crdt.Vector) {
	if !have.Equal(n.have) {
		n.w.fail("checkI06HaveGrows", "%s had committed %v and starts with %v", n.name, n.have, have)
	}
}

// checkI07OnlyAskedFor: the core writes nothing of itself but what a client
// asked for, what the application answered, the announcement of its replica, and
// that it has become a home.
func (n *node) checkI07OnlyAskedFor(fx core.Effects) {
	own, asked, given := map[crdt.Dot]bool{}, map[crdt.Dot]bool{}, map[crdt.Dot]bool{}
	allowed, homes := 0, 0
	for _, r := range fx.Replies {
		switch res := r.Result.(type) {
		case core.Receipt:
			if r.Err == nil && !res.Repeated {
				asked[res.Dot] = true
				allowed += len(res.Docs)
			}
		case core.CollectionReceipt:
			if r.Err == nil {
				allowed++
			}
		case core.HomeReceipt:
			if r.Err == nil {
				homes++
			}
		case core.MemberReceipt, core.TopologyReceipt:
			if r.Err == nil {
				allowed++
			}
		}
	}
	for _, l := range fx.Batch.Log {
		if l.Dot.Replica != n.core.Replica() || n.w.hist.changes[l.Dot] != nil {
			continue
		}
		ch, _, err := crdt.DecodeChange(l.Change)
		switch {
		case err != nil:
		case ch.Mutations[0].Decision != crdt.Undecided:
			n.w.stats.Decisions++
			if !n.decided(ch) {
				n.w.fail("checkI07OnlyAskedFor", "%s writes %v as an answer that was not given", n.name, ch.Dot)
			}
		case !ch.Mutations[0].Collection.IsZero():
			own[ch.Dot] = true
			if col, err := fx.Catalog.Collection(ch.Mutations[0].Collection.String()); err == nil && len(col.Settings.Bounds) > 0 {
				given[ch.Dot] = true // shares may be given away because others ask for them
			}
		case strings.HasPrefix(ch.Mutations[0].ID, "h:") && homes > 0:
			homes--
		case strings.HasPrefix(ch.Mutations[0].ID, "h:"):
			n.w.stats.Granted++
		case strings.HasPrefix(ch.Mutations[0].ID, "e:"), strings.HasPrefix(ch.Mutations[0].ID, "f:"),
			strings.HasPrefix(ch.Mutations[0].ID, "g:"), strings.HasPrefix(ch.Mutations[0].ID, "b:"): // as the protocol of removals says
		case len(n.unseen) > 0 && strings.HasPrefix(ch.Mutations[0].ID, "c:"): // of what it makes anew
		case strings.HasPrefix(ch.Mutations[0].ID, "c:"), strings.HasPrefix(ch.Mutations[0].ID, "m:"), ch.Mutations[0].ID == "t:":
			allowed--
		case ch.Dot.Seq != 1:
			n.w.fail("checkI07OnlyAskedFor", "%s announces itself in %v", n.name, ch.Dot)
		}
	}
	for d := range own {
		if !asked[d] && !given[d] && len(n.unseen) == 0 {
			n.w.fail("checkI07OnlyAskedFor", "%s writes %v, which nobody asked for", n.name, d)
		}
	}
	for d := range asked {
		if !own[d] {
			n.w.fail("checkI03DurableFirst", "%s acknowledges %v, which the batch does not hold", n.name, d)
		}
	}
	if allowed < 0 {
		n.w.fail("checkI07OnlyAskedFor", "%s makes collections that nobody asked for", n.name)
	}
}

// nextBytes is what the changes that every origin is due for can take in an
// inbox that is full.
const nextBytes = 64 << 10

// checkI08Bounds: the inbox stays within its limit, but for the change that
// each origin is due for, which is always taken.
func (n *node) checkI08Bounds(s core.Status) {
	limit := cmp.Or(n.w.sc.limits.InboxBytes, core.DefaultInboxBytes)
	if s.Inbox.Bytes > limit+nextBytes || s.Inbox.Bytes < 0 || (s.Inbox.Bytes == 0) != (s.Inbox.Changes == 0) {
		n.w.fail("checkI08Bounds", "the inbox of %s holds %d changes, %d bytes, of %d", n.name, s.Inbox.Changes, s.Inbox.Bytes, limit)
	}
	if s.Inbox.Changes > 0 && s.Inbox.Changes > limit/256+len(n.w.minted) {
		n.w.fail("checkI08Bounds", "the inbox of %s holds %d changes", n.name, s.Inbox.Changes)
	}
}

// checkI08Memory: after a step the cache is within its limit, but for one document
// of any size, and so are the queue of what is to be trimmed and the older versions
// that are not saved yet.
func (n *node) checkI08Memory(m core.Memory) {
	l := n.w.sc.limits
	if limit := cmp.Or(l.CacheBytes, core.DefaultCacheBytes); m.CacheBytes > limit && m.CacheDocuments > 1 || m.CacheBytes < 0 {
		n.w.fail("checkI08Memory", "the cache of %s holds %d documents, %d bytes, of %d", n.name, m.CacheDocuments, m.CacheBytes, limit)
	}
	if limit := cmp.Or(l.TrimQueue, core.DefaultTrimQueue); m.TrimQueue > limit {
		n.w.fail("checkI08Memory", "%s remembers %d documents to trim, of %d", n.name, m.TrimQueue, limit)
	}
	if limit := cmp.Or(l.OlderBytes, core.DefaultOlderBytes); m.OlderBytes > limit || m.OlderBytes < 0 {
		n.w.fail("checkI08Memory", "older versions of %s take %d bytes, of %d", n.name, m.OlderBytes, limit)
	}
}

// checkI09AnswersAtOnce: a request is answered by the step that takes it, which
// no other region has a part in. It returns what is still due.
func (n *node) checkI09AnswersAtOnce(due []uint64, fx core.Effects) []uint64 {
	due = slices.DeleteFunc(due, func(id uint64) bool {
		return slices.ContainsFunc(fx.Replies, func(r core.Reply) bool { return r.ID == id })
	})
	if len(due) > 0 && !fx.More {
		n.w.fail("checkI09AnswersAtOnce", "%s has not answered %v and does not go on", n.name, due)
	}
	return due
}

// checkI11Stamps: a change has a greater stamp than all that its writer had
// seen of the same documents.
func (w *world) checkI11Stamps(c *change) {
	for i := range c.Mutations {
		for _, o := range w.hist.docs[keyOf(&c.Mutations[i])] {
			if o != c && c.Deps.Contains(o.Dot) && o.Stamp >= c.Stamp {
				w.fail("checkI11Stamps", "%v was written having seen %v of %s, and its stamp %v is not greater than %v",
					c.Dot, o.Dot, c.Mutations[i].ID, c.Stamp, o.Stamp)
			}
		}
	}
}

// checkI12StableIsStable: what arrives was written having seen all that is
// stable here. The announcement of a replica is its first change and touches
// nothing that others write to.
func (n *node) checkI12StableIsStable(c *change) {
	if !c.Deps.Covers(n.stable) && !announcement(c) && !n.w.private(c) {
		n.w.fail("checkI12StableIsStable", "%s holds %v for stable, and applies %v, which is concurrent with some of it: %v", n.name, n.stable, c.Dot, c.Deps)
	}
}

func announcement(c *change) bool {
	return len(c.Mutations) == 1 && c.Mutations[0].Collection.IsZero() && strings.HasPrefix(c.Mutations[0].ID, "r:")
}

// checkStatus: what is held is held by all, and nobody takes itself for a fork.
func (n *node) checkStatus(s core.Status) {
	for _, o := range n.w.nodes {
		if n.have.Len() == 0 {
			break // it has begun anew in this step
		}
		if n.heardOf(o) && !o.have.Covers(s.Held) {
			n.w.fail("checkI12HeldIsHeld", "%s says that all hold %v, %s has %v", n.name, s.Held, o.name, o.have)
		}
	}
	if s.Fenced != "" {
		n.w.fail("checkI02ReplicaIsNew", "%s is fenced: %s", n.name, s.Fenced)
	}
	if !s.Have.Covers(s.Stable) {
		n.w.fail("checkI12StableIsStable", "%s has %v, less than is stable: %v", n.name, s.Have, s.Stable)
	}
}

// heardOf reports whether a region has heard of the store that a member has now.
// Before that it goes by what the one before that had told.
func (n *node) heardOf(o *node) bool {
	return n == o || n.knows(o) && !n.dropped(o) && !o.mute && !o.replica.IsZero() &&
		slices.ContainsFunc(n.peers, func(p core.PeerStatus) bool { return p.Region == o.name && p.Replica == o.replica })
}

// checkClose: correct regions have no reason to refuse each other. known are the members before the step.
func (n *node) checkClose(c core.Close, known []string) {
	if errors.Is(c.Err, core.ErrReplaced) {
		return // a correct one may have had another store
	}
	if errors.Is(c.Err, core.ErrNotMember) && n.catalog != nil && !n.catalog.Announced(c.Peer) {
		return // after a restart it has to hear anew who knows of an addition
	}
	if errors.Is(c.Err, core.ErrNotMember) && !(slices.Contains(known, c.Peer) && slices.Contains(n.members, c.Peer)) {
		return // or of the members, if it takes no writes yet, or did not when it was called
	}
	if errors.Is(c.Err, core.ErrRemoved) || errors.Is(c.Err, core.ErrRemoving) || errors.Is(c.Err, core.ErrNotMember) && n.w.sc.faults[Removals] {
		return
	}
	if errors.Is(c.Err, core.ErrForked) {
		n.w.fail("checkI01OneBody", "%s finds that %s has another history: %v", n.name, c.Peer, c.Err)
	} else {
		n.w.fail("wire", "%s refuses %s: %v", n.name, c.Peer, c.Err)
	}
}

// checkI13WholeChanges: what a batch has in the log it has in the documents.
func (n *node) checkI13WholeChanges(b *store.Batch) {
	touched := map[doc]bool{}
	for i := range b.Docs {
		touched[b.Docs[i].Key] = true
	}
	for i := range b.Log {
		c := n.w.hist.changes[b.Log[i].Dot]
		if !n.hasWhole(c) {
			continue
		}
		for j := range c.Mutations {
			if k := keyOf(&c.Mutations[j]); !touched[k] && !n.broken[k] {
				n.w.fail("checkI13WholeChanges", "%s commits %v without its effect on %s", n.name, c.Dot, c.Mutations[j].ID)
			}
		}
	}
}

// checkI14Document: what the store has of a document reads as if nothing had
// ever been trimmed, saved and loaded.
func (n *node) checkI14Document(k doc) {
	const check = "checkI14TrimmedLikeUntrimmed"
	record, err := n.store.Doc(k)
	if err != nil {
		n.w.fail(check, "%s: %v", n.name, err)
		return
	}
	ref := n.shadow[k]
	if ref == nil {
		n.w.fail(check, "%s has the document %s, which no change wrote", n.name, k.ID)
		return
	}
	want := n.render(k, ref)
	if record == nil {
		if ref.Heads().Visible() {
			n.w.fail(check, "%s lacks %s, which is %s", n.name, k.ID, want)
		}
		n.w.stats.Trimmed++
		n.setDigest(k, [crdt.DigestSize]byte{})
		return
	}
	s, err := core.DecodeDocument(record)
	if err != nil {
		n.w.fail(check, "%s cannot read %s: %v", n.name, k.ID, err)
		return
	}
	if got := n.render(k, s); got != want {
		n.w.fail(check, "%s has %s\n  as       %s\n  untrimmed %s", n.name, k.ID, got, want)
	}
	content := s.Digest()
	n.setDigest(k, content)
	n.checkI05SameVersionsSameContent(k, s, content)
	n.checkModel(k, s)
}
