package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
)

// getVersions answers GET of all that is known of a document: its concurrent
// versions, which are shown, and why. Of a deleted document it tells what is
// still remembered.
func (s *Server) getVersions(x *exchange, r *http.Request) error {
	d, opts, err := s.readDoc(x, r)
	if err != nil {
		return err
	}
	if len(d.Versions) == 0 {
		return problemf(noDocument, "%s has no document %.200q, and remembers none", d.Collection.Name, d.ID)
	}
	buf := newBuffer()
	defer buf.release()
	if d.View.Exists {
		x.Header()["Etag"] = []string{documentETag(&d, siblings)}
	}
	buf.b = append(s.appendVersions(buf.b, &d, opts), '\n')
	x.answer(r, http.StatusOK, jsonMedia, buf.b)
	return nil
}

// appendVersions appends a document with all its versions and conflicts.
func (s *Server) appendVersions(b []byte, d *region.Document, opts value.Options) []byte {
	b = append(b, `{"id":`...)
	b = appendString(b, d.ID)
	if d.View.Exists {
		b = append(b, `,"etag":`...)
		b = appendString(b, documentETag(d, siblings))
	}
	b = append(b, `,"exists":`...)
	b = appendBool(b, d.View.Exists)
	if d.View.Exists {
		b = append(b, `,"shown":`...)
		b = value.Append(b, d.View.Value, opts)
	}
	b = append(b, `,"versions":[`...)
	whole := wholeConflict(&d.View)
	for i := range d.Versions {
		if i > 0 {
			b = append(b, ',')
		}
		v := &d.Versions[i]
		shown := d.View.Exists && !v.Deleted
		if whole != nil {
			shown = whole.Shown >= 0 && whole.Versions[whole.Shown].Dot == v.Dot
		}
		// The types that merge per field have no value per version.
		b = s.appendVersion(b, v, v.Value != nil, shown, opts)
	}
	b = append(b, `],"conflicts":[`...)
	for i := range d.View.Conflicts {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.appendConflict(b, &d.View.Conflicts[i], d.Collection, opts)
	}
	return append(b, "]}"...)
}

// wholeConflict returns the conflict of a whole document, nil if there is none.
func wholeConflict(v *crdt.View) *crdt.Resolved {
	for i := range v.Conflicts {
		if v.Conflicts[i].Path == "" {
			return &v.Conflicts[i]
		}
	}
	return nil
}

func (s *Server) appendConflict(b []byte, c *crdt.Resolved, col *core.Collection, opts value.Options) []byte {
	b = append(b, `{"path":`...)
	b = appendString(b, c.Path)
	b = append(b, `,"policy":`...)
	b = appendString(b, policyAt(col, c.Path))
	if hash := conflict.Hash(conflict.At(col.Settings.Resolver(), c.Path)); hash != "" {
		b = append(b, `,"hash":`...)
		b = appendString(b, hash)
	}
	b = append(b, `,"open":`...)
	b = appendBool(b, c.Open)
	if c.Pending {
		b = append(b, `,"pending":true`...)
	}
	if c.Failed != "" {
		b = append(b, `,"failed":`...)
		b = appendString(b, c.Failed)
	}
	b = append(b, `,"why":`...)
	b = appendString(b, c.Reason)
	if c.Shown < 0 {
		// The policy made a value of its own.
		b = append(b, `,"shown":`...)
		b = value.Append(b, c.Value, opts)
	}
	b = append(b, `,"versions":[`...)
	for i := range c.Versions {
		if i > 0 {
			b = append(b, ',')
		}
		b = s.appendVersion(b, &c.Versions[i], !c.Versions[i].Deleted, i == c.Shown, opts)
	}
	return append(b, "]}"...)
}

func (s *Server) appendVersion(b []byte, v *crdt.Version, hasValue, shown bool, opts value.Options) []byte {
	b = append(b, '{')
	b = appendDotAndStamp(b, v.Dot, v.Stamp)
	b = append(b, `,"time":"`...)
	b = v.Stamp.Time().AppendFormat(b, timeFormat)
	b = append(b, `","region":`...)
	b = appendString(b, s.region.RegionOf(v.Dot.Replica))
	b = append(b, `,"shown":`...)
	b = appendBool(b, shown)
	if v.Answer {
		b = append(b, `,"answer":true`...)
	}
	switch {
	case v.Deleted:
		b = append(b, `,"deleted":true`...)
	case hasValue:
		b = append(b, `,"value":`...)
		b = value.Append(b, v.Value, opts)
	}
	return append(b, '}')
}

