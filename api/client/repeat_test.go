package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// breaking breaks off the first requests of each client, after they have arrived.
func breaking(t *testing.T, first int32, keys *[]string) *Client {
	var n atomic.Int32
	return serveFunc(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			return
		}
		*keys = append(*keys, r.Header.Get(HeaderKey))
		_, _ = io.Copy(io.Discard, r.Body)
		if n.Add(1) <= first {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set(HeaderRepeated, "true")
		_, _ = io.WriteString(w, `{"id":"d"}`)
	})
}

func TestWriteUnderAKeyIsRepeated(t *testing.T) {
	var keys []string
	c := breaking(t, 3, &keys)
	r, err := c.Patch(t.Context(), "c", "d", Operations, []byte("[]"), WriteOptions{Repeat: true})
	if err != nil || !r.Repeated {
		t.Fatalf("%+v, %v", r, err)
	}
	if len(keys) != 4 || keys[0] == "" || slices.ContainsFunc(keys, func(k string) bool { return k != keys[0] }) {
		t.Errorf("sent under the keys %q", keys)
	}
	if _, err := c.Put(t.Context(), "c", "d", []byte("{}"), WriteOptions{Repeat: true}); err != nil || keys[4] == keys[0] {
		t.Errorf("the next write goes under %q, %v", keys[4], err)
	}
	if _, err := c.Put(t.Context(), "c", "d", []byte("{}"), WriteOptions{Key: "mine"}); err != nil || keys[5] != "mine" {
		t.Errorf("a key that is given: %q, %v", keys[5], err)
	}
}

func TestWriteWithoutAKeyIsNotRepeated(t *testing.T) {
	var keys []string
	c := breaking(t, 1, &keys)
	if _, err := c.Put(t.Context(), "c", "d", []byte("{}"), WriteOptions{}); err == nil || errors.Is(err, ErrUncertain) || len(keys) != 1 {
		t.Errorf("%v, sent %d times", err, len(keys))
	}
}

func TestUncertainWriteStaysInItsRegion(t *testing.T) {
	var near, far []string
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
	if len(near) < 2 || len(far) != 0 {
		t.Errorf("sent %d times to the region that may have made it, %d times to another", len(near), len(far))
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
