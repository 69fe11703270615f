// Package verify checks a store that no region uses at the moment: what has to
// hold of its records whatever was written.
package verify

import (
	"context"
	"fmt"

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
	// KindReplica: the record that says which replica the store is, and what it holds.
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
	// First and Last are the changes that the log reaches from and to; what is
	// before First was cut, or came with a snapshot. Both are 0 if it has none.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// Holds is how many the store says that it holds.
	Holds uint64 `json:"holds"`
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
	v.documents()
	v.log()
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

func (v *verifier) documents() {
	table, err := digests.Open(v.reader)
	if err != nil {
		v.report.failed(KindDigest, err)
	}
	collections, err := core.StoredCollections(v.reader)
	if err != nil {
		v.report.failed(KindRead, err)
		return
	}
	v.report.Collections = len(collections) - 1 // that of the system is not counted
	var total digest.Digest
	for _, c := range collections {
		sums := make([]digest.Digest, digest.Buckets)
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
		if table != nil {
			v.compare(c, table, sums)
		}
	}
	v.report.Digest = total.String()
	if table != nil && table.Total() != total && v.report.Found == 0 {
		v.report.problem(Problem{Kind: KindDigest, Detail: "there are digests of collections that do not exist"})
	}
}

func (v *verifier) compare(c crdt.Dot, table *digests.Table, sums []digest.Digest) {
	kept, err := table.Buckets(c)
	if err != nil {
		v.report.failed(KindDigest, err)
		return
	}
	for i, d := range kept {
		if d != sums[i] {
			v.report.problem(Problem{Kind: KindDigest, Collection: c.String(),
				Detail: fmt.Sprintf("the digest of part %d is %v of %d documents, and its %d documents have %v", i, d, d.Documents, sums[i].Documents, sums[i])})
		}
	}
}

func (v *verifier) log() {
	replica, have, err := core.Durable(v.reader)
	if err != nil {
		v.report.failed(KindReplica, err)
		return
	}
	if replica.IsZero() {
		v.report.problem(Problem{Kind: KindReplica, Detail: "the store was never used, or not restored to its end"})
		return
	}
	v.report.Replica = replica.String()
	for r, seq := range have.All() {
		l := v.replica(r, seq)
		v.report.Logs = append(v.report.Logs, l)
	}
}

// replica checks the log of one replica: without gaps up to what is held, each
// change what was written, in the chain of hashes.
func (v *verifier) replica(r crdt.ReplicaID, holds uint64) Log {
	l := Log{Replica: r.String(), Holds: holds}
	var chain [store.ChainSize]byte
	wrong := func(format string, args ...any) {
		v.report.problem(Problem{Kind: KindLog, Detail: fmt.Sprintf("log of %v: ", r) + fmt.Sprintf(format, args...)})
	}
	for e, err := range v.reader.Log(r, 1, ^uint64(0)) {
		if err != nil {
			wrong("%v", err)
			break
		}
		if !v.step() {
			return l
		}
		seq := e.Dot.Seq
		if l.First == 0 {
			l.First = seq
		} else if seq != l.Last+1 {
			wrong("changes %d to %d are missing", l.Last+1, seq-1)
		}
		if seq == l.Last+1 { // what is before the first, or missing, is not there to be hashed
			if next := core.NextChain(chain, e.Change); next != e.Chain {
				wrong("change %d is not what was written: its hash does not continue the chain", seq)
			}
		}
		l.Last, chain = seq, e.Chain
		v.report.Changes++
		ch, rest, err := crdt.DecodeChange(e.Change)
		switch {
		case err != nil || len(rest) > 0:
			wrong("change %d cannot be read: %v", seq, err)
		case ch.Dot != e.Dot:
			wrong("change %d says that it is %v", seq, ch.Dot)
		}
	}
	switch {
	case l.Last < holds && l.Last > 0:
		wrong("changes %d to %d are missing", l.Last+1, holds)
	case l.Last > holds:
		wrong("it has %d changes, and the store says that it holds %d", l.Last, holds)
	}
	return l
}