// timeFormat is RFC 3339 with the milliseconds of a stamp.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

func formatTime(t time.Time) string { return t.UTC().Format(timeFormat) }

// siblingsPolicy is the policy that leaves the choice to the client.
const siblingsPolicy = "siblings"

// settle makes of a PUT under If-Match a resolution, where fields of a merged
// document have open siblings. The writer has seen them all, and has chosen also
// where the value that is shown already is put again; a PUT alone leaves alone
// what it does not change. If the document changes meanwhile, If-Match fails.
func (s *Server) settle(ctx context.Context, w *core.DocWrite) error {
	if w.Edit.Kind != crdt.EditPut || len(w.If.Match) == 0 || w.BaseTag != "" || w.Edit.HasBaseValue {
		return nil
	}
	c, err := s.region.Collection(w.Collection)
	if err != nil || c.Settings.Type == crdt.TypeRegister || policyName(c) != siblingsPolicy {
		return nil //nolint:nilerr // the region says what is wrong with the write
	}
	d, err := s.region.Get(ctx, w.Collection, w.ID)
	if err != nil || !isOpen(&d.View) || !slices.Contains(w.If.Match, d.Tag) {
		return err
	}
	w.If.Match = []string{d.Tag}
	w.Edit = crdt.Edit{Kind: crdt.EditResolve, Value: w.Edit.Value}
	for i := range d.Versions {
		w.Edit.Covers = append(w.Edit.Covers, d.Versions[i].Dot)
	}
	return nil
}

// resolveDoc answers POST …/resolve: a value, or a deletion, that covers the
// versions that it names, of the document or of one field.
func (s *Server) resolveDoc(x *exchange, r *http.Request) error {
	collection, id, err := x.docParams(r)
	if err != nil {
		return err
	}
	if err := needJSON(r); err != nil {
		return err
	}
	if r.Header.Get(HeaderBase) != "" {
		return problemf(malformedRequest, "%s goes with PUT and PATCH; a resolve names versions", HeaderBase)
	}
	limits := s.cfg.Doc
	limits.MaxBytes += maxDotBytes * MaxResolveVersions
	limits.MaxItems += MaxResolveVersions
	limits.MaxDepth++
	body, err := readBody(r, limits.MaxBytes)
	if err != nil {
		return err
	}
	defer body.release()
	m, err := value.ParseObject(body.b, limits)
	if err != nil {
		return err
	}
	edit, err := parseResolve(m)
	if err != nil {
		return err
	}
	if edit.Mode != crdt.NotDelete {
		if c, err := s.region.Collection(collection); err == nil {
			edit.Mode = c.Settings.Delete
		}
	}
	return s.writeDoc(x, r, core.DocWrite{Collection: collection, ID: id, Edit: edit})
}

// maxDotBytes is what a dot takes in JSON: 20 digits, a UUID, and punctuation.
const maxDotBytes = 64

func parseResolve(m map[string]any) (e crdt.Edit, err error) {
	o := object{m: m}
	e.Kind = crdt.EditResolve
	list := o.list("versions")
	if len(list) > MaxResolveVersions {
		o.fail(tooLarge, "versions", "%d versions, at most %d can be named", len(list), MaxResolveVersions)
	}
	if len(list) == 0 {
		o.fail(malformedRequest, "versions", `"versions" names the versions that the value covers: at least one dot from GET …/versions`)
	}
	if o.err != nil {
		return e, o.err
	}
	for i, v := range list {
		text, _ := v.(string)
		dot, err := crdt.ParseDot(text)
		if err != nil {
			o.fail(malformedRequest, "versions", "element %d of \"versions\" is no dot; take them from GET …/versions", i)
			return e, o.err
		}
		e.Covers = append(e.Covers, dot)
	}
	e.Path, err = value.ParsePointer(o.text("path"))
	if err != nil {
		o.fail(malformedRequest, "path", "%v", err)
	}
	v, given := o.has("value")
	remove := o.yes("delete")
	switch {
	case given == remove:
		o.fail(malformedRequest, "", `give either "value" or "delete": true`)
	case remove && len(e.Path) > 0:
		o.fail(malformedRequest, "delete", `only a whole document can be deleted here; leave out "path"`)
	case remove:
		e.Mode = crdt.DeleteEditWins
	case len(e.Path) == 0:
		if _, ok := v.(map[string]any); !ok {
			o.fail(notObject, "value", "the value of a document must be a JSON object")
		}
	}
	e.Value = v
	return e, o.done()
}
