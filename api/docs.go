package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
)

// getDoc answers GET and HEAD of a document with its JSON alone.
func (s *Server) getDoc(x *exchange, r *http.Request) error {
	d, opts, err := s.readDoc(x, r)
	if err != nil {
		return err
	}
	if !d.View.Exists {
		return problemf(noDocument, "%s has no document %.200q", d.Collection.Name, d.ID)
	}
	status, media, rep := http.StatusOK, jsonMedia, plain
	if opts.Types {
		rep = typed
	}
	open := isOpen(&d.View)
	if open && accepts(r, MediaSiblings) {
		status, media, rep = http.StatusMultipleChoices, siblingsMedia, siblings
	}
	h := x.Header()
	h["Cache-Control"] = revalidate
	var shared *rendering
	if rep == plain {
		shared = sharedRendering(&d)
	}
	var tag string
	if shared != nil {
		tag, h["Etag"] = shared.etag[0], shared.etag[:]
	} else {
		tag = documentETag(&d, rep)
		x.set("Etag", tag)
	}
	if open {
		h["Vary"] = varyAccept
	}
	if n := len(d.View.Conflicts); n > 0 {
		h[HeaderConflict] = []string{decidedBy(&d)}
		h[HeaderConflictCount] = []string{strconv.Itoa(n)}
	}
	notModified, err := readPrecondition(r.Header, &d, tag)
	if err != nil {
		return err
	}
	if notModified {
		x.empty(r, http.StatusNotModified)
		return nil
	}
	if shared != nil {
		x.answer(r, status, media, shared.body)
		return nil
	}
	buf := newBuffer()
	defer buf.release()
	if rep == siblings {
		buf.b = s.appendVersions(buf.b, &d, opts)
	} else {
		buf.b = value.Append(buf.b, d.View.Value, opts)
	}
	buf.b = append(buf.b, '\n')
	x.answer(r, status, media, buf.b)
	return nil
}

// A rendering is the plain answer to a read of a document, shared by all of them.
type rendering struct {
	etag [1]string // as a header's value
	body []byte
}

// sharedRendering returns the answer of a document that is kept for further
// readers, nil for others.
func sharedRendering(d *region.Document) *rendering {
	shared, _ := d.Derive(func() any {
		body := make([]byte, 0, value.Size(d.View.Value)+1)
		return &rendering{
			etag: [1]string{documentETag(d, plain)},
			body: append(value.Append(body, d.View.Value, value.Options{}), '\n'),
		}
	})
	r, _ := shared.(*rendering)
	return r
}

// readDoc reads the document of the path, once the request's token holds.
func (s *Server) readDoc(x *exchange, r *http.Request) (d region.Document, opts value.Options, err error) {
	collection, id, err := x.docParams(r)
	if err != nil {
		return d, opts, err
	}
	q := parseQuery(r, "types", paramRead, paramFallback)
	opts.Types = q.flag("types")
	x.askFallback(&q)
	if q.err != nil {
		return d, opts, q.err
	}
	var quorum core.Quorum
	if q.text(paramRead) == readHome {
		err = x.readHome(r, collection, id)
	} else {
		quorum, err = x.parseRead(&q)
	}
	if err != nil {
		return d, opts, err
	}
	if err := x.await(r); err != nil {
		return d, opts, err
	}
	if d, err = x.getDocument(r, collection, id, quorum); err != nil {
		return d, opts, err
	}
	x.saw(d.Have)
	x.common = true
	return d, opts, nil
}

// isOpen reports whether a policy leaves a choice to the client.
func isOpen(v *crdt.View) bool {
	for i := range v.Conflicts {
		if v.Conflicts[i].Open {
			return true
		}
	}
	return false
}

// policyName is the name of a collection's policy.
func policyName(c *core.Collection) string { return conflict.Name(c.Settings.Policy) }

// scriptFailed is what Meridian-Conflict says of a document for which a script
// failed: the last write is shown in its stead.
const scriptFailed = "script-failed"

// pending is what Meridian-Conflict says of a document about which a callback is
// still to decide: the last write is shown until then.
const pending = "pending"

// decidedBy is what Meridian-Conflict says: the policy, if one decides all
// conflicts of the document; else that of the collection.
func decidedBy(d *region.Document) string {
	name, waits := "", false
	for i := range d.View.Conflicts {
		c := &d.View.Conflicts[i]
		if c.Failed != "" {
			return scriptFailed
		}
		waits = waits || c.Pending
		by := policyAt(d.Collection, c.Path)
		if name != "" && by != name {
			by = policyName(d.Collection)
		}
		name = by
	}
	if waits {
		return pending
	}
	return name
}

// policyAt is the name of the policy that decides at a path.
func policyAt(c *core.Collection, path string) string {
	return conflict.Name(conflict.At(c.Settings.Resolver(), path))
}

