package api

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/memstore"
	"github.com/meridiandb/meridian/transport"
	"github.com/meridiandb/meridian/transport/memnet"
)

// benchServer is a liveServer until the benchmark ends.
func benchServer(b *testing.B) *Server {
	b.Helper()
	s, stop := liveServer(b)
	b.Cleanup(stop)
	return s
}

// liveServer is a Server over a region that keeps its documents in memory, in
// earnest time.
func liveServer(b testing.TB) (s *Server, stop func()) {
	b.Helper()
	tr, err := memnet.New(memnet.Options{}).Transport("us-east", transport.Config{})
	if err != nil {
		b.Fatal(err)
	}
	r, err := region.New(region.Config{Region: "us-east", Cluster: "bench", Logger: slog.New(slog.DiscardHandler)}, memstore.New(), tr)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // fuzzing goes on with it after the test that made it
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx)
	}()
	for r.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	if s, err = NewServer(Config{Region: r}); err != nil {
		b.Fatal(err)
	}
	return s, func() {
		cancel()
		<-done
	}
}

// discard is a ResponseWriter that costs little.
type discard struct {
	h      http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

var benchDoc = []byte(`{"owner":"ada","items":["tea","milk","sugar"],"paid":false,"total":12.5,"address":{"street":"12 St James's Square","city":"London"},"note":"leave it with the neighbour if nobody is at home"}`)

func BenchmarkPut(b *testing.B) { benchWrites(b, benchServer(b)) }

// BenchmarkPutAlone measures the API without a region's work.
func BenchmarkPutAlone(b *testing.B) {
	s, err := NewServer(Config{Region: &instant{}})
	if err != nil {
		b.Fatal(err)
	}
	benchWrites(b, s)
}

func benchWrites(b *testing.B, s *Server) {
	b.Helper()
	b.ReportAllocs()
	body := bytes.NewReader(benchDoc)
	held := io.NopCloser(body)
	r := httptest.NewRequest(http.MethodPut, aDoc, held)
	r.ContentLength = int64(len(benchDoc))
	r.Header.Set("Content-Type", MediaJSON)
	w := &discard{h: http.Header{}}
	for b.Loop() {
		body.Reset(benchDoc)
		r.Body = held // the server may have put another in its place
		clear(w.h)
		s.ServeHTTP(w, r)
		if w.status >= 300 {
			b.Fatal(w.status)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s := benchServer(b)
	w := &discard{h: http.Header{}}
	s.ServeHTTP(w, httptest.NewRequest(http.MethodPut, aDoc, bytes.NewReader(benchDoc)))
	if w.status != http.StatusCreated {
		b.Fatal(w.status)
	}
	benchReads(b, s)
}

// BenchmarkGetAlone measures the API without a region's work.
func BenchmarkGetAlone(b *testing.B) {
	s, err := NewServer(Config{Region: &instant{}})
	if err != nil {
		b.Fatal(err)
	}
	benchReads(b, s)
}

func benchReads(b *testing.B, s *Server) {
	b.Helper()
	b.ReportAllocs()
	r := httptest.NewRequest(http.MethodGet, aDoc, nil)
	w := &discard{h: http.Header{}}
	for b.Loop() {
		clear(w.h)
		s.ServeHTTP(w, r)
		if w.status != http.StatusOK {
			b.Fatal(w.status)
		}
	}
}

// instant is a region that answers at once.
type instant struct{ broken }

var (
	instantHave       = crdt.VectorOf(crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 1000}, crdt.Dot{Replica: crdt.ReplicaID{2}, Seq: 70000}, crdt.Dot{Replica: crdt.ReplicaID{3}, Seq: 9})
	instantCollection = &core.Collection{Name: "carts", Settings: core.DefaultSettings(), Revision: "gerQgbUy"}
	instantValue, _   = value.ParseObject(benchDoc, value.DefaultLimits)
)

func (*instant) Name() string      { return "us-east" }
func (*instant) Have() crdt.Vector { return instantHave }

func (*instant) Get(_ context.Context, _, id string) (region.Document, error) {
	return region.Document{
		ID: id, Collection: instantCollection, Tag: "Kq85qh7ou2y-kHmk",
		View: crdt.View{Exists: true, Value: instantValue}, Have: instantHave,
	}, nil
}

func (*instant) Write(_ context.Context, w core.Write) (core.Receipt, error) {
	return core.Receipt{
		Dot: instantHave.At(0), Stamp: crdt.StampAt(time.Unix(1700000000, 0)), Have: instantHave,
		Docs: []core.DocReceipt{{Collection: instantCollection, ID: w.Docs[0].ID, Tag: "Kq85qh7ou2y-kHmk", Exists: true}},
	}, nil
}
