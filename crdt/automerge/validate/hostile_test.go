package validate

import (
	"bufio"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
)

var (
	hostile     = flag.Int("hostile", 20_000, "how many hostile inputs to make")
	hostileSeed = flag.Uint64("hostile-seed", 1, "of the hostile inputs")
)

const childEnv = "MERIDIAN_HOSTILE_CHILD"

// A history is the changes of a document that some Automerge library made.
type history struct {
	name    string
	changes []*Change
	saved   []byte
}

func histories(t testing.TB) (hs []*history, syncs [][]byte) {
	t.Helper()
	files, err := filepath.Glob("testdata/valid/*.bin")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(f, "sync") {
			syncs = append(syncs, b)
			continue
		}
		cs, err := Parse(b, Limits{})
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		h := &history{name: filepath.Base(f), changes: cs}
		if strings.Contains(f, "doc") {
			h.saved = b
		}
		hs = append(hs, h)
	}
	return hs, syncs
}

func TestWhatOtherLibrariesWriteIsAccepted(t *testing.T) {
	hs, syncs := histories(t)
	for _, h := range hs {
		x := NewIndex(Limits{})
		for _, c := range h.changes {
			if err := x.Add(c); err != nil {
				t.Errorf("%s: %v", h.name, err)
			}
		}
		n := x.Len() / 2
		x.Rewind(n)
		for _, c := range h.changes {
			if err := x.Add(c); err != nil {
				t.Errorf("%s: %v after a rewind", h.name, err)
			}
		}
		if x.Len() != len(h.changes) {
			t.Errorf("%s: %d changes of %d", h.name, x.Len(), len(h.changes))
		}
	}
	for _, b := range syncs {
		m, err := ParseSync(b, Limits{})
		if err != nil {
			t.Error(err)
			continue
		}
		again, err := ParseSync(m.Append(nil, true), Limits{})
		if err != nil || len(again.Heads) != len(m.Heads) || len(again.Have) != len(m.Have) {
			t.Errorf("%+v, %v", again, err)
		}
	}
}

// TestHostileInputs makes hostile inputs in a child process, which hands what
// the validator lets through to the library: the process must live, and what the
// library saves afterwards must load.
func TestHostileInputs(t *testing.T) {
	if at := os.Getenv(childEnv); at != "" {
		child(t, at)
		return
	}
	start := time.Now()
	total := map[string]int{}
	for first := 0; first < *hostile; {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHostileInputs$", "-test.count=1", "-test.timeout=0",
			"-hostile="+strconv.Itoa(*hostile), "-hostile-seed="+strconv.FormatUint(*hostileSeed, 10))
		cmd.Env = append(os.Environ(), childEnv+"="+strconv.Itoa(first))
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = cmd.Stdout
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last := first
		var tail []string
		for s := bufio.NewScanner(out); s.Scan(); {
			var what string
			var n int
			if k, _ := fmt.Sscanf(s.Text(), "hostile %s %d", &what, &n); k == 2 {
				if what == "at" {
					last = n
				} else {
					total[what] += n
				}
			}
			tail = append(tail, s.Text())
			tail = tail[max(0, len(tail)-20):]
		}
		if err := cmd.Wait(); err == nil {
			break
		}
		t.Errorf("the process died at input %d:\n%.4000s", last, strings.Join(tail, "\n"))
		total["deaths"]++
		if total["deaths"] >= 20 {
			break
		}
		first = last + 1
	}
	t.Logf("%d inputs in %v: %v", *hostile, time.Since(start).Round(time.Second), total)
	if total["poisoned"] > 0 {
		t.Errorf("%d inputs were taken, and the document could not be loaded again", total["poisoned"])
	}
}

// child makes the inputs from the given one on.
func child(t *testing.T, at string) {
	first, err := strconv.Atoi(at)
	if err != nil {
		t.Fatal(err)
	}
	hs, syncs := histories(t)
	count := map[string]int{}
	for i := first; i < *hostile; i++ {
		rng := rand.New(rand.NewPCG(*hostileSeed, uint64(i)))
		w := &attack{rng: rng, h: hs[rng.IntN(len(hs))], syncs: syncs, at: i}
		count[w.run()]++
		if i%5000 == 4999 || i == *hostile-1 {
			for what, n := range count {
				fmt.Printf("hostile %s %d\n", what, n)
			}
			clear(count)
			fmt.Printf("hostile at %d\n", i)
		}
	}
}

