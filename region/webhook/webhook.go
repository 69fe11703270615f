// Package webhook asks an application over HTTP what to make of a conflict: the
// policy "callback" of a collection. One call is one try; who calls says when to
// try again. conflict/README.md describes requests and answers to those who
// write the application.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/meridiandb/meridian/conflict"
)

// Headers of a request.
const (
	// HeaderSignature proves who asks: see [Verify].
	HeaderSignature = "Meridian-Signature"
	// HeaderIdempotencyKey is the question's id.
	HeaderIdempotencyKey = "Idempotency-Key"
)

const (
	// MaxRequestBytes bounds a request. A question beyond it is not sent.
	MaxRequestBytes = 16 << 20
	// maxQuoted is how much of a refusal's body is told, in bytes.
	maxQuoted = 160
	// maxConns bounds the connections to one application, idle ones the same.
	maxConns = 32
	// idleTimeout is how long a connection is kept without a request.
	idleTimeout = 90 * time.Second
	// maxHeaderBytes bounds the headers of an answer.
	maxHeaderBytes = 64 << 10
)

// ErrUnavailable is wrapped by errors that are no matter of the question: the
// application cannot be reached, does not answer in time, or says that it cannot.
var ErrUnavailable = errors.New("the application is not available")

// A Caller calls webhooks. It is safe for concurrent use.
type Caller struct {
	client *http.Client
	clock  func() time.Time
}

// NewCaller returns a caller. The clock dates signatures.
func NewCaller(clock func() time.Time) *Caller {
	return &Caller{clock: clock, client: &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxConnsPerHost: maxConns, MaxIdleConnsPerHost: maxConns,
			IdleConnTimeout: idleTimeout, MaxResponseHeaderBytes: maxHeaderBytes, ForceAttemptHTTP2: true,
		},
		// A redirect would send the question to where the settings do not say.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close closes the connections that are idle.
func (c *Caller) Close() { c.client.CloseIdleConnections() }

// Ask sends a question and reads the answer. ctx bounds the time.
func (c *Caller) Ask(ctx context.Context, to *conflict.Callback, q *conflict.Question) (conflict.Answer, error) {
	body, err := q.MarshalJSON()
	if err != nil {
		return conflict.Answer{}, err
	}
	if len(body) > MaxRequestBytes {
		return conflict.Answer{}, fmt.Errorf("the versions are too large to be sent: %d bytes, at most %d are", len(body), MaxRequestBytes)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL, bytes.NewReader(body))
	if err != nil {
		return conflict.Answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "meridian")
	req.Header.Set(HeaderIdempotencyKey, q.ID)
	req.Header.Set(HeaderSignature, Sign(to.Secret, body, c.clock()))
	resp, err := c.client.Do(req)
	if err != nil {
		return conflict.Answer{}, unavailable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, conflict.MaxAnswerBytes+1))
	if err != nil {
		return conflict.Answer{}, unavailable(err)
	}
	if resp.StatusCode != http.StatusOK {
		return conflict.Answer{}, refusal(resp, answer)
	}
	return conflict.ParseAnswer(answer)
}

// unavailable says why there was no answer, without the URL: it may have a key.
func unavailable(err error) error {
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: it did not answer in time", ErrUnavailable)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// refusal makes an error of a status that is not 200.
func refusal(resp *http.Response, body []byte) error {
	said := strings.Join(strings.Fields(strings.ToValidUTF8(string(body[:min(len(body), maxQuoted)]), "")), " ")
	text := fmt.Sprintf("it answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	if said != "" {
		text += fmt.Sprintf(": %q", said)
	}
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return errors.New(text) // about this question
	}
	return fmt.Errorf("%w: %s", ErrUnavailable, text)
}

// Errors of Verify.
var (
	// ErrSignature: the signature is missing, malformed or wrong.
	ErrSignature = errors.New("bad signature")
	// ErrTooOld: it was signed too long ago, or in the future: perhaps somebody
	// sends again what he has overheard.
	ErrTooOld = errors.New("signature out of time")
)

// Sign returns the signature of a body: t=UNIX_SECONDS,v1=HEX, where HEX is the
// HMAC-SHA256, under the secret, of the seconds, a dot and the body.
func Sign(secret string, body []byte, at time.Time) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac(secret, t, body))
}

func mac(secret, t string, body []byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(t))
	h.Write([]byte{'.'})
	h.Write(body)
	return h.Sum(nil)
}

// Verify checks the header that Sign writes: an application calls it before it
// believes a request. Signatures further than tolerance from now are refused;
// five minutes are usual.
func Verify(secret, header string, body []byte, now time.Time, tolerance time.Duration) error {
	t, sum, ok := strings.Cut(header, ",v1=")
	t, has := strings.CutPrefix(t, "t=")
	seconds, err := strconv.ParseInt(t, 10, 64)
	got, badHex := hex.DecodeString(sum)
	if !ok || !has || err != nil || badHex != nil || !hmac.Equal(got, mac(secret, t, body)) {
		return ErrSignature
	}
	if d := now.Sub(time.Unix(seconds, 0)); d > tolerance || d < -tolerance {
		return fmt.Errorf("%w: by %v", ErrTooOld, d.Round(time.Second))
	}
	return nil
}
