package api

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/core"
)

// The members of a batch's item that say what is to be done.
const (
	actPut    = "put"
	actMerge  = "merge"
	actPatch  = "patch"
	actOps    = "ops"
	actDelete = "delete"
)

var acts = []string{actPut, actMerge, actPatch, actOps, actDelete}

// postBatch answers POST /v1/batch: all of the edits are made in one change, or
// none is.
func (s *Server) postBatch(x *exchange, r *http.Request) error {
	if err := needJSON(r); err != nil {
		return err
	}
	q := parseQuery(r, paramAcks, paramFallback)
	x.askFallback(&q)
	if q.err != nil {
		return q.err
	}
	for _, name := range []string{HeaderBase, "If-Match", "If-None-Match"} {
		if r.Header.Get(name) != "" {
			return problemf(malformedRequest, "the header %s says nothing about a batch; use \"base\", \"if_match\" and \"if_none_match\" of its documents", name)
		}
	}
	w, err := s.parseBatch(r)
	if err != nil {
		return err
	}
	if err := x.held(w.Docs[0].Collection); err == nil {
		if err := x.askAcks(&q); err != nil {
			return err
		}
	}
	if err := x.goHome(r, w.Docs); err != nil {
		return err
	}
	if err := x.await(r); err != nil {
		return err
	}
	receipt, err := s.submit(x, r, w)
	if err != nil {
		return err
	}
	buf := newBuffer()
	defer buf.release()
	buf.b = x.appendUnmet(appendBatchReceipt(buf.b, &receipt))
	buf.b = append(buf.b, "}\n"...)
	x.answer(r, x.acceptedStatus(http.StatusOK), jsonMedia, buf.b)
	return nil
}

// batchLevels is how much deeper a document lies within a batch.
const batchLevels = 5

func (s *Server) parseBatch(r *http.Request) (w core.Write, err error) {
	body, err := readBody(r, s.cfg.MaxBatch)
	if err != nil {
		return w, err
	}
	defer body.release()
	m, err := value.ParseObject(body.b, value.Limits{
		MaxBytes: s.cfg.MaxBatch,
		MaxDepth: s.cfg.Doc.MaxDepth + batchLevels,
		MaxItems: max(s.cfg.Doc.MaxItems, s.cfg.MaxBatch/8),
	})
	if err != nil {
		return w, err
	}
	o := object{m: m}
	docs := o.list("docs")
	if err := o.done(); err != nil {
		return w, err
	}
	if len(docs) == 0 || len(docs) > core.DefaultWriteDocs {
		return w, problemf(invalid, "a batch has 1 to %d documents, not %d", core.DefaultWriteDocs, len(docs))
	}
	w.Docs = make([]core.DocWrite, len(docs))
	for i, item := range docs {
		o := object{at: "/docs/" + strconv.Itoa(i)}
		var ok bool
		if o.m, ok = item.(map[string]any); !ok {
			o.fail(malformedRequest, "", "each of \"docs\" is an object")
			return w, o.err
		}
		if w.Docs[i], err = s.parseItem(&o); err != nil {
			return w, fmt.Errorf("document %d: %w", i, err)
		}
	}
	return w, nil
}

// parseItem reads one document's edit.
func (s *Server) parseItem(o *object) (d core.DocWrite, err error) {
	d.Collection, d.ID = o.text("collection"), o.text("id")
	if d.Collection == "" {
		o.fail(malformedRequest, "", `"collection" is missing`)
	}
	act := ""
	for _, name := range acts {
		if _, ok := o.m[name]; !ok {
			continue
		}
		if act != "" {
			o.fail(malformedRequest, "", "an edit is one of %q, not both %q and %q", acts, act, name)
		}
		act = name
	}
	switch {
	case act == "":
		o.fail(malformedRequest, "", "what is to be done? give one of %q", acts)
	case d.ID == "" && (act != actPut || o.m["id"] != nil):
		o.fail(malformedRequest, "", `"id" is missing; only "put" mints one`)
	case d.ID == "":
		if d.ID, err = s.mintID(d.Collection); err != nil {
			return d, err
		}
	default:
		if err := core.CheckID(d.ID); err != nil {
			o.fail(invalid, "id", "%v", err)
		}
	}
	match, noneMatch, base := o.text("if_match"), o.text("if_none_match"), o.text("base")
	if o.err != nil {
		return d, o.err
	}
	if d.If, err = condition(match, noneMatch); err != nil {
		return d, o.wrap("", err)
	}
	if d.BaseTag, err = parseBase(base); err != nil {
		return d, o.wrap("base", err)
	}
	if base != "" && act == actDelete {
		o.fail(malformedRequest, "base", `"base" goes with edits; a "delete" under "if_match" removes what you have seen`)
	}
	d.Edit, err = s.parseAct(o, act)
	return d, err
}

// parseAct reads what is to be done to a document.
func (s *Server) parseAct(o *object, act string) (e crdt.Edit, err error) {
	switch act {
	case actPut:
		e.Kind, e.Value = crdt.EditPut, o.document(act)
		if v, ok := o.has("base_value"); ok {
			if _, isObject := v.(map[string]any); !isObject {
				o.fail(notObject, "base_value", `"base_value" must be a JSON object`)
			}
			if o.m["base"] != nil {
				o.fail(malformedRequest, "", `give either "base" or "base_value"`)
			}
			e.BaseValue, e.HasBaseValue = v, true
		}
	case actMerge:
		e.Kind, e.Value = crdt.EditMergePatch, o.document(act)
	case actPatch:
		e.Kind = crdt.EditJSONPatch
		e.Ops, err = value.ParseJSONPatch(again(o.required(act)), s.cfg.Doc)
	case actOps:
		e.Kind = crdt.EditOps
		e.Ops, err = value.ParseOps(again(o.required(act)), s.cfg.Doc)
	case actDelete:
		e.Kind = crdt.EditDelete
		o.yes(act)
	}
	if err == nil {
		err = checkRoot(e.Ops)
	}
	if err != nil {
		return e, o.wrap(act, err)
	}
	if err := o.done(); err != nil {
		return e, err
	}
	// A batch has more room than a document. Patches have been parsed by themselves.
	for _, name := range []string{actPut, actMerge, "base_value"} {
		if v, ok := o.m[name]; ok {
			if err := value.Check(v, s.cfg.Doc); err != nil {
				return e, o.wrap(name, err)
			}
		}
	}
	return e, nil
}

// again writes a part of a parsed batch, for a parser of its own. It is not the
// common case that would deserve another way.
func again(v any) []byte { return value.Append(nil, v, value.Options{Types: true}) }

// appendBatchReceipt leaves the object open.
func appendBatchReceipt(b []byte, r *core.Receipt) []byte {
	b = append(b, '{')
	b = appendDotAndStamp(b, r.Dot, r.Stamp)
	b = append(b, `,"docs":[`...)
	for i := range r.Docs {
		d := &r.Docs[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"collection":`...)
		b = appendString(b, d.Collection.Name)
		b = append(b, `,"id":`...)
		b = appendString(b, d.ID)
		b = append(b, `,"created":`...)
		b = appendBool(b, d.Created)
		b = append(b, `,"exists":`...)
		b = appendBool(b, d.Exists)
		if d.Exists {
			b = append(b, `,"etag":`...)
			b = appendString(b, etagOf(d.Tag, d.Collection.Revision, plain))
		}
		b = append(b, '}')
	}
	return append(b, ']')
}