// An attack makes one input and tries it.
type attack struct {
	rng   *rand.Rand
	h     *history
	syncs [][]byte
	at    int
}

func (a *attack) one(n int) bool { return a.rng.IntN(n) == 0 }

// run reports what became of an input.
func (a *attack) run() string {
	switch {
	case a.one(8) && len(a.syncs) > 0:
		m, err := ParseSync(a.spoil(a.syncs[a.rng.IntN(len(a.syncs))]), Limits{})
		if err != nil {
			return "refused"
		}
		return a.try(0, m.Changes)
	case a.one(4) && a.h.saved != nil:
		cs, err := Parse(a.seal(a.h.saved), Limits{})
		if err != nil {
			return "refused"
		}
		return a.try(0, cs)
	}
	k := a.rng.IntN(len(a.h.changes))
	source := a.h.changes[k]
	if a.one(4) {
		source = a.h.changes[a.rng.IntN(len(a.h.changes))]
	}
	var raw []byte
	if a.one(3) {
		raw = a.seal(source.Raw)
	} else {
		raw = a.rewrite(source, k)
	}
	c, err := ParseChange(raw, Limits{})
	if err != nil {
		return "refused"
	}
	return a.try(k, []*Change{c})
}

// spoil changes some bytes.
func (a *attack) spoil(b []byte) []byte {
	b = slices.Clone(b)
	for range 1 + a.rng.IntN(4) {
		if len(b) == 0 {
			break
		}
		i := a.rng.IntN(len(b))
		switch a.rng.IntN(5) {
		case 0:
			b[i] ^= 1 << a.rng.IntN(8)
		case 1:
			b[i] = []byte{0, 1, 0x7f, 0x80, 0xff, 2, 0x7e}[a.rng.IntN(7)]
		case 2:
			b = slices.Delete(b, i, min(len(b), i+1+a.rng.IntN(3)))
		case 3:
			b = slices.Insert(b, i, byte(a.rng.IntN(256)))
		case 4:
			b[i]++
		}
	}
	return b
}

// seal spoils the contents of a chunk and makes its checksum good again.
func (a *attack) seal(chunk []byte) []byte {
	typ, contents, _, _, err := openChunk(chunk, 1<<24)
	if err != nil {
		return chunk
	}
	b, _ := sealChunk(typ, a.spoil(contents))
	return b
}

// rewrite changes what a change says, and encodes it well.
func (a *attack) rewrite(source *Change, k int) []byte {
	c := *source
	c.Deps, c.Actors, c.Ops = slices.Clone(c.Deps), slices.Clone(c.Actors), slices.Clone(c.Ops)
	for i := range c.Ops {
		c.Ops[i].Pred = slices.Clone(c.Ops[i].Pred)
	}
	for range 1 + a.rng.IntN(3) {
		a.twist(&c, k)
	}
	if !a.one(5) {
		c.tidy()
	}
	chunk, _ := sealChunk(chunkChange, c.encode())
	return chunk
}

// tidy brings actors, predecessors and dependencies into canonical order.
func (c *Change) tidy() {
	used := map[string]bool{}
	each := func(f func(id *OpID)) {
		for i := range c.Ops {
			op := &c.Ops[i]
			for _, id := range []*OpID{&op.Obj, &op.Elem} {
				if id.Ctr > 0 {
					f(id)
				}
			}
			for k := range op.Pred {
				f(&op.Pred[k])
			}
		}
	}
	each(func(id *OpID) { used[c.Actors[id.Actor]] = true })
	delete(used, c.Actors[0])
	actors := []string{c.Actors[0]}
	for _, x := range c.Actors[1:] {
		if used[x] {
			actors = append(actors, x)
			delete(used, x)
		}
	}
	slices.Sort(actors[1:])
	each(func(id *OpID) { id.Actor = slices.Index(actors, c.Actors[id.Actor]) })
	c.Actors = actors
	for i := range c.Ops {
		slices.SortFunc(c.Ops[i].Pred, c.compare)
		c.Ops[i].Pred = slices.Compact(c.Ops[i].Pred)
	}
	slices.SortFunc(c.Deps, func(a, b Hash) int { return strings.Compare(string(a[:]), string(b[:])) })
	c.Deps = slices.Compact(c.Deps)
}

