package api

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
)

// listConflicts answers GET /v1/conflicts with a page of the log, the newest
// first, or with a feed of its changes.
func (s *Server) listConflicts(x *exchange, r *http.Request) error {
	q := parseQuery(r, "collection", "state", "since", "region", "limit", "cursor", "feed", "after")
	query := region.ConflictQuery{
		Collection: q.text("collection"), State: journal.State(q.text("state")), Region: q.text("region"),
		Limit: q.count("limit", DefaultListLimit, MaxListLimit),
	}
	feed := q.flag("feed") || accepts(r, MediaEvents)
	var err error
	if query.Since, err = parseSince(q.text("since")); err == nil {
		query.Before, err = decodeSeqCursor(q.text("cursor"))
	}
	if q.err != nil {
		return q.err
	}
	if err != nil {
		return err
	}
	if err := x.heldConflicts(r, query.Collection, feed); err != nil {
		return err
	}
	if err := x.await(r); err != nil {
		return err
	}
	if feed {
		return s.feedConflicts(x, r, query, q.text("after"))
	}
	if q.text("after") != "" {
		return problemf(malformedRequest, "\"after\" goes with a feed; a page goes on by \"cursor\"")
	}
	page, err := s.region.Conflicts(r.Context(), query)
	if err != nil {
		return err
	}
	x.saw(page.Have)
	buf := newBuffer()
	defer buf.release()
	buf.b = append(buf.b, `{"conflicts":[`...)
	more := page.More
	var last uint64
	for i, c := range page.Records {
		if i > 0 && len(buf.b) >= MaxListBytes {
			more = true
			break
		}
		if i > 0 {
			buf.b = append(buf.b, ',')
		}
		if buf.b, err = appendJSON(buf.b, summaryOf(c)); err != nil {
			return err
		}
		last = c.Seq
	}
	buf.b = append(buf.b, `],"changes":`...)
	buf.b = strconv.AppendUint(buf.b, page.Changes, 10)
	if more {
		cursor := encodeSeqCursor(last)
		buf.b = append(buf.b, `,"cursor":`...)
		buf.b = appendString(buf.b, cursor)
		x.Header()["Link"] = []string{nextLink(r.URL, cursor)}
	}
	buf.b = append(buf.b, "}\n"...)
	x.answer(r, http.StatusOK, jsonMedia, buf.b)
	return nil
}

// heldConflicts has the conflicts of a collection told where it is held.
func (x *exchange) heldConflicts(r *http.Request, collection string, feed bool) error {
	switch {
	case collection == "":
		return nil
	case feed:
		return x.streamedHere(collection)
	}
	return x.goHolder(r, collection)
}

// parseSince reads a time, or how long ago it was.
func parseSince(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return time.Now().Add(-d), nil
	}
	return time.Time{}, problemf(malformedRequest, "\"since\" is a time such as 2026-03-01T12:00:00Z, or how long ago, such as 1h30m")
}

// A cursor of the conflict log names the last record of a page.
const seqCursorFormat = 2

func encodeSeqCursor(seq uint64) string {
	return cursorEncoding.EncodeToString(binary.BigEndian.AppendUint64([]byte{seqCursorFormat}, seq))
}

func decodeSeqCursor(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	b, err := cursorEncoding.DecodeString(s)
	if err != nil || len(b) != 9 || b[0] != seqCursorFormat {
		return 0, problemf(malformedCursor, "send back a cursor as it was received, or none")
	}
	return binary.BigEndian.Uint64(b[1:]), nil
}

func appendJSON(b []byte, v any) ([]byte, error) {
	more, err := json.Marshal(v)
	return append(b, more...), err
}

// A conflictSummary is a conflict as lists and feeds show it: all but the values.
type conflictSummary struct {
	ID          journal.ID          `json:"id"`
	Collection  string              `json:"collection"`
	Incarnation crdt.Dot            `json:"incarnation"`
	Document    string              `json:"document"`
	Path        string              `json:"path"`
	Kind        journal.Kind        `json:"kind"`
	State       journal.State       `json:"state"`
	Policy      string              `json:"policy"`
	Why         string              `json:"why"`
	Seen        string              `json:"seen"`
	Changed     string              `json:"changed"`
	Change      uint64              `json:"change"`
	Versions    []conflictVersion   `json:"versions"`
	Unlisted    int                 `json:"unlisted,omitempty"`
	Settled     *conflictSettlement `json:"settled,omitempty"`
}

