package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/go-chi/chi/v5"
	"golang.org/x/sync/errgroup"

	"github.com/meridiandb/meridian/cmd/tune"
)

// A pipe is one process of the bare pipe.
type pipe struct {
	number   int
	constant bool
	db       *badger.DB
	writes   chan write
	peers    []*sender

	mu      sync.Mutex
	vector  []uint64
	changed chan struct{}
}

// A write waits for its commit. Those of the others have no one who waits.
type write struct {
	from  int
	seq   uint64 // 0 for a new one
	key   string
	value []byte
	done  chan uint64
}

// Queues and batches are long enough never to be what is measured.
const (
	maxWrites = 1 << 14
	maxBatch  = 1024
)

func pipeMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("pipe", flag.ExitOnError)
	dir := fs.String("dir", "", "the folder of the store")
	number := fs.Int("number", 0, "which of the peers this is")
	peers := fs.String("peers", "", "where all of them listen for each other")
	constant := fs.Bool("constant", false, "answer reads with a constant")
	if err := fs.Parse(args); err != nil {
		return err
	}
	addrs := strings.Split(*peers, ",")
	p := &pipe{
		number: *number, constant: *constant, writes: make(chan write, maxWrites),
		vector: make([]uint64, len(addrs)), changed: make(chan struct{}),
	}
	opt := badger.DefaultOptions(*dir).WithLogger(nil).WithSyncWrites(true).WithDetectConflicts(false).
		WithNumVersionsToKeep(1).WithMetricsEnabled(false).WithMemTableSize(32 << 20).WithNumMemtables(2).
		WithNumCompactors(2).WithNumLevelZeroTablesStall(8).WithBaseLevelSize(128 << 20).WithBaseTableSize(8 << 20).
		WithValueThreshold(1 << 20).WithValueLogFileSize(2 << 20).WithBlockSize(16 << 10).WithBlockCacheSize(64 << 20).
		WithIndexCacheSize(32 << 20).WithCompression(options.Snappy)
	opt.TableSizeMultiplier = 1 // all of it as region/badgerstore has it on a roomy disk
	var err error
	if p.db, err = badger.Open(opt); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(err, p.db.Close())
	}
	g, ctx := errgroup.WithContext(ctx)
	tune.Start(slog.New(slog.DiscardHandler)) // as a region does
	g.Go(func() error {
		tune.Run(ctx)
		return nil
	})
	for i, addr := range addrs {
		if i != p.number {
			s := newSender(addr)
			p.peers = append(p.peers, s)
			g.Go(func() error { return s.run(ctx) })
		}
	}
	g.Go(func() error { return p.receive(ctx, addrs[p.number]) })
	g.Go(func() error { return p.commits(ctx) })
	srv := &http.Server{Handler: p.routes(), ReadHeaderTimeout: time.Minute}
	g.Go(func() error { return srv.Serve(l) })
	g.Go(func() error {
		<-ctx.Done()
		return srv.Close()
	})
	fmt.Printf("%shttp://%s\n", listening, l.Addr())
	err = g.Wait()
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, p.db.Close())
}

func (p *pipe) routes() http.Handler {
	m := chi.NewRouter()
	const doc = "/v1/collections/{collection}/docs/{id}"
	m.Put(doc, p.put)
	m.Patch(doc, p.put)
	m.Get(doc, p.get)
	m.Post("/v1/batch", p.batch)
	m.Put("/v1/collections/{collection}", p.ok)
	m.Get("/v1/collections/{collection}", p.ok)
	m.Get("/v1/cluster", p.cluster)
	return m
}

