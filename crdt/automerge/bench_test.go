package automerge_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge"
	"github.com/meridiandb/meridian/crdt/internal/causaltest"
	"github.com/meridiandb/meridian/crdt/value"
)

// sized returns a document of about so many bytes of JSON, half of them text.
func sized(bytes int) map[string]any {
	items := []any{}
	size := 40
	for i := 0; size < bytes; i++ {
		item := map[string]any{"id": int64(i), "name": fmt.Sprintf("item number %d", i), "done": i%2 == 0, "price": float64(i) + 0.5}
		size += value.Size(item)
		items = append(items, item)
	}
	return map[string]any{"title": "a note", "items": items}
}

var sizes = []int{288, 2 << 10, 20 << 10, 200 << 10}

func each(b *testing.B, f func(b *testing.B, doc map[string]any)) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) { f(b, sized(n)) })
	}
}

func prepared(b *testing.B, p *site, e crdt.Edit, i int) (crdt.Header, crdt.Mutation) {
	hd := crdt.Header{Dot: crdt.Dot{Replica: p.id, Seq: p.have.Get(p.id) + 1}, Stamp: crdt.Stamp(i+1) << 20, Deps: p.have}
	m, err := p.s.Prepare(e, hd, newest, crdt.Limits{State: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	return hd, m
}

func BenchmarkCreate(b *testing.B) {
	each(b, func(b *testing.B, doc map[string]any) {
		for i := 0; b.Loop(); i++ {
			p := newSite(b, 0)
			hd, m := prepared(b, p, crdt.Edit{Kind: crdt.EditPut, Value: doc}, i)
			if err := p.s.Apply(hd, m); err != nil {
				b.Fatal(err)
			}
			if _, err := p.s.AppendBinary(nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkWrite splices a text in a document that is loaded, and encodes it, as
// the owner of a region does.
func BenchmarkWrite(b *testing.B) {
	each(b, func(b *testing.B, doc map[string]any) {
		p := newSite(b, 0)
		p.l.State = 1 << 30
		p.edit(crdt.Edit{Kind: crdt.EditPut, Value: doc})
		e := ops(`[{"op":"splice","path":"/title","index":0,"insert":"x"}]`)
		var buf []byte
		for i := 0; b.Loop(); i++ {
			hd, m := prepared(b, p, e, i)
			p.receive(write{hd, m})
			buf, _ = p.s.AppendBinary(buf[:0])
		}
	})
}

// BenchmarkPut writes the whole document with one string changed.
func BenchmarkPut(b *testing.B) {
	each(b, func(b *testing.B, doc map[string]any) {
		p := newSite(b, 0)
		p.l.State = 1 << 30
		p.edit(crdt.Edit{Kind: crdt.EditPut, Value: doc})
		for i := 0; b.Loop(); i++ {
			doc["title"] = fmt.Sprint("a note ", i)
			hd, m := prepared(b, p, crdt.Edit{Kind: crdt.EditPut, Value: doc}, i)
			p.receive(write{hd, m})
		}
	})
}

// BenchmarkApply takes in changes of another region.
func BenchmarkApply(b *testing.B) {
	each(b, func(b *testing.B, doc map[string]any) {
		p := newSite(b, 0)
		first := p.edit(crdt.Edit{Kind: crdt.EditPut, Value: doc})
		e := ops(`[{"op":"splice","path":"/title","index":0,"insert":"x"}]`)
		var ws []write
		for i := range 200 {
			hd, m := prepared(b, p, e, i)
			p.receive(write{hd, m})
			ws = append(ws, write{hd, m})
		}
		b.ResetTimer()
		for i := range b.N {
			if i%len(ws) == 0 {
				b.StopTimer()
				automerge.SetMemoryBudget(0)
				automerge.SetMemoryBudget(automerge.DefaultMemoryBudget)
				p = newSite(b, 1)
				p.receive(first)
				b.StartTimer()
			}
			p.receive(ws[i%len(ws)])
		}
	})
}

// BenchmarkRead decodes a document and makes JSON of it, as a reader does: cold,
// and when it is in the pool.
func BenchmarkRead(b *testing.B) {
	defer automerge.SetMemoryBudget(automerge.DefaultMemoryBudget)
	for _, budget := range []int{0, automerge.DefaultMemoryBudget} {
		automerge.SetMemoryBudget(budget)
		each(b, func(b *testing.B, doc map[string]any) {
			p := newSite(b, 0)
			p.edit(crdt.Edit{Kind: crdt.EditPut, Value: doc})
			enc, _ := p.s.AppendBinary(nil)
			var buf []byte
			for b.Loop() {
				s, err := automerge.Decode(enc)
				if err != nil {
					b.Fatal(err)
				}
				buf = value.Append(buf[:0], s.View(newest).Value, value.Options{})
			}
		})
	}
}

// TestLongHistory makes a document of 10,000 changes and looks at what it takes.
func TestLongHistory(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	p := newSite(t, 0)
	p.put(`{"text":"","n":0}`)
	clock := 1 << 20
	for i := range 10_000 {
		e := ops(fmt.Sprintf(`[{"op":"splice","path":"/text","index":%d,"insert":"%c"}]`, i, 'a'+rune(i%26)))
		hd := crdt.Header{Dot: crdt.Dot{Replica: p.id, Seq: p.have.Get(p.id) + 1}, Stamp: crdt.Stamp(clock+i*100) << 16, Deps: p.have}
		e.Collection, e.ID = crdt.Dot{Replica: causaltest.ReplicaID(99), Seq: 1}, "d"
		m, err := p.s.Prepare(e, hd, newest, p.l)
		if err != nil {
			t.Fatal(err)
		}
		p.receive(write{hd, m})
	}
	b, err := p.s.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(p.s.View(newest).Value.(map[string]any)["text"].(value.Text)); got != 10_000 {
		t.Errorf("%d characters", got)
	}
	used, n := automerge.MemoryInUse()
	t.Logf("10,000 changes: %d KB encoded, %d documents in the pool with %d MB by estimate, process %d MB", len(b)>>10, n, used>>20, rss())
	if len(b) > 400<<10 || used > automerge.DefaultMemoryBudget {
		t.Errorf("%d bytes encoded, %d in memory", len(b), used)
	}
}

// rss is the memory of the process in MB, 0 where it cannot be told.
func rss() int {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	var kb int
	_, _ = fmt.Sscan(rest, &kb)
	return kb >> 10
}
