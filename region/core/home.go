package core

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meridiandb/meridian/crdt"
)

// A collection, or the documents in it whose ids start with a prefix, can have
// a home: a region that takes their writes. A preferred home is advice to whoever
// hands writes to regions. A strict one is authority, which one replica has at a
// time, and which is a document of the system collection of its own, written by
// whoever may:
//
//   - Where there is no authority any region may claim it for a replica. All
//     regions refuse writes from the moment that they apply the claim. The replica
//     grants it to itself once the claim is stable here and no other claim
//     outbids it: then everybody has applied it, and whatever anybody wrote
//     before that is here. A claim made in ignorance of this one is known then,
//     too, and the greatest stamp decides between them.
//   - Who has authority may hand it on or give it up, by a change like any other.
//     It carries the vector of all that was written under it (its Deps), and
//     counts where it is applied, so causal delivery is the whole protocol.
//   - A new replica of the region has none (its store was restored), and can
//     only claim it anew. An operator may force it; what the former holder took
//     and nobody else has is then lost, or comes later, as concurrent writes.

// A HomeMode says what becomes of writes that do not reach their home.
type HomeMode int

const (
	// HomeStrict lets nobody but the home take writes.
	HomeStrict HomeMode = iota
	// HomePrefer lets the region that has been asked take a write if its home
	// cannot be reached.
	HomePrefer
)

func (m HomeMode) String() string {
	if m == HomePrefer {
		return "prefer"
	}
	return "strict"
}

// A HomeSetting wishes for a home.
type HomeSetting struct {
	// Prefix is what the ids of the documents start with, "" for all of the collection.
	Prefix string
	Region string
	Mode   HomeMode
}

// A Home is where documents of a collection are written, and who may.
type Home struct {
	HomeSetting
	// Epoch counts the holders that there were, and Replica is the present one.
	// A strict home that is not Granted is being claimed: nobody takes writes.
	Epoch   uint64
	Replica crdt.ReplicaID
	Granted bool
	// Forced says that an operator has taken it from the former holder, which was not asked.
	Forced bool
}

// Strict reports whether the home has, or is about to have, authority.
func (h *Home) Strict() bool { return h.Region != "" && h.Mode == HomeStrict }

// MaxHomes is the most homes that a collection has, each for a prefix of its own.
const MaxHomes = 64

// MaxHomePrefix is the greatest length of a prefix in bytes.
const MaxHomePrefix = 128

// Errors of homes.
var (
	// ErrNotHome: another region takes such writes; see NotHomeError.
	ErrNotHome = errors.New("another region is home")
	// ErrSeveralHomes: the documents of one write have several strict homes (HTTP 422).
	ErrSeveralHomes = errors.New("several homes")
	// ErrHomePending: this region is to be the home and is not yet; not all regions
	// are known to have stopped taking writes, or the former home's last writes are
	// not here (HTTP 503).
	ErrHomePending = errors.New("home is not established yet")
	// ErrNoAuthority: this region is the home by name, but its store was replaced
	// since, and may lack what it had taken. It has to be granted again (HTTP 503).
	ErrNoAuthority = errors.New("no authority")
	// ErrUnknownReplica: the region has never been heard here, so it cannot be named (HTTP 503).
	ErrUnknownReplica = errors.New("region was never heard")
)

// A NotHomeError says which region takes a write. It is an ErrNotHome.
type NotHomeError struct {
	Collection, Prefix, Region string
}

func (e *NotHomeError) Error() string {
	what := e.Collection
	if e.Prefix != "" {
		what = fmt.Sprintf("%s with ids that start with %q", what, e.Prefix)
	}
	return fmt.Sprintf("%v: that of %s is %s", ErrNotHome, what, e.Region)
}

// Is makes a NotHomeError an ErrNotHome.
func (e *NotHomeError) Is(target error) bool { return target == ErrNotHome }

type homeJSON struct {
	Region string `json:"region"`
	Mode   string `json:"mode,omitempty"`
	Prefix string `json:"prefix,omitempty"`
}

// parseHomes reads a region, an object, or a list of objects.
func parseHomes(b json.RawMessage) ([]HomeSetting, error) {
	var in []homeJSON
	switch b = bytes.TrimSpace(b); {
	case len(b) == 0 || string(b) == "null":
		return nil, nil
	case b[0] == '"':
		in = make([]homeJSON, 1)
		if err := json.Unmarshal(b, &in[0].Region); err != nil {
			return nil, fmt.Errorf("%w: home: %w", ErrInvalid, err)
		}
	case b[0] == '{':
		b = slices.Concat([]byte{'['}, b, []byte{']'})
		fallthrough
	default:
		d := json.NewDecoder(bytes.NewReader(b))
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil {
			return nil, fmt.Errorf("%w: home is a region, {\"region\", \"mode\", \"prefix\"}, or a list of these: %w", ErrInvalid, err)
		}
	}
	if len(in) > MaxHomes {
		return nil, fmt.Errorf("%w: %d homes, at most %d", ErrInvalid, len(in), MaxHomes)
	}
	out := make([]HomeSetting, len(in))
	for i, h := range in {
		out[i] = HomeSetting{Prefix: h.Prefix, Region: h.Region}
		switch {
		case h.Region == "":
			return nil, fmt.Errorf("%w: a home needs a region", ErrInvalid)
		case h.Mode == HomePrefer.String():
			out[i].Mode = HomePrefer
		case h.Mode != "" && h.Mode != HomeStrict.String():
			return nil, fmt.Errorf("%w: the mode of a home is \"strict\" or \"prefer\", not %.20q", ErrInvalid, h.Mode)
		}
		if err := checkHomePrefix(h.Prefix); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b HomeSetting) int { return strings.Compare(a.Prefix, b.Prefix) })
	for i := range out[min(1, len(out)):] {
		if out[i].Prefix == out[i+1].Prefix {
			return nil, fmt.Errorf("%w: two homes for the prefix %.100q", ErrInvalid, out[i].Prefix)
		}
	}
	return out, nil
}

func checkHomePrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	if len(prefix) > MaxHomePrefix {
		return fmt.Errorf("%w: the prefix of a home has at most %d bytes", ErrInvalid, MaxHomePrefix)
	}
	return CheckID(prefix)
}

// homesJSON writes what parseHomes reads, the shortest way.
func homesJSON(homes []HomeSetting) json.RawMessage {
	var v any
	out := make([]homeJSON, len(homes))
	for i, h := range homes {
		out[i] = homeJSON{Region: h.Region, Mode: h.Mode.String(), Prefix: h.Prefix}
	}
	switch {
	case len(out) == 0:
		return nil
	case len(out) > 1:
		v = out
	case homes[0] == HomeSetting{Region: homes[0].Region}:
		v = homes[0].Region
	default:
		v = out[0]
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // texts
	}
	return b
}

// Home returns the home of a document: that of the longest prefix. It is nil if
// every region takes its writes.
func (c *Collection) Home(id string) *Home {
	var home *Home
	for i := range c.Homes { // sorted by prefix: what matches later is longer
		if h := &c.Homes[i]; h.Region != "" && strings.HasPrefix(id, h.Prefix) {
			home = h
		}
	}
	return home
}

// HomeAt returns the home of a prefix, nil if it never had one.
func (c *Collection) HomeAt(prefix string) *Home {
	i, ok := slices.BinarySearchFunc(c.Homes, prefix, func(h Home, prefix string) int { return strings.Compare(h.Prefix, prefix) })
	if !ok {
		return nil
	}
	return &c.Homes[i]
}

// withHomes gives a collection its homes, and its settings those that it wishes for.
func (c *Collection) withHomes(homes []Home) {
	c.Homes, c.Settings.Homes = homes, nil
	for _, h := range homes {
		if h.Region != "" {
			c.Settings.Homes = append(c.Settings.Homes, h.HomeSetting)
		}
	}
}

// withHome returns a catalog in which an incarnation has a home for a prefix.
func (c *Catalog) withHome(incarnation crdt.Dot, h Home) *Catalog {
	out := *c
	out.homes = make(map[crdt.Dot][]Home, len(c.homes)+1)
	for dot, homes := range c.homes {
		out.homes[dot] = homes
	}
	homes := slices.Clone(c.homes[incarnation])
	i, found := slices.BinarySearchFunc(homes, h.Prefix, func(h Home, prefix string) int { return strings.Compare(h.Prefix, prefix) })
	if found {
		homes[i] = h
	} else {
		homes = slices.Insert(homes, i, h)
	}
	out.homes[incarnation] = homes
	col, ok := c.byDot[incarnation]
	if !ok {
		return &out // it comes with the collection
	}
	changed := *col
	return out.with(&changed)
}

// CheckHome says whether a region, with its present replica, has the authority
// of a strict home of a collection: nil if it has.
func CheckHome(region string, replica crdt.ReplicaID, col *Collection, h *Home) error {
	switch {
	case h.Region != region:
		return &NotHomeError{Collection: col.Name, Prefix: h.Prefix, Region: h.Region}
	case h.Replica != replica:
		return fmt.Errorf("%w: %s was home of %s with a store that was replaced since; an operator has to grant it again",
			ErrNoAuthority, h.Region, col.Name)
	case !h.Granted:
		return fmt.Errorf("%w: %s is to be home of %s once all regions are known to have stopped taking writes", ErrHomePending, h.Region, col.Name)
	}
	return nil
}

// givesShares reports whether an edit only hands shares of counters over. Where the
// home is does not matter to that: it changes nothing that is shown, and the home
// has to get the shares that other regions had before it was one.
func givesShares(e *crdt.Edit) bool {
	return e.Kind == crdt.EditOps && len(e.Ops) == 0 && len(e.Transfers) > 0
}

// checkHomes says whether this region may take a write.
func (c *Core) checkHomes(w *Write) error {
	var home *Home
	var refusal error
	for i := range w.Docs {
		col, err := c.catalog.Collection(w.Docs[i].Collection)
		if err != nil {
			continue // it is new, or the write fails
		}
		h := col.Home(w.Docs[i].ID)
		if h == nil || !h.Strict() || givesShares(&w.Docs[i].Edit) {
			continue
		}
		if home != nil && home.Region != h.Region {
			return fmt.Errorf("%w: documents of one write have the homes %s and %s; write them one by one", ErrSeveralHomes, home.Region, h.Region)
		}
		home = h
		if err := CheckHome(c.cfg.Region, c.replica, col, h); err != nil {
			refusal = inDoc(*w, i, err)
		}
	}
	return refusal
}
