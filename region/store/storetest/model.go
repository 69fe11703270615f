package storetest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

// model is a store as one would write it down: plain maps.
type model struct {
	docs     map[store.DocKey]string
	versions map[versionKey]version
	log      map[crdt.Dot]store.LogEntry
	meta     map[string]string
}

type versionKey struct {
	doc  store.DocKey
	slot uint32
}

type version struct {
	tag, state string
	expires    time.Time
}

func (m model) clone() model {
	return model{maps.Clone(m.docs), maps.Clone(m.versions), maps.Clone(m.log), maps.Clone(m.meta)}
}

func (m model) apply(b *store.Batch) {
	for _, d := range b.Docs {
		if d.State == nil {
			delete(m.docs, d.Key)
		} else {
			m.docs[d.Key] = string(d.State)
		}
	}
	for _, v := range b.Versions {
		m.versions[versionKey{v.Key, v.Slot}] = version{v.Tag, string(v.State), v.Expires}
	}
	for _, l := range b.Log {
		m.log[l.Dot] = store.LogEntry{Dot: l.Dot, Chain: l.Chain, Change: slices.Clone(l.Change)}
	}
	for name, v := range b.Meta {
		if v == nil {
			delete(m.meta, name)
		} else {
			m.meta[name] = string(v)
		}
	}
	for _, s := range b.TrimLog {
		for seq := s.From; seq <= s.To; seq++ {
			delete(m.log, crdt.Dot{Replica: s.Replica, Seq: seq})
		}
	}
}

// The model draws from few names, so that records meet.
var (
	modelCollections = []crdt.Dot{{}, users, {Replica: replicaA, Seq: users.Seq + 1}, {Replica: replicaB, Seq: users.Seq}}
	modelIDs         = []string{"", "a", "a\x00", "ab", "b", "b\xff", "\xff", "\xff\xff"}
	modelMeta        = []string{"", "have", "have/", "have/a", "clock"}
	modelReplicas    = []crdt.ReplicaID{replicaA, replicaB}
)

const (
	modelSeqs  = 12
	modelSlots = 3
	modelTags  = 4
)

func drawKey(t *rapid.T) store.DocKey {
	return store.DocKey{
		Collection: rapid.SampledFrom(modelCollections).Draw(t, "collection"),
		ID:         rapid.SampledFrom(modelIDs).Draw(t, "id"),
	}
}

func drawValue(t *rapid.T) []byte {
	seed := rapid.IntRange(0, 1000).Draw(t, "value")
	n := rapid.SampledFrom([]int{0, 1, 10, 200, 5000, 400 << 10, 1<<20 + 1}).Draw(t, "length")
	if n > 5000 && seed%40 != 0 {
		n = 50 // large ones are there, but seldom
	}
	return blob(seed, n)
}

func drawBatch(t *rapid.T) *store.Batch {
	b := &store.Batch{Meta: map[string][]byte{}}
	// Now and then a batch that is large by its number of records.
	times := rapid.SampledFrom([]int{1, 1, 1, 3, 12}).Draw(t, "times")
	for range times {
		switch rapid.IntRange(0, 5).Draw(t, "record") {
		case 0:
			b.Docs = append(b.Docs, store.DocPut{Key: drawKey(t), State: drawValue(t)})
		case 1:
			b.Docs = append(b.Docs, store.DocPut{Key: drawKey(t)})
		case 2:
			v := store.VersionPut{
				Key:   drawKey(t),
				Slot:  uint32(rapid.IntRange(0, modelSlots-1).Draw(t, "slot")),
				Tag:   fmt.Sprint("tag", rapid.IntRange(0, modelTags-1).Draw(t, "tag")),
				State: drawValue(t),
			}
			if hours := rapid.IntRange(0, 3).Draw(t, "expires"); hours > 0 {
				v.Expires = epoch.Add(time.Duration(hours) * time.Hour)
			}
			b.Versions = append(b.Versions, v)
		case 3:
			l := store.LogPut{
				Dot: crdt.Dot{
					Replica: rapid.SampledFrom(modelReplicas).Draw(t, "replica"),
					Seq:     uint64(rapid.IntRange(1, modelSeqs).Draw(t, "seq")),
				},
				Change: drawValue(t),
			}
			l.Chain[3] = byte(rapid.IntRange(0, 255).Draw(t, "chain"))
			b.Log = append(b.Log, l)
		case 4:
			name := rapid.SampledFrom(modelMeta).Draw(t, "name")
			if b.Meta[name] = drawValue(t); rapid.Bool().Draw(t, "remove") {
				b.Meta[name] = nil
			}
		case 5:
			from := uint64(rapid.IntRange(1, modelSeqs).Draw(t, "from"))
			b.TrimLog = append(b.TrimLog, crdt.Span{
				Replica: rapid.SampledFrom(modelReplicas).Draw(t, "replica"),
				From:    from,
				To:      from + uint64(rapid.IntRange(0, 4).Draw(t, "span")),
			})
		}
	}
	return b
}

