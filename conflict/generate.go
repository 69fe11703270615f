package conflict

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// A generator draws conflicts from a seeded source.
type generator struct{ random *rand.Rand }

func pick[T any](g *generator, all ...T) T { return all[g.random.IntN(len(all))] }

// generatedAt is when the generated conflicts happened: 2026-01-02 12:00 UTC.
const generatedAt = 1_767_355_200_000

func (g *generator) draw(ctx Context, i int) Case {
	c := Case{Name: fmt.Sprintf("generated %d", i+1), Context: ctx}
	// One shape for all versions more often than not, as it is in applications.
	shape := g.shape(i)
	for k := range pick(g, 2, 2, 2, 3, 5) {
		s := shape
		if shape == mixed {
			s = g.random.IntN(mixed)
		}
		v := g.value(s)
		if ctx.Path == "" {
			v = g.document(shape == mixed)
		}
		replica := g.random.IntN(4)
		c.Versions = append(c.Versions, Version{
			Region: []string{"us-east", "eu-west", "ap-south", ""}[replica],
			Version: crdt.Version{
				Dot:   crdt.Dot{Replica: crdt.ReplicaID{0: 1, 6: 0x70, 8: 0x80, 15: byte(replica)}, Seq: uint64(k + 1)},
				Stamp: crdt.Stamp(generatedAt+int64(pick(g, 0, 0, 1, 40, 86_400_000)))<<16 + crdt.Stamp(pick(g, 0, 0, 1)),
				Value: v,
			},
		})
	}
	slices.SortFunc(c.Versions, func(a, b Version) int { return compareAge(&a, &b) })
	return c
}

// The shapes of a field's values.
const (
	integers = iota
	numbers
	texts
	lists
	objects
	others
	mixed // of several shapes
)

// shape goes through all of them, and then draws.
func (g *generator) shape(i int) int {
	if i <= mixed {
		return i
	}
	return g.random.IntN(mixed + 1)
}

func (g *generator) value(shape int) any {
	switch shape {
	case integers:
		return int64(pick(g, 0, 1, 2, -1, 10, 1_000_000))
	case numbers:
		return pick[any](g, 1.5, 0.1, -2.25, 3.0, int64(3), int64(7))
	case texts:
		return pick(g, "", "a", "b", "tea", "Tee", "茶", "10", "2026-01-02")
	case lists:
		l := []any{}
		for range g.random.IntN(4) {
			l = append(l, pick[any](g, "tea", "milk", "salt", int64(1)))
		}
		return l
	case objects:
		return g.document(false)
	}
	return pick[any](g, nil, true, false, value.Counter(3), value.NewSet([]any{"red", "blue"}), value.Text("some text"))
}

// document draws an object. An odd one has members of any kind.
func (g *generator) document(odd bool) any {
	o := map[string]any{}
	for _, m := range []struct {
		name  string
		shape int
	}{{"items", lists}, {"name", texts}, {"paid", others}, {"price", numbers}, {"quantity", integers}} {
		shape := m.shape
		if odd {
			shape = pick(g, integers, texts, lists, others)
		}
		if g.random.IntN(5) > 0 {
			o[m.name] = g.value(shape)
		}
	}
	if g.random.IntN(3) == 0 {
		o["address"] = map[string]any{"city": g.value(texts), "lines": g.value(lists)}
	}
	return o
}
