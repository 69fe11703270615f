package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/backup"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/store"
)

// Problem is the body of every answer that is an error (RFC 9457). Type is
// stable: programs look at it, people at Detail.
type Problem struct {
	// Type is ProblemPath and a name; GET of it explains the problem.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	// Region is the region that answered.
	Region string `json:"region"`
	// Retryable says whether the same request can succeed later, or elsewhere.
	Retryable bool `json:"retryable"`
	// Pointer is a JSON pointer into the request's body, Offset the byte in it.
	Pointer string `json:"pointer,omitempty"`
	Offset  *int64 `json:"offset,omitempty"`
	// Lag comes with "behind".
	Lag *Lag `json:"lag,omitempty"`
	// Fault comes with "policy-refused".
	Fault *Fault `json:"fault,omitempty"`
	// Share comes with "no-share" and "share-away".
	Share *Share `json:"share,omitempty"`
}

// A Share says how far a counter may be taken.
type Share struct {
	// Path is where the counter is, Bound which bound it is about: "min" or "max".
	Path  string `json:"path"`
	Bound string `json:"bound"`
	// Needed is how much the request needs, Here what this region may do. A
	// deletion needs all, and says no number.
	Needed int64 `json:"needed,omitempty"`
	Here   int64 `json:"here"`
	// Regions is what the others may do, as far as it is known here.
	Regions map[string]int64 `json:"regions"`
}

func shareOf(e *core.ShareError) *Share {
	bound := "min"
	if e.Up {
		bound = "max"
	}
	return &Share{Path: e.Path, Bound: bound, Needed: e.Needed, Here: e.Here, Regions: e.Regions}
}

// ProblemPath is what the types of problems start with.
const ProblemPath = "/problems/"

// A kind is a type of problem.
type kind struct {
	name      string
	status    int
	title     string
	retryable bool
	explain   string // what it means and what to do
}

func (k *kind) uri() string { return ProblemPath + k.name }

