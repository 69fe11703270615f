package e2e

import (
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
	"github.com/meridiandb/meridian/region/core/conflictlog"
)

// spaceFactor is how much of the disk a region may hold once it is quiet, compared
// with a region that was given the same documents only.
const spaceFactor = 2

// onDisk is what a folder takes on the disk, which is less than the sizes of its
// files where these have holes.
func onDisk(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			n += s.Blocks * 512
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// What many updates leave behind goes, in all regions, once everybody has them:
// versions, tombstones of fields, list elements and documents, and logs.
func TestI14_SpaceComesBackOnceAllIsQuiet(t *testing.T) {
	if !*long {
		t.Skip("a store that is small keeps all that was written for a while: -e2e.long")
	}
	c := cluster.Start(t, cluster.Options{})
	c.MakeCollection(t, "busy", `{"keep":{"versions":0}}`)
	updates, docs := 2_000_000, 10_000
	took := updateMany(t, c.Nodes, updates, docs)
	c.AwaitEqual(t)
	t.Logf("%d updates of %d documents in three regions in %v (%.0f/s)", updates, docs, took.Round(time.Millisecond), float64(updates)/took.Seconds())
	for _, n := range c.Nodes {
		s := n.MustCluster(t)
		t.Logf("%s keeps records of %d conflicts, %d bytes", n.Region, s.Conflicts.Records, s.Conflicts.Bytes)
		if s.Conflicts.Records > conflictlog.DefaultRecords || s.Conflicts.Bytes > conflictlog.DefaultBytes {
			t.Errorf("the log of conflicts of %s is beyond its bounds", n.Region)
		}
	}
	full := onDisk(t, c.Nodes[0].Data)
	awaitCut(t, 30_000, c.Nodes...)
	c.AwaitSame(t)

	file := filepath.Join(t.TempDir(), "busy.ndjson")
	cluster.MustRun(t, "export", "--collection", "busy", "--out", file, "--addr", c.Nodes[0].URL())
	fresh := cluster.Start(t, cluster.Options{Regions: cluster.Regions[:1]})
	fresh.MakeCollection(t, "busy", `{"keep":{"versions":0}}`)
	cluster.MustRun(t, "import", file, "--collection", "busy", "--exported", "--addr", fresh.Nodes[0].URL())
	fresh.Nodes[0].Stop(t)
	least := onDisk(t, fresh.Nodes[0].Data)

	for _, n := range c.Nodes {
		cluster.Await(t, cluster.Patience, n.Region+" to give room back", func() (bool, string) {
			held := onDisk(t, n.Data)
			return held <= spaceFactor*least, fmt.Sprintf("%d bytes, %d in an empty store", held, least)
		})
		n.Stop(t)
		held := onDisk(t, n.Data)
		t.Logf("%s holds %.1f MiB, %.1f times what its documents take in an empty store (%.1f MiB); it was %.1f MiB after the last write",
			n.Region, float64(held)/(1<<20), float64(held)/float64(least), float64(least)/(1<<20), float64(full)/(1<<20))
		if held > spaceFactor*least {
			t.Errorf("%s holds %d bytes, more than %d times %d", n.Region, held, spaceFactor, least)
		}
	}
}

// updateMany makes updates of all kinds.
func updateMany(t *testing.T, nodes []*cluster.Node, n, ids int) time.Duration {
	t.Helper()
	const clients = 64
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range clients {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !t.Failed(); i = int(next.Add(1)) - 1 {
				q := update(i, ids)
				if _, err := nodes[i%len(nodes)].Try(t.Context(), q, http.StatusOK, http.StatusCreated, http.StatusNoContent, http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity); err != nil {
					t.Errorf("update %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

func update(i, ids int) cluster.Request {
	const ops, merge = "application/vnd.meridian.ops+json", "application/merge-patch+json"
	id := fmt.Sprint(i * 7919 % ids)
	patch := func(media, body string) cluster.Request {
		return cluster.Request{Method: http.MethodPatch, Path: cluster.DocPath("busy", id), Body: body, Type: media}
	}
	switch i / ids % 10 {
	case 0, 5, 9:
		return cluster.PutRequest("busy", id, fmt.Sprintf(`{"n":%d,"title":"document %d","list":["a","b"],"tags":{"t%d":true},"text":%q}`, i, i, i%50, randomText(i, 600)))
	case 1, 6:
		return patch(merge, fmt.Sprintf(`{"n":%d,"tags":{"t%d":true,"t%d":null}}`, i, i%50, (i+1)%50))
	case 2, 7:
		return patch(ops, fmt.Sprintf(`[{"op":"inc","path":"/views","value":1},{"op":"insert","path":"/list/-","value":"element %d"},{"op":"delete","path":"/list/0"}]`, i))
	case 3:
		return patch(merge, fmt.Sprintf(`{"text":%q}`, randomText(i, 600)))
	case 8:
		return cluster.Request{Method: http.MethodDelete, Path: cluster.DocPath("busy", id)}
	}
	return patch(merge, fmt.Sprintf(`{"title":"document %d","old":null}`, i))
}

// randomText does not compress to nothing.
func randomText(seed, n int) string {
	b := make([]byte, n)
	x := uint64(seed)*0x9e3779b97f4a7c15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = "abcdefghijklmnopqrstuvwxyz ,.ABC"[x%32]
	}
	return string(b)
}
