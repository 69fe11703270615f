package crdt

import (
	"math/rand/v2"
	"testing"

	"github.com/google/uuid"
)

// What is appended is what String has always said.
func TestNamesAreAppendedAsTheyAreWritten(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		var r ReplicaID
		for i := range r {
			r[i] = byte(rng.Uint32())
		}
		d := Dot{Replica: r, Seq: rng.Uint64() >> rng.IntN(64)}
		if got := string(r.Append([]byte("x"))); got != "x"+uuid.UUID(r).String() {
			t.Fatalf("%s, not %s", got, uuid.UUID(r))
		}
		if again, err := ParseDot(d.String()); d.Seq > 0 && (err != nil || again != d) {
			t.Fatalf("%s: %v, %v", d, again, err)
		}
	}
	for s, want := range map[Stamp]string{
		0: "1970-01-01T00:00:00.000Z", 1: "1970-01-01T00:00:00.000Z+1", 1_700_000_000_123<<logicalBits + 65535: "2023-11-14T22:13:20.123Z+65535",
	} {
		if got := string(s.Append([]byte("x"))); got != "x"+want || s.String() != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}
