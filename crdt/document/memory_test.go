package document

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/crdt"
)

func heapInUse() int {
	runtime.GC()
	runtime.GC() // what the first has found is swept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// The bound of a cache of documents holds only if the estimate is near what they take.
func TestMemoryIsEstimated(t *testing.T) {
	fields := func(n, bytes int) map[string]any {
		v := map[string]any{}
		for i := range n {
			v[fmt.Sprint("field", i)] = strings.Repeat("x", bytes)
		}
		return v
	}
	elements := make([]any, 1000)
	for i := range elements {
		elements[i] = "element"
	}
	for name, v := range map[string]map[string]any{
		"a field": fields(1, 200), "ten fields": fields(10, 100), "many small fields": fields(200, 10),
		"a long text": fields(1, 100_000), "a list": {"list": elements},
	} {
		d := New()
		hd := crdt.Header{Dot: crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 1}, Stamp: 1}
		m, err := d.Prepare(crdt.Edit{Kind: crdt.EditPut, Value: v}, hd, nil, crdt.DefaultLimits)
		if err == nil {
			err = d.Apply(hd, m)
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := d.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		const n = 200
		docs := make([]*Doc, n)
		before := heapInUse()
		for i := range docs {
			if docs[i], err = Decode(b); err != nil {
				t.Fatal(err)
			}
		}
		taken := (heapInUse() - before) / n
		if got := docs[0].Memory(); got != d.Memory() || got < taken/2 || got > 2*taken {
			t.Errorf("%s: estimated %d bytes (%d by the writer), it takes %d; %d encoded", name, got, d.Memory(), taken, len(b))
		}
		runtime.KeepAlive(docs)
	}
}