// putDoc answers PUT of a document.
func (s *Server) putDoc(x *exchange, r *http.Request) error {
	collection, id, err := x.docParams(r)
	if err != nil {
		return err
	}
	edit, err := s.parsePut(r)
	if err != nil {
		return err
	}
	return s.writeDoc(x, r, core.DocWrite{Collection: collection, ID: id, Edit: edit})
}

// parsePut reads a document, or one with the older one that it is based on.
func (s *Server) parsePut(r *http.Request) (e crdt.Edit, err error) {
	media, err := mediaType(r)
	if err != nil {
		return e, err
	}
	limits := s.cfg.Doc
	switch media {
	case MediaJSON, "":
	case MediaBased:
		// Two documents within one object.
		limits = value.Limits{MaxBytes: 2 * limits.MaxBytes, MaxDepth: limits.MaxDepth + 1, MaxItems: 2*limits.MaxItems + 2}
	default:
		return e, problemf(badMediaType, "send a document as %s, or with the one that it is based on as %s, not as %.80s%s", MediaJSON, MediaBased, media, formHint(media))
	}
	body, err := readBody(r, limits.MaxBytes)
	if err != nil {
		return e, err
	}
	defer body.release()
	doc, err := value.ParseObject(body.b, limits)
	if err != nil {
		return e, err
	}
	e = crdt.Edit{Kind: crdt.EditPut, Value: doc}
	if media != MediaBased {
		return e, nil
	}
	if r.Header.Get(HeaderBase) != "" {
		return e, problemf(malformedRequest, "either name the base by %s or bring it along as %s, not both", HeaderBase, MediaBased)
	}
	f := object{m: doc}
	e.BaseValue, e.HasBaseValue = f.document("base"), true
	e.Value = f.document("value")
	if err := f.done(); err != nil {
		return e, err
	}
	// The two share the room of both; each has its own.
	for _, name := range []string{"base", "value"} {
		if err := value.Check(doc[name], s.cfg.Doc); err != nil {
			return e, f.wrap(name, err)
		}
	}
	return e, nil
}

// patchDoc answers PATCH of a document.
func (s *Server) patchDoc(x *exchange, r *http.Request) error {
	collection, id, err := x.docParams(r)
	if err != nil {
		return err
	}
	edit, err := s.parsePatch(r)
	if err != nil {
		return err
	}
	return s.writeDoc(x, r, core.DocWrite{Collection: collection, ID: id, Edit: edit})
}

// parsePatch reads a patch of one of the three media types.
func (s *Server) parsePatch(r *http.Request) (e crdt.Edit, err error) {
	media, err := mediaType(r)
	if err != nil {
		return e, err
	}
	switch media {
	case MediaMergePatch, MediaJSONPatch, MediaOps:
	case "":
		return e, problemf(badMediaType, "a PATCH needs a Content-Type: %s", acceptPatch[0])
	default:
		return e, problemf(badMediaType, "a PATCH cannot be %.80s, only %s", media, acceptPatch[0])
	}
	body, err := readBody(r, s.cfg.Doc.MaxBytes)
	if err != nil {
		return e, err
	}
	defer body.release()
	switch media {
	case MediaMergePatch:
		e.Kind = crdt.EditMergePatch
		e.Value, err = value.ParseObject(body.b, s.cfg.Doc)
	case MediaJSONPatch:
		e.Kind = crdt.EditJSONPatch
		e.Ops, err = value.ParseJSONPatch(body.b, s.cfg.Doc)
	case MediaOps:
		e.Kind = crdt.EditOps
		e.Ops, err = value.ParseOps(body.b, s.cfg.Doc)
	}
	if err == nil {
		err = checkRoot(e.Ops)
	}
	return e, err
}

// checkRoot refuses operations that would put something else than an object in
// the place of a whole document.
func checkRoot(ops []value.Op) error {
	for i := range ops {
		op := &ops[i]
		if len(op.Path) > 0 {
			continue
		}
		switch op.Op {
		case "add", "replace", "set":
			if _, ok := op.Value.(map[string]any); !ok {
				return problemf(notObject, "operation %d (%q): the root of a document must stay a JSON object", i, op.Op)
			}
		case "move", "copy":
			return problemf(notObject, "operation %d (%q): a part cannot take the place of the whole document; PUT it", i, op.Op)
		}
	}
	return nil
}

// writeDoc makes the write of a PUT or PATCH and answers with its receipt.
func (s *Server) writeDoc(x *exchange, r *http.Request, w core.DocWrite) error {
	receipt, err := s.write(x, r, w)
	if err != nil {
		return err
	}
	s.answerReceipt(x, r, &receipt)
	return nil
}

