package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/meridiandb/meridian/region/internal/record"
	"github.com/meridiandb/meridian/region/store"
)

// A batch that does not fit one transaction is staged:
//
//  1. Its writes are put down in parts, each a record of its own.
//  2. The mark is written: the number of parts. The batch is now committed.
//  3. The parts are carried out, each in a transaction.
//  4. The mark and the parts are removed.
//
// Readers see none of it before the end. After a crash, recoverStaged does steps
// 3 and 4 if there is a mark (to carry a part out twice does no harm), and
// step 4 if there is none.

// Bounds of a part, such that staging and carrying it out each fit one
// transaction with the smallest memory table. No single write is larger.
const (
	partBytes = 768 << 10
	partOps   = 8192
	opCost    = 32
)

var (
	stagePrefix = []byte{record.KindOwn, 's'}
	stageMark   = []byte{record.KindOwn, 'm'}
)

func stageKey(i int) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(nil), stagePrefix...), uint32(i))
}

func (s *Store) commitStaged(ops []write) error {
	parts := split(ops)
	for i, part := range parts {
		staged := write{Op: record.Op{Key: stageKey(i), Value: encodeWrites(part)}}
		if err := s.commitWrites([]write{staged}); err != nil {
			return fmt.Errorf("stage a large batch: %w", err)
		}
	}
	mark := binary.BigEndian.AppendUint32(nil, uint32(len(parts)))
	if err := s.commitWrites([]write{{Op: record.Op{Key: stageMark, Value: mark}}}); err != nil {
		return fmt.Errorf("mark a large batch: %w", err)
	}
	for _, part := range parts {
		if err := s.commitWrites(part); err != nil {
			return fmt.Errorf("carry out a large batch: %w", err)
		}
	}
	return s.unstage(len(parts))
}

// unstage removes the mark and then the parts.
func (s *Store) unstage(parts int) error {
	if err := s.commitWrites([]write{{Op: record.Op{Key: stageMark, Remove: true}}}); err != nil {
		return fmt.Errorf("end a large batch: %w", err)
	}
	var ops []write
	for i := range parts {
		ops = append(ops, write{Op: record.Op{Key: stageKey(i), Remove: true}})
		if len(ops) == partOps || i == parts-1 {
			if err := s.commitWrites(ops); err != nil {
				return fmt.Errorf("end a large batch: %w", err)
			}
			ops = ops[:0:0]
		}
	}
	return nil
}

// recoverStaged ends what a crash interrupted.
func (s *Store) recoverStaged() error {
	var mark []byte
	parts, err := s.stagedParts()
	if err != nil {
		return err
	}
	mark, err = s.get(stageMark)
	if err != nil {
		return err
	}
	if mark == nil && parts == 0 {
		return nil
	}
	if mark != nil {
		if len(mark) != 4 || int(binary.BigEndian.Uint32(mark)) != parts {
			return fmt.Errorf("%w: a large batch is marked with %x and has %d parts", store.ErrCorrupt, mark, parts)
		}
		s.log.Info("carrying out a large batch that a crash interrupted", "parts", parts)
		for i := range parts {
			if err := s.redo(i); err != nil {
				return err
			}
		}
	}
	if err := s.unstage(parts); err != nil {
		return err
	}
	s.acknowledge()
	return nil
}

// stagedParts is one more than the number of the last part that is there.
func (s *Store) stagedParts() (int, error) {
	n := 0
	err := s.scan(stagePrefix, stagePrefix, func(_ *badger.Txn, item *badger.Item) bool {
		n = int(binary.BigEndian.Uint32(item.Key()[len(stagePrefix):])) + 1
		return true
	})
	return n, err
}

func (s *Store) redo(i int) error {
	b, err := s.get(stageKey(i))
	if err != nil {
		return err
	}
	if b == nil {
		return fmt.Errorf("%w: part %d of a large batch is missing", store.ErrCorrupt, i)
	}
	ops, err := decodeWrites(b)
	if err != nil {
		return fmt.Errorf("part %d of a large batch: %w", i, err)
	}
	return s.commitWrites(ops)
}

func split(ops []write) [][]write {
	var parts [][]write
	from, size := 0, 0
	for i := range ops {
		cost := len(ops[i].Key) + len(ops[i].Value) + opCost
		if i > from && (size+cost > partBytes || i-from >= partOps) {
			parts = append(parts, ops[from:i])
			from, size = i, 0
		}
		size += cost
	}
	return append(parts, ops[from:])
}

// The flags of an encoded operation.
const (
	opRemove  = 1
	opExpires = 2
	opLarge   = 4
)

func encodeWrites(ops []write) []byte {
	size := 0
	for i := range ops {
		size += len(ops[i].Key) + len(ops[i].Value) + opCost
	}
	b := make([]byte, 0, size)
	for i := range ops {
		op := &ops[i]
		var flags byte
		if op.Remove {
			flags |= opRemove
		}
		if !op.Expires.IsZero() {
			flags |= opExpires
		}
		if op.large {
			flags |= opLarge
		}
		b = append(b, flags, op.Mark)
		if flags&opExpires != 0 {
			b = binary.AppendVarint(b, op.Expires.UnixMilli())
		}
		b = binary.AppendUvarint(b, uint64(len(op.Key)))
		b = append(b, op.Key...)
		b = binary.AppendUvarint(b, uint64(len(op.Value)))
		b = append(b, op.Value...)
	}
	return b
}

var errShortPart = errors.New("cut short")

func decodeWrites(b []byte) ([]write, error) {
	take := func() []byte {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return nil
		}
		out := b[k : k+int(n) : k+int(n)]
		b = b[k+int(n):]
		return out
	}
	var ops []write
	for len(b) > 0 {
		if len(b) < 2 {
			return nil, fmt.Errorf("%w: %w", store.ErrCorrupt, errShortPart)
		}
		flags := b[0]
		op := write{Op: record.Op{Remove: flags&opRemove != 0, Mark: b[1]}, large: flags&opLarge != 0}
		b = b[2:]
		if flags&opExpires != 0 {
			ms, k := binary.Varint(b)
			if k <= 0 {
				return nil, fmt.Errorf("%w: %w", store.ErrCorrupt, errShortPart)
			}
			op.Expires = time.UnixMilli(ms)
			b = b[k:]
		}
		op.Key, op.Value = take(), take()
		if op.Key == nil || op.Value == nil {
			return nil, fmt.Errorf("%w: %w", store.ErrCorrupt, errShortPart)
		}
		ops = append(ops, op)
	}
	return ops, nil
}
