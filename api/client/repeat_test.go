package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// seen are the keys of requests that have arrived, in order.
type seen struct {
	mu   sync.Mutex
	keys []string
}

func (s *seen) add(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, key)
}

func (s *seen) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.keys)
}

// breaking breaks off the first requests of each client, after they have arrived.
func breaking(t *testing.T, first int32, keys *seen) *Client {
	var n atomic.Int32
	return serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			return
		}
		keys.add(r.Header.Get(HeaderKey))
		_, _ = io.Copy(io.Discard, r.Body)
		if n.Add(1) <= first {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set(HeaderRepeated, "true")
		_, _ = io.WriteString(w, `{"id":"d"}`)
	})
}

func TestWriteUnderAKeyIsRepeated(t *testing.T) {
	var keys seen
	c := breaking(t, 3, &keys)
	r, err := c.Patch(t.Context(), "c", "d", Operations, []byte("[]"), WriteOptions{Repeat: true})
	if err != nil || !r.Repeated {
		t.Fatalf("%+v, %v", r, err)
	}
	first := keys.all()
	if len(first) != 4 || first[0] == "" || slices.ContainsFunc(first, func(k string) bool { return k != first[0] }) {
		t.Fatalf("sent under the keys %q", first)
	}
	if _, err := c.Put(t.Context(), "c", "d", []byte("{}"), WriteOptions{Repeat: true}); err != nil || keys.all()[4] == first[0] {
		t.Errorf("the next write goes under %q, %v", keys.all()[4:], err)
	}
	if _, err := c.Put(t.Context(), "c", "d", []byte("{}"), WriteOptions{Key: "mine"}); err != nil || keys.all()[5] != "mine" {
		t.Errorf("a key that is given: %q, %v", keys.all()[5:], err)
	}
}

func TestWriteWithoutAKeyIsNotRepeated(t *testing.T) {
	var keys seen
	c := breaking(t, 1, &keys)
	if _, err := c.Put(t.Context(), "c", "d", []byte("{}"), WriteOptions{}); err == nil || errors.Is(err, ErrUncertain) || len(keys.all()) != 1 {
		t.Errorf("%v, sent %d times", err, len(keys.all()))
	}
}

func TestUncertainWriteStaysInItsRegion(t *testing.T) {
	var near, far seen
	a, b := breaking(t, 1000, &near), breaking(t, 0, &far)
	c, err := Open(t.Context(), a.Addr(), b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	c.regions.order = []string{a.Addr(), b.Addr()}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := c.Put(ctx, "c", "d", []byte("{}"), WriteOptions{Repeat: true}); !errors.Is(err, ErrUncertain) {
		t.Errorf("the error is %v", err)
	}
	if len(near.all()) < 2 || len(far.all()) != 0 {
		t.Errorf("sent %d times to the region that may have made it, %d times to another", len(near.all()), len(far.all()))
	}
}

func TestFullKeysAreDoneWithout(t *testing.T) {
	var keys []string
	c := serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get(HeaderKey)
		keys = append(keys, key)
		if key != "" {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, `{"type": "/problems/keys-full", "status": 429, "retryable": true}`)
			return
		}
		_, _ = io.WriteString(w, `{"id":"d"}`)
	})
	if _, err := c.Put(t.Context(), "c", "d", []byte("{}"), WriteOptions{Repeat: true}); err != nil || len(keys) != 2 {
		t.Errorf("a key of the client's own: %v, sent under %q", err, keys)
	}
	if _, err := c.Put(t.Context(), "c", "d", []byte("{}"), WriteOptions{Key: "mine"}); !errors.Is(err, ErrUnavailable) || len(keys) != 3 {
		t.Errorf("a key that is given: %v, sent under %q", err, keys)
	}
}
