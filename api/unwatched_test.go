package api

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/region/core"
)

// A slowRegion writes after a second.
type slowRegion struct {
	Region
	cut atomic.Int32 // writes whose clients were seen to go before
}

func (r *slowRegion) Write(ctx context.Context, w core.Write) (core.Receipt, error) {
	wait, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	<-wait.Done()
	if ctx.Err() != nil {
		r.cut.Add(1)
		return core.Receipt{}, ctx.Err()
	}
	return r.Region.Write(ctx, w)
}

// A quick write goes on if its client goes away. Whatever may wait for other regions is
// watched for that, and so is what the same connection asks for later.
func TestQuickWritesGoOnWithoutTheirClient(t *testing.T) {
	const put, body = "PUT /v1/collections/", "Host: x\r\nContent-Length: 2\r\n\r\n{}"
	alone(t, func(w *world) {
		w.do("PUT", "/v1/collections/plain", `{"type":"register"}`).gives(201)
		w.do("PUT", "/v1/collections/acked", `{"type":"register","acks":"all"}`).gives(201)
		w.do("PUT", "/v1/collections/bounded", `{"type":"document","bounds":{"/stock":{"min":0}}}`).gives(201)
		w.do("PUT", "/v1/collections/at-home", `{"type":"register","home":"us-east"}`).gives(201)
		w.do("PUT", "/v1/collections/held", `{"type":"register","regions":["us-east"]}`).gives(201)
		w.do("PUT", "/v1/collections/plain/docs/old", `{}`).gives(201)
		r := &slowRegion{Region: w.regions["us-east"]}
		w.servers["us-east"].region = r
		s := w.servers["us-east"]
		l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		s.listener = l
		ctx, cancel := context.WithCancel(w.t.Context())
		var run sync.WaitGroup
		run.Go(func() { _ = s.Run(ctx) })
		defer run.Wait()
		defer cancel()
		connect := func() net.Conn {
			here, there := net.Pipe()
			l.conns <- there
			return here
		}
		for name, test := range map[string]struct {
			request string
			cut     bool
		}{
			"a document":            {put + "plain/docs/a HTTP/1.1\r\n" + body, false},
			"a document without id": {"POST /v1/collections/plain/docs HTTP/1.1\r\n" + body, false},
			"a patch":               {"PATCH /v1/collections/plain/docs/old HTTP/1.1\r\nContent-Type: application/merge-patch+json\r\n" + body, false},
			"a new collection":      {put + "new/docs/a HTTP/1.1\r\n" + body, true},
			"acks asked for":        {put + "plain/docs/a?acks=1 HTTP/1.1\r\n" + body, true},
			"a wait asked for":      {put + "plain/docs/a HTTP/1.1\r\nPrefer: wait=5\r\n" + body, true},
			"acks of a collection":  {put + "acked/docs/a HTTP/1.1\r\n" + body, true},
			"bounds":                {put + "bounded/docs/a HTTP/1.1\r\n" + body, true},
			"homes":                 {put + "at-home/docs/a HTTP/1.1\r\n" + body, true},
			"regions":               {put + "held/docs/a HTTP/1.1\r\n" + body, true},
		} {
			r.cut.Store(0)
			have := w.regions["us-east"].Have()
			c := connect()
			if _, err := io.WriteString(c, test.request); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			c.Close()
			time.Sleep(2 * time.Second) // of the bubble: the write is over
			if written := !w.regions["us-east"].Have().Equal(have); (r.cut.Load() == 1) != test.cut || written == test.cut {
				t.Errorf("%s: cut %d, written %t", name, r.cut.Load(), written)
			}
		}

		c := connect()
		from := bufio.NewReader(c)
		for _, request := range []string{put + "plain/docs/a HTTP/1.1\r\n" + body, "GET /v1/changes HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"} {
			if _, err := io.WriteString(c, request); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(from, nil) //nolint:bodyclose // the connection is closed under it
			if err != nil || res.StatusCode > http.StatusCreated {
				t.Fatal(res, err)
			}
			if res.ContentLength > 0 { // not a feed
				_, _ = io.Copy(io.Discard, res.Body)
			}
		}
		synctest.Wait()
		if n := s.feeds.Load(); n != 1 {
			t.Fatalf("%d feeds", n)
		}
		c.Close()
		synctest.Wait()
		if n := s.feeds.Load(); n != 0 {
			t.Errorf("%d feeds after the client has gone", n)
		}
	})
}
