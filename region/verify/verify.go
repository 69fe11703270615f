// Package verify checks a store that no region uses at the moment: what has to
// hold of its records whatever was written.
package verify

import (
	"context"
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/core/conflictlog"
	"github.com/meridiandb/meridian/region/core/digests"
	"github.com/meridiandb/meridian/region/store"
)

// MaxProblems is how many problems are listed; all are counted.
const MaxProblems = 1000

// What can be wrong.
const (
	// KindRead: records cannot be read, or not all of them.
	KindRead = "read"
	// KindReplica: the records that say which replica the store is, what it holds, and
	// how far a snapshot is that it takes.
	KindReplica = "replica"
	// KindDocument: a document is not what was written.
	KindDocument = "document"
	// KindDigest: the digests are not those of the documents.
	KindDigest = "digest"
	// KindLog: a change is missing in the log, or is not what was written.
	KindLog = "log"
	// KindConflicts: the conflict log.
	KindConflicts = "conflicts"
)

// A Problem is something that should not be.
type Problem struct {
	Kind string `json:"kind"`
	// Collection is an incarnation, and ID a document in it; of a document only.
	Collection string `json:"collection,omitempty"`
	ID         string `json:"id,omitempty"`
	Detail     string `json:"detail"`
}

// A Log is the log of one replica.
type Log struct {
	Replica string `json:"replica"`
	// First and Last are the changes that the log reaches from and to. Both are 0 if
	// it has none.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// Holds is how many the store says that it holds.
	Holds uint64 `json:"holds"`
	// Cut is up to where the store says that the log was cut, or came with a snapshot.
	Cut uint64 `json:"cut"`
}

// Phases of a snapshot.
const (
	// PhaseClearing: what was here before is being removed.
	PhaseClearing = "clearing"
	// PhaseCopying: documents are copied.
	PhaseCopying = "copying"
	// PhaseReplaying: all documents are here, and some wait for changes.
	PhaseReplaying = "replaying"
)

// A Snapshot says how far the store was with taking the snapshot of another
// region. The region goes on with it at its next start.
type Snapshot struct {
	Phase string `json:"phase"`
	// Documents, deleted ones too, and Bytes are what was copied so far, TotalBytes
	// about how many there are, 0 if that is not known.
	Documents  uint64 `json:"documents"`
	Bytes      uint64 `json:"bytes"`
	TotalBytes uint64 `json:"total_bytes"`
	// Vector is what the region that it comes from held when it was asked last, as
	// far as that is known: empty until a document came.
	Vector map[string]uint64 `json:"vector"`
}

// A Report says what was checked and found.
type Report struct {
	Replica     string `json:"replica"`
	Collections int    `json:"collections"`
	Documents   uint64 `json:"documents"`
	Changes     uint64 `json:"changes"`
	Conflicts   int    `json:"conflicts"`
	Digest      string `json:"digest"`
	Logs        []Log  `json:"logs"`
	// Snapshot is set if the store was left while it took one: its documents are not
	// of one moment yet.
	Snapshot *Snapshot `json:"snapshot,omitempty"`
	// Problems are the first MaxProblems of Found.
	Problems []Problem `json:"problems"`
	Found    int       `json:"found"`
}

// OK reports whether nothing is wrong.
func (r *Report) OK() bool { return r.Found == 0 }

func (r *Report) problem(p Problem) {
	if r.Found++; len(r.Problems) < MaxProblems {
		r.Problems = append(r.Problems, p)
	}
}

func (r *Report) failed(kind string, err error) {
	r.problem(Problem{Kind: kind, Detail: err.Error()})
}

// progressEvery is after how many records progress is told.
const progressEvery = 1000

// Store checks all that a store has. An error means that the check was broken
// off by ctx; what is wrong is in the report.
func Store(ctx context.Context, reader store.Reader, progress func(*Report)) (*Report, error) {
	v := &verifier{ctx: ctx, reader: reader, progress: progress, report: &Report{Problems: []Problem{}, Logs: []Log{}}}
	durable := v.durable()
	v.documents(durable)
	if durable != nil {
		v.log(durable)
	}
	n, err := conflictlog.Check(reader)
	if v.report.Conflicts = n; err != nil {
		v.report.failed(KindConflicts, err)
	}
	return v.report, ctx.Err()
}

type verifier struct {
	ctx      context.Context
	reader   store.Reader
	report   *Report
	progress func(*Report)
	records  int
}

// step tells of progress, and whether to go on.
func (v *verifier) step() bool {
	if v.records++; v.progress != nil && v.records%progressEvery == 0 {
		v.progress(v.report)
	}
	return v.ctx.Err() == nil
}

// durable reads what the store says of itself; nil if it says nothing that can be
// relied on.
func (v *verifier) durable() *core.Durable {
	d, err := core.ReadDurable(v.reader)
	if err != nil {
		v.report.failed(KindReplica, err)
		return nil
	}
	if d.Replica.IsZero() {
		v.report.problem(Problem{Kind: KindReplica, Detail: "the store was never used, or not restored to its end"})
		return nil
	}
	v.report.Replica = d.Replica.String()
	if s := d.Snapshot; s != nil {
		out := &Snapshot{Phase: PhaseCopying, Documents: s.Documents, Bytes: s.Bytes, TotalBytes: s.Total, Vector: map[string]uint64{}}
		switch {
		case s.Clearing:
			out.Phase = PhaseClearing
		case s.Replaying:
			out.Phase = PhaseReplaying
		}
		for r, seq := range s.Donor.All() {
			out.Vector[r.String()] = seq
		}
		v.report.Snapshot = out
	}
	return &d
}