// id returns some operation of the history, in c's terms.
func (a *attack) id(c *Change) OpID {
	switch a.rng.IntN(10) {
	case 0:
		return OpID{}
	case 1:
		return OpID{Ctr: uint64(a.rng.IntN(200)), Actor: a.rng.IntN(len(c.Actors))}
	case 2, 3:
		return OpID{Ctr: c.StartOp + uint64(a.rng.IntN(len(c.Ops)+1)), Actor: 0}
	}
	other := a.h.changes[a.rng.IntN(len(a.h.changes))]
	ctr := other.StartOp + uint64(a.rng.IntN(len(other.Ops)+1))
	i := slices.Index(c.Actors, other.Actor())
	if i < 0 {
		i = len(c.Actors)
		c.Actors = append(c.Actors, other.Actor())
	}
	return OpID{ctr, i}
}

func (a *attack) twist(c *Change, k int) {
	if a.one(4) || len(c.Ops) == 0 {
		a.twistChange(c, k)
		return
	}
	i := a.rng.IntN(len(c.Ops))
	op := &c.Ops[i]
	switch a.rng.IntN(14) {
	case 0:
		op.Action = Action(a.rng.IntN(9))
	case 1:
		op.Obj = a.id(c)
	case 2:
		op.Elem, op.InMap, op.Key = a.id(c), false, ""
	case 3:
		op.Insert = !op.Insert
	case 4:
		op.Type = uint8(a.rng.IntN(16))
	case 5:
		op.Value = a.spoil(append(slices.Clone(op.Value), 0))
	case 6:
		op.Pred = append(op.Pred, a.id(c))
	case 7:
		op.Pred = nil
	case 8:
		op.InMap, op.Elem, op.Key = true, OpID{}, []string{"", "title", "list", "a", "\x00", "text"}[a.rng.IntN(6)]
	case 9:
		other := a.h.changes[a.rng.IntN(len(a.h.changes))]
		if len(other.Ops) > 0 && len(c.Ops) < 50 {
			n := other.Ops[a.rng.IntN(len(other.Ops))]
			n.Pred = slices.Clone(n.Pred)
			for _, id := range append([]*OpID{&n.Obj, &n.Elem}, pointers(n.Pred)...) {
				if id.Ctr > 0 {
					who := other.Actors[id.Actor]
					if id.Actor = slices.Index(c.Actors, who); id.Actor < 0 {
						id.Actor = len(c.Actors)
						c.Actors = append(c.Actors, who)
					}
				}
			}
			c.Ops = slices.Insert(c.Ops, i, n)
		}
	case 10:
		c.Ops = slices.Delete(c.Ops, i, i+1)
	case 11:
		j := a.rng.IntN(len(c.Ops))
		c.Ops[i], c.Ops[j] = c.Ops[j], c.Ops[i]
	case 12:
		op.Expand, op.HasMark = !op.Expand, a.one(2)
		op.Mark = ""
	case 13:
		switch a.rng.IntN(3) { // a plausible operation
		case 0:
			op.Action, op.Type, op.Value = Increment, valInt, []byte{1}
		case 1:
			op.Action, op.Type, op.Value, op.Insert = Delete, valNull, nil, false
		case 2:
			op.Action, op.Type, op.Value = Action([]int{0, 2, 4, 6}[a.rng.IntN(4)]), valNull, nil
		}
	}
}

func pointers(ids []OpID) (out []*OpID) {
	for i := range ids {
		out = append(out, &ids[i])
	}
	return out
}

func (a *attack) twistChange(c *Change, k int) {
	some := a.h.changes[a.rng.IntN(len(a.h.changes))]
	switch a.rng.IntN(10) {
	case 0:
		c.Seq = uint64(int(c.Seq) + a.rng.IntN(5) - 2)
	case 1:
		c.StartOp = uint64(int(c.StartOp) + a.rng.IntN(9) - 3)
	case 2:
		c.StartOp = []uint64{1, 1 << 20, 1 << 30, 1<<31 - 2, 1 << 31, 1 << 40, 1<<63 - 1}[a.rng.IntN(7)]
	case 3:
		c.Deps = append(c.Deps, some.Hash)
	case 4:
		c.Deps = nil
	case 5:
		c.Deps = []Hash{a.h.changes[max(0, k-1)].Hash}
	case 6:
		c.Actors[0] = some.Actor()
		c.Seq = some.Seq + uint64(a.rng.IntN(2))
	case 7:
		c.Actors[0], c.Seq = "someone new "+strconv.Itoa(a.rng.IntN(3)), 1
	case 8:
		c.Time = []int64{0, -1, 1 << 40, 1 << 52, -(1 << 52), 1<<63 - 1}[a.rng.IntN(6)]
		c.Message = []string{"", "x", "\xff", strings.Repeat("m", 300)}[a.rng.IntN(4)]
	case 9:
		c.Actors = append(c.Actors, some.Actor())
	}
}

