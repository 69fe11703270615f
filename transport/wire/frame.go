package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/klauspost/compress/zstd"

	"github.com/meridiandb/meridian/crdt"
)

// A StreamType is the first byte of a stream.
type StreamType byte

// The types of streams. A link has one live stream in each direction, which is
// the first one to be opened.
const (
	StreamLive StreamType = 1
	StreamBulk StreamType = 2
)

// A Preface follows the type of a live stream. The one who dialled sends it at
// once, the other one when it has decided that the connection is to be the link.
// It lets both tell a new connection from a duplicate (see package transport).
type Preface struct {
	// Incarnation is drawn at random when the sender starts.
	Incarnation uint64
	// Attempt counts the sender's dials since: of one who dialled the number of
	// this dial, of the other the number of its latest one to anybody.
	Attempt uint64
}

// PrefaceBytes is the size of an encoded Preface.
const PrefaceBytes = 16

// Append appends the encoding of p.
func (p Preface) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, p.Incarnation)
	return binary.BigEndian.AppendUint64(b, p.Attempt)
}

// ReadPreface reads a preface.
func ReadPreface(r io.Reader) (Preface, error) {
	var b [PrefaceBytes]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return Preface{}, err
	}
	return Preface{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}, nil
}

// Bounds of frames.
const (
	// MaxBody is the greatest size of a frame's messages, uncompressed: one
	// message of the greatest size with the length before it.
	MaxBody = MaxMessage + 4
	// MaxFrame is the greatest length that a frame says of itself.
	MaxFrame = MaxBody + 1
	// firstRead is how much is allocated for a frame on its word alone.
	firstRead = 512 << 10
	// expectedRatio is the compression that memory is set aside for at first.
	expectedRatio = 8
)

// FlagZstd marks a compressed frame.
const FlagZstd = 1

// A Compressor compresses and decompresses frames for any number of streams.
type Compressor struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// compressWindow bounds the memory of one compression. A frame gathers some
// hundred kilobytes.
const compressWindow = 256 << 10

// NewCompressor returns a compressor for that many goroutines at once; more wait
// for each other.
func NewCompressor(concurrency int) (*Compressor, error) {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(concurrency),
		zstd.WithWindowSize(compressWindow),
		zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(false)) // the streams are authenticated
	if err != nil {
		return nil, fmt.Errorf("make a compressor: %w", err)
	}
	dec, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(concurrency),
		zstd.WithDecoderMaxMemory(MaxBody),
		zstd.WithDecoderMaxWindow(MaxBody))
	if err != nil {
		return nil, fmt.Errorf("make a decompressor: %w", err)
	}
	return &Compressor{enc, dec}, nil
}

// An Encoder makes frames. It belongs to one goroutine.
type Encoder struct {
	comp    *Compressor
	above   int
	scratch []byte
}

// keepScratch is the greatest buffer that is kept from one frame to the next.
const keepScratch = 1 << 20

// NewEncoder returns an encoder that compresses bodies of at least above bytes,
// none if above is negative.
func NewEncoder(comp *Compressor, above int) *Encoder {
	return &Encoder{comp: comp, above: above}
}

// AppendFrame appends one frame with the messages, which must have passed Check,
// and must not exceed MaxMessage together unless there is one only.
func (e *Encoder) AppendFrame(b []byte, messages ...Message) []byte {
	raw := e.scratch[:0]
	for _, m := range messages {
		raw = appendRecord(raw, func(b []byte) []byte { return Append(b, m) })
	}
	e.scratch = raw
	if cap(raw) > keepScratch {
		e.scratch = nil
	}
	var head [binary.MaxVarintLen64]byte
	if e.above >= 0 && len(raw) >= e.above {
		n := binary.PutUvarint(head[:], uint64(len(raw)))
		packed := e.comp.enc.EncodeAll(raw, make([]byte, 0, len(raw)/2))
		if len(packed)+n < len(raw) {
			b = binary.AppendUvarint(b, uint64(1+n+len(packed)))
			b = append(append(b, FlagZstd), head[:n]...)
			return append(b, packed...)
		}
	}
	b = binary.AppendUvarint(b, uint64(1+len(raw)))
	b = append(b, 0)
	return append(b, raw...)
}

// ReadFrame reads one frame, and returns its messages for [Messages] and the
// number of bytes that it took on the stream. The error is io.EOF between
// frames, io.ErrUnexpectedEOF within one, wraps ErrCorrupt if the peer is at
// fault, and otherwise is r's. Memory is allocated as the bytes come in, not
// for what a length promises.
func (c *Compressor) ReadFrame(r *bufio.Reader) (body []byte, size int, err error) {
	n, k, err := readLength(r)
	if err != nil {
		return nil, k, err
	}
	if n < 2 || n > MaxFrame {
		return nil, k, fmt.Errorf("%w: frame of %d bytes", ErrCorrupt, n)
	}
	flags, err := r.ReadByte()
	if err != nil {
		return nil, k, unexpected(err)
	}
	if flags&^FlagZstd != 0 {
		return nil, k, fmt.Errorf("%w: frame flags %#x", ErrCorrupt, flags)
	}
	size = k + n
	if body, err = readGrowing(r, n-1); err != nil {
		return nil, size, unexpected(err)
	}
	if flags&FlagZstd != 0 {
		body, err = c.unpack(body)
	}
	return body, size, err
}

func (c *Compressor) unpack(b []byte) ([]byte, error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n == 0 || n > MaxBody {
		return nil, fmt.Errorf("%w: bad size of a compressed frame", ErrCorrupt)
	}
	body, err := c.dec.DecodeAll(b[k:], make([]byte, 0, min(int(n), max(firstRead, expectedRatio*len(b)))))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if uint64(len(body)) != n {
		return nil, fmt.Errorf("%w: compressed frame of %d bytes says %d", ErrCorrupt, len(body), n)
	}
	return body, nil
}

// Messages yields the messages of a frame, and an error wrapping ErrUnknownKind
// in place of those of unknown kinds. After an error that wraps ErrCorrupt it
// ends.
func Messages(body []byte) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		r := crdt.NewReader(body)
		for len(r.Rest()) > 0 {
			b := r.Bytes(MaxMessage)
			if err := r.Err(); err != nil {
				yield(nil, fmt.Errorf("%w: %w", ErrCorrupt, err))
				return
			}
			m, err := Decode(b)
			if !yield(m, err) || errors.Is(err, ErrCorrupt) {
				return
			}
		}
	}
}

// readLength reads a uvarint in its shortest form and says how long it was.
func readLength(r *bufio.Reader) (value, size int, err error) {
	for size < 4 {
		c, err := r.ReadByte()
		if err != nil {
			if size > 0 {
				err = unexpected(err)
			}
			return 0, size, err
		}
		value |= int(c&0x7f) << (7 * size)
		size++
		if c < 0x80 {
			if c == 0 && size > 1 {
				break
			}
			return value, size, nil
		}
	}
	return 0, size, fmt.Errorf("%w: bad frame length", ErrCorrupt)
}

func readGrowing(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, min(n, firstRead))
	for have := 0; ; {
		k, err := io.ReadFull(r, b[have:])
		if have += k; err != nil {
			return nil, err
		}
		if have == n {
			return b, nil
		}
		grown := make([]byte, min(n, 4*len(b)))
		copy(grown, b)
		b = grown
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