// write makes a write of one document under the request's headers: token,
// preconditions, base.
func (s *Server) write(x *exchange, r *http.Request, w core.DocWrite) (receipt core.Receipt, err error) {
	q := parseQuery(r, paramAcks, paramFallback)
	x.askFallback(&q)
	if w.If, err = headerCondition(r.Header); err != nil {
		return receipt, err
	}
	if w.BaseTag, err = parseBase(r.Header.Get(HeaderBase)); err != nil {
		return receipt, err
	}
	if err := x.held(w.Collection); err == nil {
		if err := x.askAcks(&q); err != nil {
			return receipt, err
		}
	}
	if err := x.goHome(r, []core.DocWrite{w}); err != nil {
		return receipt, err
	}
	if err := x.await(r); err != nil {
		return receipt, err
	}
	return s.submit(x, r, core.Write{Docs: []core.DocWrite{w}})
}

func (s *Server) submit(x *exchange, r *http.Request, w core.Write) (core.Receipt, error) {
	for i := range w.Docs {
		if err := s.settle(r.Context(), &w.Docs[i]); err != nil {
			return core.Receipt{}, err
		}
	}
	if err := x.defaultAcks(&w); err != nil {
		return core.Receipt{}, err
	}
	w.Request = x.request()
	if s.bounded(&w) {
		leave, err := x.queue()
		if err != nil {
			return core.Receipt{}, err
		}
		defer leave()
		w.Shares = x.remaining(r)
	}
	return x.acknowledged(r, func(await time.Duration) (core.Receipt, error) {
		w.Await = await
		return s.region.Write(r.Context(), w)
	})
}

// bounded reports whether a write is about counters with bounds, for whose
// shares it may have to wait.
func (s *Server) bounded(w *core.Write) bool {
	for i := range w.Docs {
		if c, err := s.region.Collection(w.Docs[i].Collection); err == nil && len(c.Settings.Bounds) > 0 {
			return true
		}
	}
	return false
}

// answerReceipt answers the write of one document.
func (s *Server) answerReceipt(x *exchange, r *http.Request, receipt *core.Receipt) {
	d := &receipt.Docs[0]
	status := http.StatusOK
	if d.Created {
		status = http.StatusCreated
	}
	buf := newBuffer()
	defer buf.release()
	buf.b = append(buf.b, `{"id":`...)
	buf.b = appendString(buf.b, d.ID)
	if d.Exists {
		tag := etagOf(d.Tag, d.Collection.Revision, plain)
		x.set("Etag", tag)
		buf.b = append(buf.b, `,"etag":`...)
		buf.b = appendString(buf.b, tag)
	}
	buf.b = append(buf.b, ',')
	buf.b = appendDotAndStamp(buf.b, receipt.Dot, receipt.Stamp)
	if x.acks.unmet {
		// The status does not tell.
		buf.b = append(buf.b, `,"created":`...)
		buf.b = appendBool(buf.b, d.Created)
	}
	buf.b = append(x.appendUnmet(buf.b), "}\n"...)
	x.answer(r, x.acceptedStatus(status), jsonMedia, buf.b)
}

// createDoc answers POST of a document: it is written under a new id, from JSON
// or from Automerge data.
func (s *Server) createDoc(x *exchange, r *http.Request) error {
	collection := x.param(r, "collection")
	edit, err := s.parseCreate(r)
	if err != nil {
		return err
	}
	id, err := s.mintID(collection)
	if err != nil {
		return err
	}
	if r.Header.Get(HeaderBase) != "" || r.Header.Get("If-Match") != "" {
		return problemf(malformedRequest, "a document that is created has no older version: leave out %s and If-Match", HeaderBase)
	}
	receipt, err := s.write(x, r, core.DocWrite{Collection: collection, ID: id, Edit: edit})
	if err != nil {
		return err
	}
	x.Header()["Location"] = []string{docPath(collection, receipt.Docs[0].ID)}
	s.answerReceipt(x, r, &receipt)
	return nil
}

func (s *Server) parseCreate(r *http.Request) (crdt.Edit, error) {
	media, err := mediaType(r)
	if err == nil && media == MediaAutomerge {
		return parseImport(r)
	}
	if err == nil {
		err = needJSON(r)
	}
	if err != nil {
		return crdt.Edit{}, err
	}
	return s.parsePut(r)
}

// deleteDoc answers DELETE of a document.
func (s *Server) deleteDoc(x *exchange, r *http.Request) error {
	collection, id, err := x.docParams(r)
	if err != nil {
		return err
	}
	if r.Header.Get(HeaderBase) != "" {
		return problemf(malformedRequest, "%s goes with PUT and PATCH; a DELETE under If-Match removes what you have seen", HeaderBase)
	}
	// The core takes the mode of deletion from the collection's settings.
	receipt, err := s.write(x, r, core.DocWrite{Collection: collection, ID: id, Edit: crdt.Edit{Kind: crdt.EditDelete}})
	if err != nil {
		return err
	}
	if x.acks.unmet {
		s.answerReceipt(x, r, &receipt)
		return nil
	}
	x.empty(r, http.StatusNoContent)
	return nil
}
