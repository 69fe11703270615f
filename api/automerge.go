package api

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge"
	"github.com/meridiandb/meridian/region/core"
)

// exportDoc answers GET of a document's Automerge form: a saved document with
// its whole history, for any Automerge library, or with ?history=none what it
// shows, for a document that begins a new one. Headers tell how much history
// there is, of which automerge.MaxChanges and automerge.MaxOps are allowed.
func (s *Server) exportDoc(x *exchange, r *http.Request) error {
	collection, id, err := x.docParams(r)
	if err != nil {
		return err
	}
	q := parseQuery(r, "history")
	history, rep := q.text("history"), saved
	switch {
	case q.err != nil:
		return q.err
	case history == "none":
		rep = condensed
	case history != "" && history != "all":
		return problemf(malformedRequest, "history is all or none, not %.80q", history)
	}
	if err := x.await(r); err != nil {
		return err
	}
	d, err := s.region.Export(r.Context(), collection, id, rep == saved)
	if err != nil {
		return err
	}
	x.saw(d.Have)
	if d.Saved == nil {
		return problemf(noDocument, "%s has no document %.200q", d.Collection.Name, d.ID)
	}
	tag := documentETag(&d.Document, rep)
	x.Header()["Etag"] = []string{tag}
	x.Header()["Cache-Control"] = revalidate
	x.Header().Set(HeaderChanges, strconv.Itoa(d.Changes))
	x.Header().Set(HeaderOperations, strconv.Itoa(d.Operations))
	notModified, err := readPrecondition(r.Header, &d.Document, tag)
	if err != nil {
		return err
	}
	if notModified {
		x.empty(r, http.StatusNotModified)
		return nil
	}
	x.answer(r, http.StatusOK, amMedia, d.Saved)
	return nil
}

// importDoc answers POST of Automerge data: saved documents and changes, one
// after the other. What the document has already is left out.
func (s *Server) importDoc(x *exchange, r *http.Request) error {
	collection, id, err := x.docParams(r)
	if err != nil {
		return err
	}
	media, err := mediaType(r)
	if err != nil {
		return err
	}
	if media != MediaAutomerge {
		return problemf(badMediaType, "send Automerge data as %s, not as %.80q%s", MediaAutomerge, media, formHint(media))
	}
	if r.Header.Get(HeaderBase) != "" {
		return problemf(malformedRequest, "%s goes with PUT and PATCH; changes name what they are based on", HeaderBase)
	}
	edit, err := parseImport(r)
	if err != nil {
		return err
	}
	return s.writeDoc(x, r, core.DocWrite{Collection: collection, ID: id, Edit: edit})
}

// parseImport reads Automerge data. The region checks it too, against the
// document; what is wrong by itself does not get that far.
func parseImport(r *http.Request) (crdt.Edit, error) {
	body, err := readBody(r, automerge.MaxImport)
	if err != nil {
		return crdt.Edit{}, err
	}
	raw := bytes.Clone(body.b)
	body.release()
	if err := automerge.CheckImport(raw); err != nil {
		return crdt.Edit{}, err
	}
	return crdt.Edit{Kind: crdt.EditImport, Raw: raw}, nil
}
