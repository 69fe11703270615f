package amsync

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/crdt/automerge/validate"
)

// A site is one side of a sync. Its changes are names only.
type site struct {
	name string
	n    int
	h    *History
	peer *Peer
	all  map[Hash]*validate.Change
}

func newSite(name string) *site {
	return &site{name: name, h: NewHistory(), peer: NewPeer(), all: map[Hash]*validate.Change{}}
}

func (s *site) add(t testing.TB, c *validate.Change) {
	if err := s.h.Add(validate.Links{Hash: c.Hash, Deps: c.Deps, Raw: c.Raw}); err != nil {
		t.Fatal(err)
	}
	s.all[c.Hash] = c
}

func (s *site) edit(t testing.TB, size int) {
	s.n++
	raw := fmt.Appendf(make([]byte, 0, size), "%s %d", s.name, s.n)
	c := &validate.Change{Raw: raw[:max(len(raw), size)], Deps: slices.Clone(s.h.Heads())}
	c.Hash = sha256.Sum256(fmt.Appendf(nil, "%s %d %v", s.name, s.n, c.Deps))
	s.add(t, c)
}

// receive takes a message, with the changes that it stands for.
func (s *site) receive(t testing.TB, m *validate.SyncMessage, from *site) {
	in := *m
	in.Changes = nil
	for _, c := range m.Changes {
		in.Changes = append(in.Changes, from.all[c.Hash])
	}
	ready, err := s.peer.Offer(s.h, &in)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range ready {
		s.add(t, c)
	}
	s.peer.Receive(s.h, &in)
}

// exchange passes messages until both sides are silent, and counts them.
func exchange(t testing.TB, a, b *site) (messages int) {
	for quiet := 0; quiet < 2; a, b = b, a {
		m := a.peer.Generate(a.h)
		if m == nil {
			quiet++
			continue
		}
		quiet = 0
		if messages++; messages > 200 {
			t.Fatalf("%d messages, and they go on", messages)
		}
		b.receive(t, m, a)
	}
	return messages
}

func TestTwoSidesComeToHaveTheSame(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := newSite("a"), newSite("b")
		for range rapid.IntRange(1, 6).Draw(rt, "rounds") {
			for _, s := range []*site{a, b} {
				for range rapid.IntRange(0, 40).Draw(rt, "edits") {
					s.edit(t, 0)
				}
			}
			switch rapid.IntRange(0, 5).Draw(rt, "mishap") {
			case 0: // both connect anew
				a.peer, b.peer = NewPeer(), NewPeer()
			case 1: // one does, and the other remembers what both had, as clients do
				shared := b.peer.shared
				a.peer, b.peer = NewPeer(), NewPeer()
				b.peer.shared = shared
			case 2: // one has lost everything
				a.h, a.peer, b.peer = NewHistory(), NewPeer(), NewPeer()
			case 3: // a message is lost with its connection
				_ = a.peer.Generate(a.h)
				a.peer, b.peer = NewPeer(), NewPeer()
			}
			exchange(t, a, b)
			if !slices.Equal(a.h.Heads(), b.h.Heads()) {
				a.peer.Restart()
				b.peer.Restart()
				exchange(t, a, b)
			}
			if !slices.Equal(a.h.Heads(), b.h.Heads()) || a.h.Len() != b.h.Len() {
				rt.Fatalf("%d and %d changes", a.h.Len(), b.h.Len())
			}
		}
	})
}

func TestSyncedSidesSendNothingTwice(t *testing.T) {
	a, b := newSite("a"), newSite("b")
	for range 1000 {
		a.edit(t, 0)
	}
	exchange(t, a, b)
	a.edit(t, 0)
	m := a.peer.Generate(a.h)
	if m == nil || len(m.Changes) != 1 {
		t.Fatalf("after one edit: %+v", m)
	}
	b.receive(t, m, a)
	if n := exchange(t, b, a); n > 1 {
		t.Errorf("%d messages to acknowledge one edit", n)
	}
	if !a.peer.Synced(a.h) || !b.peer.Synced(b.h) || a.peer.Lacks(a.h) {
		t.Error("they do not know that they have the same")
	}
}

func TestMuchComesInSeveralMessages(t *testing.T) {
	a, b := newSite("a"), newSite("b")
	for range 20 {
		a.edit(t, MaxMessageBytes/4)
	}
	if n := exchange(t, a, b); n < 6 || b.h.Len() != 20 {
		t.Errorf("%d messages, %d changes", n, b.h.Len())
	}
}

func TestChangesThatWaitAreBounded(t *testing.T) {
	p, h := NewPeer(), NewHistory()
	lost := []Hash{{1}}
	for i := range 5 {
		c := &validate.Change{Hash: Hash{2, byte(i)}, Deps: lost, Raw: make([]byte, MaxWaitingBytes/4)}
		_, err := p.Offer(h, &validate.SyncMessage{Changes: []*validate.Change{c}})
		if (err != nil) != (i == 4) {
			t.Fatalf("after %d: %v", i+1, err)
		}
	}
	p.Receive(h, &validate.SyncMessage{Heads: []Hash{{2, 0}}})
	if m := p.Generate(h); !slices.Equal(m.Need, lost) {
		t.Errorf("it asks for %v", m.Need)
	}
}

func TestSinceLooksAtLittleMore(t *testing.T) {
	s := newSite("a")
	for range 1000 {
		s.edit(t, 0)
	}
	old := slices.Clone(s.h.Heads())
	s.edit(t, 0)
	if got := s.h.since(old); len(got) != 1 || got[0] != 1000 {
		t.Errorf("%v", got)
	}
	if got := s.h.since(nil); len(got) != 1001 || !slices.IsSorted(got) {
		t.Errorf("%d changes", len(got))
	}
	if got := s.h.since([]Hash{{9}}); len(got) != 1001 {
		t.Errorf("an unknown hash leaves %d", len(got))
	}
}
