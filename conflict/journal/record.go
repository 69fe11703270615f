// Package journal has the records that a region keeps of conflicts: what
// stood side by side, what was made of it and why, and how it ended. The
// records explain themselves in words, and say how another outcome would differ.
//
// What is kept of a conflict is a copy: the versions that are not shown also
// stay in the document until a later write covers them, and then the record is
// all that is left of them.
package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// Bounds of a record.
const (
	// MaxValueBytes is the size from which a version's value is not copied, only
	// its size and where it comes from.
	MaxValueBytes = 32 << 10
	// MaxRecordBytes bounds the values of one record together. Those that do
	// not fit any more are not copied.
	MaxRecordBytes = 256 << 10
	// MaxVersions is how many versions a record lists: the newest. The others
	// are counted.
	MaxVersions = 128
	// MaxSpecBytes is the size up to which a policy is copied whole; of a longer
	// one there is the hash.
	MaxSpecBytes = 2 << 10
	// MaxPast is how many earlier ids of a conflict that went on changing lead to it.
	MaxPast = 16
)

// ErrBadID is returned for text that is no id of a conflict.
var ErrBadID = errors.New("not the id of a conflict")

// An ID names a conflict, the same in every region: it is a hash of the document,
// the place in it, and the dots of the versions.
type ID [12]byte

