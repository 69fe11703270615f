package amsync

import "encoding/binary"

// What the protocol fixes for Bloom filters.
const (
	bloomBits   = 10 // for each entry
	bloomProbes = 7
)

// bloomOf encodes a filter that has the given changes; nothing for none.
func bloomOf(h *History, changes []int) []byte {
	if len(changes) == 0 {
		return nil
	}
	b := binary.AppendUvarint(nil, uint64(len(changes)))
	b = append(b, bloomBits, bloomProbes)
	head := len(b)
	b = append(b, make([]byte, (len(changes)*bloomBits+7)/8)...)
	bits := b[head:]
	for _, i := range changes {
		for p := range probes(h.changes[i].hash, len(bits)) {
			bits[p>>3] |= 1 << (p & 7)
		}
	}
	return b
}

// A bloom is a filter that was received, and checked by package validate.
type bloom []byte

// parseBloom returns the bits of an encoded filter.
func parseBloom(b []byte) bloom {
	if len(b) == 0 {
		return nil
	}
	_, n := binary.Uvarint(b)
	return b[n+2:]
}

// has reports whether a change is, probably, among the filter's.
func (f bloom) has(x Hash) bool {
	if len(f) == 0 {
		return false
	}
	for p := range probes(x, len(f)) {
		if f[p>>3]&(1<<(p&7)) == 0 {
			return false
		}
	}
	return true
}

// probes are the bits of a change in a filter of so many bytes.
func probes(x Hash, size int) func(yield func(uint32) bool) {
	return func(yield func(uint32) bool) {
		n := uint32(8 * size)
		a := binary.LittleEndian.Uint32(x[0:]) % n
		b := binary.LittleEndian.Uint32(x[4:]) % n
		c := binary.LittleEndian.Uint32(x[8:]) % n
		for range bloomProbes {
			if !yield(a) {
				return
			}
			a, b = (a+b)%n, (b+c)%n
		}
	}
}
