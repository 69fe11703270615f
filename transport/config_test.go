package transport_test

import (
	"errors"
	"testing"
	"time"

	"github.com/meridiandb/meridian/transport"
)

func TestConfigDefaultsAndBounds(t *testing.T) {
	c, err := transport.Config{}.Validate()
	if err != nil {
		t.Fatal(err)
	}
	if c.QueueBytes != transport.DefaultQueueBytes || c.CompressAbove != transport.DefaultCompressAbove || c.Seed == 0 || c.Log == nil {
		t.Errorf("defaults %+v", c)
	}
	if again, err := c.Validate(); err != nil || again != c {
		t.Errorf("defaults change when validated again: %+v, %v", again, err)
	}
	if c, err := (transport.Config{BackoffMin: time.Minute}).Validate(); err != nil || c.BackoffMax != time.Minute {
		t.Errorf("a long BackoffMin alone: %v, %v", c.BackoffMax, err)
	}
	if c, err := (transport.Config{CompressAbove: transport.NeverCompress}).Validate(); err != nil || c.CompressAbove >= 0 {
		t.Errorf("NeverCompress: %d, %v", c.CompressAbove, err)
	}
	for _, bad := range []transport.Config{
		{QueueBytes: -1}, {BatchBytes: -1}, {BatchBytes: transport.MaxBatchBytes + 1},
		{MaxBulk: -1}, {MaxBulk: transport.MaxBulkLimit + 1}, {DialTimeout: -1}, {StableAfter: -1},
		{BackoffMin: -1}, {BackoffMin: time.Second, BackoffMax: time.Millisecond},
	} {
		if _, err := bad.Validate(); !errors.Is(err, transport.ErrConfig) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
