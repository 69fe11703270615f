package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// Restore fills an empty store with a full backup and the incremental ones that
// followed, in order, and makes it the given new replica. What makes it a store
// that a region can use is written last: after an error it has to be thrown away.
// It returns the header of the last backup and what all have together.
func Restore(ctx context.Context, st store.Store, replica crdt.ReplicaID, backups []io.Reader, progress func(Summary)) (Header, Summary, error) {
	x := &restorer{ctx: ctx, store: st, replica: replica, progress: progress}
	var last Header
	for i, in := range backups {
		r, err := NewReader(in)
		if err != nil {
			return last, x.total, fmt.Errorf("backup %d: %w", i+1, err)
		}
		switch {
		case i == 0 && !r.Header.Full():
			err = fmt.Errorf("%w: the first is incremental; name the full one that it follows on, and all in between", ErrWrongOrder)
		case i > 0 && r.Header.Base != last.ID:
			err = fmt.Errorf("%w: this one follows on backup %q, not on %q, which is before it here", ErrWrongOrder, r.Header.Base, last.ID)
		default:
			err = x.take(r, i == len(backups)-1)
		}
		r.Close()
		if err != nil {
			return last, x.total, fmt.Errorf("backup %d: %w", i+1, err)
		}
		last = r.Header
		x.add(r.Summary())
	}
	return last, x.total, x.finish()
}

type restorer struct {
	ctx      context.Context
	store    store.Store
	replica  crdt.ReplicaID
	progress func(Summary)
	batch    store.Batch
	bytes    int
	records  int
	core     []byte
	total    Summary
}

func (x *restorer) add(s Summary) {
	x.total.Documents += s.Documents
	x.total.Changes += s.Changes
	x.total.Records += s.Records
	x.total.Bytes += s.Bytes
}

// take writes the records of one backup.
func (x *restorer) take(r *Reader, last bool) error {
	for i := 0; ; i++ {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return x.flush()
		}
		if err != nil {
			return err
		}
		if err := x.put(rec, last); err != nil {
			return err
		}
		if x.progress != nil && i%progressEvery == 0 {
			s := x.total
			s.Bytes += r.n.Bytes
			s.Documents += r.n.Documents
			x.progress(s)
		}
	}
}

// put adds a record to the batch. Meta records are those of the last backup.
func (x *restorer) put(rec Record, last bool) error {
	var size int
	switch {
	case rec.Doc != nil:
		d := *rec.Doc
		d.State = bytes.Clone(d.State)
		size = len(d.State) + len(d.Key.ID)
		x.batch.Docs = append(x.batch.Docs, d)
	case rec.Log != nil:
		l := *rec.Log
		l.Change = bytes.Clone(l.Change)
		size = len(l.Change)
		x.batch.Log = append(x.batch.Log, l)
	case !last:
		return nil
	case rec.Meta.Name == core.MetaName:
		x.core = bytes.Clone(rec.Meta.Value)
		return nil
	default:
		if x.batch.Meta == nil {
			x.batch.Meta = map[string][]byte{}
		}
		x.batch.Meta[rec.Meta.Name] = append([]byte{}, rec.Meta.Value...)
		size = len(rec.Meta.Value) + len(rec.Meta.Name)
	}
	x.bytes += size
	x.records++
	if x.bytes >= store.FastBatchBytes/2 || x.records >= store.FastBatchRecords/2 {
		return x.flush()
	}
	return nil
}

func (x *restorer) flush() error {
	if err := x.ctx.Err(); err != nil {
		return err
	}
	if x.records == 0 {
		return nil
	}
	if err := x.store.Commit(&x.batch); err != nil {
		return err
	}
	x.batch, x.bytes, x.records = store.Batch{}, 0, 0
	return nil
}

// finish makes the store a replica.
func (x *restorer) finish() error {
	if x.core == nil {
		return fmt.Errorf("%w: it is of a store that was never used", ErrDamaged)
	}
	record, err := core.Reborn(x.core, x.replica)
	if err != nil {
		return err
	}
	return x.store.Commit(&store.Batch{Meta: map[string][]byte{core.MetaName: record}})
}
