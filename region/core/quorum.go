package core

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Quorum says how many regions have to take part in something, and which of
// them at least. The zero Quorum is the region itself.
type Quorum struct {
	// Count is how many, the region itself included, or Majority or All.
	Count int
	// Regions are those that have to be among them, sorted.
	Regions []string
	// among are those that count, nil for all.
	among []string
}

// Among is a quorum of the named regions; nil names all.
func (q Quorum) Among(regions []string) Quorum {
	q.among = regions
	return q
}

// Key tells resolved quorums apart.
func (q Quorum) Key() string { return fmt.Sprint(q.Count, q.Regions, q.among) }

// Counted are those of the regions that count.
func (q Quorum) Counted(regions []string) []string {
	if q.among == nil {
		return regions
	}
	return slices.DeleteFunc(slices.Clone(regions), func(name string) bool { return !q.Counts(name) })
}

// Counts reports whether a region counts.
func (q Quorum) Counts(region string) bool { return q.among == nil || slices.Contains(q.among, region) }

// What Quorum.Count can be besides a number, until it is resolved.
const (
	Majority = -1
	All      = -2
)

// MaxQuorumRegions is the most regions that a Quorum names.
const MaxQuorumRegions = 64

const (
	majorityText = "majority"
	allText      = "all"
)

// ParseQuorum reads a number, "majority", "all", or names of regions with
// commas between them. Errors wrap ErrInvalid.
func ParseQuorum(s string) (Quorum, error) {
	switch s {
	case majorityText:
		return Quorum{Count: Majority}, nil
	case allText:
		return Quorum{Count: All}, nil
	case "":
		return Quorum{}, fmt.Errorf("%w: give a number of regions, majority, all, or names of regions", ErrInvalid)
	}
	if strings.Trim(s, "0123456789") == "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return Quorum{}, fmt.Errorf("%w: %.20s regions; at least 1, which is the region itself", ErrInvalid, s)
		}
		return Quorum{Count: n}, nil
	}
	names := strings.Split(s, ",")
	if len(names) > MaxQuorumRegions {
		return Quorum{}, fmt.Errorf("%w: %d regions are named, at most %d can be", ErrInvalid, len(names), MaxQuorumRegions)
	}
	for i, name := range names {
		if names[i] = strings.TrimSpace(name); names[i] == "" {
			return Quorum{}, fmt.Errorf("%w: %.100q has an empty name of a region", ErrInvalid, s)
		}
	}
	slices.Sort(names)
	return Quorum{Regions: slices.Compact(names)}, nil
}

// String writes what ParseQuorum reads.
func (q Quorum) String() string {
	switch {
	case q.Count == Majority:
		return majorityText
	case q.Count == All:
		return allText
	case len(q.Regions) > 0:
		return strings.Join(q.Regions, ",")
	}
	return strconv.Itoa(max(q.Count, 1))
}

// IsZero reports whether the region itself is enough.
func (q Quorum) IsZero() bool { return (q.Count == 0 || q.Count == 1) && len(q.Regions) == 0 }

// Resolve counts the members, and refuses what they can never meet: more
// regions than there are, or one that is none of them. Errors wrap ErrInvalid.
func (q Quorum) Resolve(members []string) (Quorum, error) {
	what := "the cluster has"
	if q.among != nil {
		members = slices.DeleteFunc(slices.Clone(members), func(name string) bool { return !q.Counts(name) })
		what = "the collection is held by"
	}
	switch q.Count {
	case Majority:
		q.Count = len(members)/2 + 1
	case All:
		q.Count = len(members)
	case 0:
		q.Count = 1
	}
	if q.Count < 1 || q.Count > len(members) {
		return q, fmt.Errorf("%w: %d regions, %s %d", ErrInvalid, q.Count, what, len(members))
	}
	for _, name := range q.Regions {
		if !slices.Contains(members, name) {
			return q, fmt.Errorf("%w: %s no region %.100q, only %s", ErrInvalid, what, name, strings.Join(members, ", "))
		}
	}
	return q, nil
}

// And is met when both of two resolved quorums are.
func (q Quorum) And(o Quorum) Quorum {
	names := slices.Concat(q.Regions, o.Regions)
	slices.Sort(names)
	return Quorum{Count: max(q.Count, o.Count), Regions: slices.Compact(names), among: q.among}
}

// Met reports whether the regions meet a resolved quorum.
func (q Quorum) Met(regions []string) bool {
	if len(q.Counted(regions)) < q.Count {
		return false
	}
	for _, name := range q.Regions {
		if !slices.Contains(regions, name) {
			return false
		}
	}
	return true
}

// UnmarshalJSON reads a number, or a text as ParseQuorum does. Errors wrap ErrInvalid.
func (q *Quorum) UnmarshalJSON(b []byte) error {
	var n int
	var text string
	err := json.Unmarshal(b, &n)
	if err == nil {
		text = strconv.Itoa(n)
	} else if json.Unmarshal(b, &text) != nil {
		return fmt.Errorf("%w: acks is a number of regions, \"majority\", \"all\", or names of regions with commas between them", ErrInvalid)
	}
	parsed, err := ParseQuorum(text)
	if err != nil {
		return err
	}
	*q = parsed
	return nil
}

// setting writes what UnmarshalJSON reads, nothing if the region itself is enough.
func (q Quorum) setting() json.RawMessage {
	if q.IsZero() {
		return nil
	}
	if q.Count > 0 {
		return json.RawMessage(strconv.Itoa(q.Count))
	}
	b, err := json.Marshal(q.String())
	if err != nil {
		panic(err) // a text
	}
	return b
}
