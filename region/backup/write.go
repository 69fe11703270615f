package backup

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// writeBuffer is how much is collected before it is compressed and goes out.
const writeBuffer = 256 << 10

// A writer frames, sums and compresses.
type writer struct {
	out *zstd.Encoder
	buf *bufio.Writer
	sum hash.Hash
	b   []byte
	// n has to be the summary of what was written.
	n Summary
}

// Write writes a backup of what reader shows, which has to be a snapshot. Of the
// header ID, Created, Cluster, Region, and for an incremental backup Base and
// Since are given. Errors that wrap ErrSince come before anything is written.
func Write(ctx context.Context, out io.Writer, reader store.Reader, h Header) (Header, Summary, error) {
	have, err := core.DurableHave(reader)
	if err != nil {
		return h, Summary{}, err
	}
	h.Format, h.Have = Format, VectorOf(have)
	since := crdt.Vector{}
	var touched []store.DocKey
	if !h.Full() {
		since = h.Since.Vector()
		if touched, err = touchedSince(ctx, reader, since, have); err != nil {
			return h, Summary{}, err
		}
	}
	w := &writer{sum: sha256.New()}
	head, err := appendHeader(&h)
	if err != nil {
		return h, Summary{}, err
	}
	_, _ = w.sum.Write(head)
	if _, err := out.Write(head); err != nil {
		return h, Summary{}, err
	}
	if w.out, err = zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1)); err != nil {
		return h, Summary{}, err
	}
	defer w.out.Close()
	w.buf = bufio.NewWriterSize(w.out, writeBuffer)
	if h.Full() {
		err = w.documents(ctx, reader)
	} else {
		err = w.touched(ctx, reader, touched)
	}
	if err == nil {
		err = w.log(ctx, reader, since, have)
	}
	if err == nil {
		err = w.meta(ctx, reader)
	}
	if err == nil {
		err = w.end()
	}
	return h, w.n, err
}

// touchedSince lists the documents that changes between two vectors touch.
func touchedSince(ctx context.Context, reader store.Reader, since, have crdt.Vector) ([]store.DocKey, error) {
	if !have.Covers(since) {
		return nil, fmt.Errorf("%w: the earlier backup has changes that this region lacks", ErrSince)
	}
	seen := map[store.DocKey]struct{}{}
	for _, span := range since.Missing(have) {
		next := span.From
		for e, err := range reader.Log(span.Replica, span.From, span.To) {
			if err != nil {
				return nil, err
			}
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if e.Dot.Seq != next {
				break
			}
			next++
			ch, _, err := crdt.DecodeChange(e.Change)
			if err != nil {
				return nil, fmt.Errorf("change %v: %w", e.Dot, err)
			}
			for i := range ch.Mutations {
				// The id is the scan's memory.
				seen[store.DocKey{Collection: ch.Mutations[i].Collection, ID: strings.Clone(ch.Mutations[i].ID)}] = struct{}{}
			}
			if len(seen) > MaxTouched {
				return nil, fmt.Errorf("%w: more than %d documents have changed since", ErrSince, MaxTouched)
			}
		}
		if next != span.To+1 {
			return nil, fmt.Errorf("%w: the log does not reach back to it any more", ErrSince)
		}
	}
	keys := make([]store.DocKey, 0, len(seen))
	for k := range seen {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b store.DocKey) int {
		return cmp.Or(a.Collection.Compare(b.Collection), strings.Compare(a.ID, b.ID))
	})
	return keys, nil
}

// frame writes what f appends.
func (w *writer) frame(kind byte, f func(b []byte) []byte) error {
	w.b = f(append(w.b[:0], kind))
	var head [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(head[:], uint64(len(w.b)))
	if kind != kindEnd {
		_, _ = w.sum.Write(head[:n])
		_, _ = w.sum.Write(w.b)
		w.n.count(kind, n+len(w.b))
	}
	if _, err := w.buf.Write(head[:n]); err != nil {
		return err
	}
	_, err := w.buf.Write(w.b)
	return err
}

func (w *writer) document(key store.DocKey, state []byte) error {
	return w.frame(kindDoc, func(b []byte) []byte {
		return append(appendText(appendDot(b, key.Collection), key.ID), state...)
	})
}

func (w *writer) documents(ctx context.Context, reader store.Reader) error {
	collections, err := core.StoredCollections(reader)
	if err != nil {
		return err
	}
	for _, c := range collections {
		for e, err := range reader.Docs(c, "", "") {
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := w.document(store.DocKey{Collection: c, ID: e.ID}, e.State); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *writer) touched(ctx context.Context, reader store.Reader, keys []store.DocKey) error {
	for _, k := range keys {
		if err := ctx.Err(); err != nil {
			return err
		}
		state, err := reader.Doc(k)
		if err != nil {
			return err
		}
		if err := w.document(k, state); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) log(ctx context.Context, reader store.Reader, since, have crdt.Vector) error {
	for _, span := range since.Missing(have) {
		next := uint64(0)
		for e, err := range reader.Log(span.Replica, span.From, span.To) {
			if err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if next > 0 && e.Dot.Seq != next {
				return fmt.Errorf("%w: the log of %v lacks %d", store.ErrCorrupt, span.Replica, next)
			}
			next = e.Dot.Seq + 1
			err := w.frame(kindLog, func(b []byte) []byte {
				return append(append(appendDot(b, e.Dot), e.Chain[:]...), e.Change...)
			})
			if err != nil {
				return err
			}
		}
		if next > 0 && next != span.To+1 {
			return fmt.Errorf("%w: the log of %v ends at %d of %d", store.ErrCorrupt, span.Replica, next-1, span.To)
		}
	}
	return nil
}

func (w *writer) meta(ctx context.Context, reader store.Reader) error {
	for e, err := range reader.MetaRange("", "") {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		err := w.frame(kindMeta, func(b []byte) []byte { return append(appendText(b, e.Name), e.Value...) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) end() error {
	w.n.SHA256 = hex.EncodeToString(w.sum.Sum(nil))
	text, err := json.Marshal(w.n)
	if err != nil {
		return err
	}
	if err := w.frame(kindEnd, func(b []byte) []byte { return append(b, text...) }); err != nil {
		return err
	}
	if err := w.buf.Flush(); err != nil {
		return err
	}
	return w.out.Close()
}
