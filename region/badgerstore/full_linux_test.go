package badgerstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/badgerstore"
	"github.com/meridiandb/meridian/region/store"
)

// smallDisk mounts a file system of its own in memory.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("NOT TESTED: what happens when the disk is full; mounting a small file system needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill takes space until so much is left, and returns what gives it back.
func fill(t *testing.T, dir string, left int64) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "someone else's")
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
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

func fullBatch(rng *rand.Rand, i int) *store.Batch {
	state := make([]byte, 20<<10)
	for j := range state {
		state[j] = byte(rng.Uint32())
	}
	b := &store.Batch{Meta: map[string][]byte{"i": fmt.Append(nil, i)}}
	for d := range 10 {
		b.Docs = append(b.Docs, store.DocPut{
			Key:   store.DocKey{Collection: crdt.Dot{Seq: 1}, ID: fmt.Sprintf("%d-%d", i%100, d)},
			State: append(fmt.Appendf(nil, "%06d", i), state...),
		})
	}
	return b
}

// TestFullDisk fills a disk by writing, is refused, reads, is given space, writes on,
// and loses nothing.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, 512<<20)
	dir := filepath.Join(disk, "data")
	opt := badgerstore.Options{MemTableBytes: badgerstore.MinMemTableBytes}
	s, err := badgerstore.Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	next := 0
	writeUntilFull := func() {
		t.Helper()
		for range 10_000 {
			if err := s.Commit(fullBatch(rng, next)); errors.Is(err, store.ErrFull) {
				t.Logf("full after %d batches: %v", next, err)
				return
			} else if err != nil {
				t.Fatalf("batch %d: %v", next, err)
			}
			next++
		}
		t.Fatal("the disk never filled")
	}
	check := func() {
		t.Helper()
		m, err := s.Meta("i")
		if err != nil || string(m) != fmt.Sprint(next-1) {
			t.Fatalf("at %q, %v, want %d", m, err, next-1)
		}
		for i := max(0, next-100); i < next; i++ {
			for d := range 10 {
				got, err := s.Doc(store.DocKey{Collection: crdt.Dot{Seq: 1}, ID: fmt.Sprintf("%d-%d", i%100, d)})
				if err != nil || !bytes.HasPrefix(got, fmt.Appendf(nil, "%06d", i)) {
					t.Fatalf("document %d of %d: %.6q, %v", d, i, got, err)
				}
			}
		}
	}

	free := fill(t, disk, 250<<20)
	writeUntilFull()
	check()
	for range 3 { // it stays so, as long as it is so
		if err := s.Commit(fullBatch(rng, next)); err == nil {
			next++ // a compaction made room in the meantime
		} else if !errors.Is(err, store.ErrFull) {
			t.Fatal(err)
		}
	}
	check()
	z, err := s.Sizes()
	if err != nil || z.Free > 32<<20 {
		t.Errorf("sizes of a full store: %+v, %v", z, err)
	}

	// Open and close, nearly without space: reads go on.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = badgerstore.Open(dir, opt); err != nil {
		t.Fatal(err)
	}
	check()

	free()
	for range 50 {
		if err := s.Commit(fullBatch(rng, next)); err != nil {
			t.Fatalf("with space again: %v", err)
		}
		next++
	}
	check()

	// Without any space Open says so and does not touch anything.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	free = fill(t, disk, 1<<20)
	if s, err := badgerstore.Open(dir, opt); !errors.Is(err, store.ErrFull) {
		if err == nil {
			s.Close()
		}
		t.Errorf("open without space: %v", err)
	}
	free()
	if s, err = badgerstore.Open(dir, opt); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	check()
}
