package store

import "fmt"

// Overheads that Size counts per record, so that many small records weigh what
// they take in a store rather than what their bytes are.
const (
	recordOverhead = 64
	trimOverhead   = 64
)

// Size returns how many bytes and records the batch counts against
// MaxBatchBytes and MaxBatchRecords.
func (b *Batch) Size() (bytes, records int) {
	for i := range b.Docs {
		bytes += len(b.Docs[i].Key.ID) + len(b.Docs[i].State)
	}
	for i := range b.Versions {
		v := &b.Versions[i]
		bytes += len(v.Key.ID) + len(v.Tag) + len(v.State)
	}
	for i := range b.Log {
		bytes += len(b.Log[i].Change)
	}
	for name, v := range b.Meta {
		bytes += len(name) + len(v)
	}
	records = len(b.Docs) + len(b.Versions) + len(b.Log) + len(b.Meta)
	bytes += records * recordOverhead
	for _, s := range b.TrimLog {
		if s.To < s.From {
			continue
		}
		// A span of the whole number line must not wrap the sums.
		n := int(min(s.To-s.From, MaxBatchRecords)) + 1
		bytes += n * trimOverhead
		records += n
	}
	return bytes, records
}

// Empty reports whether the batch writes nothing.
func (b *Batch) Empty() bool {
	return len(b.Docs)+len(b.Versions)+len(b.Log)+len(b.TrimLog)+len(b.Meta) == 0
}

// Check returns ErrBatchTooLarge if the batch or one of its records is beyond
// its bound. Every Store calls it first.
func (b *Batch) Check() error {
	if bytes, records := b.Size(); bytes > MaxBatchBytes || records > MaxBatchRecords {
		return fmt.Errorf("%w: %d bytes in %d records, at most %d and %d",
			ErrBatchTooLarge, bytes, records, MaxBatchBytes, MaxBatchRecords)
	}
	for i := range b.Docs {
		if err := checkRecord("document id", b.Docs[i].Key.ID, b.Docs[i].State); err != nil {
			return err
		}
	}
	for i := range b.Versions {
		v := &b.Versions[i]
		if err := checkRecord("document id", v.Key.ID, v.State); err != nil {
			return err
		}
		if err := checkRecord("tag", v.Tag, nil); err != nil {
			return err
		}
	}
	for i := range b.Log {
		if err := checkRecord("", "", b.Log[i].Change); err != nil {
			return err
		}
	}
	for name, v := range b.Meta {
		if err := checkRecord("meta name", name, v); err != nil {
			return err
		}
	}
	return nil
}

func checkRecord(what, name string, value []byte) error {
	if len(name) > MaxNameBytes {
		return fmt.Errorf("%w: a %s of %d bytes, at most %d", ErrBatchTooLarge, what, len(name), MaxNameBytes)
	}
	if len(value) > MaxValueBytes {
		return fmt.Errorf("%w: a record of %d bytes, at most %d", ErrBatchTooLarge, len(value), MaxValueBytes)
	}
	return nil
}
