package amsync

import (
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/crdt/automerge/validate"
)

// MaxMessageBytes is how much of changes goes into one message; the rest follows
// when the other side has answered.
const MaxMessageBytes = 2 << 20

// MaxWaitingBytes is how much of changes may wait for others that they depend on.
const MaxWaitingBytes = 8 << 20

// maxShared bounds the hashes that both sides are remembered to have.
const maxShared = 256

// A Peer is what is known of the other side of a sync, about one document. It is
// not safe for concurrent use.
type Peer struct {
	history *History // that the indexes in sent are of
	shared  []Hash   // both have these
	// What the other side said last.
	heard bool
	heads []Hash
	need  []Hash
	have  []validate.SyncHave
	// What we said last.
	answered bool
	lastSent []Hash
	sent     map[int]bool // changes that it was sent and has not shown to have
	inFlight bool         // it has not answered yet
	// waiting are changes of the other side that depend on what is not there yet.
	waiting []*validate.Change
}

// NewPeer returns what is known before the first message.
func NewPeer() *Peer { return &Peer{sent: map[int]bool{}} }

// Heard reports whether a message has come.
func (p *Peer) Heard() bool { return p.heard }

// Heads are those of the other side when it was heard last. They must not be changed.
func (p *Peer) Heads() []Hash { return p.heads }

// Synced reports whether the other side was heard last to have the same.
func (p *Peer) Synced(h *History) bool { return p.heard && slices.Equal(p.heads, h.Heads()) }

// Lacks reports whether the other side has named heads that h does not have.
func (p *Peer) Lacks(h *History) bool {
	return slices.ContainsFunc(p.heads, func(x Hash) bool { return !h.Has(x) })
}

// Restart forgets what was sent and what both have, so that the next message
// offers everything anew: for a sync that has come to a stand although both
// sides differ.
func (p *Peer) Restart() {
	p.shared, p.lastSent, p.inFlight, p.answered = nil, nil, false, false
	clear(p.sent)
}

// follow notices that the history is another one, since something was taken out.
func (p *Peer) follow(h *History) {
	if p.history != h {
		p.history = h
		p.shared = h.known(p.shared)
		clear(p.sent)
	}
}

// Offer returns those changes of a message, and of earlier ones, that can be put
// on top of h, dependencies first. The others wait for what they depend on. The
// error wraps validate.ErrTooLarge.
func (p *Peer) Offer(h *History, m *validate.SyncMessage) (ready []*validate.Change, err error) {
	waiting := slices.Concat(p.waiting, m.Changes)
	there := map[Hash]bool{}
	for progress := true; progress; {
		progress = false
		var later []*validate.Change
		for _, c := range waiting {
			if h.Has(c.Hash) || there[c.Hash] {
				continue
			}
			if slices.ContainsFunc(c.Deps, func(d Hash) bool { return !h.Has(d) && !there[d] }) {
				later = append(later, c)
				continue
			}
			there[c.Hash], progress = true, true
			ready = append(ready, c)
		}
		waiting = later
	}
	size := 0
	for _, c := range waiting {
		size += len(c.Raw)
	}
	if size > MaxWaitingBytes {
		return nil, fmt.Errorf("%w: %d bytes of changes depend on others that do not come", validate.ErrTooLarge, size)
	}
	p.waiting = waiting
	return ready, nil
}

// Receive takes a message in, once the changes that [Peer.Offer] returned for it
// are part of h.
func (p *Peer) Receive(h *History, m *validate.SyncMessage) {
	p.follow(h)
	p.heard, p.inFlight = true, false
	known := h.known(m.Heads)
	p.delivered(h, known)
	if len(m.Changes) == 0 && slices.Equal(m.Heads, h.Heads()) {
		p.lastSent = h.Heads()
	}
	if len(known) == len(m.Heads) {
		p.shared = slices.Clone(m.Heads)
		if len(m.Heads) == 0 {
			// It has nothing (any more).
			p.lastSent = nil
			clear(p.sent)
		}
	} else {
		for _, c := range m.Changes {
			if h.Has(c.Hash) {
				p.shared = slices.DeleteFunc(p.shared, func(x Hash) bool { return slices.Contains(c.Deps, x) })
				p.shared = append(p.shared, c.Hash)
			}
		}
		p.shared = append(p.shared, known...)
		slices.SortFunc(p.shared, compare)
		p.shared = slices.Compact(p.shared)
		if len(p.shared) > maxShared {
			p.shared = known
		}
	}
	p.heads, p.need, p.have = m.Heads, m.Need, m.Have
}