// The types of problems. README.md lists them, and a test compares.
var (
	malformedRequest = &kind{"malformed-request", 400, "Malformed request", false, "A header, a query parameter or the shape of the body is not what the route takes. The detail says which."}
	malformedJSON    = &kind{"malformed-json", 400, "Malformed JSON", false, "The body is not JSON: RFC 8259, in UTF-8, without duplicate names. \"offset\" is the byte where reading stopped."}
	malformedPatch   = &kind{"malformed-patch", 400, "Malformed patch", false, "The body is JSON and no patch of the media type that it was sent as."}
	malformedETag    = &kind{"malformed-etag", 400, "Malformed entity tag", false, "If-Match, If-None-Match and Meridian-Base take entity tags as they came in the header ETag, with their double quotes; the first two also lists of them, or *."}
	malformedToken   = &kind{"malformed-token", 400, "Malformed token", false, "Meridian-Token is not one that a region gave. Send back what was received, unchanged, or nothing."}
	malformedCursor  = &kind{"malformed-cursor", 400, "Malformed cursor", false, "The cursor is not one that this route gave for this prefix. Start without one."}
	crossOrigin      = &kind{"cross-origin", 403, "Cross-origin request refused", false, "A browser sent a write on behalf of a page of another origin. Start the server with that origin as a trusted one if it should be able to."}
	noRoute          = &kind{"no-such-route", 404, "No such route", false, "Nothing is served under this path. Slashes in document ids are to be written %2F."}
	unknownColl      = &kind{"unknown-collection", 404, "Unknown collection", false, "No collection has this name. The first write makes one, unless the server was started with --strict-collections: then PUT /v1/collections/{name} does."}
	noDocument       = &kind{"no-such-document", 404, "No such document", false, "The region holds no such document: it was never written, or is deleted, or has not arrived yet. A Meridian-Token rules the last one out."}
	unknownRegion    = &kind{"unknown-region", 404, "Unknown region", false, "The cluster has no other region of that name. GET /v1/cluster lists them."}
	noConflict       = &kind{"no-such-conflict", 404, "No such conflict", false, "The region's log has no conflict of this id: it did not see it, or the record is gone by age or size."}
	faultsOff        = &kind{"fault-injection-off", 404, "Fault injection is off", false, "Links can be broken on request only where the server was started with --fault-injection."}
	badMethod        = &kind{"method-not-allowed", 405, "Method not allowed", false, "The path is served, but not with this method. The header Allow lists those that are."}
	misfit           = &kind{"does-not-fit", 409, "Does not fit the document", false, "The edit is fine in itself and does not fit the document as it is: a test failed, a path or index is not there, a bound was reached. Read the document again."}
	tooManySiblings  = &kind{"too-many-siblings", 409, "Too many siblings", false, "The document has as many concurrent versions as local writers may make. Resolve them first: PUT with If-Match, or POST …/resolve."}
	noShare          = &kind{"no-share", 409, "Counter is at its bound", false, "The regions together may not take the counter that far: it is used up. \"share\" says what is left."}
	shareAway        = &kind{"share-away", 409, "Share is in other regions", true, "The region's share of the counter is too small, and those that have more of it did not give it in time. \"share\" says who has how much. Wait as long as Retry-After says, ask for a longer wait by Prefer: wait=N, or write in one of these regions."}
	removing         = &kind{"removing", 409, "Region is being removed", false, "The region is being removed from the cluster, and can be added again when that is done. GET /v1/cluster says what it waits for."}
	noMajority       = &kind{"no-majority", 409, "No majority would remain", false, "Without the region no majority of the members would remain, so two parts of the cluster could each go on without the other. Bring it back, or, if it is gone for good, remove it by force."}
	exists           = &kind{"exists", 409, "Exists already", false, "The thing is there already, and different in what cannot be changed, such as a collection's type."}
	placeMoved       = &kind{"place-moved", 409, "The place may have moved", false, "The conflict is settled and was in a list, whose elements may have moved since. Look at the document, and send its ETag as If-Match."}
	baseGone         = &kind{"base-gone", 410, "Base version is gone", false, "The version named by Meridian-Base is not kept any more (the collection's setting \"keep\"). Send the base itself: PUT with Content-Type application/vnd.meridian.based+json and {\"base\": …, \"value\": …}."}
	versionGone      = &kind{"version-gone", 410, "Version is not kept", false, "The value of this version of a conflict is too large for the record, and is not in the document any more."}
	feedGone         = &kind{"feed-gone", 410, "Feed position is gone", false, "What has changed since is not kept any more, or the id is not one of this region's feed. Read the list, and follow from there."}
	momentGone       = &kind{"moment-gone", 410, "Moment is not kept", false, "The handle of a list's moment (at=) is known in the region that gave it only, for a minute after it was last used and an hour in all, and not across a restart. Read the list from its beginning, with at=now."}
	sinceGone        = &kind{"backup-base-gone", 410, "No incremental backup is possible", false, "The log does not reach back to the earlier backup, the region lacks changes that are in it, or too much has changed since. Make a full backup."}
	writeLost        = &kind{"write-lost", 410, "Write is lost", false, "Meridian-Token names a write of a region that was removed from the cluster before another region had it. Drop the token and read again. If the region comes back and its store is whole, what it had is written anew."}
	precondition     = &kind{"precondition-failed", 412, "Precondition failed", false, "If-Match or If-None-Match does not hold in this region. Read the document again, decide, and send the new ETag."}
	tooLarge         = &kind{"too-large", 413, "Too large", false, "The body, the document that would result, or the change is beyond a limit. The detail names it."}
	badMediaType     = &kind{"unsupported-media-type", 415, "Unsupported media type", false, "The route does not take bodies of this Content-Type or Content-Encoding. For PATCH the header Accept-Patch lists those that it does. Note that curl -d says application/x-www-form-urlencoded by default; curl --json says application/json."}
	notHeld          = &kind{"not-held", 421, "Not held by this region", false, "The collection is held by some regions only (its setting \"regions\"), this one is none of them, and the request is not handed on: the collection's setting \"elsewhere\" is \"refuse\", or the answer is a stream. The detail names the regions to ask."}
	refused          = &kind{"refused", 422, "Refused value", false, "The body is well formed, but the value or operation cannot be kept."}
	invalid          = &kind{"invalid", 422, "Invalid request", false, "A name, an id or a setting is not a possible one. The detail says what is."}
	badPolicy        = &kind{"policy-refused", 422, "Policy refused", false, "The script of a policy failed its check: it threw an exception, went over a limit, was not deterministic, or went by the order of the versions. \"fault\" has the conflict on which it did."}
	keyReused        = &kind{"key-reused", 422, "Idempotency key was used before", false, "Idempotency-Key was given with another request within the last 24 hours: another body, path, media type or precondition. Use a new key for each request, and the same only to repeat it."}
	notObject        = &kind{"not-an-object", 422, "Not an object", false, "The root of a document is a JSON object."}
	tooDeep          = &kind{"too-deep", 422, "Nested too deeply", false, "Arrays and objects are nested deeper than allowed."}
	severalHomes     = &kind{"several-homes", 422, "Several homes", false, "Documents of one request have different strict homes, and no region may write to all of them. Write them one by one, or move a home."}
	inexactNumber    = &kind{"inexact-number", 422, "Number cannot be kept exactly", false, "Integers go to 2^63-1, other numbers are 64-bit floats; a number that would be rounded is refused. Send it as a string, or with fewer digits."}
	severalHolders   = &kind{"several-holders", 422, "Several sets of regions", false, "The collections of one request are held by different regions (the setting \"regions\"), and no change can be in both. Write them one by one."}
	upgradeRequired  = &kind{"upgrade-required", 426, "WebSocket needed", false, "The route speaks over a WebSocket. Let an Automerge repository connect to it."}
	busy             = &kind{"busy", 429, "Busy", true, "The region has as much to do as it takes on. Wait as long as Retry-After says."}
	keysFull         = &kind{"keys-full", 429, "Too many idempotency keys", true, "The region remembers as many requests under idempotency keys as it may. They expire after 24 hours. Nothing was written: send the request without a key if it need not be repeated."}
	internal         = &kind{"internal", 500, "Internal error", false, "A defect of the server. Its log tells more."}
	fenced           = &kind{"fenced", 503, "Store is fenced", true, "This region's store was found to be a fork of another and takes no writes. Other regions do; the operator of this one has to act."}
	catchingUp       = &kind{"catching-up", 503, "Catching up", true, "The region has just started and has not met a peer yet (it waits for one for two seconds), or its store is new or was rolled back and does not hold yet what its peers hold. While it copies another region it answers no reads either; GET /v1/cluster says how far it is."}
	behind           = &kind{"behind", 503, "Region is behind", true, "The region has not yet received all that Meridian-Token names. \"lag\" says how much is missing. Wait as long as Retry-After says, ask for a longer wait by Prefer: wait=N, or ask another region."}
	noQuorum         = &kind{"no-quorum", 503, "Not enough regions", true, "The read asked for more regions than answered in time, or what they hold did not arrive. Wait as long as Retry-After says, ask for a longer wait by Prefer: wait=N, or for fewer regions by read=."}
	homeAway         = &kind{"home-unreachable", 503, "Home cannot be reached", true, "Another region is the strict home of these documents and cannot be reached from here. The request has not been carried out. Wait as long as Retry-After says, or ask a region that reaches the home."}
	holdersAway      = &kind{"holders-unreachable", 503, "No region that holds it can be reached", true, "The collection is held by some regions only (its setting \"regions\"), and none of them can be reached from here. The request has not been carried out. Wait as long as Retry-After says, or ask a region that holds it."}
	homePending      = &kind{"home-pending", 503, "Home is not established yet", true, "The region is to be the home and is not yet: not all regions are known to have stopped taking writes, or the last writes of the former home have not arrived. Wait as long as Retry-After says."}
	noAuthority      = &kind{"no-authority", 503, "Home has no authority", false, "The region is home by name, but its store was replaced since, or it has never been heard: what it had taken may be missing. Grant it again: POST /v1/collections/{name}/home."}
	notMember        = &kind{"not-member", 503, "Not a member", true, "The region was not added to the cluster, so the others refuse it. Add it by POST /v1/cluster/regions/{region} to any of them."}
	removedKind      = &kind{"removed", 503, "Region was removed", true, "The region was removed from the cluster, or is about to be, and takes no writes any more. Other regions do."}
	notReady         = &kind{"not-ready", 503, "Not ready", true, "The region does not serve yet, or any more."}
	stopped          = &kind{"stopped", 503, "Stopping", true, "The region is shutting down. Other regions serve."}
	damagedKind      = &kind{"document-damaged", 503, "Document is damaged", true, "The region's copy of the document is not what was written. It is repaired from another region within seconds if one can be reached; others serve it meanwhile."}
	storage          = &kind{"storage", 503, "Storage failed", true, "The region's disk failed. Nothing that was acknowledged is lost; the region recovers or other regions serve."}
	timeout          = &kind{"timeout", 503, "Timed out", true, "The region did not answer in time. A write may have been made all the same: read, or make it again under a precondition."}
	full             = &kind{"storage-full", 507, "Storage full", true, "The region's disk is full. Reads go on; writes do once there is room."}
)

