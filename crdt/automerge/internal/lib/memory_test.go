package lib_test

import (
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
)

var documents = flag.Int("documents", 20_000, "how many documents the test of memory loads and drops")

// rss is the memory of the process in MB, 0 where it cannot be told.
func rss() int {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.Atoi(strings.Fields(string(b))[1])
	return pages * os.Getpagesize() >> 20
}

func TestMemoryIsGivenBack(t *testing.T) {
	d := newDoc(t, "aaaaaaaaaaaaaaaa")
	for _, k := range []string{"title", "body", "author"} {
		text, err := d.PutObject(lib.Place{Key: k}, lib.Text)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Splice(text, 0, 0, strings.Repeat(k, 12)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Commit(1); err != nil {
		t.Fatal(err)
	}
	d.Release()
	saved, err := d.Save()
	if err != nil {
		t.Fatal(err)
	}
	load := func(n int) {
		for range n {
			d, err := lib.Load(saved)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := d.Children(lib.Object{}, lib.Map, true); err != nil {
				t.Fatal(err)
			}
			d.Free()
		}
	}
	load(1000)
	before := rss()
	load(*documents)
	after := rss()
	t.Logf("%d documents of %d bytes loaded and dropped: %d MB before, %d MB after", *documents, len(saved), before, after)
	if after > before+16 {
		t.Errorf("memory grew from %d to %d MB", before, after)
	}
}
