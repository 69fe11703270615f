// Package delta tells a byte string by how it differs from another, as two versions of a
// document do: a few bytes here and there.
//
// The difference is found by what both have in common, as in rsync (Tridgell and Mackerras,
// The rsync algorithm, 1996): windows of one are looked up among those of the other, and
// what is found is extended both ways. It is for memory only, and is not checked when read.
//
// Libraries for this, such as dictionaries of Zstandard and S2, make large tables for each
// base, which is another one each time here.
package delta

import (
	"encoding/binary"
	"math/bits"
)

const (
	// window is the length of what is looked up, and the least that is worth a copy.
	window = 8
	// apart is the distance of the windows of the base that are remembered, and slots how many
	// at most: if there would be more, the distance is longer.
	apart    = 4
	slots    = 1 << slotBits
	slotBits = 10
	// straight is how many bytes may have been changed until windows are looked up.
	straight = 160
	// lookEvery is after how many bytes without anything in common, and in a long base after
	// how many more, each second window is looked up, then each third, and so on.
	lookEvery = 64
)

// Append appends to b how to get to from base. It takes time and space in proportion to
// their lengths.
//
// A difference is the length of to, then runs: how many bytes follow as they are, those
// bytes, how many come from the base, and from where, counted from where the last ended.
func Append(b, base, to []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(to)))
	var index [slots]uint32 // position + 1 of a window, by its hash
	indexed := false
	stride := max(apart, len(base)/slots)
	from, done, i := 0, 0, 0 // in base, in to, where it is looked
	for i+window <= len(to) {
		at := from + i - done // where it goes on if nothing became longer or shorter
		if at+window > len(base) || load(base[at:]) != load(to[i:]) {
			if !indexed {
				if i++; i-done >= straight {
					for k := 0; k+window <= len(base); k += stride {
						index[hash(base[k:])] = uint32(k + 1)
					}
					indexed, i = true, done
				}
				continue
			}
			at = int(index[hash(to[i:])]) - 1
			if at < 0 || load(base[at:]) != load(to[i:]) {
				i += 1 + (i-done)/(lookEvery+4*stride) // the longer nothing was found the less is expected
				continue
			}
		}
		start := i
		for at > 0 && start > done && base[at-1] == to[start-1] {
			at, start = at-1, start-1
		}
		n := i - start + common(base[at+i-start:], to[i:])
		b = binary.AppendUvarint(b, uint64(start-done))
		b = append(b, to[done:start]...)
		b = binary.AppendUvarint(b, uint64(n))
		b = binary.AppendVarint(b, int64(at-from))
		from, done = at+n, start+n
		i = done
	}
	if done < len(to) {
		b = binary.AppendUvarint(b, uint64(len(to)-done))
		b = append(b, to[done:]...)
	}
	return b
}

// Apply returns what d is the difference of, from the same base.
func Apply(base, d []byte) []byte {
	uvarint := func() int {
		v, n := binary.Uvarint(d)
		d = d[n:]
		return int(v)
	}
	to := make([]byte, 0, uvarint())
	from := 0
	for {
		n := uvarint()
		to = append(to, d[:n]...)
		if d = d[n:]; len(d) == 0 {
			return to
		}
		n = uvarint()
		skip, k := binary.Varint(d)
		d = d[k:]
		from += int(skip)
		to = append(to, base[from:from+n]...)
		if from += n; len(d) == 0 {
			return to
		}
	}
}

func load(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }

// hash is the slot of the window at the start of b, by multiplication (Knuth, The Art of
// Computer Programming, volume 3, section 6.4).
func hash(b []byte) uint64 { return load(b) * 0x9e3779b97f4a7c15 >> (64 - slotBits) }

// common is how many bytes a and b begin with in common.
func common(a, b []byte) int {
	n := 0
	for n+8 <= len(a) && n+8 <= len(b) {
		if x := load(a[n:]) ^ load(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)/8
		}
		n += 8
	}
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
