package cmd

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/region/badgerstore"
	"github.com/meridiandb/meridian/region/verify"
)

// verifyStore checks the store in a folder that no region uses.
func (a *app) verifyStore(ctx context.Context, dir string, quiet, asJSON bool) error {
	st, err := badgerstore.Open(dir, badgerstore.Options{MustExist: true})
	if err != nil {
		return err
	}
	defer st.Close()
	show := a.newProgress(quiet, "checking", 0)
	tables := st.VerifyChecksums()
	r, err := verify.Store(ctx, st, func(r *verify.Report) { show.show(int(r.Documents), 0) })
	show.end()
	if err != nil {
		return err
	}
	if tables != nil {
		r.Problems = append([]verify.Problem{{Kind: verify.KindRead, Detail: tables.Error()}}, r.Problems...)
		r.Found++
	}
	if asJSON {
		err = a.printJSON(r)
	} else {
		err = a.printStoreReport(dir, r)
	}
	if err == nil && !r.OK() {
		err = errSilent
	}
	return err
}

func (a *app) printStoreReport(dir string, r *verify.Report) error {
	fmt.Fprintf(a.out, "%s is replica %s, with %s in %s, digest %s,\n%s and %s.\n\n", dir, or(r.Replica),
		count(int(r.Documents), "document"), count(r.Collections, "collection"), r.Digest,
		count(int(r.Changes), "change"), count(r.Conflicts, "conflict record"))
	if r.Snapshot != nil {
		fmt.Fprintln(a.out, storedSnapshot(r.Snapshot))
	}
	tab := newTable("LOG OF", "HOLDS", "CUT", "FROM", "TO")
	for _, l := range r.Logs {
		tab.add(l.Replica, fmt.Sprint(l.Holds), fmt.Sprint(l.Cut), fmt.Sprint(l.First), fmt.Sprint(l.Last))
	}
	if err := a.printTable(tab); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	for _, p := range r.Problems {
		where := p.Kind
		if p.ID != "" {
			where += fmt.Sprintf(" %s of %s", p.ID, p.Collection)
		} else if p.Collection != "" {
			where += " of " + p.Collection
		}
		fmt.Fprintf(a.out, "%s: %s\n", printable(where), printable(p.Detail))
	}
	switch {
	case r.OK():
		fmt.Fprintln(a.out, "Nothing is wrong.")
	case r.Found > len(r.Problems):
		fmt.Fprintf(a.out, "%s, of which %d are shown.\n", count(r.Found, "problem"), len(r.Problems))
	default:
		fmt.Fprintf(a.out, "%s.\n", count(r.Found, "problem"))
	}
	return nil
}

// storedSnapshot says how far a store was with taking a snapshot, and what that means.
func storedSnapshot(s *verify.Snapshot) string {
	var b strings.Builder
	copied := fmt.Sprintf("%s, %s", count(int(s.Documents), "document"), byteSize(int64(s.Bytes)))
	switch {
	case s.Phase == verify.PhaseClearing:
		copied = "what was here before is being removed"
	case s.Phase == verify.PhaseReplaying:
		copied += ", all of them, of which some wait for changes"
	case s.TotalBytes > s.Bytes:
		copied += " of about " + byteSize(int64(s.TotalBytes))
	}
	fmt.Fprintf(&b, "It takes a snapshot of another region: %s.\n", copied)
	fmt.Fprintln(&b, "The region goes on with it at its next start, and answers neither reads nor writes until it is complete.")
	if len(s.Vector) > 0 {
		fmt.Fprintf(&b, "The other region held %s when it was asked last:\n", count(int(changesIn(s.Vector)), "change"))
	} else {
		fmt.Fprintln(&b, "What the other region holds is not known yet.")
	}
	for _, r := range slices.Sorted(maps.Keys(s.Vector)) {
		fmt.Fprintf(&b, "  %s up to %d\n", printable(r), s.Vector[r])
	}
	return b.String()
}
