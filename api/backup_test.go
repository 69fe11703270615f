package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"testing"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/backup"
	"github.com/meridiandb/meridian/region/memstore"
)

// backup takes a backup of a region; base is the one that it follows on.
func (w *world) backup(name string, base []byte) []byte {
	w.t.Helper()
	path := "/v1/backup"
	if base != nil {
		h, _, err := backup.Check(bytes.NewReader(base), nil)
		if err != nil {
			w.t.Fatal(err)
		}
		path += "?" + url.Values{"base": {h.ID}, "since": {h.Position()}}.Encode()
	}
	return []byte(w.on(name, "GET", path, nil).with("Accept", "*/*").gives(200).body)
}

// restored makes a store of backups.
func restored(t *testing.T, n byte, backups ...[]byte) *memstore.Store {
	t.Helper()
	s := memstore.New()
	var in []io.Reader
	for _, b := range backups {
		in = append(in, bytes.NewReader(b))
	}
	if _, _, err := backup.Restore(t.Context(), s, crdt.ReplicaID{0x01, 0x99, 6: 0x70, 15: n}, in, nil); err != nil {
		t.Fatal(err)
	}
	return s
}

func put(w *world, name, id string, n int) {
	w.t.Helper()
	r := request(w.t, w.servers[name], "PUT", "/v1/collections/a/docs/"+id, fmt.Sprintf(`{"n":%d}`, n))
	if _, reply := r.send(); reply.status != 200 && reply.status != 201 {
		w.t.Fatalf("put %s: %d %s", id, reply.status, reply.body)
	}
}

func TestI02_RestoredBackupGetsBackWhatWasWrittenSince(t *testing.T) {
	names := []string{"ap-south", "eu-west", "us-east"}
	inWorld(t, names, nil, func(w *world) {
		w.do("PUT", "/v1/collections/a", `{}`).gives(201)
		w.settle()
		for i := range 50 {
			put(w, names[i%3], fmt.Sprint("d", i), i)
		}
		w.on("us-east", "DELETE", "/v1/collections/a/docs/d0", nil).gives(204)
		w.settle()
		full := w.backup("us-east", nil)
		for i := 40; i < 60; i++ {
			put(w, "us-east", fmt.Sprint("d", i), 100+i)
		}
		w.on("us-east", "DELETE", "/v1/collections/a/docs/d1", nil).gives(204)
		w.settle()
		more := w.backup("us-east", full)
		if len(more) >= len(full) {
			t.Errorf("the incremental backup has %d bytes, the full one %d", len(more), len(full))
		}
		for i := 55; i < 70; i++ {
			put(w, "us-east", fmt.Sprint("d", i), 200+i)
		}
		w.settle()
		before := w.convergence("eu-west")
		was := clusterOf(w, "us-east")

		w.stops["us-east"]()
		w.stores["us-east"] = restored(t, 1, full, more)
		w.start("us-east")
		w.settle()
		if is := clusterOf(w, "us-east"); is.Replica == was.Replica || is.Vector[was.Replica] != was.Vector[was.Replica] {
			t.Errorf("was %s with %v, is %s with %v", was.Replica, was.Vector, is.Replica, is.Vector)
		}
		after := w.convergence("us-east")
		// The announcement of the new replica is all that has come since.
		if after.Verdict != region.VerdictSame || after.Documents != before.Documents+1 {
			t.Errorf("before %+v\nafter %+v", before, after)
		}
		for i := range 70 {
			c := w.on("us-east", "GET", fmt.Sprint("/v1/collections/a/docs/d", i), nil)
			switch {
			case i <= 1:
				c.gives(404)
			case i >= 55:
				c.gives(200).is(fmt.Sprintf(`{"n":%d}`, 200+i))
			case i >= 40:
				c.gives(200).is(fmt.Sprintf(`{"n":%d}`, 100+i))
			default:
				c.gives(200).is(fmt.Sprintf(`{"n":%d}`, i))
			}
		}
		put(w, "us-east", "d2", 7)
		w.settle()
	})
}

func clusterOf(w *world, name string) (s region.ClusterStatus) {
	w.t.Helper()
	w.on(name, "GET", "/v1/cluster", nil).gives(200).json(&s)
	return s
}

func TestBackupRestoresAWholeCluster(t *testing.T) {
	var saved []byte
	inWorld(t, []string{"us-east", "eu-west"}, nil, func(w *world) {
		put(w, "us-east", "x", 1)
		w.settle()
		put(w, "eu-west", "y", 2)
		w.settle()
		saved = w.backup("eu-west", nil)
	})
	for _, names := range [][]string{{"us-east"}, {"one", "two", "three"}} {
		inWorld(t, names, nil, func(w *world) {
			for i, name := range names {
				w.stops[name]()
				w.stores[name] = restored(t, byte(1+i), saved)
			}
			for _, name := range names {
				w.start(name)
			}
			w.settle()
			for i, name := range names {
				w.on(name, "GET", "/v1/collections/a/docs/x", nil).gives(200).is(`{"n":1}`)
				put(w, name, "y", 10+i)
			}
			w.settle()
			if c := w.convergence(names[0]); c.Verdict != region.VerdictSame {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestBackupIsRefusedWhereItCannotFollow(t *testing.T) {
	alone(t, func(w *world) {
		put(w, "us-east", "x", 1)
		first := w.backup("us-east", nil)
		put(w, "us-east", "y", 1)
		second := w.backup("us-east", first)
		put(w, "us-east", "z", 1)
		third := w.backup("us-east", second)

		try := func(want error, backups ...[]byte) {
			t.Helper()
			var in []io.Reader
			for _, b := range backups {
				in = append(in, bytes.NewReader(b))
			}
			if _, _, err := backup.Restore(t.Context(), memstore.New(), crdt.ReplicaID{1}, in, nil); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
		try(nil, first, second, third)
		try(backup.ErrWrongOrder, second)
		try(backup.ErrWrongOrder, first, third)
		try(backup.ErrWrongOrder, first, first)
		try(backup.ErrNotABackup, []byte("something else"))
		try(backup.ErrNewerFormat, []byte("meridian backup 2\n"), nil)
		_, whole, err := backup.Check(bytes.NewReader(first), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(first); i += 1 + len(first)/200 {
			broken := bytes.Clone(first)
			broken[i] ^= 4
			// Some bits of the compression's headers change nothing of the content.
			if _, n, err := backup.Check(bytes.NewReader(broken), nil); err == nil && n != whole {
				t.Errorf("byte %d of %d was changed, and nothing noticed", i, len(first))
			}
			if _, _, err := backup.Check(bytes.NewReader(first[:i]), nil); err == nil {
				t.Errorf("the first %d bytes of %d were taken", i, len(first))
			}
		}
		if _, _, err := backup.Check(bytes.NewReader(append(bytes.Clone(first), 0)), nil); err == nil {
			t.Error("something follows the end, and nothing noticed")
		}

		w.on("us-east", "GET", "/v1/backup?base=x", nil).gives(400).as(malformedRequest, "go together")
		w.on("us-east", "GET", "/v1/backup?base=x&since=!", nil).gives(400).as(malformedRequest, "position")
		h := backup.Header{Have: backup.Vector{crdt.ReplicaID{9}: 5}}
		w.on("us-east", "GET", "/v1/backup?base=x&since="+h.Position(), nil).gives(410).as(sinceGone, "lacks")
		w.on("us-east", "HEAD", "/v1/backup", nil).gives(200)
	})
}
