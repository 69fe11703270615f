package badgerstore

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/meridiandb/meridian/region/internal/record"
	"github.com/meridiandb/meridian/region/store"
)

// A part of a large batch is read back as it was written, or not at all.
func FuzzDecodeWrites(f *testing.F) {
	f.Add(encodeWrites([]write{
		{Op: record.Op{Key: []byte("k"), Value: []byte("v"), Mark: 3, Expires: time.UnixMilli(5)}},
		{Op: record.Op{Key: []byte("gone"), Remove: true}},
		{Op: record.Op{Key: []byte("l"), Value: bytes.Repeat([]byte{1}, 300)}, large: true},
	}))
	f.Add([]byte{0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		ops, err := decodeWrites(b)
		if err != nil {
			if !errors.Is(err, store.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		again, err := decodeWrites(encodeWrites(ops))
		if err != nil || len(again) != len(ops) {
			t.Fatalf("%d of %d writes, %v", len(again), len(ops), err)
		}
		for i, op := range ops {
			o := again[i]
			if !bytes.Equal(o.Key, op.Key) || !bytes.Equal(o.Value, op.Value) || o.Mark != op.Mark ||
				o.Remove != op.Remove || o.large != op.large || !o.Expires.Equal(op.Expires) {
				t.Fatalf("%+v became %+v", op, o)
			}
		}
	})
}
