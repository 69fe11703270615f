package api

import (
	"encoding/base64"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
)

// A token is base64url of a format byte, the epoch, and a vector. Clients are
// not to look into it.
const tokenFormat = 1

var tokenEncoding = base64.RawURLEncoding.Strict()

// encodeToken returns the token of a vector.
func encodeToken(v crdt.Vector) string {
	var buf [256]byte
	b := append(buf[:0], tokenFormat, 0)
	b, _ = v.AppendBinary(b)
	return tokenEncoding.EncodeToString(b)
}

// A knownToken is the token of a vector as a header's value.
type knownToken struct {
	of     crdt.Vector
	header []string
}

// token returns the token of a vector as a header's value. That of the last
// answer whose token was a common one is at hand.
func (s *Server) token(v crdt.Vector, common bool) []string {
	if !common {
		return []string{encodeToken(v)}
	}
	known := s.lastToken.Load()
	if known == nil || known.of.Compare(v) != crdt.Equal {
		known = &knownToken{v, []string{encodeToken(v)}}
		s.lastToken.Store(known)
	}
	return known.header
}

// decodeToken reads what encodeToken writes and nothing else.
func decodeToken(s string) (crdt.Vector, error) {
	if len(s) > MaxTokenBytes {
		return crdt.Vector{}, problemf(malformedToken, "the token has %d characters, at most %d are taken", len(s), MaxTokenBytes)
	}
	b, err := tokenEncoding.DecodeString(s)
	if err != nil {
		return crdt.Vector{}, problemf(malformedToken, "send back a %s as it was received, or none", HeaderToken)
	}
	r := crdt.NewReader(b)
	format := r.Byte()
	if r.Err() == nil && format != tokenFormat {
		return crdt.Vector{}, problemf(malformedToken, "tokens of format %d are not known here", format)
	}
	if epoch := r.Uvarint(); r.Err() == nil && epoch != 0 {
		return crdt.Vector{}, problemf(malformedToken, "the token is of epoch %d, which is not known here", epoch)
	}
	v := r.Vector()
	if r.Done() != nil {
		return crdt.Vector{}, problemf(malformedToken, "send back a %s as it was received, or none", HeaderToken)
	}
	return v, nil
}

// await makes the request's token hold: it returns when the region has all that
// the token names, or with the problem why it does not. It comes before the
// read or write itself.
func (x *exchange) await(r *http.Request) error {
	v, err := x.token(r)
	if err != nil || v.Len() == 0 {
		return err
	}
	x.asked = v
	if x.s.region.Have().Covers(v) {
		return nil
	}
	if wait, says := prefersWait(r.Header); x.fallback && (!says || wait == 0) {
		// Whoever does not say how long to wait is answered sooner elsewhere.
		if err := x.fresher(r); err != nil {
			return err
		}
	}
	leave, err := x.queue()
	if err != nil {
		return err
	}
	defer leave()
	wait := x.remaining(r)
	ctx, stop := x.waiting(r)
	defer stop()
	if err := x.s.region.Wait(ctx, v); err != nil {
		if x.s.closing.Err() != nil {
			return problemf(stopped, "the server is shutting down")
		}
		if ctx.Err() == nil {
			return err
		}
		if x.fallback && r.Context().Err() == nil {
			if err := x.fresher(r); err != nil {
				return err
			}
		}
		return x.behind(v, wait)
	}
	return nil
}

// noteToken lets the answer's token cover the request's, without waiting: for
// what shows a moment that the client has chosen.
func (x *exchange) noteToken(r *http.Request) (err error) {
	x.asked, err = x.token(r)
	return err
}

// behind is the problem of a region that lacks what v names.
func (x *exchange) behind(v crdt.Vector, waited time.Duration) error {
	lag := &Lag{StalenessMS: x.s.region.Staleness().Milliseconds()}
	byRegion := map[string]uint64{}
	for _, span := range x.s.region.Have().Missing(v) {
		n := span.To - span.From + 1
		lag.Changes += n
		name := x.s.region.RegionOf(span.Replica)
		if name == "" {
			name = span.Replica.String()
		}
		byRegion[name] += n
	}
	lag.Regions = byRegion
	p := problemf(behind, "after %v the region still lacks %d changes that the token names; try again, ask for a longer wait by \"Prefer: wait=N\", or ask another region",
		waited.Round(time.Millisecond), lag.Changes)
	p.lag = lag
	return p
}

// preferredWait reads "Prefer: wait=N" (RFC 7240). What is not understood there
// is ignored, as the RFC asks.
func preferredWait(h http.Header) time.Duration {
	for name, text := range preferences(h) {
		if !strings.EqualFold(name, "wait") {
			continue
		}
		if n, err := strconv.ParseUint(text, 10, 32); err == nil {
			return min(time.Duration(n)*time.Second, MaxWait)
		}
	}
	return DefaultWait
}

// preferences yields the names and values of the header Prefer.
func preferences(h http.Header) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, line := range h["Prefer"] {
			for pref := range strings.SplitSeq(line, ",") {
				pref, _, _ = strings.Cut(pref, ";")
				name, text, _ := strings.Cut(strings.TrimSpace(pref), "=")
				if !yield(strings.TrimSpace(name), strings.Trim(strings.TrimSpace(text), `"`)) {
					return
				}
			}
		}
	}
}

// A Lag says what a region lacks of a token, in the problem that answers it.
type Lag struct {
	// Changes is how many changes are missing, Regions how many of each region.
	Changes uint64            `json:"changes"`
	Regions map[string]uint64 `json:"regions,omitempty"`
	// StalenessMS is the age of the news of the peer heard least recently.
	StalenessMS int64 `json:"staleness_ms"`
}
