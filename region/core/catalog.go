package core

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
)

// Bounds of collections.
const (
	// MaxCollectionName is the greatest length of a collection's name in bytes.
	MaxCollectionName = 128
	// MaxKeepVersions is the most older versions of a document that can be kept.
	MaxKeepVersions = 100
	// DefaultKeepVersions and DefaultKeepAge say which older versions are kept
	// for writes that are based on them.
	DefaultKeepVersions = 10
	DefaultKeepAge      = 24 * time.Hour
)

// Settings of a collection, as in PUT /v1/collections/{c}.
type Settings struct {
	Type   crdt.Type
	Policy conflict.Resolver
	// Fields are rules for fields, nil if there are none; documents only.
	Fields *conflict.Fields
	// Bounds are limits of counters, documents only. They are fixed when the
	// collection is made.
	Bounds Bounds
	// Delete is the mode that deletions of its documents carry. With bounds, they win.
	Delete crdt.DeleteMode
	// KeepVersions and KeepAge bound the older versions that writes can be based on.
	KeepVersions int
	KeepAge      time.Duration
	// Acks is how many regions are to hold a write, or which, before it is
	// answered, unless it says so itself.
	Acks Quorum
	// Homes are where its documents are written, in the order of prefixes. How it
	// stands with them is in Collection.Homes.
	Homes []HomeSetting
	// Regions are patterns of the names of the regions that hold it, as
	// [crdt.Residency] has them; nil if all do. They are fixed when the collection
	// is made.
	Regions []string
	// RefuseElsewhere lets other regions refuse requests about its documents rather
	// than forward them.
	RefuseElsewhere bool
}

// DefaultSettings are those of a collection that the first write creates.
func DefaultSettings() Settings {
	return Settings{
		Type:         crdt.TypeDocument,
		Policy:       conflict.Merge(),
		Delete:       crdt.DeleteEditWins,
		KeepVersions: DefaultKeepVersions,
		KeepAge:      DefaultKeepAge,
	}
}

// Resolver is the policy with the rules for fields.
func (s *Settings) Resolver() conflict.Resolver { return s.Fields.Over(s.Policy) }

type keepJSON struct {
	Versions *int   `json:"versions,omitempty"`
	Age      string `json:"age,omitempty"`
}

type settingsJSON struct {
	Type   string          `json:"type,omitempty"`
	Policy json.RawMessage `json:"policy,omitempty"`
	Fields json.RawMessage `json:"fields,omitempty"`
	Bounds json.RawMessage `json:"bounds,omitempty"`
	Delete string          `json:"delete,omitempty"`
	Keep   *keepJSON       `json:"keep,omitempty"`
	Acks   json.RawMessage `json:"acks,omitempty"`
	Home   json.RawMessage `json:"home,omitempty"`

	Regions   []string `json:"regions,omitempty"`
	Elsewhere string   `json:"elsewhere,omitempty"`
}

var deleteModes = map[string]crdt.DeleteMode{"edit-wins": crdt.DeleteEditWins, "wins": crdt.DeleteWins}

