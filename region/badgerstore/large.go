package badgerstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/meridiandb/meridian/region/internal/record"
	"github.com/meridiandb/meridian/region/store"
)

// A value of more than chunkBytes is cut into chunks, each a record of its own,
// and the record of the value holds its length. Thus no value gets to Badger's
// value log, which would not give space back before a memory table is full of
// pointers into it: some hundred thousand large values later.
//
//	w c key n    chunk n of the value of key
//	w i key      says that the value of key is in chunks: how many
const (
	chunkBytes = 512 << 10
	// largeFlag marks, in Badger's user byte, a record whose value is in chunks.
	// The rest of the byte is the record's Mark.
	largeFlag = 0x80
	markMask  = 0x7f
	// chunkGrace is how much longer than its value a chunk lives, so that a
	// read that found the value finds its chunks.
	chunkGrace = time.Hour
)

var (
	chunkPrefix = []byte{record.KindOwn, 'c'}
	indexPrefix = []byte{record.KindOwn, 'i'}
)

func appendChunkKey(b, key []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(append(append(b, chunkPrefix...), key...), uint32(n))
}

// A write is what goes to Badger for an operation.
type write struct {
	record.Op
	large bool
}

// expansion cuts up the large values of a batch.
type expansion struct {
	s      *Store
	writes []write
	// chunks is the number of chunks, after the operations so far, of the
	// values that had or got any.
	chunks map[string]int
}

// expand returns the writes that carry out a batch.
func (s *Store) expand(ops []record.Op) *expansion {
	x := &expansion{s: s, writes: make([]write, 0, len(ops)), chunks: map[string]int{}}
	for i := range ops {
		x.add(&ops[i])
	}
	return x
}

func (x *expansion) add(op *record.Op) {
	before := 0
	if len(x.chunks) > 0 || len(x.s.large) > 0 {
		var here bool
		if before, here = x.chunks[string(op.Key)]; !here {
			before = x.s.large[string(op.Key)]
		}
	}
	if before == 0 && len(op.Value) <= chunkBytes {
		x.writes = append(x.writes, write{Op: *op})
		return
	}
	now := 0
	head := write{Op: *op}
	if len(op.Value) > chunkBytes {
		for rest := op.Value; len(rest) > 0; now++ {
			n := min(len(rest), chunkBytes)
			x.put(op, appendChunkKey(nil, op.Key, now), rest[:n])
			rest = rest[n:]
		}
		head.large = true
		head.Value = binary.AppendUvarint(nil, uint64(len(op.Value)))
	}
	x.writes = append(x.writes, head)
	for n := now; n < before; n++ {
		x.remove(appendChunkKey(nil, op.Key, n))
	}
	index := append(append([]byte(nil), indexPrefix...), op.Key...)
	if now == 0 {
		x.remove(index)
	} else {
		x.put(op, index, binary.AppendUvarint(nil, uint64(now)))
	}
	x.chunks[string(op.Key)] = now
}

// put adds a write that belongs to op, and expires after it.
func (x *expansion) put(op *record.Op, key, value []byte) {
	w := write{Op: record.Op{Key: key, Value: value}}
	if !op.Expires.IsZero() {
		w.Expires = op.Expires.Add(chunkGrace)
	}
	x.writes = append(x.writes, w)
}

func (x *expansion) remove(key []byte) {
	x.writes = append(x.writes, write{Op: record.Op{Key: key, Remove: true}})
}

// done notes, after the commit, which values are large now.
func (x *expansion) done() {
	for key, n := range x.chunks {
		if n > 0 {
			x.s.large[key] = n
		} else {
			delete(x.s.large, key)
		}
	}
}

// loadLarge reads which values are large.
func (s *Store) loadLarge() error {
	s.large = map[string]int{}
	var failure error
	err := s.scan(indexPrefix, indexPrefix, func(_ *badger.Txn, item *badger.Item) bool {
		failure = item.Value(func(value []byte) error {
			n, k := binary.Uvarint(value)
			if k <= 0 || n > store.MaxValueBytes/chunkBytes+1 {
				return fmt.Errorf("%w: number of chunks", store.ErrCorrupt)
			}
			s.large[string(item.Key()[len(indexPrefix):])] = int(n)
			return nil
		})
		return failure == nil
	})
	if failure != nil {
		return failure
	}
	return err
}

// appendValue appends the value of an item, put together if it is in chunks.
func appendValue(b []byte, txn *badger.Txn, item *badger.Item) ([]byte, error) {
	if item.UserMeta()&largeFlag == 0 {
		err := item.Value(func(value []byte) error {
			b = append(b, value...)
			return nil
		})
		return b, readError(err)
	}
	var size uint64
	err := item.Value(func(value []byte) error {
		var k int
		if size, k = binary.Uvarint(value); k <= 0 || size > store.MaxValueBytes+maxRecordHeader {
			return fmt.Errorf("%w: length of a large value", store.ErrCorrupt)
		}
		return nil
	})
	if err != nil {
		return b, readError(err)
	}
	if need := len(b) + int(size); cap(b) < need {
		b = append(make([]byte, 0, need), b...)
	}
	end := len(b) + int(size)
	for n := 0; len(b) < end; n++ {
		chunk, err := txn.Get(appendChunkKey(nil, item.Key(), n))
		if err != nil {
			return b, readError(fmt.Errorf("chunk %d of a large value: %w", n, err))
		}
		err = chunk.Value(func(value []byte) error {
			if len(value) == 0 || len(value) > end-len(b) {
				return fmt.Errorf("%w: chunk %d of a large value", store.ErrCorrupt, n)
			}
			b = append(b, value...)
			return nil
		})
		if err != nil {
			return b, readError(err)
		}
	}
	return b, nil
}

// maxRecordHeader is more than records put before the values they are given.
const maxRecordHeader = 64 + store.MaxNameBytes