func (v *verifier) documents(d *core.Durable) {
	table, err := digests.Open(v.reader)
	if err != nil {
		v.report.failed(KindDigest, err)
	}
	collections, err := core.StoredCollections(v.reader)
	if err != nil {
		v.report.failed(KindRead, err)
		return
	}
	if d != nil && d.Snapshot != nil {
		// The snapshot may not have brought yet what says what they are.
		for c := range d.Snapshot.Kept {
			if !slices.Contains(collections, c) {
				collections = append(collections, c)
			}
		}
	}
	v.report.Collections = len(collections) - 1 // that of the system is not counted
	// What a snapshot replaces goes before its digests.
	clearing := v.report.Snapshot != nil && v.report.Snapshot.Phase == PhaseClearing
	var total digest.Digest
	for _, c := range collections {
		sums := map[int]digest.Digest{}
		for e, err := range v.reader.Docs(c, "", "") {
			if err != nil {
				v.report.failed(KindRead, fmt.Errorf("documents of %v: %w", c, err))
				break
			}
			if !v.step() {
				return
			}
			weight, err := core.CheckDocument(store.DocKey{Collection: c, ID: e.ID}, e.State)
			if err != nil {
				v.report.problem(Problem{Kind: KindDocument, Collection: c.String(), ID: e.ID, Detail: err.Error()})
			}
			n := digest.Bucket(e.ID)
			sums[n] = sums[n].Plus(weight)
			total = total.Plus(weight)
			v.report.Documents += weight.Documents
		}
		if table != nil && !clearing {
			v.compare(c, table, sums)
		}
	}
	v.report.Digest = total.String()
	if table != nil && !clearing && table.Total() != total && v.report.Found == 0 {
		v.report.problem(Problem{Kind: KindDigest, Detail: "there are digests of collections that do not exist"})
	}
}

func (v *verifier) compare(c crdt.Dot, table *digests.Table, sums map[int]digest.Digest) {
	kept, err := table.Buckets(c)
	if err != nil {
		v.report.failed(KindDigest, err)
		return
	}
	for _, i := range digests.Differ(kept, sums) {
		v.report.problem(Problem{Kind: KindDigest, Collection: c.String(),
			Detail: fmt.Sprintf("the digest of part %d is %v of %d documents, and its %d documents have %v", i, kept[i], kept[i].Documents, sums[i].Documents, sums[i])})
	}
}

func (v *verifier) log(d *core.Durable) {
	replicas := d.Have.Join(d.Cut)
	if d.Snapshot != nil {
		replicas = replicas.Join(d.Snapshot.Base)
	}
	for r := range replicas.All() {
		v.report.Logs = append(v.report.Logs, v.replica(d, r))
	}
}

// A logCheck goes through the log of one replica.
type logCheck struct {
	Log
	report  *Report
	missing []crdt.Span // what has to be there and was not met yet
	chain   [store.ChainSize]byte
}

func (l *logCheck) wrong(format string, args ...any) {
	l.report.problem(Problem{Kind: KindLog, Detail: fmt.Sprintf("log of %s: ", l.Replica) + fmt.Sprintf(format, args...)})
}

// replica checks the log of one replica: that it has what it must have, each change
// what was written, in the chain of hashes.
func (v *verifier) replica(d *core.Durable, r crdt.ReplicaID) Log {
	l := &logCheck{
		Log:    Log{Replica: r.String(), Holds: d.Have.Get(r), Cut: d.Cut.Get(r)},
		report: v.report, missing: d.Log(r),
	}
	if s := d.Snapshot; l.Cut > l.Holds || l.Cut == l.Holds && (s == nil || s.Replaying) {
		l.wrong("the store says that it was cut up to %d, and that it holds %d", l.Cut, l.Holds)
	}
	for e, err := range v.reader.Log(r, 1, ^uint64(0)) {
		if err != nil {
			l.wrong("%v", err)
			return l.Log
		}
		if !v.step() {
			return l.Log
		}
		l.entry(&e)
	}
	l.lacks(^uint64(0))
	return l.Log
}

func (l *logCheck) entry(e *store.LogEntry) {
	seq := e.Dot.Seq
	l.lacks(seq)
	switch {
	case len(l.missing) > 0 && l.missing[0].From == seq:
		l.seen(seq)
	case seq > l.Cut:
		l.wrong("it has change %d, and the store says that it holds %d", seq, l.Holds)
	}
	if l.First == 0 {
		l.First = seq
	}
	if seq == l.Last+1 { // what is before the first, or missing, is not there to be hashed
		if next := core.NextChain(l.chain, e.Change); next != e.Chain {
			l.wrong("change %d is not what was written: its hash does not continue the chain", seq)
		}
	}
	l.Last, l.chain = seq, e.Chain
	l.report.Changes++
	ch, rest, err := crdt.DecodeChange(e.Change)
	switch {
	case err != nil || len(rest) > 0:
		l.wrong("change %d cannot be read: %v", seq, err)
	case ch.Dot != e.Dot:
		l.wrong("change %d says that it is %v", seq, ch.Dot)
	}
}

// lacks tells of what is missing before seq.
func (l *logCheck) lacks(seq uint64) {
	for len(l.missing) > 0 && l.missing[0].From < seq {
		s := &l.missing[0]
		to := min(s.To, seq-1)
		l.wrong("changes %d to %d are missing; it was cut up to %d", s.From, to, l.Cut)
		l.seen(to)
	}
}

// seen goes on behind to, which is in the first span of what is missing.
func (l *logCheck) seen(to uint64) {
	if s := &l.missing[0]; to < s.To {
		s.From = to + 1
	} else {
		l.missing = l.missing[1:]
	}
}
