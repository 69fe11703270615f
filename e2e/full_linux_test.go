package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// diskSize is that of the file system that fills up. A store keeps some of it in
// reserve.
const diskSize = 400 << 20

// smallDisk mounts a file system of its own in memory.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir, err := mountInMemory(t, diskSize)
	if err != nil {
		t.Skipf("NOT TESTED: a region whose disk is full: %v", err)
	}
	return dir
}

// mountInMemory mounts a file system of so many bytes, until the test ends.
func mountInMemory(t *testing.T, size int64) (dir string, err error) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, sizeOption(size)); err != nil {
		return "", fmt.Errorf("mounting a small file system needs root: %w", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir, nil
}

func sizeOption(bytes int64) string { return fmt.Sprintf("size=%d", bytes) }

// occupy takes all space but what is to be left, and returns what gives it back.
func occupy(t *testing.T, dir string, left int64) (free func()) {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "someone else's")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n := int64(fs.Bavail)*fs.Bsize - left; n > 0 {
		if err := syscall.Fallocate(int(f.Fd()), 0, 0, n); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// A region whose disk is full refuses writes, says why, and goes on reading; the
// others do without it. When there is room it goes on by itself. Nothing
// acknowledged is lost, not by kill -9 on the full disk either.
func TestFullDiskRefusesWritesAndRecovers(t *testing.T) {
	disk := smallDisk(t)
	c := cluster.Start(t, cluster.Options{Prepare: func(c *cluster.Cluster) {
		c.Nodes[0].SetArg("--data", filepath.Join(disk, "data"))
	}})
	full, other := c.Nodes[0], c.Nodes[1]
	l := newLedger()
	rng := rand.New(rand.NewPCG(9, 9))
	written := 0
	write := func(n *cluster.Node, statuses ...int) *cluster.Response {
		id := fmt.Sprintf("%s-%d", n.Region, written)
		written++
		text := make([]byte, 64<<10)
		for i := range text {
			text[i] = 'a' + byte(rng.IntN(26))
		}
		doc := fmt.Sprintf(`{"text":%q}`, text)
		res := n.Must(t, cluster.PutRequest("ledger", id, doc), append(statuses, http.StatusCreated)...)
		if res.Status == http.StatusCreated {
			if err := l.acked(id, doc, res.Body); err != nil {
				t.Error(err)
			}
		}
		return res
	}
	for range 20 {
		write(full)
	}
	free := occupy(t, disk, 1<<20)
	var problem struct {
		Type      string `json:"type"`
		Retryable bool   `json:"retryable"`
	}
	cluster.Await(t, cluster.Patience, "a write to be refused", func() (bool, string) {
		res := write(full, http.StatusInsufficientStorage)
		if res.Status == http.StatusCreated {
			return false, fmt.Sprintf("%d were written", written)
		}
		cluster.Decode(t, res.Body, &problem)
		return true, ""
	})
	if problem.Type != "/problems/storage-full" || !problem.Retryable {
		t.Errorf("refused by %+v", problem)
	}
	atFull := len(l.docs)
	check := func() {
		t.Helper()
		for id, want := range l.docs {
			if full.Get(t, "ledger", id).Text() != want {
				t.Errorf("%s does not have %s, which it acknowledged", full.Region, id)
			}
		}
	}
	check()
	for range 20 {
		write(other)
	}
	c.AwaitEqual(t, c.Others(full)...)
	full.Must(t, cluster.Request{Path: "/livez"}, http.StatusOK)

	free()
	cluster.Await(t, cluster.Patience, "a write to be accepted again", func() (bool, string) {
		return write(full, http.StatusInsufficientStorage, http.StatusServiceUnavailable).Status == http.StatusCreated, "refused"
	})
	t.Logf("full after %d writes, %d in all", atFull, len(l.docs))
	c.AwaitSame(t)
	for _, n := range c.Nodes {
		l.check(t, n, "ledger")
	}

	// The process dies on the full disk, and is started when there is room.
	free = occupy(t, disk, 1<<20)
	for range 5 {
		write(full, http.StatusInsufficientStorage)
	}
	full.Kill(t)
	free()
	full.Start(t)
	full.AwaitReady(t)
	c.AwaitSame(t)
	for _, n := range c.Nodes {
		l.check(t, n, "ledger")
	}
}
