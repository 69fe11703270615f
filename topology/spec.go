package topology

import (
	"errors"
	"fmt"
	"slices"
)

// Kind names a shape of the links between regions.
type Kind string

// The shapes that there are.
const (
	Mesh Kind = "mesh" // each region is linked with all others
	Ring Kind = "ring" // each region is linked with the two next to it by name
	Star Kind = "star" // each region is linked with the hub
)

// ParseKind returns the kind that s names.
func ParseKind(s string) (Kind, error) {
	switch k := Kind(s); k {
	case Mesh, Ring, Star:
		return k, nil
	}
	return "", fmt.Errorf("unknown topology %q: choose %s, %s or %s", s, Mesh, Ring, Star)
}

// Spec is the wished-for shape. The zero Spec makes a mesh.
type Spec struct {
	Kind Kind `json:"kind"`
	// Hub is the middle of a star.
	Hub string `json:"hub,omitempty"`
	// Deputies take the hub's place, the first that is alive before the others.
	Deputies []string `json:"deputies,omitempty"`
}

// Validate reports what is wrong with the spec for a cluster of these members.
// A spec that became invalid since, because a member was evicted, still makes
// a plan: what does not exist is passed over.
func (s Spec) Validate(members []string) error {
	if err := s.Check(); err != nil || s.Kind != Star {
		return err
	}
	for _, name := range s.central() {
		if !slices.Contains(members, name) {
			return fmt.Errorf("%q is not a member, so it cannot be the hub or a deputy", name)
		}
	}
	return nil
}

// Check reports what is wrong with the spec whoever the members are.
func (s Spec) Check() error {
	if _, err := ParseKind(string(s.Kind)); err != nil {
		return err
	}
	if s.Kind != Star {
		if s.Hub != "" || len(s.Deputies) > 0 {
			return fmt.Errorf("only a %s has a hub and deputies, not a %s", Star, s.Kind)
		}
		return nil
	}
	if s.Hub == "" {
		return errors.New("a star needs a hub: name one of the members")
	}
	central := s.central()
	for i, name := range central {
		if slices.Contains(central[:i], name) {
			return fmt.Errorf("%q is named twice among the hub and its deputies", name)
		}
	}
	return nil
}

// central returns the hub and its deputies.
func (s Spec) central() []string {
	return append([]string{s.Hub}, s.Deputies...)
}

// order returns the members, each once, in the order that the shape gives
// them: around the ring, or by who is to be the hub first.
func (s Spec) order(members []string) []string {
	sorted := slices.Compact(slices.Sorted(slices.Values(members)))
	if s.Kind != Star {
		return sorted
	}
	order := make([]string, 0, len(sorted))
	for _, name := range append(s.central(), sorted...) {
		if slices.Contains(sorted, name) && !slices.Contains(order, name) {
			order = append(order, name)
		}
	}
	return order
}

// preferences returns the lists of whom region i of n, in the order of the
// shape, would rather be linked with.
func (k Kind) preferences(i, n int) [][]int {
	var others []int // clockwise from i
	for d := 1; d < n; d++ {
		others = append(others, (i+d)%n)
	}
	switch k {
	case Ring:
		back := slices.Clone(others)
		slices.Reverse(back)
		return [][]int{others, back}
	case Star:
		slices.Sort(others)
		return [][]int{others}
	default:
		return slices.Collect(slices.Chunk(others, 1))
	}
}
