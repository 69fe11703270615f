package api

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"net/http"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
)

// HeaderKey names a request, so that it is carried out once however often it is
// sent (draft-ietf-httpapi-idempotency-key-header).
const HeaderKey = "Idempotency-Key"

// HeaderRepeated says that the request was carried out before.
const HeaderRepeated = "Meridian-Repeated"

// MaxKey is the greatest length of an idempotency key.
const MaxKey = 255

var yes = []string{"true"}

// once makes of a handler one that takes an idempotency key. Its request is
// known by all that says what is to be done: what it is sent to, the body, its
// media type and the preconditions; not by how long it waits, or for whom.
func once(h handler) handler {
	return func(x *exchange, r *http.Request) error {
		keys := r.Header.Values(HeaderKey)
		if len(keys) == 0 {
			return h(x, r)
		}
		key, err := parseKey(keys)
		if err != nil {
			return err
		}
		sum := sha256.New()
		for _, part := range []string{
			r.Method, r.URL.EscapedPath(), r.Header.Get("Content-Type"), strings.Join(r.Header.Values("If-Match"), ","),
			strings.Join(r.Header.Values("If-None-Match"), ","), r.Header.Get(HeaderBase),
		} {
			sum.Write(binary.AppendUvarint(nil, uint64(len(part))))
			_, _ = io.WriteString(sum, part)
		}
		x.key, x.asks = hashKey(x.principal(), key), sum
		body := x.body.ReadCloser
		x.body.ReadCloser = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(body, sum), body}
		return h(x, r)
	}
}

// parseKey reads the key: a string of a structured field, in double quotes, or
// what stands there as it is, which most clients send.
func parseKey(values []string) (string, error) {
	if len(values) > 1 {
		return "", problemf(malformedRequest, "%s is given %d times", HeaderKey, len(values))
	}
	key := strings.Trim(values[0], " \t")
	if n := len(key); n >= 2 && key[0] == '"' && key[n-1] == '"' {
		key = key[1 : n-1]
	}
	ok := key != "" && len(key) <= MaxKey
	for i := range len(key) {
		ok = ok && key[i] > ' ' && key[i] < 0x7f
	}
	if !ok {
		return "", problemf(malformedRequest, "%s has 1 to %d characters of ASCII without spaces, such as a UUID", HeaderKey, MaxKey)
	}
	return key, nil
}

// principal is on whose behalf the request is made: keys of one are not those of
// another. All are one, since regions do not ask who it is.
func (x *exchange) principal() string { return "" }

func hashKey(principal, key string) crdt.RequestHash {
	b := binary.AppendUvarint(nil, uint64(len(principal)))
	sum := sha256.Sum256(append(append(b, principal...), key...))
	return crdt.RequestHash(sum[:])
}

// request names the request, once its body was read.
func (x *exchange) request() core.RequestID {
	if x.asks == nil {
		return core.RequestID{}
	}
	return core.RequestID{Key: x.key, Body: crdt.RequestHash(x.asks.Sum(nil))}
}

// keyed is what an exchange keeps of an idempotency key.
type keyed struct {
	key  crdt.RequestHash
	asks hash.Hash // nil without a key
}