// ParseSettings reads settings as JSON; what is left out has its default. A
// register's default policy is lww. Errors wrap ErrInvalid.
func ParseSettings(b []byte) (Settings, error) {
	s := DefaultSettings()
	var in settingsJSON
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return s, fmt.Errorf("%w: collection settings: %w", ErrInvalid, err)
	}
	if in.Type != "" {
		t, err := crdt.ParseType(in.Type)
		if err != nil {
			return s, err
		}
		s.Type = t
	}
	if s.Type == crdt.TypeRegister {
		s.Policy = conflict.LWW()
	}
	if in.Policy != nil {
		p, err := conflict.Parse(in.Policy)
		if err != nil {
			return s, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		s.Policy = p
	}
	if in.Fields != nil {
		f, err := conflict.ParseFields(in.Fields)
		if err != nil {
			return s, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if f != nil && s.Type != crdt.TypeDocument {
			return s, fmt.Errorf("%w: fields are for collections of type \"document\"; versions of a %v are whole documents", ErrInvalid, s.Type)
		}
		s.Fields = f
	}
	if in.Bounds != nil {
		b, err := parseBounds(in.Bounds)
		if err != nil {
			return s, err
		}
		if len(b) > 0 && s.Type != crdt.TypeDocument {
			return s, fmt.Errorf("%w: bounds are for counters of collections of type \"document\"", ErrInvalid)
		}
		s.Bounds = b
	}
	if in.Delete != "" {
		m, ok := deleteModes[in.Delete]
		if !ok {
			return s, fmt.Errorf("%w: delete must be \"edit-wins\" or \"wins\", not %q", ErrInvalid, in.Delete)
		}
		s.Delete = m
	}
	if len(s.Bounds) > 0 {
		// An edit that brought the document back would bring shares back that another
		// region may have given anew, in a document made since.
		if in.Delete != "" && s.Delete != crdt.DeleteWins {
			return s, fmt.Errorf("%w: delete must be \"wins\" in a collection with bounds", ErrInvalid)
		}
		s.Delete = crdt.DeleteWins
	}
	if in.Acks != nil {
		if err := s.Acks.UnmarshalJSON(in.Acks); err != nil {
			return s, err
		}
	}
	var err error
	if s.Homes, err = parseHomes(in.Home); err != nil {
		return s, err
	}
	if err := s.parseRegions(&in); err != nil {
		return s, err
	}
	if in.Keep != nil {
		if in.Keep.Versions != nil {
			s.KeepVersions = *in.Keep.Versions
		}
		if in.Keep.Age != "" {
			age, err := time.ParseDuration(in.Keep.Age)
			if err != nil {
				return s, fmt.Errorf("%w: keep.age: %w", ErrInvalid, err)
			}
			s.KeepAge = age
		}
		if s.KeepVersions < 0 || s.KeepVersions > MaxKeepVersions || s.KeepAge < 0 {
			return s, fmt.Errorf("%w: keep.versions must be 0 to %d, keep.age not negative", ErrInvalid, MaxKeepVersions)
		}
	}
	return s, nil
}

// MarshalJSON writes what ParseSettings reads, but for the secret of a callback.
func (s Settings) MarshalJSON() ([]byte, error) { return s.marshal(conflict.Marshal) }

func (s Settings) marshal(marshalPolicy func(conflict.Resolver) ([]byte, error)) ([]byte, error) {
	policy, err := marshalPolicy(s.Policy)
	if err != nil {
		return nil, err
	}
	var fields json.RawMessage
	if spec := s.Fields.Spec(); spec != nil {
		fields = value.Append(nil, spec, value.Options{})
	}
	mode := "edit-wins"
	if s.Delete == crdt.DeleteWins {
		mode = "wins"
	}
	return json.Marshal(settingsJSON{
		Type: s.Type.String(), Policy: policy, Fields: fields, Bounds: s.Bounds.setting(), Delete: mode, Acks: s.Acks.setting(), Home: homesJSON(s.Homes),
		Keep:    &keepJSON{Versions: &s.KeepVersions, Age: s.KeepAge.String()},
		Regions: s.Regions, Elsewhere: s.elsewhere(),
	})
}

// A Collection is one incarnation of a named set of documents.
type Collection struct {
	// Incarnation is the dot of the collection's creation. Operations address it.
	Incarnation crdt.Dot
	Name        string
	Settings    Settings
	// Explicit is false for a collection that the first write created.
	Explicit bool
	// Born is the stamp of its creation.
	Born crdt.Stamp
	// Deleted collections no longer go by their name.
	Deleted bool
	// Revision names the present settings: part of the documents' ETags.
	Revision string
	// Shadowed says that another incarnation of the same name, made
	// concurrently, goes by it; this one is read under its incarnation.
	Shadowed bool
	// Homes are in the order of prefixes, those included that were given up
	// (without a Region).
	Homes []Home
}

// A Catalog is what is known of collections and replicas. It is immutable.
type Catalog struct {
	byName  map[string]*Collection
	byDot   map[crdt.Dot]*Collection
	regions map[crdt.ReplicaID]string
	// announcements are the first changes of those replicas.
	announcements crdt.Vector
	homes         map[crdt.Dot][]Home // by incarnation, in the order of prefixes
	members       map[string]Member   // by region; empty if no region was ever added or removed
	// removals are those of members, the present ones and others; freezes what
	// members say of them; ended is where the logs of removed regions' replicas end.
	removals map[incarnation]Removal
	freezes  map[incarnation]freeze
	ended    crdt.Vector
	// completions are the changes that say so, any of them.
	completions map[incarnation][]crdt.Dot
	// brought is up to where the changes of such replicas were made anew, claims say by whom.
	brought crdt.Vector
	claims  map[crdt.ReplicaID][]claimed
	// callbacks are the collections whose policy is one, in the order of incarnations.
	callbacks []crdt.Dot
	// resident are the collections that only some regions hold, in the same order.
	resident []crdt.Dot
}

// Collection finds a collection by name, or by incarnation written as a dot.
func (c *Catalog) Collection(name string) (*Collection, error) {
	if col, ok := c.byName[name]; ok {
		return col, nil
	}
	if dot, err := crdt.ParseDot(name); err == nil {
		if col, ok := c.byDot[dot]; ok {
			return col, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", ErrUnknownCollection, name)
}

// Collections lists all incarnations, those that go by their name first in the
// order of names, shadowed and deleted ones behind.
func (c *Catalog) Collections() []*Collection {
	return slices.SortedFunc(maps.Values(c.byDot), func(a, b *Collection) int {
		if d := a.rank() - b.rank(); d != 0 {
			return d
		}
		if d := strings.Compare(a.Name, b.Name); d != 0 {
			return d
		}
		return a.Incarnation.Compare(b.Incarnation)
	})
}

func (c *Collection) rank() int {
	switch {
	case c.Deleted:
		return 2
	case c.Shadowed:
		return 1
	}
	return 0
}

// Region returns the region that a replica belongs to, "" if it is not known.
func (c *Catalog) Region(r crdt.ReplicaID) string { return c.regions[r] }

// with returns a catalog in which col replaces its incarnation; names are
// resolved anew: an explicit collection before an implicit one, then the least
// stamp, then the least dot.
func (c *Catalog) with(col *Collection) *Catalog {
	next := *c
	out := &next
	out.byName, out.byDot, out.callbacks, out.resident = map[string]*Collection{}, maps.Clone(c.byDot), nil, nil
	col.withHomes(c.homes[col.Incarnation])
	out.byDot[col.Incarnation] = col
	for _, dot := range slices.SortedFunc(maps.Keys(out.byDot), crdt.Dot.Compare) {
		x := *out.byDot[dot]
		x.Shadowed = false
		out.byDot[dot] = &x
		if x.Settings.Regions != nil {
			out.resident = append(out.resident, dot)
		}
		if x.Deleted {
			continue
		}
		if conflict.CallbackOf(x.Settings.Policy) != nil {
			out.callbacks = append(out.callbacks, dot)
		}
		if old, ok := out.byName[x.Name]; !ok || x.before(old) {
			out.byName[x.Name] = &x
		}
	}
	for _, x := range out.byDot {
		x.Shadowed = !x.Deleted && out.byName[x.Name] != x
	}
	return out
}

func (c *Collection) before(o *Collection) bool {
	if c.Explicit != o.Explicit {
		return c.Explicit
	}
	if c.Born != o.Born {
		return c.Born < o.Born
	}
	return c.Incarnation.Compare(o.Incarnation) < 0
}

func (c *Catalog) withRegion(r crdt.ReplicaID, name string) *Catalog {
	out := *c
	out.regions = maps.Clone(c.regions)
	out.regions[r] = name
	out.announcements = c.announcements.With(crdt.Dot{Replica: r, Seq: 1})
	return &out
}

func newCatalog() *Catalog {
	return &Catalog{
		byName:  map[string]*Collection{},
		byDot:   map[crdt.Dot]*Collection{},
		regions: map[crdt.ReplicaID]string{},
		homes:   map[crdt.Dot][]Home{},
		members: map[string]Member{},

		removals:    map[incarnation]Removal{},
		freezes:     map[incarnation]freeze{},
		completions: map[incarnation][]crdt.Dot{},
		claims:      map[crdt.ReplicaID][]claimed{},
	}
}

// CheckName says whether a collection may have this name: 1 to
// MaxCollectionName characters of letters, digits, '-', '_', '.', not starting
// with '_' or '.'.
func CheckName(name string) error {
	ok := name != "" && len(name) <= MaxCollectionName && name[0] != '_' && name[0] != '.'
	for _, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}
	if !ok {
		return fmt.Errorf("%w: collection name %.200q: use 1 to %d of a-z, A-Z, 0-9, '-', '_', '.', not starting with '_' or '.'",
			ErrInvalid, name, MaxCollectionName)
	}
	return nil
}

// CheckID says whether a document may have this id: 1 to crdt.MaxIDBytes bytes
// of UTF-8 without control characters.
func CheckID(id string) error {
	if id == "" || len(id) > crdt.MaxIDBytes {
		return fmt.Errorf("%w: a document id has 1 to %d bytes", ErrInvalid, crdt.MaxIDBytes)
	}
	for _, r := range id {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\uFFFD' {
			return fmt.Errorf("%w: document id %.200q has a control character or is not UTF-8", ErrInvalid, id)
		}
	}
	return nil
}
