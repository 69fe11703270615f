package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/store"
)

// A Reader reads a backup, and checks that it is whole.
type Reader struct {
	Header Header
	in     *bufio.Reader
	zstd   *zstd.Decoder
	sum    hash.Hash
	n      Summary
	buf    []byte
}

// A Record is a record of a backup: one of its fields is set. Its memory is good
// until the next one is read.
type Record struct {
	Doc  *store.DocPut // State is nil if the document is no more
	Log  *store.LogPut
	Meta *store.MetaEntry
}

// maxWindow bounds the memory that a stranger's file makes zstd take.
const maxWindow = 8 << 20

// NewReader reads the header.
func NewReader(in io.Reader) (*Reader, error) {
	buffered := bufio.NewReaderSize(in, writeBuffer)
	r := &Reader{sum: sha256.New()}
	line, err := buffered.Peek(len(magic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !bytes.HasPrefix(line, []byte(magicPrefix)) {
		return nil, ErrNotABackup
	}
	if string(line) != magic {
		return nil, fmt.Errorf("%w: it starts with %.30q, and this version of Meridian knows format %d", ErrNewerFormat, line, Format)
	}
	head := bytes.NewBuffer(nil)
	tee := teeByteReader{buffered, head}
	if _, err := io.CopyN(head, buffered, int64(len(magic))); err != nil {
		return nil, err
	}
	n, err := binary.ReadUvarint(tee)
	if err != nil || n > maxHeaderBytes {
		return nil, fmt.Errorf("%w: bad header", ErrDamaged)
	}
	start := head.Len()
	if _, err := io.CopyN(head, buffered, int64(n)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := json.Unmarshal(head.Bytes()[start:], &r.Header); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrDamaged, err)
	}
	_, _ = r.sum.Write(head.Bytes())
	if r.zstd, err = zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1)); err != nil {
		return nil, err
	}
	r.in = bufio.NewReaderSize(r.zstd, writeBuffer)
	return r, nil
}

// teeByteReader keeps the bytes that are read one by one.
type teeByteReader struct {
	*bufio.Reader
	to *bytes.Buffer
}

func (t teeByteReader) ReadByte() (byte, error) {
	b, err := t.Reader.ReadByte()
	if err == nil {
		t.to.WriteByte(b)
	}
	return b, err
}

// Close releases the reader.
func (r *Reader) Close() { r.zstd.Close() }

// Summary is of what was read.
func (r *Reader) Summary() Summary { return r.n }

// Next reads the next record. io.EOF means that the backup ended as it should,
// and is what was written; errors that wrap ErrDamaged that it is not.
func (r *Reader) Next() (Record, error) {
	n, err := binary.ReadUvarint(r.in)
	if err != nil {
		return Record{}, damaged(err)
	}
	if n == 0 || n > maxFrameBytes {
		return Record{}, fmt.Errorf("%w: a record of %d bytes", ErrDamaged, n)
	}
	if err := r.read(int(n)); err != nil {
		return Record{}, damaged(err)
	}
	if r.buf[0] == kindEnd {
		return Record{}, r.end(r.buf[1:])
	}
	var head [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(head[:], n)
	_, _ = r.sum.Write(head[:k])
	_, _ = r.sum.Write(r.buf)
	r.n.count(r.buf[0], k+len(r.buf))
	return parse(r.buf[0], r.buf[1:])
}

// readStep is how much memory is taken before more of a record is there.
const readStep = 1 << 20

// read fills the buffer with n bytes.
func (r *Reader) read(n int) error {
	r.buf = r.buf[:0]
	for len(r.buf) < n {
		k := min(n-len(r.buf), readStep)
		if cap(r.buf)-len(r.buf) < k {
			r.buf = append(make([]byte, 0, min(n, 2*cap(r.buf)+k)), r.buf...)
		}
		at := len(r.buf)
		r.buf = r.buf[:at+k]
		if _, err := io.ReadFull(r.in, r.buf[at:]); err != nil {
			return err
		}
	}
	return nil
}

func damaged(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it breaks off", ErrDamaged)
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

func (r *Reader) end(text []byte) error {
	var want Summary
	if err := json.Unmarshal(text, &want); err != nil {
		return fmt.Errorf("%w: end: %w", ErrDamaged, err)
	}
	r.n.SHA256 = hex.EncodeToString(r.sum.Sum(nil))
	if r.n != want {
		return fmt.Errorf("%w: its checksum does not match", ErrDamaged)
	}
	// The end of the stream has a checksum of its own.
	if _, err := r.in.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows its end", ErrDamaged)
	}
	return io.EOF
}

func parse(kind byte, b []byte) (Record, error) {
	r := crdt.NewReader(b)
	var out Record
	switch kind {
	case kindDoc:
		d := &store.DocPut{}
		d.Key.Collection = readDot(r)
		d.Key.ID = strings.Clone(string(r.Bytes(store.MaxNameBytes)))
		if rest := r.Rest(); len(rest) > 0 {
			d.State = rest
		}
		out.Doc = d
	case kindLog:
		l := &store.LogPut{Dot: readDot(r)}
		copy(l.Chain[:], r.Fixed(store.ChainSize))
		l.Change = r.Rest()
		out.Log = l
	case kindMeta:
		name := string(r.Bytes(store.MaxNameBytes))
		out.Meta = &store.MetaEntry{Name: name, Value: r.Rest()}
	default:
		return out, fmt.Errorf("%w: a record of kind %q", ErrDamaged, kind)
	}
	if err := r.Err(); err != nil {
		return out, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return out, nil
}

// Check reads a backup to its end.
func Check(in io.Reader, progress func(Summary)) (Header, Summary, error) {
	r, err := NewReader(in)
	if err != nil {
		return Header{}, Summary{}, err
	}
	defer r.Close()
	for i := 0; ; i++ {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Header, r.n, nil
		}
		if err != nil {
			return r.Header, r.n, err
		}
		if progress != nil && i%progressEvery == 0 {
			progress(r.n)
		}
	}
}

// progressEvery is after how many records progress is told.
const progressEvery = 1000