// kinds lists them all, for GET /problems/.
var kinds = []*kind{
	malformedRequest, malformedJSON, malformedPatch, malformedETag, malformedToken, malformedCursor,
	crossOrigin, noRoute, unknownColl, noDocument, unknownRegion, noConflict, faultsOff, badMethod,
	misfit, tooManySiblings, noShare, shareAway, exists, removing, noMajority, placeMoved, baseGone, versionGone, feedGone, momentGone, sinceGone, writeLost, precondition, tooLarge, badMediaType,
	notHeld, refused, invalid, badPolicy, keyReused, notObject, tooDeep, inexactNumber, severalHomes, severalHolders,
	upgradeRequired,
	busy, keysFull, internal, fenced, catchingUp, behind, noQuorum, homeAway, holdersAway, homePending, noAuthority, notMember, removedKind, notReady, stopped, damagedKind, storage, timeout, full,
}

// byError says which problem an error is. The first that matches counts: the
// precise reasons stand before those that wrap them.
var byError = []struct {
	err  error
	kind *kind
}{
	{value.ErrSyntax, malformedJSON},
	{value.ErrPatch, malformedPatch},
	{value.ErrPointer, malformedPatch},
	{value.ErrNotObject, notObject},
	{value.ErrTooDeep, tooDeep},
	{value.ErrNumber, inexactNumber},
	{value.ErrTooLarge, tooLarge},
	{value.ErrReserved, refused},
	{crdt.ErrTooLarge, tooLarge},
	{crdt.ErrTooManySiblings, tooManySiblings},
	{crdt.ErrConflict, misfit},
	{value.ErrPatchPath, misfit},
	{value.ErrPatchTest, misfit},
	{crdt.ErrNotFound, noDocument},
	{crdt.ErrRefused, refused},
	{core.ErrUnknownCollection, unknownColl},
	{core.ErrPrecondition, precondition},
	{core.ErrBaseGone, baseGone},
	{core.ErrUnknownConflict, noConflict},
	{core.ErrMoved, placeMoved},
	{journal.ErrNotKept, versionGone},
	{journal.ErrBadID, malformedRequest},
	{region.ErrFeedGone, feedGone},
	{backup.ErrSince, sinceGone},
	{core.ErrNoShare, noShare},
	{core.ErrExists, exists},
	{core.ErrTooBig, tooLarge},
	{core.ErrSeveralHomes, severalHomes},
	{core.ErrSeveralHolders, severalHolders},
	{core.ErrNotHeld, notHeld},
	{core.ErrHomePending, homePending},
	{core.ErrNoAuthority, noAuthority},
	{core.ErrUnknownReplica, noAuthority},
	{core.ErrInvalid, invalid},
	{core.ErrNotMember, notMember},
	{core.ErrRemoved, removedKind},
	{core.ErrRemoving, removing},
	{core.ErrNoMajority, noMajority},
	{core.ErrWriteLost, writeLost},
	{core.ErrFenced, fenced},
	{core.ErrCatchingUp, catchingUp},
	{core.ErrNoQuorum, noQuorum},
	{core.ErrCrowded, busy},
	{core.ErrKeyReused, keyReused},
	{core.ErrKeysFull, keysFull},
	{region.ErrHandleGone, momentGone},
	{region.ErrHandlesFull, busy},
	{region.ErrBusy, busy},
	{region.ErrBehind, behind},
	{region.ErrUnreachable, homeAway},
	{region.ErrStopped, stopped},
	{store.ErrFull, full},
	{store.ErrBatchTooLarge, tooLarge},
	{core.ErrDamaged, damagedKind},
	{region.ErrStorage, storage},
	{context.DeadlineExceeded, timeout},
	{context.Canceled, timeout},
}