func (p *pipe) put(w http.ResponseWriter, r *http.Request) {
	body := make([]byte, max(r.ContentLength, 0))
	if _, err := io.ReadFull(r.Body, body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.answer(w, p.write(chi.URLParam(r, "id"), body), []byte("{}\n"))
}

func (p *pipe) write(key string, value []byte) uint64 {
	done := make(chan uint64, 1)
	p.writes <- write{from: p.number, key: key, value: value, done: done}
	return <-done
}

// A token is a sequence number and whose it is.
func (p *pipe) answer(w http.ResponseWriter, seq uint64, body []byte) {
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	if seq > 0 {
		h["Meridian-Token"] = []string{fmt.Sprintf("%d.%d", p.number, seq)}
	}
	_, _ = w.Write(body) // the client has gone if this fails
}

var constant = []byte(strings.Repeat("x", 199) + "\n")

func (p *pipe) get(w http.ResponseWriter, r *http.Request) {
	if p.constant {
		p.answer(w, 0, constant)
		return
	}
	p.await(r)
	var value []byte
	err := p.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte("d" + chi.URLParam(r, "id")))
		if err == nil {
			value, err = item.ValueCopy(nil)
		}
		return err
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	p.answer(w, 0, value)
}

// await waits until what the token names is there.
func (p *pipe) await(r *http.Request) {
	from, rest, ok := strings.Cut(r.Header.Get("Meridian-Token"), ".")
	if !ok {
		return
	}
	i, err := strconv.Atoi(from)
	seq, err2 := strconv.ParseUint(rest, 10, 64)
	if err != nil || err2 != nil || i < 0 || i >= len(p.vector) {
		return
	}
	for {
		p.mu.Lock()
		have, changed := p.vector[i], p.changed
		p.mu.Unlock()
		if have >= seq {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// batch takes what the load begins with.
func (p *pipe) batch(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Docs []struct {
			ID  string
			Put json.RawMessage
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var wg sync.WaitGroup
	for _, d := range body.Docs {
		wg.Go(func() { p.write(d.ID, d.Put) })
	}
	wg.Wait()
	p.ok(w, r)
}

func (p *pipe) ok(w http.ResponseWriter, r *http.Request) {
	p.await(r)
	p.mu.Lock()
	seq := p.vector[p.number]
	p.mu.Unlock()
	p.answer(w, seq, []byte("{}\n"))
}

func (p *pipe) cluster(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	vector := map[string]uint64{}
	for i, seq := range p.vector {
		vector[strconv.Itoa(i)] = seq
	}
	p.mu.Unlock()
	body, err := json.Marshal(map[string]any{"region": "pipe-" + strconv.Itoa(p.number), "vector": vector})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	p.answer(w, 0, body)
}

// commits takes all writes that wait and commits them at once.
func (p *pipe) commits(ctx context.Context) error {
	batch := make([]write, 0, maxBatch)
	for {
		batch = batch[:0]
		select {
		case <-ctx.Done():
			return nil
		case w := <-p.writes:
			batch = append(batch, w)
		}
		for more := true; more && len(batch) < maxBatch; {
			select {
			case w := <-p.writes:
				batch = append(batch, w)
			default:
				more = false
			}
		}
		if err := p.commit(batch); err != nil {
			return err
		}
	}
}

func (p *pipe) commit(batch []write) error {
	txn := p.db.NewTransaction(true)
	defer txn.Discard()
	seq := p.vector[p.number] // only this goroutine changes it
	for i := range batch {
		w := &batch[i]
		if w.seq == 0 {
			seq++
			w.seq = seq
		}
		key := []byte("l")
		key = binary.BigEndian.AppendUint64(append(key, byte(w.from)), w.seq)
		if err := errors.Join(txn.Set([]byte("d"+w.key), w.value), txn.Set(key, w.value)); err != nil {
			return err
		}
	}
	if err := txn.Commit(); err != nil {
		return err
	}
	p.mu.Lock()
	for i := range batch {
		p.vector[batch[i].from] = max(p.vector[batch[i].from], batch[i].seq)
	}
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	for i := range batch {
		if w := &batch[i]; w.done != nil {
			w.done <- w.seq
			for _, peer := range p.peers {
				peer.send(w)
			}
		}
	}
	for _, peer := range p.peers {
		peer.wake()
	}
	return nil
}
