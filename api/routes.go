package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
)

// A handler answers a request, or returns an error for the table in problem.go.
type handler func(x *exchange, r *http.Request) error

// A router finds the handler of a request. chi matches the path; what it hands to
// handlers for each request, a copy of the request with a context and a map of
// parameters, is left out: parameters are with the exchange.
type router struct {
	tree      *chi.Mux
	endpoints map[endpointKey]endpoint
}

type endpointKey struct {
	method, pattern string // as chi tells what it has found
}

type endpoint struct {
	handler handler
	route   string // for metrics and traces
}

func newRouter() *router {
	return &router{tree: chi.NewRouter(), endpoints: map[endpointKey]endpoint{}}
}

// get adds a route of GET and HEAD.
func (m *router) get(pattern string, h handler) {
	m.add(http.MethodGet, pattern, h)
	m.add(http.MethodHead, pattern, h)
}

func (m *router) add(method, pattern string, h handler) {
	m.tree.Method(method, pattern, http.NotFoundHandler()) // which is never asked
	m.endpoints[endpointKey{method, pattern}] = endpoint{h, strings.TrimSuffix(pattern, "/")}
}

// find returns the endpoint of a request, and leaves the parameters of its path in match.
func (m *router) find(match *chi.Context, method, path string) (endpoint, bool) {
	match.Reset()
	e, ok := m.endpoints[endpointKey{method, m.tree.Find(match, method, path)}]
	return e, ok
}

// routedPath is the path by which a request is routed: as it was sent, if it has
// escapes that say something.
func routedPath(r *http.Request) string {
	if r.URL.RawPath != "" {
		return r.URL.RawPath
	}
	return r.URL.Path
}

// route answers a request by the handler of its route.
func (s *Server) route(x *exchange, r *http.Request) {
	e, ok := s.router.find(x.match, r.Method, routedPath(r))
	if !ok {
		e.handler = s.noEndpoint
	}
	x.route = e.route
	err := e.handler(x, r)
	if err != nil {
		err = x.elsewhere(r, err)
	}
	if err != nil && !errors.Is(err, errForwarded) {
		x.fail(r, err)
	}
}

func (s *Server) routes() *router {
	m := newRouter()
	m.get("/livez", s.getLivez)
	m.get("/readyz", s.getReadyz)
	m.get(MetricsPath, s.getMetrics)

	const collection = "/v1/collections/{collection}"
	m.get("/v1/collections", s.listCollections)
	m.get(collection, s.getCollection)
	m.add(http.MethodPut, collection, s.putCollection)
	m.add(http.MethodDelete, collection, heldHere(s.deleteCollection))

	m.add(http.MethodPost, collection+"/home", s.postHome)

	m.get(collection+"/docs", heldHere(s.listDocs))
	m.add(http.MethodPost, collection+"/docs", once(unwatched(s.createDoc)))
	const doc = collection + "/docs/{id}"
	m.get(doc, heldHere(s.getDoc))
	m.add(http.MethodPut, doc, once(unwatched(s.putDoc)))
	m.add(http.MethodPatch, doc, once(unwatched(s.patchDoc)))
	m.add(http.MethodDelete, doc, once(s.deleteDoc))
	m.get(doc+"/versions", heldHere(s.getVersions))
	m.add(http.MethodPost, doc+"/resolve", once(s.resolveDoc))
	m.get(doc+"/automerge", heldHere(s.exportDoc))
	m.add(http.MethodPost, doc+"/automerge", once(s.importDoc))

	m.add(http.MethodGet, collection+"/sync", s.syncDocs)

	m.add(http.MethodPost, "/v1/batch", once(s.postBatch))

	m.get("/v1/changes", s.getChanges)
	m.get(collection+"/changes", s.getChanges)

	m.get("/v1/conflicts", s.listConflicts)
	m.add(http.MethodPost, "/v1/conflicts/preview", s.previewConflicts)
	const conflict = "/v1/conflicts/{conflict}"
	m.get(conflict, s.getConflict)
	m.add(http.MethodPost, conflict+"/preview", s.previewConflict)
	m.add(http.MethodPost, conflict+"/restore", once(s.restoreConflict))
	m.add(http.MethodPost, "/v1/policies/check", s.checkPolicy)

	m.get("/v1/cluster", s.getCluster)
	m.get("/v1/cluster/convergence", s.getConvergence)
	m.add(http.MethodPost, "/v1/cluster/regions/{region}", s.postRegion)
	m.add(http.MethodDelete, "/v1/cluster/regions/{region}", s.deleteRegion)
	m.add(http.MethodPut, "/v1/cluster/topology", s.putTopology)
	m.get("/v1/backup", s.getBackup)
	m.get("/v1/faults/links", s.listFaults)
	m.get("/v1/faults/links/{region}", s.getFault)
	m.add(http.MethodPut, "/v1/faults/links/{region}", s.putFault)
	m.get("/v1/faults/clock", s.getClock)
	m.add(http.MethodPut, "/v1/faults/clock", s.putClock)

	m.get(ProblemPath, s.explainProblems)
	m.get(ProblemPath+"{name}", s.explainProblems)

	for name, files := range s.cfg.Pages {
		serve := http.StripPrefix("/"+name, http.FileServerFS(files))
		m.get("/"+name+"/*", func(x *exchange, r *http.Request) error {
			x.Header()["Cache-Control"] = revalidate
			serve.ServeHTTP(x, r)
			return nil
		})
	}

	return m
}

// noEndpoint tells which methods a path has, also to OPTIONS.
func (s *Server) noEndpoint(x *exchange, r *http.Request) error {
	var allowed []string
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"} {
		if _, ok := s.router.find(x.match, method, routedPath(r)); ok {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		return problemf(noRoute, "nothing is served under this path; the routes start with /v1/ and do not end in a slash")
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