type conflictVersion struct {
	Dot     crdt.Dot        `json:"dot"`
	Stamp   string          `json:"stamp"`
	Time    string          `json:"time"`
	Region  string          `json:"region"`
	Shown   bool            `json:"shown"`
	Deleted bool            `json:"deleted,omitempty"`
	Answer  bool            `json:"answer,omitempty"`
	Size    int             `json:"size,omitempty"`
	Value   json.RawMessage `json:"value,omitempty"`
	// Concurrent are the versions that the writer had not seen, and Saw, by
	// replica, how many changes of those who wrote them its region held.
	Concurrent []crdt.Dot        `json:"concurrent_with,omitempty"`
	Saw        map[string]uint64 `json:"saw,omitempty"`
	Relation   string            `json:"relation,omitempty"`
}

type conflictSettlement struct {
	By       crdt.Dot   `json:"by"`
	Time     string     `json:"time"`
	Region   string     `json:"region"`
	Deleted  bool       `json:"deleted,omitempty"`
	Answer   bool       `json:"answer,omitempty"`
	Restored crdt.Dot   `json:"restored,omitzero"`
	Next     journal.ID `json:"next,omitzero"`
}

func summaryOf(c *journal.Record) conflictSummary {
	out := conflictSummary{
		ID: c.ID, Collection: c.Name, Incarnation: c.Collection, Document: c.Document, Path: c.Path, Kind: c.Kind, State: c.State,
		Policy: c.Policy.Name, Why: c.Outcome.Why, Seen: formatTime(c.SeenAt()), Changed: formatTime(c.ChangedAt()), Change: c.Rev,
		Versions: make([]conflictVersion, len(c.Versions)), Unlisted: c.Unlisted,
	}
	for i := range c.Versions {
		v := &c.Versions[i]
		out.Versions[i] = conflictVersion{
			Dot: v.Dot, Stamp: v.Stamp.String(), Time: formatTime(v.Stamp.Time()), Region: v.Region,
			Shown: v.Dot == c.Outcome.Shown, Deleted: v.Deleted, Answer: v.Answer, Size: v.Size,
		}
	}
	if s := c.Settled; s != nil {
		out.Settled = &conflictSettlement{s.By, formatTime(s.Stamp.Time()), s.Region, s.Deleted, s.Answer, s.Restored, s.Next}
	}
	return out
}

// A conflictExplanation is all that is known of a conflict.
type conflictExplanation struct {
	conflictSummary
	Explanation string         `json:"explanation"`
	Steps       []conflictStep `json:"steps,omitempty"`
	Recorded    policyOutcome  `json:"recorded"`
	Present     policyOutcome  `json:"present"`
	Now         conflictNow    `json:"now"`
	Past        []journal.ID   `json:"past,omitempty"`
}

// A conflictStep is something that the region which asks a callback went through.
type conflictStep struct {
	Time   string `json:"time"`
	Region string `json:"region"`
	What   string `json:"what"`
}

// A policyOutcome is a policy and what it makes of the versions.
type policyOutcome struct {
	Policy  json.RawMessage `json:"policy,omitempty"`
	Name    string          `json:"name"`
	Hash    string          `json:"hash"`
	Shown   crdt.Dot        `json:"shown,omitzero"`
	Value   json.RawMessage `json:"value,omitempty"`
	Open    bool            `json:"open"`
	Pending bool            `json:"pending,omitempty"`
	Failed  string          `json:"failed,omitempty"`
	Why     string          `json:"why"`
}

// conflictNow is how it stands with the document at present.
type conflictNow struct {
	// Standing says that the versions are there side by side.
	Standing bool   `json:"standing"`
	Exists   bool   `json:"exists"`
	ETag     string `json:"etag,omitempty"`
	// Value is what is shown in the place of the conflict, if there is anything.
	Value json.RawMessage `json:"value,omitempty"`
}

// getConflict answers GET /v1/conflicts/{conflict}.
func (s *Server) getConflict(x *exchange, r *http.Request) error {
	id, err := x.conflictParam(r)
	if err != nil {
		return err
	}
	q := parseQuery(r, "types")
	opts := value.Options{Types: q.flag("types")}
	if q.err != nil {
		return q.err
	}
	if err := x.await(r); err != nil {
		return err
	}
	d, err := s.region.Conflict(r.Context(), id)
	if err != nil {
		return err
	}
	x.saw(d.Have)
	return x.answerJSON(r, http.StatusOK, explain(&d, opts))
}

