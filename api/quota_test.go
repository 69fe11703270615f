package api

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/crdt/automerge"
)

// emptyChanges writes a chain of Automerge changes by one actor that do nothing, as
// clients make them to keep a merge: numbers from..to. It returns the hash of the
// last, on which the next one follows.
func emptyChanges(from, to int, last []byte) (chunks, head []byte) {
	for seq := from; seq <= to; seq++ {
		b := []byte{byte(len(last) / sha256.Size)} // dependencies
		b = append(append(b, last...), 1, 'a')     // the actor
		b = binary.AppendUvarint(b, uint64(seq))   //
		b = append(b, 1, 0, 0, 0, 0)               // first operation, time, message, other actors, columns
		size := binary.AppendUvarint(nil, uint64(len(b)))
		hash := sha256.Sum256(append(append([]byte{1}, size...), b...))
		chunks = append(append(chunks, 0x85, 0x6f, 0x4a, 0x83), hash[:4]...)
		chunks = append(append(append(chunks, 1), size...), b...)
		last = hash[:]
	}
	return chunks, last
}

// A document whose history is full says so, to whoever writes and to whoever brings
// changes, and can still be read, copied and deleted.
func TestAutomergeHistoryHasALimit(t *testing.T) {
	alone(t, func(w *world) {
		const doc, at = notes + "/docs/a", notes + "/docs/a/automerge"
		w.do("PUT", notes, `{"type":"automerge"}`).gives(201)
		bring := func(b []byte) *call { return w.do("POST", at, string(b)).with("Content-Type", MediaAutomerge) }
		const half = automerge.MaxChanges / 2 // a write has a limit of its own
		first, head := emptyChanges(1, half, nil)
		bring(first).gives(201)
		second, head := emptyChanges(half+1, automerge.MaxChanges, head)
		bring(second).gives(200)
		full := w.do("GET", doc, nil).gives(200).is(`{}`).etag()

		changes := fmt.Sprintf("%d changes", automerge.MaxChanges)
		w.do("PUT", doc, `{"n":1}`).gives(413).as(tooLarge, changes)
		w.do("PATCH", doc, `[{"op":"set","path":"/n","value":1}]`).with("Content-Type", MediaOps).gives(413).as(tooLarge, changes)
		more, _ := emptyChanges(automerge.MaxChanges+1, automerge.MaxChanges+1, head)
		bring(more).gives(413).as(tooLarge, changes)
		if now := w.do("GET", doc, nil).gives(200).is(`{}`).etag(); now != full {
			t.Errorf("the document has changed from %s to %s", full, now)
		}

		saved := w.do("GET", at, nil).gives(200).body
		bring([]byte(saved+string(more))).gives(413).as(tooLarge, changes)
		if !strings.HasPrefix(saved, "\x85\x6f\x4a\x83") {
			t.Errorf("it is saved as %.20q", saved)
		}
		w.do("DELETE", doc, nil).gives(204)
		w.do("PUT", doc, `{"n":1}`).gives(201)
		w.do("GET", doc, nil).gives(200).is(`{"n":1}`)
	})
}
