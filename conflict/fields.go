package conflict

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// Bounds of field rules.
const (
	// MaxFieldRules is the most rules that a collection can have.
	MaxFieldRules = 64
	// MaxPatternBytes is the greatest length of a pattern.
	MaxPatternBytes = 512
)

// anyToken is the part of a pattern that stands for any name or index.
const anyToken = "*"

const fieldPolicies = `"lww", "max", "min", {"region-priority": ["region", …]} or {"script": "function resolve(versions, context) { … }"}`

// Fields are rules for fields of documents: which policy decides a conflict at a
// path. A pattern is a JSON pointer in which a part that is * stands for any
// name or index. Of several patterns that match, the one with the fewest * counts,
// then the first by the order of their bytes. The nil *Fields has no rules.
type Fields struct{ rules []fieldRule }

type fieldRule struct {
	pattern string
	tokens  value.Pointer
	policy  Resolver
}

func (r *fieldRule) any() (n int) {
	for _, t := range r.tokens {
		if t == anyToken {
			n++
		}
	}
	return n
}

func (r *fieldRule) matches(path value.Pointer) bool {
	return slices.EqualFunc(r.tokens, path, func(pattern, token string) bool { return pattern == anyToken || pattern == token })
}

// ParseFields reads rules from a collection's settings, such as
// {"/price": "max", "/items/*/note": "lww"}. The error wraps ErrBadPolicy.
func ParseFields(b []byte) (*Fields, error) {
	spec, err := value.ParseObject(b, value.Limits{MaxBytes: MaxSpecBytes, MaxDepth: 8})
	if err != nil {
		return nil, fmt.Errorf("%w: fields: %w", ErrBadPolicy, err)
	}
	if len(spec) > MaxFieldRules {
		return nil, fmt.Errorf("%w: %d field rules, at most %d are allowed", ErrBadPolicy, len(spec), MaxFieldRules)
	}
	if len(spec) == 0 {
		return nil, nil
	}
	f := &Fields{}
	for _, pattern := range slices.Sorted(maps.Keys(spec)) {
		tokens, err := value.ParsePointer(pattern)
		if err != nil || len(tokens) == 0 || len(pattern) > MaxPatternBytes {
			return nil, fmt.Errorf(`%w: %.80q is no pattern of fields; write a JSON pointer such as "/price" or "/items/*/price", of at most %d bytes`,
				ErrBadPolicy, pattern, MaxPatternBytes)
		}
		policy, err := fieldPolicy(spec[pattern])
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", pattern, err)
		}
		f.rules = append(f.rules, fieldRule{pattern, tokens, policy})
	}
	slices.SortFunc(f.rules, func(a, b fieldRule) int { return cmp.Or(a.any()-b.any(), strings.Compare(a.pattern, b.pattern)) })
	return f, nil
}

func fieldPolicy(spec any) (Resolver, error) {
	switch spec {
	case maxName, minName:
		return extreme(spec.(string)), nil
	case "merge", "siblings":
		return nil, fmt.Errorf("%w: %q is for collections; for a field use %s", ErrBadPolicy, spec, fieldPolicies)
	}
	if m, ok := spec.(map[string]any); ok && m[callbackName] != nil || spec == callbackName {
		return nil, fmt.Errorf("%w: %q is for collections; for a field use %s", ErrBadPolicy, callbackName, fieldPolicies)
	}
	p, err := FromSpec(spec)
	if err != nil {
		return nil, fmt.Errorf("%w (of these, and max and min, a field takes %s)", err, fieldPolicies)
	}
	return p, err
}

// Spec is the rules as they stand in settings, nil if there are none.
func (f *Fields) Spec() map[string]any {
	if f == nil {
		return nil
	}
	out := make(map[string]any, len(f.rules))
	for _, r := range f.rules {
		out[r.pattern] = r.policy.Spec()
	}
	return out
}

// Patterns are the rules' patterns, the most specific first.
func (f *Fields) Patterns() []string {
	if f == nil {
		return nil
	}
	out := make([]string, len(f.rules))
	for i := range f.rules {
		out[i] = f.rules[i].pattern
	}
	return out
}

// Over returns the policy that decides by the rule of a field where there is
// one, and as base does elsewhere. Its Spec is base's.
func (f *Fields) Over(base Resolver) Resolver {
	if f == nil || len(f.rules) == 0 {
		return base
	}
	return &byField{base, f}
}

type byField struct {
	base   Resolver
	fields *Fields
}

func (p *byField) Spec() any { return p.base.Spec() }

func (p *byField) Resolve(ctx Context, versions []Version) crdt.Outcome {
	rule := p.at(ctx.Path)
	if rule == nil {
		return p.base.Resolve(ctx, versions)
	}
	out := rule.policy.Resolve(ctx, versions)
	out.Reason = fmt.Sprintf("the rule for %s is %s: %s", rule.pattern, Name(rule.policy), out.Reason)
	return out
}

func (p *byField) at(path string) *fieldRule {
	tokens, err := value.ParsePointer(path)
	if err != nil {
		return nil
	}
	for i := range p.fields.rules {
		if p.fields.rules[i].matches(tokens) {
			return &p.fields.rules[i]
		}
	}
	return nil
}

// At returns the policy that decides a conflict at a path: that of a field's
// rule, or r itself.
func At(r Resolver, path string) Resolver {
	if p, ok := r.(*byField); ok {
		if rule := p.at(path); rule != nil {
			return rule.policy
		}
		return p.base
	}
	return r
}