func (x *exchange) conflictParam(r *http.Request) (journal.ID, error) {
	return journal.ParseID(x.param(r, "conflict"))
}

func explain(d *region.ConflictDetail, opts value.Options) conflictExplanation {
	out := conflictExplanation{
		conflictSummary: summaryOf(d.Record), Explanation: d.Explain(), Past: d.Past,
		Recorded: policyOutcome{
			Policy: d.Policy.Spec, Name: d.Policy.Name, Hash: d.Policy.Hash,
			Shown: d.Outcome.Shown, Value: d.Outcome.Value, Open: d.Outcome.Open, Pending: d.Outcome.Pending, Failed: d.Outcome.Failed, Why: d.Outcome.Why,
		},
		Present: outcomeJSON(d.Present, &d.PresentOutcome, opts),
		Now:     conflictNow{Standing: d.Stands, Exists: d.Tag != "", Value: placeJSON(d.Place, opts)},
	}
	if d.Tag != "" {
		out.Now.ETag = etagOf(d.Tag, d.Collection.Revision, plain)
	}
	for _, step := range d.Steps {
		out.Steps = append(out.Steps, conflictStep{formatTime(time.UnixMilli(step.At)), step.Region, step.What})
	}
	for i := range out.Versions {
		v := &out.Versions[i]
		if p := d.Values[i]; p != nil {
			v.Value = placeJSON(*p, opts)
		}
		v.Concurrent, v.Saw, v.Relation = relation(d, i)
	}
	return out
}

// relation says by which vectors a version is concurrent with the others.
func relation(d *region.ConflictDetail, i int) (concurrent []crdt.Dot, saw map[string]uint64, words string) {
	known := d.Saw[i].Len() > 0
	var parts []string
	for k := range d.Versions {
		o := &d.Versions[k]
		if k == i || known && d.Saw[i].Contains(o.Dot) {
			continue
		}
		concurrent = append(concurrent, o.Dot)
		if !known {
			continue
		}
		if saw == nil {
			saw = map[string]uint64{}
		}
		had := d.Saw[i].Get(o.Dot.Replica)
		saw[o.Dot.Replica.String()] = had
		parts = append(parts, regionName(o)+"'s changes up to number "+strconv.FormatUint(had, 10)+
			", and its version here is number "+strconv.FormatUint(o.Dot.Seq, 10))
	}
	if len(parts) > 0 {
		words = regionName(&d.Versions[i]) + " had seen " + strings.Join(parts, "; ")
	}
	return concurrent, saw, words
}

func regionName(v *journal.Version) string {
	if v.Region == "" {
		return "replica " + v.Dot.Replica.String()
	}
	return v.Region
}

func placeJSON(p journal.Place, opts value.Options) json.RawMessage {
	if !p.There {
		return nil
	}
	return value.Append(nil, p.Value, opts)
}

func outcomeJSON(p journal.Policy, o *region.ConflictOutcome, opts value.Options) policyOutcome {
	return policyOutcome{
		Policy: p.Spec, Name: p.Name, Hash: p.Hash,
		Shown: o.Shown, Value: placeJSON(o.Place, opts), Open: o.Open, Pending: o.Pending, Failed: o.Failed, Why: o.Why,
	}
}

// A conflictPreview is what another policy would make of a conflict.
type conflictPreview struct {
	ID         journal.ID       `json:"id"`
	Collection string           `json:"collection"`
	Document   string           `json:"document"`
	Path       string           `json:"path"`
	State      journal.State    `json:"state"`
	Outcome    policyOutcome    `json:"outcome"`
	Now        json.RawMessage  `json:"now,omitempty"`
	Changes    bool             `json:"changes"`
	Diff       []journal.DiffOp `json:"diff"`
	Unknown    bool             `json:"unknown,omitempty"`
}

func previewJSON(p *region.ConflictPreview) conflictPreview {
	return conflictPreview{
		ID: p.ID, Collection: p.Name, Document: p.Document, Path: p.Path, State: p.State,
		Outcome: outcomeJSON(p.Policy, &p.Outcome, value.Options{}), Now: placeJSON(p.Now, value.Options{}),
		Changes: len(p.Diff) > 0, Diff: p.Diff, Unknown: p.Unknown,
	}
}

