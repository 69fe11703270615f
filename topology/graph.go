package topology

import (
	"hash/fnv"
	"iter"
)

// graph is a symmetric adjacency matrix. Regions are numbered by their place
// in the order of the shape.
type graph [][]bool

func newGraph(n int) graph {
	cells := make([]bool, n*n)
	g := make(graph, n)
	for i := range g {
		g[i] = cells[i*n : (i+1)*n]
	}
	return g
}

func (g graph) add(i, j int) {
	g[i][j], g[j][i] = true, true
}

// pairs yields all i < j < n, the pairs of the first before the others.
func pairs(n int) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		for i := range n {
			for j := i + 1; j < n; j++ {
				if !yield(i, j) {
					return
				}
			}
		}
	}
}

// both returns the links that are in g and in h.
func (g graph) both(h graph) graph {
	common := newGraph(len(g))
	for i, j := range pairs(len(g)) {
		if g[i][j] && h[i][j] {
			common.add(i, j)
		}
	}
	return common
}

// wish returns the links that the regions should keep, or try to. It does not
// depend on who asks, so that both ends of a link agree about it. Idle regions pass
// nothing on.
func wish(kind Kind, up graph, idle []bool) graph {
	n := len(up)
	want := newGraph(n)
	for i := range n {
		for _, list := range kind.preferences(i, n) {
			for _, j := range list {
				want.add(i, j)
				if up[i][j] {
					break
				}
			}
		}
	}
	// What joins the pieces must not count when they are told apart, or it
	// would be dropped as soon as it is up.
	joined := want.both(up)
	busy := joined.without(idle)
	for i := range n {
		near, past := joined.distances(i), busy.distances(i)
		for j := range n {
			if near[j] == unreachable || past[j] == unreachable && !idle[i] && !idle[j] {
				want.add(i, j)
			}
		}
	}
	return want
}

// without returns the links that are not of some regions.
func (g graph) without(idle []bool) graph {
	left := newGraph(len(g))
	for i, j := range pairs(len(g)) {
		if g[i][j] && !idle[i] && !idle[j] {
			left.add(i, j)
		}
	}
	return left
}

// unreachable is the distance to where no path leads.
const unreachable = -1

// distances returns how many links away each region is from root.
func (g graph) distances(root int) []int {
	depth := make([]int, len(g))
	for i := range depth {
		depth[i] = unreachable
	}
	depth[root] = 0
	for queue := []int{root}; len(queue) > 0; queue = queue[1:] {
		i := queue[0]
		for j, linked := range g[i] {
			if linked && depth[j] == unreachable {
				depth[j] = depth[i] + 1
				queue = append(queue, j)
			}
		}
	}
	return depth
}

// tree is a tree of shortest paths from root over links.
type tree struct {
	links graph
	names []string
	root  int
	depth []int // distance from root
}

func newTree(links graph, names []string, root int) tree {
	return tree{links, names, root, links.distances(root)}
}

// neighbours returns the names of i's neighbours j that are related to it.
func (t tree) neighbours(i int, related func(i, j int) bool) []string {
	var names []string
	for j, linked := range t.links[i] {
		if linked && related(i, j) {
			names = append(names, t.names[j])
		}
	}
	return names
}

// isParent reports whether, of the neighbours of child that are one step
// nearer to the root, i is the one with the greatest rendezvous hash.
func (t tree) isParent(i, child int) bool {
	above := func(j int) bool {
		return t.links[j][child] && t.depth[j]+1 == t.depth[child]
	}
	if !above(i) {
		return false
	}
	for j := range t.links {
		if j != i && above(j) && t.beats(j, i, child) {
			return false
		}
	}
	return true
}

// beats reports whether j goes before i as the parent of child.
func (t tree) beats(j, i, child int) bool {
	hj, hi := t.weight(j, child), t.weight(i, child)
	return hj > hi || hj == hi && t.names[j] < t.names[i]
}

func (t tree) weight(parent, child int) uint64 {
	h := fnv.New64a()
	// The candidate goes first, so that what follows mixes it into all bits.
	for _, i := range []int{parent, t.root, child} {
		h.Write([]byte(t.names[i]))
		h.Write([]byte{0})
	}
	return h.Sum64()
}
