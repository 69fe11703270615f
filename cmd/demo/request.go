package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/meridiandb/meridian/api/client"
)

// A request is what is sent to a region, and what a curl command is made of.
type request struct {
	method, path string
	body         string
	media        string   // of the body; JSON if empty
	header       []string // name, value, …
}

func get(path string) request       { return request{method: http.MethodGet, path: path} }
func put(path, body string) request { return request{method: http.MethodPut, path: path, body: body} }
func post(path, body string) request {
	return request{method: http.MethodPost, path: path, body: body}
}

func del(path string) request { return request{method: http.MethodDelete, path: path} }

func patch(path string, kind client.PatchKind, body string) request {
	return request{method: http.MethodPatch, path: path, body: body, media: string(kind)}
}

// with returns the request with another header.
func (q request) with(name, value string) request {
	q.header = append(q.header[:len(q.header):len(q.header)], name, value)
	return q
}

// Headers and media types of the API that the client has no part in.
const (
	mediaJSON     = "application/json"
	mediaSiblings = "application/vnd.meridian.siblings+json"
)

// curl writes the request as a command of at most so many columns, if it can.
func (q request) curl(url string, columns int) string {
	first := "curl"
	switch {
	case q.method == http.MethodGet:
	case q.method == http.MethodPost && q.body != "": // curl takes it from --json
	default:
		first += " -X " + q.method
	}
	target := url + q.path
	if strings.ContainsAny(target, "?&") {
		target = quote(target)
	}
	parts := []string{first + " " + target}
	for i := 0; i+1 < len(q.header); i += 2 {
		parts = append(parts, "-H "+quote(q.header[i]+": "+q.header[i+1]))
	}
	switch {
	case q.body == "":
	case q.media == "" || q.media == mediaJSON:
		parts = append(parts, "--json "+quote(q.body))
	default:
		parts = append(parts, "-H "+quote("Content-Type: "+q.media), "-d "+quote(q.body))
	}
	if line := strings.Join(parts, " "); len(line) <= columns {
		return line
	}
	return strings.Join(parts, " \\\n    ")
}

// quote writes a word for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// An answer is what a region said.
type answer struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

func (a *answer) etag() string  { return a.header.Get("ETag") }
func (a *answer) token() string { return a.header.Get(client.HeaderToken) }

// text is the body, without the new line at its end.
func (a *answer) text() string { return strings.TrimSpace(string(a.body)) }

// A browser sends requests.
type browser struct {
	client http.Client
	own    *http.Transport
}

const (
	requestTimeout = 20 * time.Second
	maxAnswer      = 8 << 20
	maxIdle        = 16 // connections of each region
)

func newBrowser(transport http.RoundTripper) *browser {
	b := &browser{}
	if transport == nil {
		// Not through a proxy, whatever the environment says: it is this machine.
		b.own = &http.Transport{MaxIdleConnsPerHost: maxIdle}
		transport = b.own
	}
	b.client = http.Client{Transport: transport, Timeout: requestTimeout}
	return b
}

func (b *browser) close() {
	if b.own != nil {
		b.own.CloseIdleConnections()
	}
}

// send sends a request and reads the whole answer, whatever its status.
func (b *browser) send(ctx context.Context, url string, q request) (*answer, error) {
	var body io.Reader
	if q.body != "" {
		body = strings.NewReader(q.body)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, url+q.path, body)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(q.header); i += 2 {
		req.Header.Set(q.header[i], q.header[i+1])
	}
	if q.body != "" {
		media := q.media
		if media == "" {
			media = mediaJSON
		}
		req.Header.Set("Content-Type", media)
	}
	start := time.Now()
	res, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", q.method, url+q.path, err)
	}
	return &answer{res.StatusCode, res.Header, text, time.Since(start)}, nil
}

// errStatus is wrapped by the error of an answer that was not to be expected.
var errStatus = errors.New("unexpected answer")

// unexpected is the error of an answer that has the wrong status.
func unexpected(url string, q request, a *answer) error {
	var p client.ProblemError
	if json.Unmarshal(a.body, &p) == nil && p.Title != "" {
		p.Status = a.status
		return fmt.Errorf("%w to %s %s: %w", errStatus, q.method, url+q.path, &p)
	}
	return fmt.Errorf("%w to %s %s: status %d", errStatus, q.method, url+q.path, a.status)
}