// A problemError is an error that says which problem it is.
type problemError struct {
	kind    *kind
	detail  string
	pointer string
	lag     *Lag
	fault   *Fault
}

func (e *problemError) Error() string { return e.kind.title + ": " + e.detail }

func problemf(k *kind, format string, args ...any) *problemError {
	return &problemError{kind: k, detail: fmt.Sprintf(format, args...)}
}

// problemOf makes of an error what the client gets to see.
func problemOf(err error) (k *kind, p Problem) {
	p.Detail = err.Error()
	if e, ok := errors.AsType[*problemError](err); ok {
		k = e.kind
		// The title is in the problem already.
		p.Detail = strings.Replace(p.Detail, e.Error(), e.detail, 1)
		p.Pointer, p.Lag, p.Fault = e.pointer, e.lag, e.fault
	} else {
		k = internal
		for i := range byError {
			if errors.Is(err, byError[i].err) {
				k = byError[i].kind
				break
			}
		}
	}
	if e, ok := errors.AsType[*core.ShareError](err); ok {
		if e.Elsewhere() {
			k = shareAway
		}
		p.Share = shareOf(e)
	}
	if e, ok := errors.AsType[*value.Error](err); ok {
		p.Pointer += e.Pointer
		if e.Offset >= 0 && p.Pointer == e.Pointer {
			p.Offset = &e.Offset
		}
	}
	switch k {
	case internal, storage:
		// What went wrong inside is the operator's business: it is in the log.
		p.Detail = k.explain
	}
	p.Type, p.Title, p.Status, p.Retryable = k.uri(), k.title, k.status, k.retryable
	return k, p
}

