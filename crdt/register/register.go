// Package register implements the type "register": a whole JSON document (or
// any JSON value) as a multi-value register. It holds the versions that no later
// write has seen, each under the dot of its write, which is what dotted version
// vectors keep of siblings (Preguiça, Baquero et al.: Dotted Version Vectors,
// 2010); the vector part is the region's own Have.
//
// Nothing is merged within a document: a write puts a whole value in the place
// of the versions that its writer had seen. Deletion follows [crdt.Heads].
package register

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// Bounds of what a peer may have written. Local writers are held to them and to
// their region's settings, so that every region can read what any of them wrote.
const (
	// MaxDepth is the greatest nesting of a value.
	MaxDepth = 1024
	// MaxItems is the greatest number of elements and members of a value.
	MaxItems = 1 << 21
)

var decodeLimits = value.Limits{MaxBytes: crdt.MaxChangeBytes, MaxDepth: MaxDepth, MaxItems: MaxItems}

const stateFormat = 1

// A State is the state of one register.
type State struct {
	heads    crdt.Heads
	versions []version // one for each head that writes, in dot order
	// made is the payload that Prepare made last: it needs no check, and nobody else
	// changes it.
	made []byte
}

// A version keeps its value as it is stored and replicated: few are ever looked at
// where they were applied.
type version struct {
	dot crdt.Dot
	raw []byte // the value's binary form, never changed
	// value is what raw says, once it was asked for, or the state was decoded.
	value any
	read  bool
}

// value of a version, in dot order.
func (s *State) value(i int) any {
	v := &s.versions[i]
	if !v.read {
		// Apply has checked it.
		v.value, _, _ = value.DecodeBinary(v.raw, decodeLimits)
		v.read = true
	}
	return v.value
}

var _ crdt.State = (*State)(nil)

// New returns the state of a register that was never written.
func New() *State { return &State{} }

// Memory implements [crdt.Sized]: a version is kept encoded, and may be as a value.
func (s *State) Memory() int {
	n := 0
	for i := range s.versions {
		n += versionMemory + valueFactor*len(s.versions[i].raw)
	}
	return n
}

// What a version takes in memory, as measured.
const (
	versionMemory = 300
	valueFactor   = 3
)

// Decode reads what AppendBinary writes and nothing else. It keeps nothing of b.
// Errors wrap crdt.ErrCorrupt.
func Decode(b []byte) (*State, error) {
	r := crdt.NewReader(b)
	if f := r.Byte(); r.Err() == nil && f != stateFormat {
		return nil, fmt.Errorf("%w: register format %d is not known here", crdt.ErrCorrupt, f)
	}
	s := &State{heads: r.Heads()}
	for _, h := range s.heads.All() {
		if h.Delete != crdt.NotDelete {
			continue
		}
		v, err := decodeVersion(h.Dot, bytes.Clone(r.Bytes(len(b))))
		if r.Err() != nil {
			break
		}
		if err != nil {
			return nil, err
		}
		s.versions = append(s.versions, v)
	}
	if err := r.Done(); err != nil {
		return nil, err
	}
	return s, nil
}

// decodeVersion takes raw over.
func decodeVersion(d crdt.Dot, raw []byte) (version, error) {
	v, rest, err := value.DecodeBinary(raw, decodeLimits)
	switch {
	case err != nil:
		return version{}, fmt.Errorf("%w: %w", crdt.ErrCorrupt, err)
	case len(rest) > 0:
		return version{}, fmt.Errorf("%w: trailing bytes after a value", crdt.ErrCorrupt)
	case hasTyped(v):
		return version{}, fmt.Errorf("%w: a typed value in a register", crdt.ErrCorrupt)
	}
	return version{d, raw, v, true}, nil
}

// newVersion checks the payload of a write.
func (s *State) newVersion(d crdt.Dot, payload []byte) (version, error) {
	if made := s.made; len(made) > 0 && len(payload) == len(made) && &payload[0] == &made[0] {
		return version{dot: d, raw: made}, nil
	}
	if err := value.CheckPlainBinary(payload, decodeLimits); err != nil {
		return version{}, fmt.Errorf("%w: %w", crdt.ErrCorrupt, err)
	}
	return version{dot: d, raw: bytes.Clone(payload)}, nil
}

// AppendBinary appends a format version, the heads, and the value of each head
// that writes, in dot order.
func (s *State) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, stateFormat)
	b, err := s.heads.AppendBinary(b)
	if err != nil {
		return nil, err
	}
	for _, v := range s.versions {
		b = binary.AppendUvarint(b, uint64(len(v.raw)))
		b = append(b, v.raw...)
	}
	return b, nil
}

// Type returns crdt.TypeRegister.
func (s *State) Type() crdt.Type { return crdt.TypeRegister }

// Heads tells existence and the maximal changes.
func (s *State) Heads() *crdt.Heads { return &s.heads }

// Clone returns an independent copy.
func (s *State) Clone() crdt.State {
	return &State{heads: s.heads.Clone(), versions: slices.Clone(s.versions)}
}