// RunModel compares stores with the model: random batches, snapshots held for a
// while, and reopening.
func RunModel(t *testing.T, f Factory) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		s := f.Open(t)
		defer func() { s.Close() }()
		m := model{map[store.DocKey]string{}, map[versionKey]version{}, map[crdt.Dot]store.LogEntry{}, map[string]string{}}
		type held struct {
			sn store.Snapshot
			m  model
		}
		var snapshots []held
		release := func(i int) {
			snapshots[i].m.check(rt, snapshots[i].sn)
			snapshots[i].sn.Close()
			snapshots = slices.Delete(snapshots, i, i+1)
		}
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"commit", "commit", "commit", "commit", "hold", "release", "check", "reopen"}).Draw(rt, "step") {
			case "commit":
				b := drawBatch(rt)
				if err := s.Commit(b); err != nil {
					rt.Fatalf("commit: %v", err)
				}
				m.apply(b)
			case "hold":
				if len(snapshots) < 4 {
					snapshots = append(snapshots, held{s.Snapshot(), m.clone()})
				}
			case "release":
				if n := len(snapshots); n > 0 {
					release(rapid.IntRange(0, n-1).Draw(rt, "snapshot"))
				}
			case "check":
				m.check(rt, s)
			case "reopen":
				if rapid.IntRange(0, 3).Draw(rt, "reopen") > 0 {
					continue // it takes a while on a disk
				}
				for len(snapshots) > 0 {
					release(0)
				}
				s = f.Reopen(t, s)
				m.check(rt, s)
			}
		}
		for len(snapshots) > 0 {
			release(0)
		}
		m.check(rt, s)
	})
}

func (m model) check(t *rapid.T, r store.Reader) {
	t.Helper()
	for _, c := range modelCollections {
		for _, prefix := range []string{"", "a", "\xff"} {
			for _, after := range []string{"", "a", "b"} {
				m.checkDocs(t, r, c, prefix, after)
			}
		}
		for _, id := range modelIDs {
			m.checkDoc(t, r, store.DocKey{Collection: c, ID: id})
		}
	}
	for _, replica := range modelReplicas {
		m.checkLog(t, r, replica, 0, ^uint64(0))
		m.checkLog(t, r, replica, 3, 7)
	}
	m.checkMeta(t, r)
}

func (m model) checkDocs(t *rapid.T, r store.Reader, c crdt.Dot, prefix, after string) {
	t.Helper()
	var want, got []string
	for k, state := range m.docs {
		if k.Collection == c && strings.HasPrefix(k.ID, prefix) && (after == "" || k.ID > after) {
			want = append(want, k.ID+"="+state)
		}
	}
	// By id alone: an id may be the start of another one.
	slices.SortFunc(want, func(a, b string) int {
		a, _, _ = strings.Cut(a, "=")
		b, _, _ = strings.Cut(b, "=")
		return strings.Compare(a, b)
	})
	for e, err := range r.Docs(c, prefix, after) {
		if err != nil {
			t.Fatalf("docs: %v", err)
		}
		got = append(got, e.ID+"="+string(e.State))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("docs of %v under %q after %q: %.200q, want %.200q", c, prefix, after, got, want)
	}
}

