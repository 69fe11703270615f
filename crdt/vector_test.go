package crdt_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/internal/causaltest"
)

// drawVector draws a vector and what it says as a map.
func drawVector(t *rapid.T, name string) (crdt.Vector, map[crdt.ReplicaID]uint64) {
	m := map[crdt.ReplicaID]uint64{}
	var dots []crdt.Dot
	most := rapid.SampledFrom([]int{4, 40}).Draw(t, name+" size") // scanned, searched
	for range rapid.IntRange(0, most).Draw(t, name+" dots") {
		d := crdt.Dot{Replica: causaltest.ReplicaID(rapid.IntRange(0, most).Draw(t, name)), Seq: rapid.Uint64Range(0, 4).Draw(t, name)}
		dots = append(dots, d)
		if d.Seq > 0 {
			m[d.Replica] = max(m[d.Replica], d.Seq)
		}
	}
	v := crdt.VectorOf(dots...)
	var w crdt.Vector
	for _, d := range dots {
		w = w.With(d)
	}
	if !v.Equal(w) {
		t.Fatalf("VectorOf %v, one by one %v", v, w)
	}
	return v, m
}

func checkVector(t *rapid.T, v crdt.Vector, m map[crdt.ReplicaID]uint64) {
	if got := maps.Collect(v.All()); !maps.Equal(got, m) || v.Len() != len(m) {
		t.Fatalf("vector %v, want %v", v, m)
	}
	sum := uint64(0)
	for i := range v.Len() {
		e := v.At(i)
		sum += e.Seq
		if i > 0 && v.At(i-1).Replica.Compare(e.Replica) >= 0 {
			t.Fatalf("%v is out of order", v)
		}
		if v.Get(e.Replica) != e.Seq || !v.Contains(e) || v.Contains(crdt.Dot{Replica: e.Replica, Seq: e.Seq + 1}) {
			t.Fatalf("%v does not know what it contains", v)
		}
	}
	if v.Sum() != sum {
		t.Fatalf("sum of %v: %d", v, v.Sum())
	}
}

func TestVectorsDoWhatMapsWould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, ma := drawVector(t, "a")
		b, mb := drawVector(t, "b")
		checkVector(t, a, ma)

		join, meet := maps.Clone(ma), map[crdt.ReplicaID]uint64{}
		var missing []crdt.Span
		for r, s := range mb {
			join[r] = max(join[r], s)
			if m := min(ma[r], s); m > 0 {
				meet[r] = m
			}
			if ma[r] < s {
				missing = append(missing, crdt.Span{Replica: r, From: ma[r] + 1, To: s})
			}
		}
		slices.SortFunc(missing, func(x, y crdt.Span) int { return x.Replica.Compare(y.Replica) })
		checkVector(t, a.Join(b), join)
		checkVector(t, a.Meet(b), meet)
		if got := a.Missing(b); !slices.Equal(got, missing) {
			t.Fatalf("missing %v, want %v", got, missing)
		}
		var lacks uint64
		for _, s := range missing {
			lacks += s.To - s.From + 1
		}
		if got := a.Lacks(b); got != lacks {
			t.Fatalf("lacks %d, want %d", got, lacks)
		}
		if a.Covers(b) != (len(missing) == 0) {
			t.Fatalf("%v covers %v: %v", a, b, a.Covers(b))
		}
		checkVector(t, a, ma) // nothing above changed it
		checkVector(t, b, mb)
	})
}

func TestVectorJoinLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, _ := drawVector(t, "a")
		b, _ := drawVector(t, "b")
		c, _ := drawVector(t, "c")
		ab := a.Join(b)
		for law, ok := range map[string]bool{
			"join commutes":                ab.Equal(b.Join(a)),
			"join associates":              ab.Join(c).Equal(a.Join(b.Join(c))),
			"join is idempotent":           a.Join(a).Equal(a) && ab.Join(b).Equal(ab),
			"join is an upper bound":       ab.Covers(a) && ab.Covers(b),
			"join is the least":            !c.Covers(a) || !c.Covers(b) || c.Covers(ab),
			"meet commutes":                a.Meet(b).Equal(b.Meet(a)),
			"meet associates":              a.Meet(b).Meet(c).Equal(a.Meet(b.Meet(c))),
			"meet is a lower bound":        a.Covers(a.Meet(b)) && b.Covers(a.Meet(b)),
			"absorption":                   a.Join(a.Meet(b)).Equal(a) && a.Meet(ab).Equal(a),
			"what is missing makes a join": afterSpans(a, a.Missing(b)).Equal(ab),
		} {
			if !ok {
				t.Fatalf("%s: does not hold for %v, %v, %v", law, a, b, c)
			}
		}
		want := crdt.Concurrent
		switch {
		case a.Equal(b):
			want = crdt.Equal
		case ab.Equal(a):
			want = crdt.After
		case ab.Equal(b):
			want = crdt.Before
		}
		mirrored := map[crdt.Order]crdt.Order{crdt.Before: crdt.After, crdt.After: crdt.Before}
		back, ok := mirrored[want]
		if !ok {
			back = want
		}
		if a.Compare(b) != want || b.Compare(a) != back {
			t.Fatalf("%v is %v %v, want %v", a, a.Compare(b), b, want)
		}
	})
}

func afterSpans(v crdt.Vector, spans []crdt.Span) crdt.Vector {
	for _, s := range spans {
		for seq := s.From; seq <= s.To; seq++ {
			v = v.With(crdt.Dot{Replica: s.Replica, Seq: seq})
		}
	}
	return v
}

// largest returns two vectors of the greatest size that have half their entries in common.
func largest() (a, b crdt.Vector) {
	var x, y []crdt.Dot
	for i := range crdt.MaxReplicas * 3 / 2 {
		d := crdt.Dot{Replica: crdt.ReplicaID{0: byte(i >> 8), 5: byte(i), 15: 1}, Seq: uint64(i + 1)}
		if i < crdt.MaxReplicas {
			x = append(x, d)
		}
		if i >= crdt.MaxReplicas/2 {
			y = append(y, d)
		}
	}
	return crdt.VectorOf(x...), crdt.VectorOf(y...)
}

func BenchmarkVector(b *testing.B) {
	x, y := largest()
	small := crdt.VectorOf(crdt.Dot{Replica: causaltest.ReplicaID(0), Seq: 7}, crdt.Dot{Replica: causaltest.ReplicaID(1), Seq: 8}, crdt.Dot{Replica: causaltest.ReplicaID(2), Seq: 9})
	for _, bench := range []struct {
		name string
		run  func()
	}{
		{"Join/3", func() { small.Join(small) }},
		{"With/3", func() { small.With(crdt.Dot{Replica: causaltest.ReplicaID(1), Seq: 9}) }},
		{"Covers/3", func() { small.Covers(small) }},
		{"Join/4096", func() { x.Join(y) }},
		{"With/4096", func() { x.With(crdt.Dot{Replica: x.At(2000).Replica, Seq: 1 << 40}) }},
		{"Get/4096", func() { x.Get(y.At(2000).Replica) }},
		{"Compare/4096", func() { x.Compare(y) }},
		{"Missing/4096", func() { x.Missing(y) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bench.run()
			}
		})
	}
}