// IDOf returns the id of a conflict of dots at a path of a document.
func IDOf(collection crdt.Dot, document, path string, dots []crdt.Dot) (id ID) {
	dots = slices.SortedFunc(slices.Values(dots), crdt.Dot.Compare)
	h := sha256.New()
	var b []byte
	dot := func(d crdt.Dot) {
		b = append(b, d.Replica[:]...)
		b = binary.BigEndian.AppendUint64(b, d.Seq)
	}
	text := func(s string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	dot(collection)
	text(document)
	text(path)
	for _, d := range dots {
		dot(d)
	}
	h.Write(b)
	copy(id[:], h.Sum(nil))
	return id
}

// ParseID reads what String writes.
func ParseID(s string) (id ID, err error) {
	if b, err := hex.DecodeString(s); err == nil && len(b) == len(id) && hex.EncodeToString(b) == s {
		return ID(b), nil
	}
	return id, fmt.Errorf("%w: %.80q; it has %d hexadecimal digits", ErrBadID, s, 2*len(id))
}

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(b []byte) error {
	p, err := ParseID(string(b))
	if err == nil {
		*id = p
	}
	return err
}

// A State says how a conflict stands.
type State string

// The states of a conflict.
const (
	// Open: the policy leaves the choice to a client, or the callback is still to
	// make it. The versions stand side by side.
	Open State = "open"
	// ByPolicy: the policy has decided what is shown. The other versions are
	// there until a later write covers them; those that a deletion that wins has
	// taken away are in the record only.
	ByPolicy State = "resolved-by-policy"
	// ByWrite: a later write has covered the versions.
	ByWrite State = "resolved-by-write"
	// Undone: a write brought back a version that was not shown.
	Undone State = "undone"
)

// States lists all of them.
var States = []State{Open, ByPolicy, ByWrite, Undone}

// A Kind says what is in conflict.
type Kind string

// The kinds of conflict.
const (
	// Values: several values were set concurrently.
	Values Kind = "values"
	// Types: things of different types were put into one place.
	Types Kind = "types"
	// Deletion: the document was deleted and written to, and the write stands.
	Deletion Kind = "deletion"
	// Overruled: the document was deleted and written to, and the deletion stands.
	Overruled Kind = "overruled"
)

// A Version is one of the versions of a conflict.
type Version struct {
	Dot     crdt.Dot   `json:"dot"`
	Stamp   crdt.Stamp `json:"stamp"`
	Region  string     `json:"region,omitempty"`
	Deleted bool       `json:"deleted,omitempty"`
	// Answer says that it is what a callback answered.
	Answer bool `json:"answer,omitempty"`
	// Value is absent of a deletion and where Size is beyond the bounds.
	Value json.RawMessage `json:"value,omitempty"`
	// Size is that of the value in bytes, 0 if the region never had it.
	Size int `json:"size,omitempty"`
}

// A Policy is the one that was asked.
type Policy struct {
	Name string `json:"name"`
	// Hash is that of the script or, without one, of the policy as it stands in
	// the settings. Spec is that itself, unless it is long.
	Hash string          `json:"hash"`
	Spec json.RawMessage `json:"spec,omitempty"`
}

// An Outcome is what the policy made of the conflict.
type Outcome struct {
	// Shown is the version that is shown; zero if Value is, or nothing.
	Shown crdt.Dot        `json:"shown,omitzero"`
	Value json.RawMessage `json:"value,omitempty"`
	Open  bool            `json:"open,omitempty"`
	// Pending says that a callback is still to decide.
	Pending bool `json:"pending,omitempty"`
	// Failed says why the policy could not decide, "" if it could.
	Failed string `json:"failed,omitempty"`
	Why    string `json:"why"`
}

// A Settlement says how a conflict ended.
type Settlement struct {
	By     crdt.Dot   `json:"by"`
	Stamp  crdt.Stamp `json:"stamp"`
	Region string     `json:"region,omitempty"`
	// Deleted says that the document is deleted since.
	Deleted bool `json:"deleted,omitempty"`
	// Answer says that the write was the answer of the callback.
	Answer bool `json:"answer,omitempty"`
	// Restored is the version that was brought back, zero if none was.
	Restored crdt.Dot `json:"restored,omitzero"`
	// Next is the conflict that is left if the write covered only some of the versions.
	Next ID `json:"next,omitzero"`
}

// A Step is something that the region which asks the callback went through.
type Step struct {
	// At is in Unix milliseconds by the region's clock.
	At     int64  `json:"at"`
	Region string `json:"region"`
	What   string `json:"what"`
}

// MaxSteps is how many steps a record keeps: the first and the latest.
const MaxSteps = 16

// A Record is a conflict as one region saw it.
type Record struct {
	// Seq counts the records of this region, Rev the changes of any of them:
	// it is that of this record's last.
	Seq uint64 `json:"seq"`
	Rev uint64 `json:"rev"`
	// ID is the present one; Past are those under which it was known before a
	// further version came, or a newer one from the same side.
	ID   ID   `json:"id"`
	Past []ID `json:"past,omitempty"`
	// Collection is the incarnation, Name its name when the conflict was seen.
	Collection crdt.Dot `json:"collection"`
	Name       string   `json:"name"`
	Type       string   `json:"type"`
	Document   string   `json:"document"`
	Path       string   `json:"path"`
	Kind       Kind     `json:"kind"`
	// Versions are in canonical order; Unlisted counts older ones that are left out.
	Versions []Version `json:"versions"`
	Unlisted int       `json:"unlisted,omitempty"`
	Policy   Policy    `json:"policy"`
	Outcome  Outcome   `json:"outcome"`
	State    State     `json:"state"`
	// Seen and Changed are Unix milliseconds by this region's clock, but never
	// less than those of earlier records.
	Seen    int64 `json:"seen"`
	Changed int64 `json:"changed"`
	// Steps tell how the callback was asked. They are in the log of the region
	// that asked; SkippedSteps counts those in the middle that are left out.
	Steps        []Step `json:"steps,omitempty"`
	SkippedSteps int    `json:"skipped_steps,omitempty"`
	// Settled is nil while the versions stand side by side.
	Settled *Settlement `json:"settled,omitempty"`
}

// SeenAt and ChangedAt are the region's times of the first sight and of the last change.
func (r *Record) SeenAt() time.Time { return time.UnixMilli(r.Seen).UTC() }

// ChangedAt is when the record last changed.
func (r *Record) ChangedAt() time.Time { return time.UnixMilli(r.Changed).UTC() }

// Version returns the version of a dot, nil if there is none.
func (r *Record) Version(d crdt.Dot) *Version {
	for i := range r.Versions {
		if r.Versions[i].Dot == d {
			return &r.Versions[i]
		}
	}
	return nil
}

// AddStep adds a step. Of many the first and the latest are kept.
func (r *Record) AddStep(s Step) {
	if len(r.Steps) == MaxSteps {
		r.Steps = slices.Delete(r.Steps, 1, 2)
		r.SkippedSteps++
	}
	r.Steps = append(r.Steps, s)
}

// Regions are those that wrote a version, each once, in the order of versions.
func (r *Record) Regions() []string {
	var out []string
	for i := range r.Versions {
		if name := r.Versions[i].Region; name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// Whole reports whether the conflict is about the whole document.
func (r *Record) Whole() bool { return r.Path == "" }

// Dots are those of the versions that are listed.
func (r *Record) Dots() []crdt.Dot {
	out := make([]crdt.Dot, len(r.Versions))
	for i := range r.Versions {
		out[i] = r.Versions[i].Dot
	}
	return out
}

// PolicyOf describes a policy.
func PolicyOf(p conflict.Resolver) Policy {
	spec, err := conflict.Marshal(p)
	if err != nil {
		return Policy{Name: "unknown"}
	}
	sum := sha256.Sum256(spec)
	out := Policy{Name: conflict.Name(p), Hash: conflict.Hash(p)}
	if out.Hash == "" {
		out.Hash = hex.EncodeToString(sum[:8])
	}
	if len(spec) <= MaxSpecBytes {
		out.Spec = spec
	}
	return out
}

// Show fills in the versions and the outcome of a conflict. The kind is set
// unless it is there already.
func (r *Record) Show(c crdt.Conflict, out crdt.Outcome, regionOf func(crdt.ReplicaID) string) {
	left := MaxRecordBytes
	from := max(0, len(c.Versions)-MaxVersions)
	r.Path, r.Unlisted, r.Versions = c.Path, from, make([]Version, 0, len(c.Versions)-from)
	for i := from; i < len(c.Versions); i++ {
		v := &c.Versions[i]
		w := Version{Dot: v.Dot, Stamp: v.Stamp, Region: regionOf(v.Dot.Replica), Deleted: v.Deleted, Answer: v.Answer}
		// The types that merge per field have no value for a whole version.
		if !v.Deleted && (v.Value != nil || c.Path != "") {
			b := Encode(v.Value)
			if w.Size = len(b); w.Size <= MaxValueBytes && w.Size <= left {
				w.Value = b
				left -= w.Size
			}
		}
		r.Versions = append(r.Versions, w)
	}
	r.Outcome = Outcome{Open: out.Open, Pending: out.Pending, Failed: out.Failed, Why: out.Reason}
	switch {
	case out.Shown >= 0 && out.Shown < len(c.Versions):
		r.Outcome.Shown = c.Versions[out.Shown].Dot
	case out.Shown < 0 && r.Kind != Overruled:
		if b := Encode(out.Value); len(b) <= MaxValueBytes {
			r.Outcome.Value = b
		}
	}
	if r.Kind == "" {
		r.Kind = kindOf(c)
	}
	r.State = ByPolicy
	if out.Open || out.Pending {
		r.State = Open
	}
}

func kindOf(c crdt.Conflict) Kind {
	types := map[string]bool{}
	for i := range c.Versions {
		v := &c.Versions[i]
		if v.Deleted {
			return Deletion
		}
		types[structure(v.Value)] = true
	}
	if c.Path != "" && len(types) > 1 {
		return Types
	}
	return Values
}

// structure tells things apart that do not replace each other as plain values.
func structure(v any) string {
	switch v.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case value.Set:
		return "a set"
	case value.Counter:
		return "a counter"
	}
	return "a plain value"
}

// Conflict is the other way round: what a policy can be asked about. It leaves
// out deletions, which no policy is asked about, and fails with ErrNotKept if a
// value is missing.
func (r *Record) Conflict() (crdt.Conflict, error) {
	c := crdt.Conflict{Path: r.Path}
	for i := range r.Versions {
		v := &r.Versions[i]
		if v.Deleted {
			continue
		}
		w := crdt.Version{Dot: v.Dot, Stamp: v.Stamp, Answer: v.Answer}
		if v.Value == nil {
			return c, fmt.Errorf("%w: version %v", ErrNotKept, v.Dot)
		}
		var err error
		if w.Value, err = Decode(v.Value); err != nil {
			return c, err
		}
		c.Versions = append(c.Versions, w)
	}
	return c, nil
}

// ErrNotKept is returned where the value of a version is not kept any more, or never was.
var ErrNotKept = errors.New("the value is not kept")

// Encode writes a value as records have it: with its types.
func Encode(v any) json.RawMessage { return value.Append(nil, v, value.Options{Types: true}) }

// decodeLimits are what any value within a record keeps to.
var decodeLimits = value.Limits{MaxBytes: 16 << 20, MaxDepth: 1 << 12, MaxItems: 1 << 21}

// Decode reads what Encode writes.
func Decode(b json.RawMessage) (any, error) {
	v, err := value.Parse(b, decodeLimits)
	if err != nil {
		return nil, fmt.Errorf("%w: a version's value: %w", crdt.ErrCorrupt, err)
	}
	return v, nil
}
