package conflict

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/conflict/sandbox"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// Script returns the policy "script": the JavaScript function
//
//	resolve(versions, context)
//
// decides. It returns one of the versions, or its value, to have it shown as it
// is, or a value of its own. See package sandbox for what it may do, and
// README.md for how to write one. A script that fails leaves the decision to the
// rule of [LWW], and the outcome says so. The error wraps ErrBadPolicy.
func Script(source string) (Resolver, error) {
	s, err := sandbox.Compile(source)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadPolicy, err)
	}
	return &script{s}, nil
}

type script struct{ compiled *sandbox.Script }

func (p *script) Spec() any { return map[string]any{scriptName: p.compiled.Source()} }

// Hash returns the hash of the script that a policy runs, "" if it runs none.
func Hash(r Resolver) string {
	if p, ok := r.(*script); ok {
		return p.compiled.Hash()
	}
	return ""
}

// Resolve hands the script the versions in canonical order, whatever their order here.
func (p *script) Resolve(ctx Context, versions []Version) crdt.Outcome {
	order := canonicalOrder(versions)
	return p.run(ctx, versions, order, order, p.compiled.Call)
}

// canonicalOrder returns the indices of versions in canonical order.
func canonicalOrder(versions []Version) []int {
	order := make([]int, len(versions))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return compareAge(&versions[i], &versions[j]) })
	return order
}

type caller func(versions []map[string]any, context map[string]any) (sandbox.Result, error)

// run has the script called with the versions in the given order. Their ranks
// are their places in the canonical one.
func (p *script) run(ctx Context, versions []Version, given, canonical []int, call caller) crdt.Outcome {
	args := make([]map[string]any, len(given))
	for k, i := range given {
		args[k] = p.argument(&versions[i], slices.Index(canonical, i))
	}
	r, err := call(args, map[string]any{"collection": ctx.Collection, "id": ctx.ID, "path": ctx.Path})
	if err == nil && r.Version < 0 && ctx.Path == "" {
		if _, ok := r.Value.(map[string]any); !ok {
			err = fmt.Errorf("%w: a document is a JSON object", sandbox.ErrResult)
		}
	}
	if err != nil {
		out := LWW().Resolve(ctx, versions)
		out.Failed = err.Error()
		out.Reason = fmt.Sprintf("the script %s failed (%s), so the last write wins: %s", p.compiled.Hash(), out.Failed, out.Reason)
		return out
	}
	if r.Version >= 0 {
		return p.chosen(versions, given[r.Version])
	}
	for _, i := range slices.Backward(canonical) {
		// What it made is a version's value after all: then that is shown, types and all.
		if !versions[i].Deleted && value.Same(versions[i].Value, r.Value) {
			return p.chosen(versions, i)
		}
	}
	return crdt.Outcome{Shown: -1, Value: r.Value, Reason: p.madeOf(versions, canonical)}
}

// argument is a version as the script sees it.
func (p *script) argument(v *Version, rank int) map[string]any {
	return map[string]any{
		"value":   v.Value,
		"deleted": v.Deleted,
		"region":  v.Region,
		"replica": v.Dot.Replica.String(),
		"dot":     v.Dot.String(),
		"stamp":   v.Stamp.String(),
		"millis":  v.Stamp.Time().UnixMilli(),
		"logical": int64(v.Stamp.Logical()),
		"time":    v.Stamp.Time().Format("2006-01-02T15:04:05.000Z"),
		"rank":    int64(rank),
	}
}

func (p *script) chosen(versions []Version, i int) crdt.Outcome {
	clock := clockOf(versions)
	f := &versions[i]
	why := fmt.Sprintf("the script %s chose %s", p.compiled.Hash(), describe(f, clock))
	if len(versions) == 2 {
		why += fmt.Sprintf(" and not %s", other(f, &versions[1-i], clock))
	} else {
		why += fmt.Sprintf(" of %d versions", len(versions))
	}
	return crdt.Outcome{Shown: i, Reason: why + "; " + unseen(versions)}
}

// maxNamed is how many versions an explanation names.
const maxNamed = 5

func (p *script) madeOf(versions []Version, order []int) string {
	clock := clockOf(versions)
	var names []string
	for _, i := range slices.Backward(order) {
		if len(names) == maxNamed {
			names = append(names, fmt.Sprintf("%d more", len(order)-maxNamed))
			break
		}
		names = append(names, describe(&versions[i], clock))
	}
	last := len(names) - 1
	list := names[last]
	if last > 0 {
		list = strings.Join(names[:last], ", ") + " and " + names[last]
	}
	return fmt.Sprintf("the script %s made a value of %s; %s", p.compiled.Hash(), list, unseen(versions))
}
