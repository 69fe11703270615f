package automerge

import (
	"cmp"
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge/internal/lib"
	"github.com/meridiandb/meridian/crdt/value"
)

// View shows the document under a policy. Text is shown as value.Text, a date
// as text in RFC 3339, bytes in base64, and a number that JSON does not have as
// null.
func (s *State) View(resolve crdt.Resolve) crdt.View {
	if !s.heads.Visible() {
		return crdt.View{}
	}
	h, err := s.live.open()
	if err != nil {
		panic("automerge: a state that was loaded before does not load: " + err.Error())
	}
	r := reader{doc: h.doc, content: s.live, resolve: s.heads.Marking(resolve)}
	v, err := r.object(lib.Object{}, lib.Map)
	if err != nil {
		panic("automerge: a document cannot be read: " + err.Error())
	}
	s.live.give(h)
	if c, ok := s.undeleted(v); ok {
		r.conflicts = slices.Insert(r.conflicts, 0, c)
	}
	s.heads.Mark(r.conflicts)
	return crdt.View{Exists: true, Value: v, Conflicts: r.conflicts}
}

// undeleted reports a deletion that is concurrent with an edit, and yields to it.
func (s *State) undeleted(v any) (crdt.Resolved, bool) {
	versions := s.Versions()
	if !slices.ContainsFunc(versions, func(x crdt.Version) bool { return x.Deleted }) {
		return crdt.Resolved{}, false
	}
	out := crdt.Outcome{Reason: "an edit that is concurrent with the deletion brought the document back"}
	for i := range versions {
		if !versions[i].Deleted {
			versions[i].Value = v
			out.Shown = i
		}
	}
	return crdt.Resolved{Conflict: crdt.Conflict{Versions: versions}, Outcome: out}, true
}

// A reader makes JSON of a document under a policy.
type reader struct {
	doc       *lib.Doc
	content   *content
	resolve   crdt.Resolve
	at        value.Pointer
	conflicts []crdt.Resolved
	shown     map[opID]bool // what pick has picked, if somebody wants to know
}

// object reads a map or list.
func (r *reader) object(o lib.Object, kind lib.Kind) (v any, err error) {
	err = r.doc.Walk(o, kind, r.content.branched, func(entries []lib.Entry) error {
		var m map[string]any
		var l []any
		if kind == lib.List {
			l = make([]any, 0, len(entries))
			v = l
		} else {
			m = make(map[string]any, len(entries))
			v = m
		}
		for i := range entries {
			e := &entries[i]
			if len(e.Items) == 0 || kind != lib.List && value.Reserved(e.Key) {
				continue
			}
			r.enter(kind, e.Key, i)
			p, err := r.pick(e.Items)
			r.at = r.at[:len(r.at)-1]
			if err != nil {
				return err
			}
			if kind == lib.List {
				l = append(l, p.value)
			} else {
				m[e.Key] = p.value
			}
		}
		if kind == lib.List {
			v = l
		}
		return nil
	})
	return v, err
}

func (r *reader) enter(kind lib.Kind, key string, i int) {
	if kind == lib.List {
		key = strconv.Itoa(i)
	}
	r.at = append(r.at, key)
}

// A picked is what one place shows.
type picked struct {
	item     int // of its items; -1 for a value of the policy's own
	value    any
	conflict bool
}

// A candidate is one of several values of a place.
type candidate struct {
	item   int
	by     carrier
	value  any
	nested []crdt.Resolved
}

// pick finds out what a place shows. The conflicts in it are appended to r's.
func (r *reader) pick(items []lib.Item) (picked, error) {
	if len(items) == 1 {
		v, err := r.value(&items[0])
		return picked{value: v}, err
	}
	outer := r.conflicts
	cs := make([]candidate, len(items))
	for i := range items {
		it := &items[i]
		r.conflicts = nil
		v, err := r.value(it)
		if err != nil {
			return picked{}, err
		}
		cs[i] = candidate{item: i, value: v, nested: r.conflicts}
		cs[i].by, _ = r.content.origin(it.Actor, it.Ctr)
	}
	r.conflicts = outer
	slices.SortFunc(cs, func(a, b candidate) int {
		x, y := &items[a.item], &items[b.item]
		return cmp.Or(compareCarriers(a.by, b.by), cmp.Compare(x.Ctr, y.Ctr), strings.Compare(x.Actor, y.Actor))
	})
	newest := cs[len(cs)-1]
	if agreed(items, cs) {
		r.show(&items[newest.item])
		return picked{item: newest.item, value: newest.value}, nil
	}
	c := crdt.Conflict{Path: r.at.String()}
	for _, x := range cs {
		c.Versions = append(c.Versions, crdt.Version{Dot: x.by.dot, Stamp: x.by.stamp, Value: x.value})
	}
	out := outcome(c, r.resolve)
	r.conflicts = append(r.conflicts, crdt.Resolved{Conflict: c, Outcome: out})
	if out.Shown < 0 {
		return picked{item: -1, value: out.Value, conflict: true}, nil
	}
	r.conflicts = append(r.conflicts, cs[out.Shown].nested...)
	r.show(&items[cs[out.Shown].item])
	return picked{item: cs[out.Shown].item, value: cs[out.Shown].value, conflict: true}, nil
}

func (r *reader) show(it *lib.Item) {
	if r.shown != nil {
		r.shown[opID{it.Ctr, it.Actor}] = true
	}
}

// agreed reports whether all candidates are the same scalar or text: then those
// who wrote them do not disagree.
func agreed(items []lib.Item, cs []candidate) bool {
	for _, c := range cs {
		if k := items[c.item].Kind; k == lib.Map || k == lib.List || k == lib.Counter || !value.Equal(c.value, cs[0].value) {
			return false
		}
	}
	return true
}

// outcome asks the policy. Without one, or if it names a version that there is
// not, the newest is shown.
func outcome(c crdt.Conflict, resolve crdt.Resolve) crdt.Outcome {
	newest := len(c.Versions) - 1
	if resolve == nil {
		return crdt.Outcome{Shown: newest, Reason: "the newest write is shown"}
	}
	out := resolve(c)
	if out.Shown > newest || out.Shown < -1 {
		return crdt.Outcome{Shown: newest, Reason: "the policy named a version that does not exist; the newest write is shown"}
	}
	return out
}

// value makes JSON of a value.
func (r *reader) value(it *lib.Item) (any, error) {
	if it.Kind == lib.Map || it.Kind == lib.List {
		return r.object(it.Object, it.Kind)
	}
	return scalar(it), nil
}

// scalar makes JSON of what is neither a map nor a list.
func scalar(it *lib.Item) any {
	switch it.Kind {
	case lib.Bool:
		return it.Int != 0
	case lib.Int:
		return it.Int
	case lib.Uint:
		if it.Uint <= math.MaxInt64 {
			return int64(it.Uint)
		}
		return float64(it.Uint)
	case lib.Float:
		if math.IsNaN(it.Float) || math.IsInf(it.Float, 0) {
			return nil
		}
		return it.Float
	case lib.Counter:
		return value.Counter(it.Int)
	case lib.Text:
		return value.Text(it.Str)
	case lib.String:
		return it.Str
	case lib.Bytes:
		return base64.StdEncoding.EncodeToString([]byte(it.Str))
	case lib.Time:
		return date(it.Int)
	default:
		return nil
	}
}

// Dates beyond these are shown as the number of milliseconds that they are.
const (
	minDate = -62_135_596_800_000 // year 1
	maxDate = 253_402_300_799_999 // year 9999
)

func date(ms int64) any {
	if ms < minDate || ms > maxDate {
		return ms
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}