// retryAfter is what the header Retry-After says, in seconds.
const retryAfter = 1

// fail answers with the problem that err is.
func (x *exchange) fail(r *http.Request, err error) {
	k, p := problemOf(err)
	p.Region = x.s.region.Name()
	switch k {
	case internal, storage, full:
		x.s.log.Error("a request failed", "method", r.Method, "path", r.URL.EscapedPath(), "error", err)
	}
	h := x.Header()
	if k.retryable {
		h["Retry-After"] = []string{strconv.Itoa(retryAfter)}
	}
	if k == badMediaType && r.Method == http.MethodPatch {
		h["Accept-Patch"] = acceptPatch
	}
	b, err := json.Marshal(p)
	if err != nil {
		b = []byte(`{"type":"/problems/internal","status":500}`)
	}
	linger := mayLinger(r) && http.NewResponseController(x).EnableFullDuplex() == nil
	if linger {
		h["Connection"] = []string{"close"}
	}
	x.answer(r, k.status, problemMedia, append(b, '\n'))
	if linger {
		x.linger(r)
	}
}

// explainProblems answers GET /problems/ and GET /problems/{name}.
func (s *Server) explainProblems(x *exchange, r *http.Request) error {
	type explained struct {
		Type      string `json:"type"`
		Status    int    `json:"status"`
		Title     string `json:"title"`
		Retryable bool   `json:"retryable"`
		Explain   string `json:"explanation"`
	}
	name := x.param(r, "name")
	var all []explained
	for _, k := range kinds {
		e := explained{k.uri(), k.status, k.title, k.retryable, k.explain}
		if k.name == name {
			return x.answerJSON(r, http.StatusOK, e)
		}
		all = append(all, e)
	}
	if name != "" {
		return problemf(noRoute, "there is no problem of this name; GET %s lists all", ProblemPath)
	}
	return x.answerJSON(r, http.StatusOK, map[string]any{"problems": all})
}
