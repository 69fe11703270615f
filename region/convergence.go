package region

import (
	"context"
	"time"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/digest"
	"github.com/meridiandb/meridian/region/core"
)

// Verdicts of a comparison, as text.
const (
	VerdictSame      = "same"
	VerdictDifferent = "different"
	VerdictUnknown   = "unknown"
)

func verdictText(v core.Verdict) string {
	switch v {
	case core.Same:
		return VerdictSame
	case core.Different:
		return VerdictDifferent
	default:
		return VerdictUnknown
	}
}

// Convergence says which regions have the same documents as this one.
type Convergence struct {
	Cluster string `json:"cluster"`
	Region  string `json:"region"`
	// Verdict is VerdictSame if all other regions have the same documents at
	// Vector, VerdictDifferent if some region has others where it should not, and
	// VerdictUnknown otherwise.
	Verdict string `json:"verdict"`
	// Vector is what this region holds, and Digest that of its documents.
	Vector VectorStatus `json:"vector"`
	DigestStatus
	Collections []CollectionDigest  `json:"collections"`
	Regions     []RegionConvergence `json:"regions"`
}

// DigestStatus is the digest of some documents, and their number.
type DigestStatus struct {
	Documents uint64 `json:"documents"`
	Digest    string `json:"digest"`
}

// CollectionDigest is the digest of a collection.
type CollectionDigest struct {
	// Collection is its name; of the system collection, which has the settings of
	// the others, and of those that are not known here, "".
	Collection  string `json:"collection"`
	Incarnation string `json:"incarnation"`
	System      bool   `json:"system,omitempty"`
	DigestStatus
	// Verdict is how it compares with the one here, in another region's list.
	Verdict string `json:"verdict,omitempty"`
}

// RegionConvergence is how another region compares with this one.
type RegionConvergence struct {
	Region  string `json:"region"`
	Verdict string `json:"verdict"`
	// Vector is what the region held when the verdict was reached, at At.
	Vector VectorStatus `json:"vector,omitempty"`
	At     *time.Time   `json:"at,omitempty"`
	// Reachable says that it was asked just now, over a link. What is known of
	// others comes with their reports, which tell of all documents together.
	Reachable bool `json:"reachable"`
	// Collections are those of the region, if they are known.
	Collections []CollectionDigest `json:"collections,omitempty"`
	// Differences are where documents differ that should not, at most
	// core.MaxDifferences.
	Differences []DifferenceStatus `json:"differences,omitempty"`
}

// DifferenceStatus is a part of a collection in which documents differ.
type DifferenceStatus struct {
	Collection  string       `json:"collection"`
	Incarnation string       `json:"incarnation"`
	Bucket      int          `json:"bucket"`
	Here        DigestStatus `json:"here"`
	There       DigestStatus `json:"there"`
}

const (
	// compareFor is how long peers are waited for in one comparison.
	compareFor = 3 * time.Second
	// compareEvery is how often it is tried anew while regions are apart.
	compareEvery = 200 * time.Millisecond
)

// Convergence compares the documents here with those of all other regions. As
// long as some region cannot be compared, because changes are on their way
// between it and this one, it tries again until ctx ends, and then says what it
// has found.
func (r *Region) Convergence(ctx context.Context) (Convergence, error) {
	ticker := time.NewTicker(compareEvery)
	defer ticker.Stop()
	for {
		res, err := r.submit(context.WithoutCancel(ctx), core.Compare{For: compareFor})
		if err != nil {
			return Convergence{}, err
		}
		out := r.convergence(res.(core.Compared))
		if out.Verdict != VerdictUnknown {
			return out, nil
		}
		select {
		case <-ctx.Done():
			return out, nil
		case <-r.stopped:
			return out, ErrStopped
		case <-ticker.C:
		}
	}
}

func (r *Region) convergence(c core.Compared) Convergence {
	out := Convergence{
		Cluster: r.cfg.Cluster, Region: r.cfg.Region, Verdict: VerdictSame,
		Vector: vectorStatus(c.Have), DigestStatus: digestStatus(c.Digest),
		Collections: []CollectionDigest{}, Regions: []RegionConvergence{},
	}
	for _, x := range c.Collections {
		out.Collections = append(out.Collections, r.collectionDigest(x.Incarnation, x.Digest))
	}
	for i := range c.Peers {
		p := &c.Peers[i]
		if p.Verdict == core.Same && !p.Have.Equal(c.Have) {
			p.Verdict = core.Unknown // that was at an earlier vector
		}
		out.Regions = append(out.Regions, r.regionConvergence(p, out.Collections))
		switch {
		case p.Verdict == core.Different:
			out.Verdict = VerdictDifferent
		case p.Verdict == core.Unknown && out.Verdict == VerdictSame:
			out.Verdict = VerdictUnknown
		}
	}
	return out
}

func (r *Region) regionConvergence(p *core.Comparison, here []CollectionDigest) RegionConvergence {
	out := RegionConvergence{Region: p.Region, Verdict: verdictText(p.Verdict), Reachable: p.Asked}
	if !p.At.IsZero() {
		at := p.At.UTC()
		out.At, out.Vector = &at, vectorStatus(p.Have)
	}
	if p.Asked || p.Verdict == core.Same {
		out.Collections = r.theirCollections(p, here)
	}
	for _, d := range p.Differences {
		out.Differences = append(out.Differences, DifferenceStatus{
			Collection: r.collectionDigest(d.Collection, d.Ours).Collection, Incarnation: d.Collection.String(),
			Bucket: d.Bucket, Here: digestStatus(d.Ours), There: digestStatus(d.Theirs),
		})
	}
	return out
}

// theirCollections are those here, but for what was found to differ.
func (r *Region) theirCollections(p *core.Comparison, here []CollectionDigest) []CollectionDigest {
	differ := map[string]CollectionDigest{}
	for _, x := range p.Theirs {
		d := r.collectionDigest(x.Collection, x.Theirs)
		d.Verdict = verdictText(x.Verdict)
		differ[d.Incarnation] = d
	}
	var out []CollectionDigest
	for _, d := range here {
		if other, ok := differ[d.Incarnation]; ok {
			d = other
			delete(differ, d.Incarnation)
		} else {
			d.Verdict = VerdictSame
		}
		if d.Documents > 0 {
			out = append(out, d)
		}
	}
	for _, x := range p.Theirs { // those that are not here
		if d, ok := differ[x.Collection.String()]; ok && d.Documents > 0 {
			out = append(out, d)
		}
	}
	return out
}

func (r *Region) collectionDigest(c crdt.Dot, d digest.Digest) CollectionDigest {
	out := CollectionDigest{Incarnation: c.String(), DigestStatus: digestStatus(d), System: c.IsZero()}
	if col, err := r.Collection(out.Incarnation); err == nil {
		out.Collection = col.Name
	}
	return out
}

func digestStatus(d digest.Digest) DigestStatus {
	return DigestStatus{Documents: d.Documents, Digest: d.String()}
}
