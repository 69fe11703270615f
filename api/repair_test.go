package api

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/region/store"
	"github.com/meridiandb/meridian/transport/memnet"
)

// flip changes a byte of a stored document, behind the region's back.
func flip(t *testing.T, s *memstore.Store, key store.DocKey, at int) {
	t.Helper()
	state, err := s.Doc(key)
	if err != nil || state == nil {
		t.Fatalf("document %q: %v", key.ID, err)
	}
	state[at%len(state)] ^= 0x10
	if err := s.Commit(&store.Batch{Docs: []store.DocPut{{Key: key, State: state}}}); err != nil {
		t.Fatal(err)
	}
}

// damaged runs a test in which us-east has started with a damaged document.
func damaged(t *testing.T, names []string, scrub time.Duration, test func(w *world)) {
	t.Helper()
	tune := func(rc *region.Config, _ *Config) { rc.Timing.Scrub = scrub }
	inWorld(t, names, tune, func(w *world) {
		put(w, "us-east", "x", 1)
		put(w, "us-east", "y", 1)
		w.settle()
		col, err := w.regions["us-east"].Collection("a")
		if err != nil {
			t.Fatal(err)
		}
		w.stops["us-east"]()
		flip(t, w.stores["us-east"], store.DocKey{Collection: col.Incarnation, ID: "x"}, 40)
		w.start("us-east")
		w.settle()
		test(w)
	})
}

const docX = "/v1/collections/a/docs/x"

func TestDamagedDocumentIsFoundAndRepaired(t *testing.T) {
	damaged(t, []string{"eu-west", "us-east"}, 10*time.Second, func(w *world) {
		time.Sleep(15 * time.Second) // nobody reads it
		w.on("us-east", "GET", docX, nil).gives(200).is(`{"n":1}`)
		s := clusterOf(w, "us-east")
		if len(s.Damaged) > 0 || len(s.Repaired) != 1 || s.Repaired[0].ID != "x" || s.Repaired[0].From != "eu-west" || len(s.Alarms) > 0 {
			t.Errorf("%+v", s)
		}
		if c := w.convergence("us-east"); c.Verdict != region.VerdictSame {
			t.Errorf("%+v", c)
		}
		put(w, "us-east", "x", 2)
		w.settle()
		w.on("eu-west", "GET", docX, nil).gives(200).is(`{"n":2}`)
	})
}

// Changes of a damaged document go on to arrive, and are not lost.
func TestDamagedDocumentGetsTheChangesThatCameMeanwhile(t *testing.T) {
	damaged(t, []string{"eu-west", "us-east"}, time.Hour, func(w *world) {
		put(w, "eu-west", "x", 2)
		put(w, "eu-west", "x", 3)
		w.on("us-east", "PUT", docX, `{"n":9}`).gives(503).as(damagedKind, "checksum")
		time.Sleep(10 * time.Second)
		w.on("us-east", "GET", docX, nil).gives(200).is(`{"n":3}`)
		if c := w.convergence("us-east"); c.Verdict != region.VerdictSame {
			t.Errorf("%+v", c)
		}
	})
}

func TestReadOfADamagedDocumentHasItRepaired(t *testing.T) {
	for _, path := range []string{docX, "/v1/collections/a/docs"} {
		damaged(t, []string{"eu-west", "us-east"}, time.Hour, func(w *world) {
			w.on("us-east", "GET", path, nil).gives(503).as(damagedKind, "checksum")
			w.on("us-east", "GET", "/v1/collections/a/docs/y", nil).gives(200)
			time.Sleep(5 * time.Second)
			w.on("us-east", "GET", path, nil).gives(200)
		})
	}
}

// A copy that takes longer than it is waited for before it is asked for again is
// taken when it comes.
func TestDamagedDocumentIsRepairedOverASlowLink(t *testing.T) {
	damaged(t, []string{"eu-west", "us-east"}, time.Hour, func(w *world) {
		w.net.SetBoth("us-east", "eu-west", memnet.Condition{Delay: 2 * time.Second})
		w.on("us-east", "GET", docX, nil).gives(503).as(damagedKind, "checksum")
		time.Sleep(10 * time.Second)
		w.on("us-east", "GET", docX, nil).gives(200).is(`{"n":1}`)
	})
}

func TestDamageWithoutAnotherCopyIsAnAlarm(t *testing.T) {
	damaged(t, []string{"us-east"}, 5*time.Second, func(w *world) {
		time.Sleep(20 * time.Second)
		s := clusterOf(w, "us-east")
		if len(s.Damaged) != 1 || s.Damaged[0].ID != "x" || len(s.Alarms) != 1 {
			t.Errorf("%+v", s)
		}
		w.on("us-east", "GET", docX, nil).gives(503).as(damagedKind, "checksum")
		put(w, "us-east", "y", 2)
	})
}

// forge replaces a text in a stored document by another one of the same length,
// with checksum and digest, behind the region's back.
func forge(t *testing.T, s *memstore.Store, key store.DocKey, from, to string) {
	t.Helper()
	record, err := s.Doc(key)
	if err != nil || bytes.Count(record, []byte(from)) != 1 {
		t.Fatalf("document %q: %v: %q", key.ID, err, record)
	}
	record = bytes.Replace(record, []byte(from), []byte(to), 1)
	sign := func() {
		binary.BigEndian.PutUint32(record, crc32.Checksum(record[4:], crc32.MakeTable(crc32.Castagnoli)))
	}
	sign()
	state, err := core.DecodeDocument(record)
	if err != nil {
		t.Fatal(err)
	}
	content := state.Digest()
	copy(record[6:6+crdt.DigestSize], content[:])
	sign()
	if _, err := core.CheckDocument(key, record); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(&store.Batch{Docs: []store.DocPut{{Key: key, State: record}}}); err != nil {
		t.Fatal(err)
	}
}

// Where two regions have different documents and no checksum says who is wrong,
// there is an alarm in both, and nobody guesses.
func TestDifferenceWithoutDamageIsAnAlarmAndNoGuess(t *testing.T) {
	tune := func(rc *region.Config, _ *Config) { rc.Timing.Scrub = 5 * time.Second }
	inWorld(t, []string{"eu-west", "us-east"}, tune, func(w *world) {
		w.on("us-east", "PUT", docX, `{"s":"before"}`).gives(201)
		w.settle()
		col, err := w.regions["us-east"].Collection("a")
		if err != nil {
			t.Fatal(err)
		}
		w.stops["us-east"]()
		forge(t, w.stores["us-east"], store.DocKey{Collection: col.Incarnation, ID: "x"}, "before", "behind")
		w.start("us-east")
		time.Sleep(time.Minute)
		for name, text := range map[string]string{"us-east": "behind", "eu-west": "before"} {
			w.on(name, "GET", docX, nil).gives(200).is(`{"s":"` + text + `"}`)
			s := clusterOf(w, name)
			if len(s.Damaged)+len(s.Repaired) > 0 || len(s.Alarms) != 1 {
				t.Errorf("%s: %+v", name, s)
			}
			if c := w.convergence(name); c.Verdict != region.VerdictDifferent {
				t.Errorf("%s: %+v", name, c)
			}
		}
		// A write that replaces the document ends it.
		w.on("eu-west", "PUT", docX, `{"s":"after"}`).gives(200)
		time.Sleep(time.Minute)
		for _, name := range []string{"us-east", "eu-west"} {
			w.on(name, "GET", docX, nil).gives(200).is(`{"s":"after"}`)
			if s := clusterOf(w, name); len(s.Alarms) > 0 {
				t.Errorf("%s: %v", name, s.Alarms)
			}
		}
	})
}
