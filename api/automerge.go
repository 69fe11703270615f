package api

import (
	"bytes"
	"net/http"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/automerge"
	"github.com/meridiandb/meridian/region/core"
)

// exportDoc answers GET of a document's Automerge form: a saved document with
// its whole history, for any Automerge library.
func (s *Server) exportDoc(x *exchange, r *http.Request) error {
	collection, id, err := docParams(r)
	if err != nil {
		return err
	}
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	if err := x.await(r); err != nil {
		return err
	}
	d, b, err := s.region.Export(r.Context(), collection, id)
	if err != nil {
		return err
	}
	x.saw(d.Have)
	if b == nil {
		return problemf(noDocument, "%s has no document %.200q", d.Collection.Name, d.ID)
	}
	tag := etagOf(d.Tag, d.Collection.Revision, saved)
	x.Header()["Etag"] = []string{tag}
	x.Header()["Cache-Control"] = revalidate
	notModified, err := readPrecondition(r.Header, &d, tag)
	if err != nil {
		return err
	}
	if notModified {
		x.empty(r, http.StatusNotModified)
		return nil
	}
	x.answer(r, http.StatusOK, amMedia, b)
	return nil
}

// importDoc answers POST of Automerge data: saved documents and changes, one
// after the other. What the document has already is left out.
func (s *Server) importDoc(x *exchange, r *http.Request) error {
	collection, id, err := docParams(r)
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
	body, err := readBody(r, automerge.MaxImport)
	if err != nil {
		return err
	}
	raw := bytes.Clone(body.b)
	body.release()
	// The region checks it too, against the document; what is wrong by itself
	// does not get that far.
	if err := automerge.CheckImport(raw); err != nil {
		return err
	}
	return s.writeDoc(x, r, core.DocWrite{Collection: collection, ID: id, Edit: crdt.Edit{Kind: crdt.EditImport, Raw: raw}})
}
