package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/topology"
)

// postRegion answers POST /v1/cluster/regions/{region}: it makes a region a
// member, or changes the address of one.
func (s *Server) postRegion(x *exchange, r *http.Request) error {
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	o, err := readSettings(r)
	if err != nil {
		return err
	}
	ask := core.AddRegion{Region: x.param(r, "region"), Address: o.text("address")}
	if err := o.done(); err != nil {
		return err
	}
	if err := x.await(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	receipt, err := s.region.AddRegion(ctx, ask)
	if err != nil {
		return err
	}
	x.saw(receipt.Have)
	status := http.StatusOK
	if receipt.Added {
		status = http.StatusCreated
		s.log.Info("a region was added", "added", receipt.Member.Region, "address", receipt.Member.Address)
	}
	return x.answerJSON(r, status, struct {
		Region  string `json:"region"`
		Address string `json:"address,omitempty"`
		Added   bool   `json:"added"`
	}{receipt.Member.Region, receipt.Member.Address, receipt.Added})
}

// deleteRegion answers DELETE /v1/cluster/regions/{region}: it removes a region for
// good, or tells how far that is.
func (s *Server) deleteRegion(x *exchange, r *http.Request) error {
	q := parseQuery(r, "force")
	ask := core.RemoveRegion{Region: x.param(r, "region"), Force: q.flag("force")}
	if q.err != nil {
		return q.err
	}
	if err := x.await(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	receipt, err := s.region.RemoveRegion(ctx, ask)
	if errors.Is(err, core.ErrNotMember) {
		return problemf(unknownRegion, "the cluster has no region %.100q", ask.Region)
	}
	if err != nil {
		return err
	}
	x.saw(receipt.Have)
	status, state := http.StatusOK, region.MemberRemoved
	if !receipt.Removal.Done {
		status, state = http.StatusAccepted, region.MemberLeaving
		s.log.Info("a region is being removed", "removed", receipt.Removal.Region, "waiting", receipt.Waiting)
	}
	return x.answerJSON(r, status, struct {
		Region  string   `json:"region"`
		State   string   `json:"state"`
		Waiting []string `json:"waiting,omitempty"`
	}{receipt.Removal.Region, state, receipt.Waiting})
}

// putTopology answers PUT /v1/cluster/topology.
func (s *Server) putTopology(x *exchange, r *http.Request) error {
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	o, err := readSettings(r)
	if err != nil {
		return err
	}
	spec := topology.Spec{Kind: topology.Kind(o.text("kind")), Hub: o.text("hub")}
	if _, ok := o.has("deputies"); ok {
		for _, v := range o.list("deputies") {
			name, ok := v.(string)
			if !ok {
				o.fail(malformedRequest, "deputies", "deputies are names of regions")
			}
			spec.Deputies = append(spec.Deputies, name)
		}
	}
	if err := o.done(); err != nil {
		return err
	}
	if err := x.await(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	receipt, err := s.region.SetTopology(ctx, spec)
	if err != nil {
		return err
	}
	x.saw(receipt.Have)
	s.log.Info("the topology was changed", "kind", spec.Kind, "hub", spec.Hub, "deputies", spec.Deputies)
	return x.answerJSON(r, http.StatusOK, receipt.Spec)
}
