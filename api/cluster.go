package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/meridiandb/meridian/transport/fault"
)

func (s *Server) getCluster(x *exchange, r *http.Request) error {
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	status, err := s.region.Cluster(ctx)
	if err != nil {
		return err
	}
	return x.answerJSON(r, http.StatusOK, status)
}

// getConvergence compares the documents of all regions. While changes are on
// their way it waits, as long as the client prefers.
func (s *Server) getConvergence(x *exchange, r *http.Request) error {
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	leave, err := x.queue()
	if err != nil {
		return err
	}
	defer leave()
	ctx, stop := x.waiting(r)
	defer stop()
	out, err := s.region.Convergence(ctx)
	if err != nil {
		return err
	}
	return x.answerJSON(r, http.StatusOK, out)
}

// getLivez says that the process answers.
func (s *Server) getLivez(x *exchange, r *http.Request) error {
	x.answer(r, http.StatusOK, textMedia, []byte("ok\n"))
	return nil
}

// getReadyz says whether requests should be sent here.
func (s *Server) getReadyz(x *exchange, r *http.Request) error {
	if s.closing.Err() != nil {
		return problemf(stopped, "the server is shutting down")
	}
	if err := s.region.Ready(); err != nil {
		return problemf(notReady, "%v", err)
	}
	x.answer(r, http.StatusOK, textMedia, []byte("ok\n"))
	return nil
}

// faults returns what breaks links, if that is enabled.
func (s *Server) faults() (Faults, error) {
	if s.cfg.Faults == nil {
		return nil, problemf(faultsOff, "links can be broken on request only where the server was started with --fault-injection")
	}
	return s.cfg.Faults, nil
}

// links returns the faults of the links with all other regions.
func (s *Server) links(r *http.Request) (Faults, map[string]fault.Fault, error) {
	f, err := s.faults()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	status, err := s.region.Cluster(ctx)
	if err != nil {
		return nil, nil, err
	}
	links, present := map[string]fault.Fault{}, f.Faults()
	for _, peer := range status.Regions {
		links[peer.Region] = present[peer.Region]
	}
	return f, links, nil
}

func (s *Server) listFaults(x *exchange, r *http.Request) error {
	_, links, err := s.links(r)
	if err != nil {
		return err
	}
	return x.answerJSON(r, http.StatusOK, map[string]any{"links": links})
}

func (s *Server) getFault(x *exchange, r *http.Request) error {
	_, links, err := s.links(r)
	if err != nil {
		return err
	}
	f, ok := links[x.param(r, "region")]
	if !ok {
		return x.noLink(r)
	}
	return x.answerJSON(r, http.StatusOK, f)
}

func (x *exchange) noLink(r *http.Request) error {
	return problemf(unknownRegion, "there is no link with a region %.80q; GET /v1/faults/links lists them", x.param(r, "region"))
}

func (s *Server) putFault(x *exchange, r *http.Request) error {
	faults, links, err := s.links(r)
	if err != nil {
		return err
	}
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	if err := needJSON(r); err != nil {
		return err
	}
	name := x.param(r, "region")
	if _, ok := links[name]; !ok {
		return x.noLink(r)
	}
	body, err := readBody(r, MaxSettingsBytes)
	if err != nil {
		return err
	}
	defer body.release()
	if err := checkJSON(body.b); err != nil {
		return err
	}
	var f fault.Fault
	if err := json.Unmarshal(body.b, &f); err != nil {
		return problemf(invalid, "%v; a fault is such as %s", err, faultExample)
	}
	if err := faults.Set(name, f); err != nil {
		return problemf(invalid, "%v", err)
	}
	s.log.Warn("a fault was set on a link", "peer", name, "fault", string(bytes.TrimSpace(body.b)))
	return x.answerJSON(r, http.StatusOK, f)
}

const faultExample = `{"state": "cut"|"up", "delay": "80ms", "loss": 0.01, "direction": "both"|"in"|"out", "for": "30s"}`

// checkJSON refuses what is not JSON, before a decoder that says more about
// what is in it.
func checkJSON(b []byte) error {
	if json.Valid(b) {
		return nil
	}
	var v any
	return problemf(malformedJSON, "%v", json.Unmarshal(b, &v))
}