// try puts changes that were let through on top of the first k of the history,
// in the library.
func (a *attack) try(k int, cs []*Change) string {
	x := NewIndex(Limits{})
	var raw []byte
	for _, c := range a.h.changes[:k] {
		if err := x.Add(c); err != nil {
			return "refused" // a spoilt history of its own
		}
		raw = append(raw, c.Raw...)
	}
	var more []byte
	for _, c := range cs {
		if x.Has(c.Hash) {
			continue
		}
		if err := x.Add(c); err != nil {
			return "refused"
		}
		more = append(more, c.Raw...)
	}
	if len(more) == 0 {
		return "known"
	}
	fmt.Printf("hostile at %d\n", a.at) // in case it is the last that is heard
	d, err := lib.New()
	if err != nil {
		panic(err)
	}
	defer d.Free()
	if err := d.Apply(raw); err != nil {
		panic(err)
	}
	if err := d.Apply(more); err != nil {
		return "failed"
	}
	for _, c := range cs {
		if !d.Has(c.Hash) {
			return "ignored"
		}
	}
	read(d)
	saved, err := d.Save()
	if err != nil {
		return "poisoned"
	}
	again, err := lib.Load(saved)
	if err != nil {
		fmt.Printf("poisoned %d %s: %v\n", a.at, hex.EncodeToString(more), err)
		return "poisoned"
	}
	defer again.Free()
	read(again)
	ours, _ := d.Heads()
	theirs, _ := again.Heads()
	if !slices.Equal(ours, theirs) {
		return "poisoned"
	}
	if cs, err := Parse(saved, Limits{}); err != nil || len(cs) != x.Len() {
		fmt.Printf("unreadable %d: %v\n", a.at, err)
		return "unreadable"
	}
	return "taken"
}

// read reads everything.
func read(d *lib.Doc) {
	var walk func(o lib.Object, kind lib.Kind)
	walk = func(o lib.Object, kind lib.Kind) {
		_ = d.Walk(o, kind, true, func(es []lib.Entry) error {
			for _, e := range es {
				for _, it := range e.Items {
					if it.Kind == lib.Map || it.Kind == lib.List {
						walk(it.Object, it.Kind)
					}
				}
			}
			return nil
		})
	}
	walk(lib.Object{}, lib.Map)
}

// FuzzParse hands arbitrary contents with a good checksum to the validator.
func FuzzParse(f *testing.F) {
	hs, syncs := histories(f)
	for _, h := range hs {
		for _, c := range h.changes {
			_, contents, _, _, _ := openChunk(c.Raw, 1<<24)
			f.Add(byte(chunkChange), contents)
		}
		if h.saved != nil {
			_, contents, _, _, _ := openChunk(h.saved, 1<<24)
			f.Add(byte(chunkDocument), contents)
		}
	}
	for _, b := range syncs {
		f.Add(byte(syncType), b)
	}
	f.Fuzz(func(t *testing.T, typ byte, contents []byte) {
		if typ == syncType {
			if m, err := ParseSync(contents, Limits{}); err == nil {
				if _, err := ParseSync(m.Append(nil, true), Limits{}); err != nil {
					t.Fatal(err)
				}
			}
			return
		}
		chunk, _ := sealChunk(typ&1, contents)
		cs, err := Parse(chunk, Limits{})
		if err != nil {
			return
		}
		x := NewIndex(Limits{})
		for _, c := range cs {
			if again, err := ParseChange(c.Raw, Limits{}); err != nil || again.Hash != c.Hash {
				t.Fatalf("a change that is not accepted again: %v", err)
			}
			_ = x.Add(c)
		}
	})
}
