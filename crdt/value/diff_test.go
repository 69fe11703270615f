package value

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// lcs returns the length of a longest common subsequence by the textbook table.
func lcs(a, b []int) int {
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
	}
	for i := range a {
		for j := range b {
			if a[i] == b[j] {
				table[i+1][j+1] = table[i][j] + 1
			} else {
				table[i+1][j+1] = max(table[i][j+1], table[i+1][j])
			}
		}
	}
	return table[len(a)][len(b)]
}

// patchSequence applies edits to a, and fails if they are out of order or touch.
func patchSequence(t interface{ Fatalf(string, ...any) }, a, b []int, edits []Edit) (result []int, cost int) {
	at := 0
	for i, e := range edits {
		if e.A < at || i > 0 && e.A == at || e.Delete+e.Insert == 0 {
			t.Fatalf("edit %d of %v is empty, out of order or touches the one before", i, edits)
		}
		result = append(result, a[at:e.A]...)
		if len(result) != e.B {
			t.Fatalf("edit %d of %v inserts at %d, want %d", i, edits, len(result), e.B)
		}
		result = append(result, b[e.B:e.B+e.Insert]...)
		at = e.A + e.Delete
		cost += e.Delete + e.Insert
	}
	return append(result, a[at:]...), cost
}

func diffInts(a, b []int) []Edit {
	return DiffSequence(len(a), len(b), func(i, j int) bool { return a[i] == b[j] })
}

func TestDiffSequence(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want []Edit
	}{
		{"", "", nil},
		{"abc", "abc", nil},
		{"", "abc", []Edit{{0, 0, 0, 3}}},
		{"abc", "", []Edit{{0, 3, 0, 0}}},
		{"abc", "xyz", []Edit{{0, 3, 0, 3}}},
		{"abc", "abXc", []Edit{{2, 0, 2, 1}}},
		{"abcd", "acd", []Edit{{1, 1, 1, 0}}},
		{"abcdef", "Xbcdef", []Edit{{0, 1, 0, 1}}},
		{"aaaa", "aa", []Edit{{2, 2, 2, 0}}},
		{"abcdefg", "aXcdYfg", []Edit{{1, 1, 1, 1}, {4, 1, 4, 1}}},
	} {
		got := DiffSequence(len(tt.a), len(tt.b), func(i, j int) bool { return tt.a[i] == tt.b[j] })
		if !slices.Equal(got, tt.want) {
			t.Errorf("DiffSequence(%q, %q) = %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestDiffSequenceIsRightAndMinimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		element := rapid.IntRange(0, rapid.IntRange(0, 6).Draw(t, "alphabet"))
		a := rapid.SliceOfN(element, 0, 40).Draw(t, "a")
		b := rapid.SliceOfN(element, 0, 40).Draw(t, "b")
		got, cost := patchSequence(t, a, b, diffInts(a, b))
		if !slices.Equal(got, b) {
			t.Fatalf("edits give %v, want %v", got, b)
		}
		if want := len(a) + len(b) - 2*lcs(a, b); cost != want {
			t.Fatalf("%d edits, %d are enough", cost, want)
		}
	})
}

// sequences lists all sequences of up to n numbers below k.
func sequences(k, n int) [][]int {
	all := [][]int{{}}
	for from := 0; n > 0; n-- {
		to := len(all)
		for _, s := range all[from:to] {
			for i := range k {
				all = append(all, append(slices.Clone(s), i))
			}
		}
		from = to
	}
	return all
}

func TestDiffSequenceOfAllSmallOnes(t *testing.T) {
	for _, all := range [][][]int{sequences(2, 6), sequences(3, 4), sequences(1, 9)} {
		for _, a := range all {
			for _, b := range all {
				got, cost := patchSequence(t, a, b, diffInts(a, b))
				if want := len(a) + len(b) - 2*lcs(a, b); !slices.Equal(got, b) || cost != want {
					t.Fatalf("from %v to %v: %v in %d edits, %d are enough", a, b, got, cost, want)
				}
			}
		}
	}
}

// A small budget must cost minimality only.
func TestDiffSequenceOutOfWork(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		element := rapid.IntRange(0, 3)
		a := rapid.SliceOfN(element, 0, 40).Draw(t, "a")
		b := rapid.SliceOfN(element, 0, 40).Draw(t, "b")
		d := differ{equal: func(i, j int) bool { return a[i] == b[j] }, work: rapid.IntRange(0, 100).Draw(t, "work")}
		d.box(0, len(a), 0, len(b))
		if got, _ := patchSequence(t, a, b, d.edits); !slices.Equal(got, b) {
			t.Fatalf("edits give %v, want %v", got, b)
		}
	})
}

// Two long sequences that have nothing in common must not take n·m comparisons.
func TestDiffSequenceWorkIsBounded(t *testing.T) {
	const n = 100_000
	compared := 0
	edits := DiffSequence(n, n, func(i, j int) bool {
		compared++
		return (i*7919)%n == (j*104729+1)%n && i%2 == 1
	})
	if limit := 2*MaxDiffWork + 4*n; compared > limit {
		t.Errorf("%d comparisons, want at most %d", compared, limit)
	}
	if len(edits) == 0 {
		t.Error("no edits")
	}
}

func BenchmarkDiffSequence(b *testing.B) {
	x := make([]int, 10_000)
	for i := range x {
		x[i] = i
	}
	y := slices.Clone(x)
	for i := 0; i < len(y); i += 500 {
		y[i] = -i - 1
	}
	y = slices.Insert(y, 5000, 1, 2, 3)
	b.ReportAllocs()
	for b.Loop() {
		diffInts(x, y)
	}
}
