package validate

import "unicode/utf8"

// An opt is a value of a column, or null.
type opt[T comparable] struct {
	v  T
	ok bool
}

func some[T comparable](v T) opt[T] { return opt[T]{v, true} }

// decodeRLE reads a run-length encoded column of at most limit values.
func decodeRLE[T comparable](b []byte, limit int, read func(*reader) T) ([]opt[T], error) {
	r := &reader{b: b}
	var out []opt[T]
	for len(r.b) > 0 && r.err == nil {
		n := r.sleb()
		var count int64
		switch {
		case n > 0:
			count = n
		case n < 0:
			count = -n
		default:
			count = int64(r.size(limit))
			if count == 0 {
				r.fail("an empty run")
			}
		}
		if count < 0 || count > int64(limit-len(out)) {
			return nil, tooLarge("a column of more than %d values", limit)
		}
		switch {
		case n > 0:
			v := some(read(r))
			for range count {
				out = append(out, v)
			}
		case n < 0:
			for i := int64(0); i < count && r.err == nil; i++ {
				out = append(out, some(read(r)))
			}
		default:
			out = append(out, make([]opt[T], count)...)
		}
	}
	return out, r.err
}

// appendRLE writes a column as Automerge does: runs of at least two equal
// values, runs of nulls, and everything else literally; nothing at all for
// nulls only.
func appendRLE[T comparable](b []byte, col []opt[T], write func([]byte, T) []byte) []byte {
	start := len(b)
	literal := -1 // where a literal run started
	flush := func(end int) {
		if literal >= 0 {
			b = appendSleb(b, int64(literal-end))
			for _, x := range col[literal:end] {
				b = write(b, x.v)
			}
			literal = -1
		}
	}
	for i := 0; i < len(col); {
		n := 1
		for i+n < len(col) && col[i+n] == col[i] {
			n++
		}
		switch {
		case !col[i].ok:
			if n == len(col) {
				return b[:start]
			}
			flush(i)
			b = appendUleb(append(b, 0), uint64(n))
		case n > 1:
			flush(i)
			b = write(appendSleb(b, int64(n)), col[i].v)
		case literal < 0:
			literal = i
		}
		i += n
	}
	flush(len(col))
	return b
}

func readText(r *reader) string {
	s := string(r.bytes(len(r.b)))
	if !utf8.ValidString(s) {
		r.fail("text that is not UTF-8")
	}
	return s
}

func decodeUint(b []byte, limit int) ([]opt[uint64], error) {
	return decodeRLE(b, limit, (*reader).uleb)
}

func decodeText(b []byte, limit int) ([]opt[string], error) { return decodeRLE(b, limit, readText) }

func appendUints(b []byte, col []opt[uint64]) []byte { return appendRLE(b, col, appendUleb) }

func appendTexts(b []byte, col []opt[string]) []byte { return appendRLE(b, col, appendText) }

// decodeDelta reads a column of differences, as their sums.
func decodeDelta(b []byte, limit int) ([]opt[int64], error) {
	col, err := decodeRLE(b, limit, (*reader).sleb)
	var sum int64
	for i := range col {
		if !col[i].ok {
			continue
		}
		d := col[i].v
		if d > maxTime*2 || d < -maxTime*2 {
			return nil, invalid("a number out of bounds")
		}
		if sum += d; sum > maxTime || sum < -maxTime {
			return nil, invalid("a number out of bounds")
		}
		col[i].v = sum
	}
	return col, err
}

func appendDeltas(b []byte, col []opt[int64]) []byte {
	diffs := make([]opt[int64], len(col))
	var last int64
	for i, x := range col {
		if x.ok {
			diffs[i] = some(x.v - last)
			last = x.v
		}
	}
	return appendRLE(b, diffs, appendSleb)
}

// decodeBool reads a column of alternating runs, the first of them false.
func decodeBool(b []byte, limit int) ([]bool, error) {
	r := &reader{b: b}
	var out []bool
	for v := false; len(r.b) > 0; v = !v {
		n := r.uleb()
		if n > uint64(limit-len(out)) {
			return nil, tooLarge("a column of more than %d values", limit)
		}
		if n == 0 && len(out) > 0 && r.err == nil {
			r.fail("an empty run")
		}
		for range n {
			out = append(out, v)
		}
	}
	return out, r.err
}

func appendBools(b []byte, col []bool) []byte {
	for i, v := 0, false; i < len(col); v = !v {
		n := 0
		for i+n < len(col) && col[i+n] == v {
			n++
		}
		b = appendUleb(b, uint64(n))
		i += n
	}
	return b
}

// rows brings a column to n rows: absent columns are null all the way.
func rows[T any](col []T, err error, n int) ([]T, error) {
	switch {
	case err != nil:
		return nil, err
	case len(col) == 0:
		return make([]T, n), nil
	case len(col) != n:
		return nil, invalid("a column of %d values among columns of %d", len(col), n)
	}
	return col, nil
}

// columns are the columns of a chunk by their specification.
type columns map[uint64][]byte

// columnSpec is a column's specification and length.
type columnSpec struct {
	spec uint64
	size int
}

const (
	maxColumns  = 32
	specDeflate = 8
)

// readSpecs reads column metadata: ascending, without duplicates.
func (r *reader) readSpecs(known map[uint64]bool, deflate bool) []columnSpec {
	n := r.size(maxColumns)
	out := make([]columnSpec, 0, n)
	last := int64(-1)
	for range n {
		s := columnSpec{spec: r.uleb(), size: r.size(len(r.b))}
		id := s.spec &^ specDeflate
		switch {
		case r.err != nil:
			return nil
		case int64(id) <= last:
			r.fail("columns out of order")
		case !known[id]:
			r.fail("an unknown column")
		case s.spec&specDeflate != 0 && !deflate:
			r.fail("a compressed column in a change")
		}
		last = int64(id)
		out = append(out, s)
	}
	return out
}
