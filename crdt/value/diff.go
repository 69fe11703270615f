package value

// Edit is one difference between two sequences a and b: Delete elements of a,
// from index A on, are replaced by Insert elements of b, from index B on.
type Edit struct {
	A, Delete int
	B, Insert int
}

// MaxDiffWork bounds the comparisons of one [DiffSequence], beside those of the
// common ends. Two sequences that differ in more than some 1,500 elements can
// use it up.
const MaxDiffWork = 1 << 20

// DiffSequence returns edits that turn a sequence of n elements into one of m,
// in ascending order, with at least one common element between two edits;
// equal(i, j) compares element i of the first with element j of the second. It
// is Myers' linear-space algorithm ("An O(ND) Difference Algorithm and Its
// Variations", 1986): time O((n+m)·D), space O(n+m), and no shorter script
// exists. Once [MaxDiffWork] is used up, what is still to be compared counts as
// different from end to end: the edits stay right but may be more than needed.
func DiffSequence(n, m int, equal func(i, j int) bool) []Edit {
	d := differ{equal: equal, work: MaxDiffWork}
	d.box(0, n, 0, m)
	return d.edits
}

type differ struct {
	equal func(i, j int) bool
	work  int
	space []int
	edits []Edit
}

// box compares a[a0:a1] with b[b0:b1].
func (d *differ) box(a0, a1, b0, b1 int) {
	for a0 < a1 && b0 < b1 && d.equal(a0, b0) {
		a0, b0 = a0+1, b0+1
	}
	for a0 < a1 && b0 < b1 && d.equal(a1-1, b1-1) {
		a1, b1 = a1-1, b1-1
	}
	switch {
	case a0 == a1 && b0 == b1:
		return
	case a0 < a1 && b0 < b1:
		if x, y, ok := d.split(a0, a1, b0, b1); ok {
			d.box(a0, x, b0, y)
			d.box(x, a1, y, b1)
			return
		}
	}
	d.emit(Edit{A: a0, Delete: a1 - a0, B: b0, Insert: b1 - b0})
}

// emit adds an edit, joined with the previous one if nothing lies between them.
func (d *differ) emit(e Edit) {
	if len(d.edits) > 0 {
		last := &d.edits[len(d.edits)-1]
		if last.A+last.Delete == e.A && last.B+last.Insert == e.B {
			last.Delete += e.Delete
			last.Insert += e.Insert
			return
		}
	}
	d.edits = append(d.edits, e)
}

// split returns a point on a shortest path through the box that leaves at least
// one edit on either side, or false when the work is used up. The box is
// trimmed and has two sides, so at least two edits are needed.
func (d *differ) split(a0, a1, b0, b1 int) (x, y int, ok bool) {
	n, m := a1-a0, b1-b0
	if d.space == nil { // the first box is the largest
		d.space = make([]int, 2*(n+m+1))
	}
	// Both searches advance in turn until they meet; the backward one starts at
	// the far corner and counts from there.
	half := n + m + 1
	forward := frontier{x: d.space[:half], n: n, m: m, equal: func(x, y int) bool { return d.equal(a0+x, b0+y) }}
	backward := frontier{x: d.space[half : 2*half], n: n, m: m, equal: func(x, y int) bool { return d.equal(a1-1-x, b1-1-y) }}
	odd := (n-m)%2 != 0
	for edits := 0; d.work > 0; edits++ {
		if x, met := forward.advance(edits, &backward, odd, &d.work); met {
			return a0 + x.x, b0 + x.y, true
		}
		if x, met := backward.advance(edits, &forward, !odd, &d.work); met {
			return a1 - x.x, b1 - x.y, true
		}
	}
	return 0, 0, false
}

type point struct{ x, y int }

// frontier is how far one search has come with a number of edits.
type frontier struct {
	x         []int // the furthest x on diagonal k, where k = x-y, at m+k; or -1
	low, high int   // diagonals that x is about, every other one
	n, m      int
	equal     func(x, y int) bool
}

func (f *frontier) at(k int) int {
	if k < f.low || k > f.high {
		return -1
	}
	return f.x[f.m+k]
}

// advance takes f one edit further. If check is set, it looks for a place where
// f reaches or passes the other search, which comes from the opposite corner.
func (f *frontier) advance(edits int, other *frontier, check bool, work *int) (point, bool) {
	low, high := max(-edits, edits-2*f.m), min(edits, 2*f.n-edits)
	for k := low; k <= high && *work > 0; k += 2 {
		x := 0
		if edits > 0 {
			x = max(f.at(k+1), f.at(k-1)+1) // down, or right
		}
		start := x
		for x < f.n && x-k < f.m && f.equal(x, x-k) {
			x++
		}
		*work -= 1 + x - start
		// The values of the previous round lie on the diagonals between these.
		f.x[f.m+k] = x
		if check {
			if back := other.at(f.n - f.m - k); back >= 0 && x+back >= f.n {
				return point{x, x - k}, true
			}
		}
	}
	f.low, f.high = low, high
	return point{}, false
}
