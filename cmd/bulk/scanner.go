package bulk

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A LineError says in which line the input is wrong.
type LineError struct {
	Line int // from 1
	Err  error
}

// Error implements error.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the reason.
func (e *LineError) Unwrap() error { return e.Err }

func lineErrorf(line int, format string, args ...any) error {
	return &LineError{line, fmt.Errorf(format, args...)}
}

// A Record is one JSON value of the input.
type Record struct {
	// Number counts the records from 1; Line is where it starts.
	Number, Line int
	// JSON is valid until the next record is read. Its brackets match; that it is
	// JSON is for a parser to say.
	JSON []byte
}

// A Scanner cuts a stream into JSON values: the elements of an array, or values
// that follow one another, as NDJSON has them. Which of these it is shows in the
// first byte. It holds one record at a time.
type Scanner struct {
	in   *bufio.Reader
	max  int
	line int
	read int64

	started, array bool
	inMember       bool // the array is a member of an object
	number         int
	buf            []byte
	err            error
}

// readBuffer is how much of the input is read at a time.
const readBuffer = 64 << 10

// NewScanner returns a scanner of values of at most so many bytes each. If
// member is not empty, the input is an object, and the records are the elements
// of the array that is its member of this name.
func NewScanner(in io.Reader, maxBytes int, member string) *Scanner {
	s := &Scanner{in: bufio.NewReaderSize(in, readBuffer), max: maxBytes, line: 1}
	if bom, err := s.in.Peek(3); err == nil && string(bom) == "\ufeff" {
		s.skip(3)
	}
	if member != "" {
		s.err = s.enter(member)
	}
	return s
}

// Read is how many bytes of the input have been consumed.
func (s *Scanner) Read() int64 { return s.read }

// Next returns the next record, or io.EOF at the end. After an error there is
// no next one.
func (s *Scanner) Next() (Record, error) {
	if s.err != nil {
		return Record{}, s.err
	}
	var r Record
	if r, s.err = s.next(); s.err != nil {
		return Record{}, s.err
	}
	return r, nil
}

func (s *Scanner) next() (Record, error) {
	c, err := s.peek()
	if !s.started && err == nil && c == '[' {
		s.array = true
		s.skip(1)
		c, err = s.peek()
	}
	first := !s.started
	s.started = true
	if s.array {
		if c, err = s.separator(c, err, first); err != nil {
			return Record{}, err
		}
	}
	if err != nil {
		return Record{}, err
	}
	line := s.line
	if s.buf, err = s.value(s.buf[:0], c); err != nil {
		return Record{}, err
	}
	s.number++
	return Record{Number: s.number, Line: line, JSON: s.buf}, nil
}

// separator passes over what is between the elements of an array.
func (s *Scanner) separator(c byte, err error, first bool) (byte, error) {
	switch {
	case errors.Is(err, io.EOF):
		return 0, lineErrorf(s.line, "the input ends within the array; is the file complete?")
	case err != nil:
		return 0, err
	case c == ']':
		s.skip(1)
		if s.inMember {
			return 0, io.EOF // what other members there are does not matter
		}
		if _, err := s.peek(); err == nil {
			return 0, lineErrorf(s.line, "something follows the array")
		} else if !errors.Is(err, io.EOF) {
			return 0, err
		}
		return 0, io.EOF
	case first:
		return c, nil
	case c != ',':
		return 0, lineErrorf(s.line, "expected a comma or the end of the array, found %q", c)
	}
	s.skip(1)
	c, err = s.peek()
	switch {
	case errors.Is(err, io.EOF):
		return 0, lineErrorf(s.line, "the input ends within the array; is the file complete?")
	case err == nil && (c == ']' || c == ','):
		return 0, lineErrorf(s.line, "there is no element behind a comma")
	}
	return c, err
}

// enter goes to the array that is a member of the object that the input is.
func (s *Scanner) enter(member string) error {
	c, err := s.peek()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if c != '{' {
		return lineErrorf(s.line, "the input is no object with the member %q", member)
	}
	s.skip(1)
	for {
		if c, err = s.peek(); err == nil && c == ',' {
			s.skip(1)
			c, err = s.peek()
		}
		if err != nil || c != '"' {
			return lineErrorf(s.line, "the input has no member %q", member)
		}
		key, err := s.value(nil, c)
		if err != nil {
			return err
		}
		if c, err = s.peek(); err != nil || c != ':' {
			return lineErrorf(s.line, "expected a colon after %.80s", key)
		}
		s.skip(1)
		if c, err = s.peek(); err != nil {
			return lineErrorf(s.line, "the input ends after %.80s", key)
		}
		var name string
		if json.Unmarshal(key, &name) == nil && name == member {
			if c != '[' {
				return lineErrorf(s.line, "the member %q is no array", member)
			}
			s.inMember = true
			return nil
		}
		if _, err := s.value(nil, c); err != nil {
			return err
		}
	}
}

// peek passes over white space and returns the next byte without taking it.
func (s *Scanner) peek() (byte, error) {
	for {
		b, err := s.in.Peek(1)
		if err != nil {
			return 0, err
		}
		switch b[0] {
		case '\n':
			s.line++
		case ' ', '\t', '\r':
		default:
			return b[0], nil
		}
		s.skip(1)
	}
}

func (s *Scanner) skip(n int) {
	d, _ := s.in.Discard(n) // they were peeked
	s.read += int64(d)
}

// value appends the value that starts with c.
func (s *Scanner) value(buf []byte, c byte) ([]byte, error) {
	start := s.line
	var (
		depth            int
		inString, escape bool
		scalar           = c != '{' && c != '[' && c != '"'
	)
	for {
		b, err := s.in.ReadByte()
		if errors.Is(err, io.EOF) {
			if scalar && len(buf) > 0 {
				return buf, nil
			}
			return nil, lineErrorf(start, "the input ends within the value that starts here")
		}
		if err != nil {
			return nil, err
		}
		if scalar && bytes.IndexByte([]byte(" \t\r\n,]}"), b) >= 0 {
			if len(buf) == 0 {
				return nil, lineErrorf(start, "expected a document, found %q", b)
			}
			return buf, s.in.UnreadByte()
		}
		s.read++
		if b == '\n' {
			s.line++
		}
		if buf = append(buf, b); len(buf) > s.max {
			return nil, lineErrorf(start, "the value that starts here has more than %d bytes", s.max)
		}
		switch {
		case escape:
			escape = false
		case inString && b == '\\':
			escape = true
		case b == '"':
			inString = !inString
		case inString, scalar:
			continue
		case b == '{' || b == '[':
			depth++
		case b == '}' || b == ']':
			depth--
		}
		if depth == 0 && !inString && !scalar {
			return buf, nil
		}
	}
}
