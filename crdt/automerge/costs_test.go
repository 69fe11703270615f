package automerge_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge"
	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
	"github.com/meridiandb/meridian/crdt/value"
)

// BenchmarkCosts does the same through a State and with the bare library, in
// turn, and reports the median of each and their ratio. The bare side validates
// nothing, keeps no carriers, and stores nothing but what it saves.
func BenchmarkCosts(b *testing.B) {
	for _, n := range sizes {
		doc := sized(n)
		b.Run(fmt.Sprintf("create/%dB", n), func(b *testing.B) { costOfCreate(b, doc) })
		b.Run(fmt.Sprintf("load/%dB", n), func(b *testing.B) { costOfLoad(b, doc, 0) })
		b.Run(fmt.Sprintf("write/%dB", n), func(b *testing.B) { costOfWrite(b, doc, 0) })
		b.Run(fmt.Sprintf("apply/%dB", n), func(b *testing.B) { costOfApply(b, doc) })
		b.Run(fmt.Sprintf("json/%dB", n), func(b *testing.B) { costOfJSON(b, doc) })
	}
	for _, n := range []int{100, 1_000, 10_000} {
		doc := map[string]any{"title": "a note"}
		b.Run(fmt.Sprintf("load/%dchanges", n), func(b *testing.B) { costOfLoad(b, doc, n) })
		b.Run(fmt.Sprintf("write/%dchanges", n), func(b *testing.B) { costOfWrite(b, doc, n) })
	}
}

// inTurn measures ours and bare, each of which returns how long it took.
func inTurn(b *testing.B, ours, bare func() time.Duration) {
	b.Helper()
	var a, c []time.Duration
	for b.Loop() {
		a, c = append(a, ours()), append(c, bare())
	}
	slices.Sort(a)
	slices.Sort(c)
	mine, theirs := a[len(a)/2], c[len(c)/2]
	b.ReportMetric(0, "ns/op") // it is the sum of both, with what prepares them
	b.ReportMetric(float64(mine)/1e3, "µs-ours")
	b.ReportMetric(float64(theirs)/1e3, "µs-bare")
	b.ReportMetric(float64(mine)/float64(theirs), "ratio")
}

func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func check(b *testing.B, err error) {
	if err != nil {
		b.Helper()
		b.Fatal(err)
	}
}

// fill puts a value into a bare document, as a State does.
func fill(b *testing.B, d *lib.Doc, p lib.Place, v any) {
	b.Helper()
	switch v := v.(type) {
	case map[string]any:
		o, err := d.PutObject(p, lib.Map)
		check(b, err)
		fillMap(b, d, o, v)
	case []any:
		o, err := d.PutObject(p, lib.List)
		check(b, err)
		for i, e := range v {
			fill(b, d, lib.Place{Object: o, InList: true, Index: i, Insert: true}, e)
		}
	case string:
		o, err := d.PutObject(p, lib.Text)
		check(b, err)
		check(b, d.Splice(o, 0, 0, v))
	case int64:
		check(b, d.PutScalar(p, lib.Int, v, 0))
	case float64:
		check(b, d.PutScalar(p, lib.Float, 0, v))
	case bool:
		n := int64(0)
		if v {
			n = 1
		}
		check(b, d.PutScalar(p, lib.Bool, n, 0))
	default:
		b.Fatalf("a %T", v)
	}
}

func fillMap(b *testing.B, d *lib.Doc, o lib.Object, m map[string]any) {
	b.Helper()
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fill(b, d, lib.Place{Object: o, Key: k}, m[k])
	}
}

// bareDoc makes a document with the bare library, and returns its one change.
func bareDoc(b *testing.B, doc map[string]any) (*lib.Doc, []byte) {
	b.Helper()
	d, err := lib.New()
	check(b, err)
	check(b, d.SetActor([]byte("aaaaaaaaaaaaaaaa")))
	fillMap(b, d, lib.Object{}, doc)
	c, err := d.Commit(1)
	check(b, err)
	d.Release()
	return d, c
}

// title finds the text that is edited.
func title(b *testing.B, d *lib.Doc) lib.Object {
	b.Helper()
	es, err := d.Children(lib.Object{}, lib.Map, false)
	check(b, err)
	i := slices.IndexFunc(es, func(e lib.Entry) bool { return e.Key == "title" })
	return es[i].Items[0].Object
}

const editTitle = `[{"op":"splice","path":"/title","index":0,"insert":"x"}]`

// withHistory is a site, and a bare document, with so many edits of the title behind them.
func withHistory(b *testing.B, doc map[string]any, edits int) (*site, *lib.Doc) {
	b.Helper()
	p := newSite(b, 0)
	p.l.State = 1 << 30
	p.edit(crdt.Edit{Kind: crdt.EditPut, Value: doc})
	d, _ := bareDoc(b, doc)
	text, e := title(b, d), ops(editTitle)
	for i := range edits {
		hd, m := prepared(b, p, e, i)
		p.receive(write{hd, m})
		check(b, d.Splice(text, 0, 0, "x"))
		_, err := d.Commit(int64(i))
		check(b, err)
	}
	return p, d
}