// Apply takes a mutation in.
func (s *State) Apply(hd crdt.Header, m crdt.Mutation) error {
	if m.Type != crdt.TypeRegister {
		return fmt.Errorf("%w: a %v mutation of a register", crdt.ErrCorrupt, m.Type)
	}
	if err := m.Check(hd); err != nil {
		return err
	}
	var v version
	if m.Decision == crdt.DecisionKeep {
		s.heads.Apply(hd, m)
		return nil
	}
	if m.Delete == crdt.NotDelete {
		var err error
		if v, err = s.newVersion(hd.Dot, m.Payload); err != nil {
			return err
		}
	}
	s.made = nil
	if s.heads.Apply(hd, m) && m.Delete == crdt.NotDelete {
		s.versions = append(s.versions, v)
		slices.SortFunc(s.versions, func(a, b version) int { return a.dot.Compare(b.dot) })
	}
	s.prune()
	return nil
}

// prune leaves the versions of the heads that write. Both are in dot order.
func (s *State) prune() {
	heads := s.heads.All()
	s.versions = slices.DeleteFunc(s.versions, func(v version) bool {
		for len(heads) > 0 && heads[0].Dot.Compare(v.dot) < 0 {
			heads = heads[1:]
		}
		return len(heads) == 0 || heads[0].Dot != v.dot
	})
}

// Trim drops metadata that the stable vector makes needless.
func (s *State) Trim(stable crdt.Vector) bool {
	changed := s.heads.Trim(stable)
	return s.heads.TrimDecisions(stable, s.View, s.heads.Dots) || changed
}

// Trims reports whether Trim may yet drop anything.
func (s *State) Trims() bool { return s.heads.Trims() }

// smallDigest is what is hashed without memory of the heap.
const smallDigest = 1024

// Digest is a hash of the heads and values; of a register that does not exist
// it is zero, since one whose deletion is stable may be forgotten.
func (s *State) Digest() (sum [crdt.DigestSize]byte) {
	if !s.heads.Visible() {
		return sum
	}
	var room [smallDigest]byte
	b := room[:0]
	for _, h := range s.heads.All() {
		b = append(b, h.Dot.Replica[:]...)
		b = binary.AppendUvarint(b, h.Dot.Seq)
		b = binary.AppendUvarint(b, uint64(h.Stamp))
		b = append(b, byte(h.Delete))
	}
	if len(s.versions) == 1 && len(b)+len(s.versions[0].raw) <= len(room) {
		hash := sha256.Sum256(append(b, s.versions[0].raw...))
		return [crdt.DigestSize]byte(hash[:])
	}
	hash := sha256.New()
	hash.Write(b)
	for _, v := range s.versions {
		hash.Write(v.raw)
	}
	copy(sum[:], hash.Sum(nil))
	return sum
}

// Versions lists the heads, deletions among them, in canonical order.
func (s *State) Versions() []crdt.Version {
	out := make([]crdt.Version, 0, len(s.heads.All()))
	i := 0
	for _, h := range s.heads.All() {
		v := crdt.Version{Dot: h.Dot, Stamp: h.Stamp, Deleted: h.Delete != crdt.NotDelete}
		if !v.Deleted {
			v.Value = s.value(i)
			i++
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b crdt.Version) int {
		return cmp.Or(cmp.Compare(a.Stamp, b.Stamp), a.Dot.Compare(b.Dot))
	})
	return out
}

// View shows the register under a policy. A deletion that is concurrent with a
// write is part of the conflict, but is never shown: resolve is asked about the
// writes, and only if there are several.
func (s *State) View(resolve crdt.Resolve) crdt.View {
	switch all := s.heads.All(); {
	case len(s.versions) == 0:
		return crdt.View{}
	case len(all) == 1:
		return crdt.View{Exists: true, Value: s.value(0)}
	}
	all := s.Versions()
	writes := make([]crdt.Version, 0, len(s.versions))
	places := make([]int, 0, len(s.versions)) // of writes in all
	for i, v := range all {
		if !v.Deleted {
			writes, places = append(writes, v), append(places, i)
		}
	}
	out := crdt.Outcome{Reason: "the document was deleted concurrently; a deletion yields to a write that had not seen it"}
	if len(writes) > 1 {
		out = s.heads.Marking(resolve)(crdt.Conflict{Versions: writes})
		if out.Shown >= len(writes) || out.Shown < -1 {
			out = crdt.Outcome{
				Shown:  len(writes) - 1,
				Reason: fmt.Sprintf("the policy chose version %d of %d, so the newest is shown", out.Shown, len(writes)),
			}
		}
	}
	view := crdt.View{Exists: true, Value: out.Value}
	if out.Shown >= 0 {
		view.Value = writes[out.Shown].Value
		out.Shown = places[out.Shown]
	}
	view.Conflicts = []crdt.Resolved{{Conflict: crdt.Conflict{Versions: all}, Outcome: out}}
	s.heads.Mark(view.Conflicts)
	return view
}
