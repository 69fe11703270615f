package notes_test

import (
	"compress/gzip"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/deploy/examples/notes"
)

func TestThePageIsWhole(t *testing.T) {
	files := notes.Files()
	page, err := fs.ReadFile(files, "index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"main.js", "style.css", "licenses.txt"} {
		if b, err := fs.ReadFile(files, name); err != nil || len(b) == 0 || !strings.Contains(string(page), name) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
	f, err := files.Open("automerge.wasm.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(z); err != nil || !strings.HasPrefix(string(b), "\x00asm") {
		t.Errorf("%d bytes of WebAssembly, %v", len(b), err)
	}
}
