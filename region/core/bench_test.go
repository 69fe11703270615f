package core_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/topology"
	"github.com/meridiandb/meridian/transport/wire"
)

// A side is a core with its store, linked with another by calls.
type side struct {
	b    *testing.B
	name string
	core *core.Core
	st   *memstore.Store
	// inbox is what the other has sent, changes that of it which carries changes.
	inbox   []core.Event
	changes []core.Event
}

func newSide(b *testing.B, name string, replica byte, members ...string) *side {
	b.Helper()
	st := memstore.New()
	c, err := core.New(core.Config{
		Region: name, Cluster: "bench", Members: members, Topology: topology.Spec{Kind: topology.Mesh},
		NewReplica: func() crdt.ReplicaID { return crdt.ReplicaID{15: replica} },
	}, st)
	if err != nil {
		b.Fatal(err)
	}
	return &side{b: b, name: name, core: c, st: st}
}

// step carries out a step, but for what it sends: that is put into the inbox of
// the other side.
func (s *side) step(now time.Time, to *side, events ...core.Event) []core.Reply {
	var replies []core.Reply
	for more := true; more; events = nil {
		fx, err := s.core.Step(now, events)
		if err == nil && fx.Batch != nil {
			err = s.st.Commit(fx.Batch)
		}
		if err != nil {
			s.b.Fatal(err)
		}
		for _, send := range fx.Sends {
			if to == nil {
				continue
			}
			received := core.Received{Peer: s.name, Message: send.Message}
			if _, ok := send.Message.(wire.Changes); ok {
				to.changes = append(to.changes, received)
			} else {
				to.inbox = append(to.inbox, received)
			}
		}
		replies, more = append(replies, fx.Replies...), fx.More
	}
	return replies
}

func (s *side) take() []core.Event {
	events := slices.Concat(s.inbox, s.changes)
	s.inbox, s.changes = nil, nil
	return events
}

// linked returns two cores that have met and hold a collection of a type.
func linked(b *testing.B, typ string) (a, peer *side, now time.Time) {
	b.Helper()
	now = time.Unix(1_700_000_000, 0)
	a, peer = newSide(b, "a", 1, "a", "b"), newSide(b, "b", 2, "a", "b")
	a.step(now, peer, core.Tick{}, core.LinkUp{Peer: "b"})
	peer.step(now, a, core.Tick{}, core.LinkUp{Peer: "a"})
	settings, err := core.ParseSettings(fmt.Appendf(nil, `{"type":%q}`, typ))
	if err != nil {
		b.Fatal(err)
	}
	made := false
	for range 50 {
		now = now.Add(core.TickEvery)
		events := append(a.take(), core.Tick{})
		if !made {
			events = append(events, core.Submit{ID: 1, Ask: core.PutCollection{Name: "c", Settings: settings}})
		}
		for _, r := range a.step(now, peer, events...) {
			made = made || r.ID == 1 && r.Err == nil
		}
		peer.step(now, a, append(peer.take(), core.Tick{})...)
		if made && a.core.Have().Compare(peer.core.Have()) == crdt.Equal {
			return a, peer, now
		}
	}
	b.Fatal("the two have not met")
	return nil, nil, now
}

var payload = strings.Repeat("x", 180)

// benchDocs is how many documents are written in turn.
const benchDocs = 1000

func edit(typ string, i int) crdt.Edit {
	if typ == "register" {
		return crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"n": int64(i), "f": payload}}
	}
	return crdt.Edit{Kind: crdt.EditMergePatch, Value: map[string]any{fmt.Sprintf("f%d", i%10): payload[:90]}}
}

func writes(typ string, from, n int) []core.Event {
	events := make([]core.Event, n)
	for i := range events {
		events[i] = core.Submit{ID: uint64(i), Ask: core.Write{Docs: []core.DocWrite{{
			Collection: "c", ID: fmt.Sprint((from + i) % benchDocs), Edit: edit(typ, from+i),
		}}}}
	}
	return events
}

// fill writes all documents once, so that what is measured are updates. A
// document gets the first of its fields.
func fill(a, peer *side, typ string, now time.Time) {
	for from := 0; from < benchDocs; from += 500 {
		a.step(now, peer, writes(typ, from, 500)...)
		peer.step(now, a, peer.take()...)
		a.step(now, peer, a.take()...)
	}
}

// BenchmarkStep takes writes in; the commit to memory is left out. A write is
// counted as one operation, whatever the batch.
func BenchmarkStep(b *testing.B) { benchBoth(b, true) }

// BenchmarkApply takes in the changes that another region has made and sent.
func BenchmarkApply(b *testing.B) { benchBoth(b, false) }

func benchBoth(b *testing.B, here bool) {
	for _, typ := range []string{"register", "document"} {
		for _, batch := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/batch=%d", typ, batch), func(b *testing.B) {
				a, peer, now := linked(b, typ)
				fill(a, peer, typ, now)
				measured := peer
				if here {
					measured = a
				}
				b.ReportAllocs()
				b.ResetTimer()
				for from := 0; from < b.N; from += batch {
					b.StopTimer()
					now = now.Add(time.Millisecond)
					var events []core.Event
					if n := min(batch, b.N-from); here {
						events = append(writes(typ, from, n), a.take()...)
					} else {
						a.step(now, peer, append(writes(typ, from, n), a.take()...)...)
						events = peer.take()
					}
					b.StartTimer()
					fx, err := measured.core.Step(now, events)
					b.StopTimer()
					if err == nil && fx.Batch != nil {
						err = measured.st.Commit(fx.Batch)
					}
					if err != nil {
						b.Fatal(err)
					}
					if fx.More {
						b.Fatal("a step left something over")
					}
					for _, r := range fx.Replies {
						if r.Err != nil {
							b.Fatal(r.Err)
						}
					}
					// The acknowledgements, so that the cores know how far the other is.
					if here {
						for _, s := range fx.Sends {
							peer.inbox = append(peer.inbox, core.Received{Peer: "a", Message: s.Message})
						}
						peer.step(now, a, peer.take()...)
					} else {
						for _, s := range fx.Sends {
							a.inbox = append(a.inbox, core.Received{Peer: "b", Message: s.Message})
						}
					}
					b.StartTimer()
				}
			})
		}
	}
}