// readSettings reads the body of a request about policies as an object.
func readSettings(r *http.Request) (object, error) {
	if err := needJSON(r); err != nil {
		return object{}, err
	}
	body, err := readBody(r, MaxSettingsBytes)
	if err != nil {
		return object{}, err
	}
	defer body.release()
	m, err := value.ParseObject(body.b, value.Limits{MaxBytes: MaxSettingsBytes})
	return object{m: m}, err
}

// policyMember reads a policy out of a request.
func policyMember(o *object) conflict.Resolver {
	spec := o.required("policy")
	if o.err != nil {
		return nil
	}
	p, err := region.ParsePolicy(value.Append(nil, spec, value.Options{}))
	if err != nil {
		o.err = o.wrap("policy", err)
	}
	return p
}

// previewConflict answers POST /v1/conflicts/{conflict}/preview.
func (s *Server) previewConflict(x *exchange, r *http.Request) error {
	id, err := x.conflictParam(r)
	if err != nil {
		return err
	}
	o, err := readSettings(r)
	if err != nil {
		return err
	}
	p := policyMember(&o)
	if err := o.done(); err != nil {
		return err
	}
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	if err := x.await(r); err != nil {
		return err
	}
	preview, err := s.region.PreviewConflict(r.Context(), id, p)
	if err != nil {
		return err
	}
	return x.answerJSON(r, http.StatusOK, previewJSON(&preview))
}

// DefaultPreviews is how many conflicts of a collection are previewed unless
// the request says how many.
const DefaultPreviews = 100

// previewConflicts answers POST /v1/conflicts/preview.
func (s *Server) previewConflicts(x *exchange, r *http.Request) error {
	o, err := readSettings(r)
	if err != nil {
		return err
	}
	p := policyMember(&o)
	collection := o.text("collection")
	last := DefaultPreviews
	if v, ok := o.has("last"); ok {
		n, isInt := v.(int64)
		if !isInt || n < 1 || n > region.MaxPreviews {
			o.fail(malformedRequest, "last", "\"last\" must be 1 to %d", region.MaxPreviews)
		}
		last = int(n)
	}
	if err := o.done(); err != nil {
		return err
	}
	if collection == "" {
		return problemf(malformedRequest, "\"collection\" names the collection whose last conflicts are meant")
	}
	if err := x.goHolder(r, collection); err != nil {
		return err
	}
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	if err := x.await(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	all, err := s.region.PreviewConflicts(ctx, collection, p, last)
	if err != nil {
		return err
	}
	out := struct {
		Policy    journal.Policy    `json:"policy"`
		Checked   int               `json:"checked"`
		Changes   int               `json:"changes"`
		Conflicts []conflictPreview `json:"conflicts"`
	}{Policy: journal.PolicyOf(p), Checked: len(all), Conflicts: make([]conflictPreview, len(all))}
	for i := range all {
		if out.Conflicts[i] = previewJSON(&all[i]); out.Conflicts[i].Changes {
			out.Changes++
		}
	}
	return x.answerJSON(r, http.StatusOK, out)
}

// restoreConflict answers POST /v1/conflicts/{conflict}/restore: it writes a
// version back, as a change like any other.
func (s *Server) restoreConflict(x *exchange, r *http.Request) error {
	id, err := x.conflictParam(r)
	if err != nil {
		return err
	}
	o, err := readSettings(r)
	if err != nil {
		return err
	}
	text := o.text("dot")
	if err := o.done(); err != nil {
		return err
	}
	ask := core.Restore{Conflict: id}
	if ask.Dot, err = crdt.ParseDot(text); err != nil {
		return problemf(malformedRequest, "\"dot\" names the version to be restored; take it from GET /v1/conflicts/%s", id)
	}
	q := parseQuery(r, paramAcks)
	if err := x.askAcks(&q); err != nil {
		return err
	}
	if ask.If, err = headerCondition(r.Header); err != nil {
		return err
	}
	if err := x.await(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	// A collection's default does not hold here: which one it is stands in the log.
	ask.Request = x.request()
	receipt, err := x.acknowledged(r, func(await time.Duration) (core.Receipt, error) {
		ask.Await = await
		return s.region.RestoreConflict(ctx, ask)
	})
	if err != nil {
		return err
	}
	s.answerReceipt(x, r, &receipt)
	return nil
}
