package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
)

// slow is a region whose writes wait to be let go.
type slow struct {
	broken
	entered, leave chan struct{}
}

func (s *slow) Write(ctx context.Context, _ core.Write) (core.Receipt, error) {
	s.entered <- struct{}{}
	select {
	case <-s.leave:
		c := &core.Collection{Name: "carts", Revision: "r"}
		return core.Receipt{Docs: []core.DocReceipt{{Collection: c, ID: "a", Tag: "t", Created: true, Exists: true}}}, nil
	case <-ctx.Done():
		return core.Receipt{}, ctx.Err()
	}
}

func (s *slow) Wait(ctx context.Context, _ crdt.Vector) error {
	s.entered <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

func (s *slow) RegionOf(crdt.ReplicaID) string { return "" }

func (s *slow) Lost(crdt.Vector) error { return nil }

// running starts a server on loopback; stop ends it and returns what Run did.
func running(t *testing.T, c Config) (url string, stop func() error) {
	t.Helper()
	s, err := NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.Addr = "127.0.0.1:0"
	addr, err := s.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() { _ = stop() })
	return "http://" + addr.String(), stop
}

// client returns a client that speaks one version of HTTP.
func client(t *testing.T, set func(*http.Protocols, bool)) *http.Client {
	p := new(http.Protocols)
	set(p, true)
	tr := &http.Transport{Protocols: p}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestBothVersionsOfHTTPAreServed(t *testing.T) {
	url, stop := running(t, Config{Region: &broken{}})
	for proto, c := range map[string]*http.Client{
		"HTTP/1.1": client(t, (*http.Protocols).SetHTTP1),
		"HTTP/2.0": client(t, (*http.Protocols).SetUnencryptedHTTP2),
	} {
		res, err := c.Get(url + "/livez")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.Proto != proto || string(body) != "ok\n" || res.Header.Get(HeaderToken) == "" {
			t.Errorf("%s %s: %q with %v", res.Proto, res.Status, body, res.Header)
		}
		// 20 MiB without a length.
		req, _ := http.NewRequest(http.MethodPut, url+aDoc, io.LimitReader(&endless{}, 20<<20))
		res, err = c.Do(req)
		if err != nil {
			t.Fatalf("%s: a body that is too large ends the connection before the answer: %v", proto, err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: %s", proto, res.Status)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// sized is a region whose documents have so many bytes of text.
type sized struct {
	instant
	text int
}

func (s *sized) Get(ctx context.Context, collection, id string) (region.Document, error) {
	d, err := s.instant.Get(ctx, collection, id)
	d.View.Value = map[string]any{"text": strings.Repeat("x", s.text)}
	return d, err
}

func TestAnswersTellTheirLength(t *testing.T) {
	for _, text := range []int{1, shortAnswer - 13, shortAnswer - 12, shortAnswer - 11, 3 * shortAnswer, 100 * shortAnswer} {
		url, _ := running(t, Config{Region: &sized{text: text}})
		for _, c := range []*http.Client{client(t, (*http.Protocols).SetHTTP1), client(t, (*http.Protocols).SetUnencryptedHTTP2)} {
			res, err := c.Get(url + aDoc)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || res.Body.Close() != nil || len(body) < text {
				t.Errorf("%s: %d bytes, %v", res.Proto, len(body), err)
			}
			head, err := c.Head(url + aDoc)
			if err != nil || head.Body.Close() != nil {
				t.Fatal(err)
			}
			if n := int64(len(body)); res.ContentLength != n || head.ContentLength != n {
				t.Errorf("%s: a GET of %d bytes tells of %d, and HEAD of %d", res.Proto, n, res.ContentLength, head.ContentLength)
			}
			req, _ := http.NewRequest(http.MethodPut, url+aDoc, strings.NewReader(`{}`))
			put, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ = io.ReadAll(put.Body)
			if put.Body.Close() != nil || len(body) == 0 || put.ContentLength != int64(len(body)) {
				t.Errorf("%s: the answer to a PUT of %d bytes tells of %d", put.Proto, len(body), put.ContentLength)
			}
		}
	}
}

func TestClientsThatDoNotLookUpWhileSendingGetTheirAnswer(t *testing.T) {
	url, _ := running(t, Config{Region: &broken{}})
	for _, length := range []string{"Content-Length: 20971520", "Transfer-Encoding: chunked"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s\r\n\r\n", aDoc, length)
		chunk := make([]byte, 64<<10)
		for range 320 {
			if strings.HasPrefix(length, "T") {
				fmt.Fprintf(conn, "%x\r\n%s\r\n", len(chunk), chunk)
			} else if _, err := conn.Write(chunk); err != nil {
				t.Fatalf("%s: %v", length, err)
			}
		}
		if strings.HasPrefix(length, "T") {
			fmt.Fprint(conn, "0\r\n\r\n")
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", length, err)
		}
		res.Body.Close()
		conn.Close()
		if res.StatusCode != http.StatusRequestEntityTooLarge || !res.Close {
			t.Errorf("%s: %s, close %v", length, res.Status, res.Close)
		}
	}
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	s := &slow{entered: make(chan struct{}), leave: make(chan struct{})}
	url, stop := running(t, Config{Region: s})
	answer := make(chan string, 1)
	go func() {
		req, _ := http.NewRequest(http.MethodPut, url+aDoc, strings.NewReader(`{}`))
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			answer <- err.Error()
			return
		}
		res.Body.Close()
		answer <- res.Status
	}()
	<-s.entered
	waiting := make(chan int, 1)
	go func() {
		req, _ := http.NewRequest(http.MethodGet, url+aDoc, nil)
		req.Header.Set(HeaderToken, encodeToken(crdt.VectorOf(crdt.Dot{Replica: crdt.ReplicaID{1}, Seq: 1})))
		req.Header.Set("Prefer", "wait=30")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			waiting <- 0
			return
		}
		res.Body.Close()
		waiting <- res.StatusCode
	}()
	<-s.entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	if status := <-waiting; status != 503 {
		t.Errorf("a request that waited for its token got %d", status)
	}
	close(s.leave)
	if got := <-answer; got != "201 Created" {
		t.Errorf("a write that was under way got %s", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestDrainIsBounded(t *testing.T) {
	s := &slow{entered: make(chan struct{}), leave: make(chan struct{})}
	url, stop := running(t, Config{Region: s, Drain: 10 * time.Millisecond})
	done := make(chan struct{})
	go func() {
		defer close(done)
		req, _ := http.NewRequest(http.MethodPut, url+aDoc, strings.NewReader(`{}`))
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
		}
	}()
	<-s.entered
	if err := stop(); err != nil {
		t.Error(err)
	}
	<-done
}

func TestRunTellsWhatKeepsItFromServing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, _ := NewServer(Config{Region: &broken{}, Addr: l.Addr().String()})
	if err := s.Run(t.Context()); err == nil {
		t.Error("the address is taken, and Run serves")
	}
	closed, _ := net.Listen("tcp", "127.0.0.1:0")
	closed.Close()
	s, _ = NewServer(Config{Region: &broken{}, Listener: closed})
	if err := s.Run(t.Context()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is closed: %v", err)
	}
}

func TestHeadersAreBounded(t *testing.T) {
	url, _ := running(t, Config{Region: &broken{}})
	req, _ := http.NewRequest(http.MethodGet, url+"/livez", bytes.NewReader(nil))
	req.Header.Set("X", strings.Repeat("x", 2*MaxHeaderBytes))
	res, err := client(t, (*http.Protocols).SetHTTP1).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", res.StatusCode)
	}
}
