package bench

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
)

// How documents are chosen.
const (
	// KeysUniform chooses all alike.
	KeysUniform = "uniform"
	// KeysZipfian chooses a few much more often than the others.
	KeysZipfian = "zipfian"
	// KeysLatest is zipfian, with the newest as the most popular ones.
	KeysLatest = "latest"
)

// A keyspace is the documents that there are: numbers from 0 on, of which new
// ones are taken at the end.
type keyspace struct {
	kind string
	zipf *zipfian // nil for uniform
	next atomic.Int64
}

func newKeyspace(kind string, records int) *keyspace {
	k := &keyspace{kind: kind}
	if kind != KeysUniform {
		k.zipf = newZipfian(records)
	}
	k.next.Store(int64(records))
	return k
}

// choose returns the number of a document that is there.
func (k *keyspace) choose(rng *rand.Rand) int64 {
	n := k.next.Load()
	switch k.kind {
	case KeysUniform:
		return rng.Int64N(n)
	case KeysLatest:
		// What is being inserted at this moment is likely not there yet.
		return max(n-1-k.zipf.draw(rng)-inFlight, 0)
	default:
		return k.zipf.draw(rng)
	}
}

// inFlight is how many of the newest documents are left alone by KeysLatest.
const inFlight = 256

// insert takes the number of a new document.
func (k *keyspace) insert() int64 { return k.next.Add(1) - 1 }

// appendKey appends a document's id. Neighbours by number are not neighbours by
// id, so that writes are spread over the store.
func appendKey(b []byte, n int64) []byte {
	h := fnv.New64a()
	var text [8]byte
	for i := range text {
		text[i] = byte(n >> (8 * i))
	}
	_, _ = h.Write(text[:]) // never fails
	return strconv.AppendUint(append(b, "user"...), h.Sum64(), 10)
}

// A zipfian draws 0 to n-1, the lower the more often, by the method of Gray et
// al., "Quickly generating billion-record synthetic databases" (1994), with the
// skew of YCSB. The generator of math/rand takes no skew below 1.
type zipfian struct {
	n                 float64
	zetan, alpha, eta float64
}

const skew = 0.99

func newZipfian(n int) *zipfian {
	z := &zipfian{n: float64(n), alpha: 1 / (1 - skew), zetan: zeta(n)}
	z.eta = (1 - math.Pow(2/z.n, 1-skew)) / (1 - zeta(2)/z.zetan)
	return z
}

func zeta(n int) float64 {
	sum := 0.0
	for i := 1; i <= n; i++ {
		sum += 1 / math.Pow(float64(i), skew)
	}
	return sum
}

func (z *zipfian) draw(rng *rand.Rand) int64 {
	u := rng.Float64()
	switch uz := u * z.zetan; {
	case uz < 1 || z.n < 2:
		return 0
	case uz < 1+math.Pow(0.5, skew):
		return 1
	}
	return min(int64(z.n*math.Pow(z.eta*u-z.eta+1, z.alpha)), int64(z.n)-1)
}
