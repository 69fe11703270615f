package lib_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
)

func newDoc(t testing.TB, actor string) *lib.Doc {
	t.Helper()
	d, err := lib.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Free)
	if err := d.SetActor([]byte(actor)); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWriteReadAndMerge(t *testing.T) {
	a, b := newDoc(t, "aaaaaaaaaaaaaaaa"), newDoc(t, "bbbbbbbbbbbbbbbb")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := a.PutObject(lib.Place{Key: "t"}, lib.Text)
	must(err)
	must(a.Splice(text, 0, 0, "aé😀z"))
	must(a.Splice(text, 3, 1, "Z!"))
	must(a.PutScalar(lib.Place{Key: "n"}, lib.Counter, 7, 0))
	list, err := a.PutObject(lib.Place{Key: "l"}, lib.List)
	must(err)
	must(a.PutScalar(lib.Place{Object: list, InList: true, Insert: true}, lib.Int, 1, 0))
	c1, err := a.Commit(5)
	must(err)
	a.Release()
	must(b.Apply(c1))
	must(b.SetActor([]byte("bbbbbbbbbbbbbbbb")))
	must(a.PutScalar(lib.Place{Key: "x"}, lib.Int, 1, 0))
	must(b.PutScalar(lib.Place{Key: "x"}, lib.Float, 0, 2.5))
	must(b.Increment(lib.Place{Key: "n"}, 3))
	c2, err := a.Commit(6)
	must(err)
	c3, err := b.Commit(6)
	must(err)
	must(a.Apply(c3))
	must(b.Apply(c2))
	for _, d := range []*lib.Doc{a, b} {
		es, err := d.Children(lib.Object{}, lib.Map, true)
		must(err)
		if len(es) != 4 || es[3].Key != "x" || len(es[3].Items) != 2 || es[1].Items[0].Int != 10 || es[2].Items[0].Str != "aé😀Z!" {
			t.Errorf("%+v", es)
		}
		ls, err := d.Children(es[0].Items[0].Object, lib.List, true)
		must(err)
		if len(ls) != 1 || ls[0].Items[0].Int != 1 {
			t.Errorf("%+v", ls)
		}
		d.Release()
	}
	if again, err := a.Commit(1); again != nil || err != nil {
		t.Errorf("an empty transaction: %x, %v", again, err)
	}
	must(a.PutScalar(lib.Place{Key: "y"}, lib.Int, 1, 0))
	a.Rollback()
	saved, err := a.Save()
	must(err)
	cs, err := a.Changes()
	must(err)
	if len(cs) != 3 || !bytes.Equal(cs[0], c1) {
		t.Errorf("%d changes", len(cs))
	}
	c, err := lib.Load(saved)
	must(err)
	defer c.Free()
	ha, _ := a.Heads()
	hc, _ := c.Heads()
	if len(ha) != 2 || len(hc) != 2 || ha[0] != hc[0] || !c.Has(ha[0]) || c.Has([32]byte{1}) {
		t.Errorf("heads %x %x", ha, hc)
	}
	if err := a.PutScalar(lib.Place{Key: ""}, lib.Int, 1, 0); err == nil {
		t.Error("an empty key is not refused")
	}
}

func TestDocumentsOfOtherLibraries(t *testing.T) {
	files, _ := filepath.Glob("../../validate/testdata/valid/*-doc*.bin")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		d, err := lib.Load(b)
		if err != nil {
			t.Fatal(f, err)
		}
		n := 0
		var walk func(o lib.Object, k lib.Kind) error
		walk = func(o lib.Object, k lib.Kind) error {
			return d.Walk(o, k, true, func(es []lib.Entry) error {
				for _, e := range es {
					n++
					for _, i := range e.Items {
						if i.Kind == lib.Map || i.Kind == lib.List {
							if err := walk(i.Object, i.Kind); err != nil {
								return err
							}
						}
					}
				}
				return nil
			})
		}
		if err := walk(lib.Object{}, lib.Map); err != nil {
			t.Fatal(f, err)
		}
		if n == 0 {
			t.Errorf("%s is empty", f)
		}
		d.Free()
	}
}