func (m model) checkDoc(t *rapid.T, r store.Reader, k store.DocKey) {
	t.Helper()
	got, err := r.Doc(k)
	want, ok := m.docs[k]
	if err != nil || (got != nil) != ok || string(got) != want {
		t.Fatalf("doc %v: %.40q, %v, want %.40q, %v", k, got, err, want, ok)
	}
	for i := range modelTags {
		tag := fmt.Sprint("tag", i)
		for _, hours := range []int{0, 2} {
			now := epoch.Add(time.Duration(hours) * time.Hour)
			var kept [][]byte // several slots may have one tag; any is right
			for slot := range uint32(modelSlots) {
				v, ok := m.versions[versionKey{k, slot}]
				if ok && v.tag == tag && (v.expires.IsZero() || v.expires.After(now)) {
					kept = append(kept, []byte(v.state))
				}
			}
			got, err := r.Version(k, tag, now)
			if err != nil || (got != nil) != (len(kept) > 0) ||
				got != nil && !slices.ContainsFunc(kept, func(b []byte) bool { return bytes.Equal(b, got) }) {
				t.Fatalf("version %s of %v at +%dh: %.40q, %v, want one of %.40q", tag, k, hours, got, err, kept)
			}
		}
	}
}

func (m model) checkLog(t *rapid.T, r store.Reader, replica crdt.ReplicaID, from, to uint64) {
	t.Helper()
	next := from
	expect := func(until uint64) { // nothing of the model lies in next..until-1
		for seq := next; seq < min(until, 2*modelSeqs); seq++ {
			if _, ok := m.log[crdt.Dot{Replica: replica, Seq: seq}]; ok {
				t.Fatalf("log entry %d is missing in %d..%d", seq, from, to)
			}
		}
	}
	for e, err := range r.Log(replica, from, to) {
		if err != nil {
			t.Fatalf("log: %v", err)
		}
		want, ok := m.log[e.Dot]
		if !ok || e.Dot.Replica != replica || e.Dot.Seq < next || e.Dot.Seq > to ||
			e.Chain != want.Chain || !bytes.Equal(e.Change, want.Change) {
			t.Fatalf("log entry %v: %x %.40q, want %x %.40q, %v", e.Dot, e.Chain, e.Change, want.Chain, want.Change, ok)
		}
		if chain, ok, err := r.LogChain(e.Dot); !ok || err != nil || chain != want.Chain {
			t.Fatalf("chain of %v: %x, %v, %v", e.Dot, chain, ok, err)
		}
		expect(e.Dot.Seq)
		next = e.Dot.Seq + 1
	}
	if to < 2*modelSeqs {
		expect(to + 1)
	} else {
		expect(2 * modelSeqs)
	}
}

func (m model) checkMeta(t *rapid.T, r store.Reader) {
	t.Helper()
	for _, name := range modelMeta {
		got, err := r.Meta(name)
		want, ok := m.meta[name]
		if err != nil || (got != nil) != ok || string(got) != want {
			t.Fatalf("meta %q: %.40q, %v, want %.40q, %v", name, got, err, want, ok)
		}
		var names, wantNames []string
		for e, err := range r.MetaRange(name, "") {
			if err != nil || string(e.Value) != m.meta[e.Name] {
				t.Fatalf("meta range: %q, %v", e.Name, err)
			}
			names = append(names, e.Name)
		}
		for n := range m.meta {
			if strings.HasPrefix(n, name) {
				wantNames = append(wantNames, n)
			}
		}
		slices.Sort(wantNames)
		if !slices.Equal(names, wantNames) {
			t.Fatalf("meta under %q: %q, want %q", name, names, wantNames)
		}
	}
}
