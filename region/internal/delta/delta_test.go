package delta_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/meridiandb/meridian/region/internal/delta"
)

// changed is b with some changes of so many bytes each, which may make it longer or shorter.
func changed(r *rand.Rand, b []byte, changes, size int) []byte {
	b = bytes.Clone(b)
	for range changes {
		i := r.IntN(len(b) + 1)
		j := min(i+r.IntN(size+1), len(b))
		b = bytes.Join([][]byte{b[:i], random(r, r.IntN(size+1)), b[j:]}, nil)
	}
	return b
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestWhatDiffersComesBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		base := random(r, r.IntN(3000))
		to := changed(r, base, r.IntN(5), 100)
		if d := delta.Append(nil, base, to); !bytes.Equal(delta.Apply(base, d), to) {
			t.Fatalf("%x does not come back from %x by %x", to, base, d)
		}
	}
}

// A difference is about as long as what was changed.
func TestADifferenceIsShort(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{600, 2000, 20_000, 200_000} {
		const changes, each = 3, 50
		// A window of a large base is met after its stride, at each change.
		most := changes*(each+2*size/1024+20) + 10
		for range 50 {
			base := random(r, size)
			if d := delta.Append(nil, base, changed(r, base, changes, each)); len(d) > most {
				t.Errorf("%d changes of up to %d bytes in %d make a difference of %d, want at most %d", changes, each, size, len(d), most)
			}
		}
	}
}

func FuzzDelta(f *testing.F) {
	f.Add([]byte("a version of a document"), []byte("another version of the document"))
	f.Add([]byte{}, []byte{1})
	f.Add(make([]byte, 100), make([]byte, 300))
	f.Fuzz(func(t *testing.T, base, to []byte) {
		d := delta.Append(nil, base, to)
		if got := delta.Apply(base, d); !bytes.Equal(got, to) {
			t.Fatalf("%x, not %x", got, to)
		}
		if len(d) > len(to)+len(to)/4+20 {
			t.Fatalf("a difference of %d for %d bytes", len(d), len(to))
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	base := random(r, 1500)
	to := bytes.Clone(base)
	copy(to[700:], random(r, 100))
	copy(to[10:], random(r, 10))
	var d []byte
	for b.Loop() {
		d = delta.Append(d[:0], base, to)
	}
	b.ReportMetric(float64(len(d)), "bytes")
}

func BenchmarkNothingInCommon(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	base, to := random(r, 1500), random(r, 1500)
	var d []byte
	for b.Loop() {
		d = delta.Append(d[:0], base, to)
	}
}
