package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/e2e/cluster"
	"github.com/meridiandb/meridian/region/badgerstore"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// damageDocument changes a byte of a document in the store of a region that
// does not run.
func damageDocument(t *testing.T, dir, id string) {
	t.Helper()
	st, err := badgerstore.Open(dir, badgerstore.Options{MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	collections, err := core.StoredCollections(st)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range collections {
		key := store.DocKey{Collection: c, ID: id}
		state, err := st.Doc(key)
		if err != nil {
			t.Fatal(err)
		}
		if state == nil {
			continue
		}
		state[len(state)/2] ^= 1
		if err := st.Commit(&store.Batch{Docs: []store.DocPut{{Key: key, State: state}}}); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("there is no document %s in %s", id, dir)
}

// A byte of a stored document flips: verify says where, the region finds it by
// itself, and takes the document from another region.
func TestDamagedDocumentIsFoundAndRepaired(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{Args: []string{"--scrub-every", "1s"}})
	a := c.Nodes[0]
	c.MakeCollection(t, "docs", `{}`)
	for i := range 50 {
		a.Put(t, "docs", fmt.Sprint("d", i), fmt.Sprintf(`{"i":%d}`, i))
	}
	c.AwaitEqual(t)
	a.Stop(t)
	damageDocument(t, a.Data, "d7")
	out, _, status := cluster.Run(t, "verify", a.Data)
	if status != 1 || !strings.Contains(out, "d7") || !strings.Contains(out, "checksum") {
		t.Errorf("verify ends with %d: %s", status, out)
	}
	// It changes elsewhere while it is damaged here.
	c.Nodes[1].Put(t, "docs", "d7", `{"i":70}`)
	a.Start(t)
	a.AwaitReady(t)
	a.AwaitLog(t, "a damaged document was repaired")
	c.AwaitSame(t)
	if got := a.Get(t, "docs", "d7").Text(); got != `{"i":70}` {
		t.Errorf("d7 is %s", got)
	}
	res := a.Must(t, cluster.Request{Path: "/v1/cluster"}, http.StatusOK)
	if text := string(res.Body); !strings.Contains(text, `"repaired":[{`) || !strings.Contains(text, `"id":"d7"`) {
		t.Errorf("the repair is not reported: %s", text)
	}
	if out, _, status := cluster.Run(t, "verify", "--cluster", "--addr", a.URL(), "--wait", "10s"); status != 0 {
		t.Errorf("verify --cluster ends with %d: %s", status, out)
	}
	a.Stop(t)
	if out, _, status := cluster.Run(t, "verify", a.Data); status != 0 {
		t.Errorf("verify after the repair ends with %d: %s", status, out)
	}
}
