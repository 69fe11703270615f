package conflict

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/meridiandb/meridian/crdt/value"
)

// Bounds of a policy in a collection's settings.
const (
	// MaxPriorityRegions is the most regions that a priority list can have.
	MaxPriorityRegions = 256
	// MaxRegionName is the greatest length of a region's name in it, in bytes.
	MaxRegionName = 128
	// MaxSpecBytes is the greatest size of a policy as JSON.
	MaxSpecBytes = 64 << 10
)

// The names of the policies that take a setting.
const (
	regionPriorityName = "region-priority"
	scriptName         = "script"
	callbackName       = "callback"
)

const available = `"merge", "lww", "siblings", {"region-priority": ["region", …]} {"script": "function resolve(versions, context) { … }"} or {"callback": {"url": "https://…", "secret": "…"}}`

// ErrBadPolicy is wrapped by errors about a setting that is no policy.
var ErrBadPolicy = errors.New("bad policy")

// Parse reads a policy from a collection's settings: "merge", "lww", "siblings",
// {"region-priority": ["eu-west", "us-east"]}, {"script": "function resolve(…) …"}
// or {"callback": {"url": "https://…", "secret": "…"}}. A script is compiled, but
// not run. The error wraps ErrBadPolicy and says what there is.
func Parse(b []byte) (Resolver, error) {
	spec, err := value.Parse(b, value.Limits{MaxBytes: MaxSpecBytes, MaxDepth: 8})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadPolicy, err)
	}
	return FromSpec(spec)
}

// Marshal writes what Parse reads, as canonical JSON. A secret is hidden.
func Marshal(r Resolver) ([]byte, error) {
	return value.Append(nil, r.Spec(), value.Options{}), nil
}

// MarshalStored writes what Parse reads, with secrets: for the store and for
// other regions.
func MarshalStored(r Resolver) ([]byte, error) {
	return value.Append(nil, StoredSpec(r), value.Options{}), nil
}

// Name is the policy's name, as it is written in settings.
func Name(r Resolver) string {
	if plain, ok := r.(newest); ok { // without an allocation: requests are counted by it
		return string(plain)
	}
	switch spec := r.Spec().(type) {
	case string:
		return spec
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(spec)) {
			return name
		}
	}
	return "unknown"
}

// FromSpec is Parse for a value that was read already.
func FromSpec(spec any) (Resolver, error) {
	switch spec := spec.(type) {
	case string:
		return named(spec)
	case map[string]any:
		names := slices.Sorted(maps.Keys(spec))
		if len(names) == 1 {
			return withSetting(names[0], spec[names[0]])
		}
		return nil, fmt.Errorf("%w: an object has one member, the policy's name; use %s", ErrBadPolicy, available)
	}
	return nil, fmt.Errorf("%w: it must be a string or an object; use %s", ErrBadPolicy, available)
}

// named returns a policy that needs no setting.
func named(kind string) (Resolver, error) {
	switch kind {
	case "merge":
		return Merge(), nil
	case "lww":
		return LWW(), nil
	case "siblings":
		return Siblings(), nil
	case regionPriorityName:
		return nil, fmt.Errorf(`%w: %s needs its list of regions: {"region-priority": ["region", …]}`, ErrBadPolicy, kind)
	case scriptName:
		return nil, fmt.Errorf(`%w: %s needs its source: {"script": "function resolve(versions, context) { … }"}`, ErrBadPolicy, kind)
	case callbackName:
		return nil, fmt.Errorf("%w: %s needs to know whom to call: %s", ErrBadPolicy, kind, callbackUsage)
	}
	return nil, unknown(kind)
}

// withSetting returns a policy that is written {kind: setting}.
func withSetting(kind string, setting any) (Resolver, error) {
	switch kind {
	case regionPriorityName:
		return parseRegionPriority(setting)
	case scriptName:
		source, ok := setting.(string)
		if !ok {
			return nil, fmt.Errorf("%w: %s needs its source, a string", ErrBadPolicy, scriptName)
		}
		return Script(source)
	case callbackName:
		return parseCallback(setting)
	case "merge", "lww", "siblings":
		return nil, fmt.Errorf("%w: %s takes no settings, write it as the string %q", ErrBadPolicy, kind, kind)
	}
	return nil, unknown(kind)
}

func unknown(kind string) error {
	return fmt.Errorf("%w: %.40q; use %s", ErrBadPolicy, kind, available)
}

func parseRegionPriority(setting any) (Resolver, error) {
	list, ok := setting.([]any)
	if !ok || len(list) == 0 || len(list) > MaxPriorityRegions {
		return nil, fmt.Errorf("%w: %s needs a list of 1 to %d region names", ErrBadPolicy, regionPriorityName, MaxPriorityRegions)
	}
	p := &regionPriority{regions: make([]string, len(list))}
	for i, e := range list {
		region, ok := e.(string)
		if !ok || region == "" || len(region) > MaxRegionName {
			return nil, fmt.Errorf("%w: %s: entry %d must be a region's name, a string of 1 to %d bytes", ErrBadPolicy, regionPriorityName, i, MaxRegionName)
		}
		if slices.Contains(p.regions[:i], region) {
			return nil, fmt.Errorf("%w: %s: %q is listed twice", ErrBadPolicy, regionPriorityName, region)
		}
		p.regions[i] = region
	}
	return p, nil
}
