package automerge

import (
	"slices"
	"unicode/utf8"

	"github.com/meridiandb/meridian/crdt/value"
)

// merge3 makes a value of a client's edit from base to mine, where theirs is
// what there is by now: what the edit does not touch stays as it is there.
func merge3(base, mine, theirs any) any {
	switch {
	case value.Equal(base, mine):
		return theirs
	case value.Equal(base, theirs):
		return mine
	}
	switch b := base.(type) {
	case map[string]any:
		m, ok := mine.(map[string]any)
		t, also := theirs.(map[string]any)
		if ok && also {
			return mergeMaps(b, m, t)
		}
	case []any:
		m, ok := mine.([]any)
		t, also := theirs.([]any)
		if ok && also {
			return mergeRuns(b, m, t, matched, merge3)
		}
	case string:
		m, ok := mine.(string)
		t, also := theirs.(string)
		if ok && also && utf8.RuneCountInString(b) < value.MaxDiffWork {
			return string(mergeRuns([]rune(b), []rune(m), []rune(t),
				func(x, y rune) bool { return x == y }, func(_, _, r rune) rune { return r }))
		}
	}
	return mine
}

func mergeMaps(b, m, t map[string]any) map[string]any {
	out := make(map[string]any, len(t))
	for k, v := range t {
		mv, mine := m[k]
		bv, based := b[k]
		switch {
		case mine && based:
			out[k] = merge3(bv, mv, v)
		case mine: // made by both
			out[k] = mv
		case !based || !value.Equal(bv, v): // theirs, or changed since
			out[k] = v
		}
	}
	for k, v := range m {
		bv, based := b[k]
		if _, there := t[k]; !there && (!based || !value.Equal(bv, v)) {
			out[k] = v
		}
	}
	return out
}

// mergeRuns makes the edits from b to m in t. Elements that all three have are
// joined.
func mergeRuns[T any](b, m, t []T, same func(x, y T) bool, join func(b, m, t T) T) []T {
	mine := value.DiffSequence(len(b), len(m), func(i, j int) bool { return same(b[i], m[j]) })
	theirs := value.DiffSequence(len(b), len(t), func(i, j int) bool { return same(b[i], t[j]) })
	inMine, inTheirs := partners(len(b), mine), partners(len(b), theirs)
	before := make([][]T, len(b)+1) // what they put in front of an element
	for _, e := range theirs {
		before[e.A] = t[e.B : e.B+e.Insert]
	}
	var out []T
	pos := 0
	for _, e := range append(mine, value.Edit{A: len(b), B: len(m)}) {
		for ; pos < e.A; pos++ {
			out = append(out, before[pos]...)
			if inTheirs[pos] >= 0 {
				out = append(out, join(b[pos], m[inMine[pos]], t[inTheirs[pos]]))
			}
		}
		out = append(out, m[e.B:e.B+e.Insert]...)
		for ; pos < e.A+e.Delete; pos++ {
			out = append(out, before[pos]...)
		}
	}
	return append(out, before[len(b)]...)
}

// partners says for each of n elements where it is after the edits, or -1.
func partners(n int, edits []value.Edit) []int {
	at := make([]int, n)
	i, j := 0, 0
	for _, e := range append(slices.Clone(edits), value.Edit{A: n}) {
		for ; i < e.A; i, j = i+1, j+1 {
			at[i] = j
		}
		for ; i < e.A+e.Delete; i++ {
			at[i] = -1
		}
		j = e.B + e.Insert
	}
	return at
}

// untyped returns mine, which is based on base, without the types that base has
// too, and with texts as strings.
func untyped(mine, base any) any {
	if value.Equal(mine, base) {
		return value.Plain(mine)
	}
	if t, ok := mine.(value.Text); ok {
		return string(t)
	}
	m, ok := mine.(map[string]any)
	b, also := base.(map[string]any)
	if !ok || !also {
		return mine
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
		if bv, based := b[k]; based {
			out[k] = untyped(v, bv)
		}
	}
	return out
}
