package api

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"

	"github.com/meridiandb/meridian/transport"
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

func (s *Server) listFaults(x *exchange, r *http.Request) error {
	f, err := s.faults()
	if err != nil {
		return err
	}
	return x.answerJSON(r, http.StatusOK, map[string]any{"links": f.Faults()})
}

func (s *Server) getFault(x *exchange, r *http.Request) error {
	f, err := s.faults()
	if err != nil {
		return err
	}
	fault, ok := f.Faults()[pathParam(r, "region")]
	if !ok {
		return noLink(r)
	}
	return x.answerJSON(r, http.StatusOK, fault)
}

func noLink(r *http.Request) error {
	return problemf(unknownRegion, "there is no link with a region %.80q; GET /v1/faults/links lists them", pathParam(r, "region"))
}

func (s *Server) putFault(x *exchange, r *http.Request) error {
	f, err := s.faults()
	if err != nil {
		return err
	}
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	if err := needJSON(r); err != nil {
		return err
	}
	name := pathParam(r, "region")
	if _, ok := f.Faults()[name]; !ok {
		return noLink(r)
	}
	body, err := readBody(r, MaxSettingsBytes)
	if err != nil {
		return err
	}
	defer body.release()
	if !json.Valid(body.b) {
		var v any
		return problemf(malformedJSON, "%v", json.Unmarshal(body.b, &v))
	}
	d := json.NewDecoder(bytes.NewReader(body.b))
	d.DisallowUnknownFields()
	var fault transport.Fault
	if err := d.Decode(&fault); err != nil {
		return problemf(invalid, "%v; a fault is such as %s", err, faultExample)
	}
	if err := f.SetFault(name, fault); err != nil {
		return problemf(invalid, "%v", err)
	}
	return x.answerJSON(r, http.StatusOK, f.Faults()[name])
}

const faultExample = `{"state": "cut"|"up", "delay": "80ms", "loss": 0.01, "direction": "both"|"in"|"out"}`
