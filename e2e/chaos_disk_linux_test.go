package e2e

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/meridiandb/meridian/e2e/cluster"
)

const (
	// fillableSize is that of the disk that fills up in the course of chaos: far
	// more than what a store keeps in reserve and what the clients write.
	fillableSize = 4 << 30
	// fillableLeft is what is left of it then, out of which flushes that are under way can
	// end: a disk that has nothing at all kills the process in the midst of one.
	fillableLeft = 64 << 20
)

// A fillable is a disk in memory that one region is on.
type fillable struct {
	node *cluster.Node
	dir  string
}

// newFillable puts a region on a disk of its own, before its first start. It is nil
// where that cannot be.
func newFillable(t *testing.T, n *cluster.Node) *fillable {
	t.Helper()
	dir, err := mountInMemory(t, fillableSize)
	if err != nil {
		t.Logf("NOT TESTED: a full disk in the course of chaos: %v", err)
		return nil
	}
	n.Data = filepath.Join(dir, "data")
	n.SetArg("--data", n.Data)
	return &fillable{n, dir}
}

// fill makes the disk too small, and returns what takes that back.
func (f *fillable) fill(t *testing.T) (free func()) {
	t.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(f.dir, &fs); err != nil {
		t.Fatal(err)
	}
	f.resize(t, (int64(fs.Blocks)-int64(fs.Bfree))*fs.Bsize+fillableLeft)
	return func() { f.resize(t, fillableSize) }
}

func (f *fillable) resize(t *testing.T, bytes int64) {
	t.Helper()
	if err := syscall.Mount("tmpfs", f.dir, "tmpfs", syscall.MS_REMOUNT, sizeOption(bytes)); err != nil {
		t.Fatalf("resize the small file system: %v", err)
	}
}
