package region_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
)

// BenchmarkWriteBesideConflicts writes one field of a document of some size: without
// conflicts, which are then not looked for; beside ones that stand; and so that
// each write makes the conflict go on under a new id.
func BenchmarkWriteBesideConflicts(b *testing.B) {
	for _, size := range []int{1 << 10, 32 << 10} {
		for _, conflicts := range []int{0, 1, 50} {
			b.Run(fmt.Sprintf("bytes=%d/standing=%d", size, conflicts), func(b *testing.B) {
				r := single(b, memstore.New())
				doc := map[string]any{"n": int64(0)}
				for i := range size / 64 {
					doc[fmt.Sprint("f", i)] = strings.Repeat("x", 50)
				}
				write := func(d core.DocWrite) core.Receipt {
					d.Collection, d.ID = "c", "d"
					rec, err := r.Write(b.Context(), core.Write{Docs: []core.DocWrite{d}})
					if err != nil {
						b.Fatal(err)
					}
					return rec
				}
				base := write(core.DocWrite{Edit: crdt.Edit{Kind: crdt.EditPut, Value: doc}}).Docs[0].Tag
				for side := range 2 {
					edit := value.Clone(doc).(map[string]any)
					for i := range conflicts {
						edit[fmt.Sprint("f", i)] = int64(side)
					}
					write(core.DocWrite{Edit: crdt.Edit{Kind: crdt.EditPut, Value: edit}, BaseTag: base})
				}
				if s := r.ConflictStatus(); s.Records != min(conflicts, size/64) && conflicts < size/64 {
					b.Fatalf("%+v", s)
				}
				b.ReportAllocs()
				n := int64(0)
				for b.Loop() {
					n++
					write(core.DocWrite{Edit: crdt.Edit{Kind: crdt.EditMergePatch, Value: map[string]any{"n": n}}})
				}
			})
		}
	}
}
