package crdt

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/meridiandb/meridian/crdt/value"
)

// Type is the kind of state that a collection's documents are made of. It is
// fixed when the collection is made and travels in every mutation.
type Type uint8

// The types. Their numbers are part of the wire and store formats.
const (
	TypeDocument  Type = 1
	TypeRegister  Type = 2
	TypeAutomerge Type = 3
)

func (t Type) String() string {
	switch t {
	case TypeDocument:
		return "document"
	case TypeRegister:
		return "register"
	case TypeAutomerge:
		return "automerge"
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// ParseType reads a type's name.
func ParseType(s string) (Type, error) {
	switch s {
	case "document":
		return TypeDocument, nil
	case "register":
		return TypeRegister, nil
	case "automerge":
		return TypeAutomerge, nil
	}
	return 0, fmt.Errorf("%w: unknown collection type %q, use \"document\", \"register\" or \"automerge\"", ErrRefused, s)
}

// Errors of preparing an edit. Applying a mutation that was accepted elsewhere
// fails only with ErrCorrupt.
var (
	// ErrRefused: the value or operation cannot be kept (HTTP 422).
	ErrRefused = errors.New("refused")
	// ErrConflict: the edit does not fit the document as it is: a failed JSON
	// Patch test, a path that is not there, an index out of range (HTTP 409).
	ErrConflict = errors.New("does not fit the document")
	// ErrNotFound: the edit needs a document and there is none (HTTP 404).
	ErrNotFound = errors.New("no such document")
	// ErrTooManySiblings: the document has as many concurrent versions as local
	// writers may make; resolve some first (HTTP 409).
	ErrTooManySiblings = errors.New("too many siblings")
	// ErrTooLarge: the state would grow beyond its limit (HTTP 413).
	ErrTooLarge = errors.New("document too large")
	// ErrCorrupt: bytes that no correct replica writes.
	ErrCorrupt = errors.New("corrupt encoding")
)

// Limits bound what a local writer may make of one document. Mutations from
// peers are always applied.
type Limits struct {
	Value    value.Limits // of a document's JSON
	Siblings int          // concurrent versions of a document or field
	State    int          // encoded state, bytes
}

// DefaultLimits are the limits used unless settings say otherwise.
var DefaultLimits = Limits{Value: value.DefaultLimits, Siblings: 100, State: 4 << 20}

// A Version is one of the concurrent values of a document or of a field.
type Version struct {
	Dot     Dot
	Stamp   Stamp
	Value   any  // see package value; nil if Deleted
	Deleted bool // a deletion of the whole document
	Answer  bool // what a callback answered
}

// A Conflict is a set of concurrent versions of one thing, in canonical order:
// by stamp, then dot, least first.
type Conflict struct {
	// Path is the JSON Pointer of the field, "" for the whole document.
	Path     string
	Versions []Version
	// Decided says what a callback has decided about these versions, if it has.
	Decided Decision
}

// An Outcome is what a policy makes of a conflict.
type Outcome struct {
	// Shown is the index of the version that is shown, or -1 if Value is shown instead.
	Shown int
	// Value is what is shown when Shown is -1.
	Value any
	// Open says that the policy leaves the choice to the client: one version is
	// shown, and all of them are offered.
	Open bool
	// Pending says that a callback is still to decide. One version is shown until then.
	Pending bool
	// Failed says why the policy could not decide, "" if it could. What is shown
	// is then what the last write set.
	Failed string
	// Reason says in a person's words why.
	Reason string
}

// Resolve is a policy as the types see it: a pure function of a conflict with at
// least two versions.
type Resolve func(Conflict) Outcome

// Resolved is a conflict and its outcome.
type Resolved struct {
	Conflict
	Outcome
}

// A View is a document as a reader sees it.
type View struct {
	// Exists is false for a document that was never written or is deleted.
	Exists bool
	// Value is the document's JSON with typed values in place (see package value).
	Value any
	// Conflicts lists each conflict and what was made of it, in path order.
	Conflicts []Resolved
}

// EditKind says what a client asks for.
type EditKind uint8

// The kinds of edit.
const (
	// EditPut replaces the document by Value; types that merge per field turn
	// it into the differences to the version it is based on.
	EditPut EditKind = iota + 1
	// EditMergePatch applies Value as an RFC 7386 merge patch.
	EditMergePatch
	// EditJSONPatch applies Ops as RFC 6902.
	EditJSONPatch
	// EditOps applies Ops as application/vnd.meridian.ops+json.
	EditOps
	// EditDelete deletes the document with Mode.
	EditDelete
	// EditResolve writes Value over the versions in Covers (of the field at
	// Path, or of the document), or deletes the document if Value is absent
	// and Mode is set.
	EditResolve
	// EditImport takes in what Raw holds, in the type's own encoding: the
	// changes that a client of its made. Only types that have one.
	EditImport
)

// An Edit is what a client asks to be done to one document.
type Edit struct {
	Kind  EditKind
	Value any
	// Encoded is the binary form of Value, of an EditPut of a register, if whoever
	// submits it knows that the register takes that (register.Encode, under the limits
	// that Prepare is given). Nobody may change it. Nil leaves it to Prepare.
	Encoded []byte
	Ops     []value.Op
	Mode    DeleteMode
	Path    value.Pointer
	Covers  []Dot
	// Beside lets the versions that Covers does not name stay, all of them if it
	// names none: Value becomes one more. EditResolve only; not of an automerge document.
	Beside bool
	// Base is the older state that the edit is based on; nil means the present
	// one. EditPut and the patches only.
	Base State
	// BaseValue, when HasBaseValue, is the older value that the edit is based
	// on, for a client that brings it along. EditPut only.
	BaseValue    any
	HasBaseValue bool
	// Raw is what EditImport takes in. It comes from a client: types check it.
	Raw []byte
	// Collection and ID name the document, for types that mint ids within it.
	Collection Dot
	ID         string
	// Transfers move shares of bounded counters, along with the edit. They are
	// the owner's; only types that are Bounded know them.
	Transfers []Transfer
}

// A Transfer moves shares of a counter from one replica to another.
type Transfer struct {
	Path     value.Pointer
	From, To ReplicaID
	Down, Up int64
}

// A Share is what a replica has done to a counter, and has been given of it.
type Share struct {
	// Net is what its increments sum to.
	Net int64
	// Down and Up are what transfers brought it, less what they took: how far it
	// may take the counter down or up beyond what follows from Net.
	Down, Up int64
}

// A State is the replicated state of one document. Equal sets of applied
// mutations give equal states, whatever their order, as long as the order is
// causal; no collection setting has any part in it. States are not safe for
// concurrent use.
type State interface {
	// Type is the state's type.
	Type() Type
	// Heads tells existence and the maximal changes.
	Heads() *Heads
	// Prepare turns an edit, made by a writer who sees this state under the
	// given policy, into a mutation (Type, Context, Fresh, Delete and Payload
	// filled in) that the change named by hd will carry. The state is not changed.
	// An edit that changes nothing gives a mutation all the same: the write is
	// acknowledged and gets a dot. A write by who sees no document is Fresh,
	// whatever it is based on, and only what is visible can be deleted: otherwise
	// it would matter whether this region has forgotten a deletion.
	Prepare(e Edit, hd Header, resolve Resolve, l Limits) (Mutation, error)
	// Apply takes a mutation in. Mutations arrive once each and in causal order.
	// The only error is ErrCorrupt, and then the state is unchanged.
	Apply(hd Header, m Mutation) error
	// View shows the document under a policy.
	View(resolve Resolve) View
	// Versions lists the heads in canonical order; Value is set for types that
	// hold a whole value per head.
	Versions() []Version
	// Trim drops metadata that the stable vector makes needless; it never
	// changes a view nor the result of a later mutation (I14). A state whose
	// Heads are not Known afterwards is to be removed from the store.
	Trim(stable Vector) (changed bool)
	// Trims reports whether Trim may yet drop anything of the state as it is, once more
	// is stable.
	Trims() bool
	// Digest is a hash of all that equal Have makes equal (I5); what Trim drops
	// is left out, so it is the same before and after. That of a document that
	// is not visible is zero, since another region may have forgotten it.
	Digest() [DigestSize]byte
	// AppendBinary appends the encoding, with a format version, to b.
	AppendBinary(b []byte) ([]byte, error)
	// Clone returns an independent copy.
	Clone() State
}

// A Bounded is a state whose counters can have bounds (Balegas et al. 2015). The
// bounds are the owner's business, who knows them; the state keeps who may do what.
type Bounded interface {
	State
	// Shares lists the shares of the replicas in the counter at a path of member
	// names. other says that there is something else at that place.
	Shares(p value.Pointer) (shares map[ReplicaID]Share, other bool)
}

// A Rebaser is a state that can take a change in of which it lacks what came before:
// others have made that anew, or forgotten it. Replicas that do so do not converge: it
// shows what the change would do.
type Rebaser interface {
	State
	// Rebase applies a change as Apply does, but for what it builds on.
	Rebase(hd Header, m Mutation) error
}

// An Exporter is a state that can be saved in a format that others read, of
// which EditImport takes parts in again.
type Exporter interface {
	State
	// Export returns the document with all that the format holds of it, nil if
	// there is no document.
	Export() ([]byte, error)
	// Condense is Export without the history: what the document shows under a
	// policy, for a new document. It is ErrConflict where the policy shows a value
	// that nobody wrote.
	Condense(resolve Resolve) ([]byte, error)
	// Extent is how many changes and operations are in the history.
	Extent() (changes, ops int)
}

// DigestSize is the length of a state's digest in bytes.
const DigestSize = 16

// HeadsHashSize is the length of a HeadsHash.
const HeadsHashSize = 12

// HeadsHash names a set of heads: equal heads, equal hash.
func HeadsHash(heads []Dot) [HeadsHashSize]byte {
	var room [256]byte // on the stack, for most documents
	b := room[:0]
	for _, d := range heads {
		b = appendDot(b, d)
	}
	sum := sha256.Sum256(b)
	return [HeadsHashSize]byte(sum[:])
}

// VersionTag writes the HeadsHash of a set of heads as it stands in an ETag.
func VersionTag(heads []Dot) string { return TagOf(HeadsHash(heads)) }

// TagOf writes a HeadsHash as it stands in an ETag.
func TagOf(hash [HeadsHashSize]byte) string { return base64.RawURLEncoding.EncodeToString(hash[:]) }

// Sized is implemented by states that take several times as much memory as their
// encoding has bytes.
type Sized interface {
	// Memory estimates the bytes that the state takes, as of when it was encoded or
	// decoded last.
	Memory() int
}