// delivered forgets what was sent and is there now.
func (p *Peer) delivered(h *History, heads []Hash) {
	if len(p.sent) == 0 || len(heads) == 0 {
		return
	}
	left := map[int]bool{}
	for _, i := range h.since(heads) {
		if p.sent[i] {
			left[i] = true
		}
	}
	p.sent = left
}

// Generate returns the next message, nil if there is nothing to say now. It is
// to be called once after each Receive, and when h has grown.
func (p *Peer) Generate(h *History) *validate.SyncMessage {
	p.follow(h)
	m := &validate.SyncMessage{Heads: h.Heads(), Need: p.missing(h)}
	if !slices.ContainsFunc(m.Need, func(x Hash) bool { return !slices.Contains(p.heads, x) }) {
		m.Have = []validate.SyncHave{{LastSync: p.shared, Bloom: bloomOf(h, h.since(p.shared))}}
	}
	if len(p.have) > 0 && slices.ContainsFunc(p.have[0].LastSync, func(x Hash) bool { return !h.Has(x) }) {
		// We have lost what both had: it is to begin anew.
		p.have = nil
		p.answered, p.lastSent, p.inFlight = true, h.Heads(), true
		return &validate.SyncMessage{Heads: h.Heads(), Have: []validate.SyncHave{{}}}
	}
	changes := p.toSend(h)
	if p.answered && slices.Equal(p.lastSent, m.Heads) {
		if len(changes) == 0 && p.heard && slices.Equal(p.heads, m.Heads) || p.inFlight {
			return nil
		}
	}
	p.answered, p.lastSent, p.inFlight = true, m.Heads, true
	size := 0
	for _, i := range changes {
		if size += len(h.changes[i].raw); size > MaxMessageBytes && len(m.Changes) > 0 {
			break
		}
		p.sent[i] = true
		m.Changes = append(m.Changes, &validate.Change{Hash: h.changes[i].hash, Raw: h.changes[i].raw})
	}
	return m
}

// missing are the changes that have to be asked for.
func (p *Peer) missing(h *History) (out []Hash) {
	have := map[Hash]bool{}
	for _, c := range p.waiting {
		have[c.Hash] = true
	}
	ask := func(hs []Hash) {
		for _, x := range hs {
			if !h.Has(x) && !have[x] {
				have[x] = true
				out = append(out, x)
			}
		}
	}
	ask(p.heads)
	for _, c := range p.waiting {
		ask(c.Deps)
	}
	return out
}

// toSend lists what the other side lacks, as far as it said what it has, and was
// not sent. Dependencies come first.
func (p *Peer) toSend(h *History) []int {
	if !p.heard {
		return nil
	}
	send := map[int]bool{}
	if len(p.have) > 0 {
		var last []Hash
		var filters []bloom
		for _, have := range p.have {
			last = append(last, have.LastSync...)
			filters = append(filters, parseBloom(have.Bloom))
		}
		for _, i := range h.since(last) {
			c := &h.changes[i]
			// What depends on something that it lacks, it lacks too: a filter errs on
			// the other side only.
			send[i] = slices.ContainsFunc(c.deps, func(d int) bool { return send[d] }) ||
				!slices.ContainsFunc(filters, func(f bloom) bool { return f.has(c.hash) })
		}
	}
	for _, x := range p.need {
		if i, ok := h.byHash[x]; ok {
			send[i] = true
		}
	}
	var out []int
	for i, lacks := range send {
		if lacks && !p.sent[i] {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return out
}

// Ask returns a message that asks for what the other side has and h lacks, and
// gives nothing away; nil if it was asked already.
func (p *Peer) Ask(h *History) *validate.SyncMessage {
	p.follow(h)
	if p.inFlight {
		return nil
	}
	p.inFlight, p.answered, p.lastSent = true, true, nil
	return &validate.SyncMessage{Need: p.missing(h), Have: []validate.SyncHave{{Bloom: bloomOf(h, h.since(nil))}}}
}

// Again returns a message that has the other side send once more what h lacks,
// also if it has sent it before: who names no heads has lost everything, as far
// as the other side knows, but for what the filter says is there.
func (p *Peer) Again(h *History) *validate.SyncMessage {
	p.Restart()
	p.follow(h)
	p.inFlight, p.waiting = true, nil
	return &validate.SyncMessage{Have: []validate.SyncHave{{Bloom: bloomOf(h, h.since(nil))}}}
}