func costOfCreate(b *testing.B, doc map[string]any) {
	i := 0
	inTurn(b, func() time.Duration {
		i++
		p := newSite(b, 0)
		return took(func() {
			hd, m := prepared(b, p, crdt.Edit{Kind: crdt.EditPut, Value: doc}, i)
			check(b, p.s.Apply(hd, m))
			_, err := p.s.AppendBinary(nil)
			check(b, err)
		})
	}, func() time.Duration {
		return took(func() {
			d, _ := bareDoc(b, doc)
			_, err := d.Save()
			check(b, err)
			d.Free()
		})
	})
}

func costOfLoad(b *testing.B, doc map[string]any, edits int) {
	p, d := withHistory(b, doc, edits)
	enc, err := p.s.AppendBinary(nil)
	check(b, err)
	saved, err := d.Save()
	check(b, err)
	d.Free()
	automerge.SetMemoryBudget(0)
	defer automerge.SetMemoryBudget(automerge.DefaultMemoryBudget)
	inTurn(b, func() time.Duration {
		return took(func() {
			_, err := automerge.Decode(enc)
			check(b, err)
		})
	}, func() time.Duration {
		return took(func() {
			d, err := lib.Load(saved)
			check(b, err)
			d.Free()
		})
	})
}

// costOfWrite begins anew after some writes, so that the history stays as long as it is.
func costOfWrite(b *testing.B, doc map[string]any, edits int) {
	const writes = 100
	p, d := withHistory(b, doc, edits)
	enc, err := p.s.AppendBinary(nil)
	check(b, err)
	saved, err := d.Save()
	check(b, err)
	d.Free()
	e := ops(editTitle)
	var (
		q    site
		bare *lib.Doc
		text lib.Object
		buf  []byte
		i, k int
	)
	inTurn(b, func() time.Duration {
		if i%writes == 0 {
			q = *p
			q.s, err = automerge.Decode(enc)
			check(b, err)
		}
		i++
		return took(func() {
			hd, m := prepared(b, &q, e, edits+i)
			q.receive(write{hd, m})
			buf, _ = q.s.AppendBinary(buf[:0])
		})
	}, func() time.Duration {
		if k%writes == 0 {
			if bare != nil {
				bare.Free()
			}
			bare, err = lib.Load(saved)
			check(b, err)
			check(b, bare.SetActor([]byte("bbbbbbbbbbbbbbbb")))
			text = title(b, bare)
		}
		k++
		return took(func() {
			check(b, bare.Splice(text, 0, 0, "x"))
			_, err := bare.Commit(int64(k))
			check(b, err)
		})
	})
	bare.Free()
}

// costOfApply takes in changes of another region, one after the other, in a
// document that is loaded.
func costOfApply(b *testing.B, doc map[string]any) {
	const changes = 200
	p := newSite(b, 0)
	p.l.State = 1 << 30
	first := p.edit(crdt.Edit{Kind: crdt.EditPut, Value: doc})
	d, _ := bareDoc(b, doc)
	saved, err := d.Save()
	check(b, err)
	var ws []write
	var raw [][]byte
	text, e := title(b, d), ops(editTitle)
	for i := range changes {
		hd, m := prepared(b, p, e, i)
		p.receive(write{hd, m})
		ws = append(ws, write{hd, m})
		check(b, d.Splice(text, 0, 0, "x"))
		c, err := d.Commit(int64(i))
		check(b, err)
		raw = append(raw, c)
	}
	d.Free()
	var reader *site
	var replica *lib.Doc
	i, k := 0, 0
	inTurn(b, func() time.Duration {
		if i%changes == 0 {
			automerge.SetMemoryBudget(0) // the writer's form would be found
			automerge.SetMemoryBudget(automerge.DefaultMemoryBudget)
			reader = newSite(b, 1)
			reader.receive(first)
		}
		i++
		return took(func() { reader.receive(ws[(i-1)%changes]) })
	}, func() time.Duration {
		if k%changes == 0 {
			if replica != nil {
				replica.Free()
			}
			replica, err = lib.Load(saved)
			check(b, err)
		}
		k++
		return took(func() { check(b, replica.Apply(raw[(k-1)%changes])) })
	})
	replica.Free()
}

// costOfJSON renders a document that is loaded.
func costOfJSON(b *testing.B, doc map[string]any) {
	p, d := withHistory(b, doc, 0)
	defer d.Free()
	var buf []byte
	inTurn(b, func() time.Duration {
		return took(func() { buf = value.Append(buf[:0], p.s.View(newest).Value, value.Options{}) })
	}, func() time.Duration {
		return took(func() {
			v, err := bareValue(d, lib.Object{}, lib.Map)
			check(b, err)
			buf = value.Append(buf[:0], v, value.Options{})
		})
	})
}

// bareValue reads an object, one level at a time.
func bareValue(d *lib.Doc, o lib.Object, kind lib.Kind) (v any, err error) {
	err = d.Walk(o, kind, false, func(es []lib.Entry) error {
		m, list := map[string]any{}, []any{}
		for i := range es {
			it := &es[i].Items[0]
			var child any
			switch it.Kind {
			case lib.Map, lib.List:
				if child, err = bareValue(d, it.Object, it.Kind); err != nil {
					return err
				}
			case lib.Text:
				child = strings.Clone(it.Str)
			case lib.Float:
				child = it.Float
			case lib.Bool:
				child = it.Int != 0
			default:
				child = it.Int
			}
			if kind == lib.List {
				list = append(list, child)
			} else {
				m[es[i].Key] = child
			}
		}
		if v = m; kind == lib.List {
			v = list
		}
		return nil
	})
	return v, err
}
