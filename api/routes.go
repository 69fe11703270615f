package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
)

// A handler answers a request, or returns an error for the table in problem.go.
type handler func(x *exchange, r *http.Request) error

func handle(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x := w.(*exchange)
		x.route = routeOf(r)
		err := h(x, r)
		if err != nil {
			err = x.elsewhere(r, err)
		}
		if err != nil && !errors.Is(err, errForwarded) {
			x.fail(r, err)
		}
	}
}

// routes builds the router. There is no middleware: what every request needs
// is done by the exchange, around the router.
func (s *Server) routes() chi.Router {
	m := chi.NewRouter()
	get := func(path string, h handler) {
		m.Get(path, handle(h))
		m.Head(path, handle(h))
	}
	get("/livez", s.getLivez)
	get("/readyz", s.getReadyz)
	get(MetricsPath, s.getMetrics)

	const collection = "/v1/collections/{collection}"
	get("/v1/collections", s.listCollections)
	get(collection, s.getCollection)
	m.Put(collection, handle(s.putCollection))
	m.Delete(collection, handle(heldHere(s.deleteCollection)))

	m.Post(collection+"/home", handle(s.postHome))

	get(collection+"/docs", heldHere(s.listDocs))
	m.Post(collection+"/docs", handle(once(s.createDoc)))
	const doc = collection + "/docs/{id}"
	get(doc, heldHere(s.getDoc))
	m.Put(doc, handle(once(s.putDoc)))
	m.Patch(doc, handle(once(s.patchDoc)))
	m.Delete(doc, handle(once(s.deleteDoc)))
	get(doc+"/versions", heldHere(s.getVersions))
	m.Post(doc+"/resolve", handle(once(s.resolveDoc)))
	get(doc+"/automerge", heldHere(s.exportDoc))
	m.Post(doc+"/automerge", handle(once(s.importDoc)))

	m.Get(collection+"/sync", handle(s.syncDocs))

	m.Post("/v1/batch", handle(once(s.postBatch)))

	get("/v1/changes", s.getChanges)
	get(collection+"/changes", s.getChanges)

	get("/v1/conflicts", s.listConflicts)
	m.Post("/v1/conflicts/preview", handle(s.previewConflicts))
	const conflict = "/v1/conflicts/{conflict}"
	get(conflict, s.getConflict)
	m.Post(conflict+"/preview", handle(s.previewConflict))
	m.Post(conflict+"/restore", handle(once(s.restoreConflict)))
	m.Post("/v1/policies/check", handle(s.checkPolicy))

	get("/v1/cluster", s.getCluster)
	get("/v1/cluster/convergence", s.getConvergence)
	m.Post("/v1/cluster/regions/{region}", handle(s.postRegion))
	m.Delete("/v1/cluster/regions/{region}", handle(s.deleteRegion))
	m.Put("/v1/cluster/topology", handle(s.putTopology))
	get("/v1/backup", s.getBackup)
	get("/v1/faults/links", s.listFaults)
	get("/v1/faults/links/{region}", s.getFault)
	m.Put("/v1/faults/links/{region}", handle(s.putFault))
	get("/v1/faults/clock", s.getClock)
	m.Put("/v1/faults/clock", handle(s.putClock))

	get(ProblemPath, s.explainProblems)
	get(ProblemPath+"{name}", s.explainProblems)

	for name, files := range s.cfg.Pages {
		serve := http.StripPrefix("/"+name, http.FileServerFS(files))
		get("/"+name+"/*", func(x *exchange, r *http.Request) error {
			x.Header()["Cache-Control"] = revalidate
			serve.ServeHTTP(x, r)
			return nil
		})
	}

	m.NotFound(handle(func(*exchange, *http.Request) error {
		return problemf(noRoute, "nothing is served under this path; the routes start with /v1/ and do not end in a slash")
	}))
	m.MethodNotAllowed(handle(s.wrongMethod))
	return m
}

// wrongMethod tells which methods a path has, also to OPTIONS.
func (s *Server) wrongMethod(x *exchange, r *http.Request) error {
	path := r.URL.RawPath
	if path == "" {
		path = r.URL.Path
	}
	var allowed []string
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"} {
		if s.router.Match(chi.NewRouteContext(), method, path) {
			allowed = append(allowed, method)
		}
	}
	h := x.Header()
	h["Allow"] = []string{strings.Join(allowed, ", ")}
	if strings.Contains(h["Allow"][0], http.MethodPatch) {
		h["Accept-Patch"] = acceptPatch
	}
	if r.Method == http.MethodOptions {
		x.empty(r, http.StatusNoContent)
		return nil
	}
	return problemf(badMethod, "%.20s is not served here, only %s", r.Method, h["Allow"][0])
}
