package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A buffer is reused between requests: what is read into it, or written from
// it, must not be kept.
type buffer struct {
	b    []byte
	held bool // until the end of the request
}

const (
	// firstRead is how much room a body gets before any of it has arrived.
	firstRead = 4 << 10
	// maxPooledBuffer is the largest buffer that is kept for the next request.
	maxPooledBuffer = 256 << 10
)

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, firstRead)} }}

func newBuffer() *buffer { return buffers.Get().(*buffer) }

func (b *buffer) release() {
	if b.held {
		return
	}
	if cap(b.b) <= maxPooledBuffer {
		b.b = b.b[:0]
		buffers.Put(b)
	}
}

// readBody reads the body of a request, at most limit bytes. One that says that
// it is larger is refused before any of it is read, and one that does not say,
// as soon as it is seen to be. The caller releases the buffer.
func readBody(r *http.Request, limit int) (*buffer, error) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return nil, problemf(badMediaType, "bodies are taken without Content-Encoding, not as %.80q", enc)
	}
	if r.ContentLength > int64(limit) {
		return nil, problemf(tooLarge, "the body has %d bytes, at most %d are taken here", r.ContentLength, limit)
	}
	buf := newBuffer()
	b := buf.b[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Body.Read(b[len(b):min(cap(b), limit+1)])
		b = b[:len(b)+n]
		buf.b = b
		switch {
		case len(b) > limit:
			buf.release()
			return nil, problemf(tooLarge, "the body has more than the %d bytes that are taken here", limit)
		case errors.Is(err, io.EOF):
			if x, ok := r.Body.(*heldBody); ok {
				x.buf, buf.held = buf, true
			}
			return buf, nil
		case err != nil:
			buf.release()
			return nil, problemf(malformedRequest, "the body could not be read: %v", err)
		}
	}
}

// mediaType returns the media type of the body, without parameters, "" if none is given.
func mediaType(r *http.Request) (string, error) {
	s := r.Header.Get("Content-Type")
	switch s {
	case "", MediaJSON, MediaMergePatch, MediaJSONPatch, MediaOps:
		return s, nil
	}
	media, params, err := mime.ParseMediaType(s)
	if err != nil {
		return "", problemf(badMediaType, "the Content-Type %.80q cannot be read", s)
	}
	if charset := params["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return "", problemf(badMediaType, "JSON is UTF-8, not %.80q", charset)
	}
	return media, nil
}

// needJSON refuses bodies of another media type.
func needJSON(r *http.Request) error {
	media, err := mediaType(r)
	if err != nil {
		return err
	}
	if media != MediaJSON && media != "" {
		return problemf(badMediaType, "send the body as %s, not %.80s%s", MediaJSON, media, formHint(media))
	}
	return nil
}

// formHint helps those who meet the default of curl -d.
func formHint(media string) string {
	if media == "application/x-www-form-urlencoded" {
		return "; with curl, use --json in place of -d"
	}
	return ""
}

// accepts reports whether the client names a media type in Accept, without
// refusing it by q=0.
func accepts(r *http.Request, media string) bool {
	for _, line := range r.Header["Accept"] {
		for item := range strings.SplitSeq(line, ",") {
			if !strings.Contains(item, media) {
				continue
			}
			got, params, err := mime.ParseMediaType(item)
			if err == nil && got == media {
				q, given := params["q"]
				return !given || strings.Trim(q, "0.") != ""
			}
		}
	}
	return false
}

// Bounds of lingering.
const (
	// maxLinger and lingerTime bound what is still taken of a refused body.
	maxLinger  = 64 << 20
	lingerTime = 5 * time.Second
	// closesAbove is how much of an unread body net/http reads by itself.
	closesAbove = 256 << 10
)

// mayLinger reports whether the connection of a refused request would be closed
// on a client that is still sending. Many clients do not look for the answer
// before they are done, and would get a reset in its place.
func mayLinger(r *http.Request) bool {
	return r.ProtoMajor == 1 && (r.ContentLength < 0 || r.ContentLength > closesAbove) && r.Header.Get("Expect") == ""
}

// linger takes what a client still sends of a refused body, so that it gets to
// read the answer, which is out.
func (x *exchange) linger(r *http.Request) {
	conn := http.NewResponseController(x)
	if conn.Flush() != nil || conn.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, r.Body, maxLinger)
}
