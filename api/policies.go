package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
)

// Bounds of the check of a policy.
const (
	// CheckGenerated is how many conflicts are generated for each place that a
	// policy can be asked about.
	CheckGenerated = 40
	// MaxCheckRecorded bounds how many conflicts of a collection a policy is checked on.
	MaxCheckRecorded = 200
	// MaxCheckOutcomes bounds how many of them the answer lists.
	MaxCheckOutcomes = 100
	// MaxCheckValue bounds a value in the answer, in bytes of JSON; a longer one
	// is left out.
	MaxCheckValue = 4 << 10
)

// A checkedVersion is a version in the answer of a check.
type checkedVersion struct {
	Dot    string          `json:"dot"`
	Stamp  string          `json:"stamp"`
	Region string          `json:"region"`
	Shown  bool            `json:"shown"`
	Value  json.RawMessage `json:"value,omitempty"`
}

// A checkedOutcome is what a policy makes of a conflict.
type checkedOutcome struct {
	ID       string           `json:"id,omitempty"`
	Path     string           `json:"path"`
	Policy   string           `json:"policy"`
	Versions []checkedVersion `json:"versions"`
	// Value is what the policy made; absent where it shows one of the versions.
	Value  json.RawMessage `json:"value,omitempty"`
	Open   bool            `json:"open,omitempty"`
	Failed string          `json:"failed,omitempty"`
	Why    string          `json:"why"`
	// Changes says that the document would show something else than it does.
	Changes bool `json:"changes"`
}

// A Fault is a case in which a policy fails its check.
type Fault struct {
	// Kind is "fails", "not-deterministic" or "depends-on-order".
	Kind string `json:"kind"`
	Why  string `json:"why"`
	// Case names the conflict: "generated N", or a document.
	Case     string           `json:"case"`
	Path     string           `json:"path"`
	Versions []checkedVersion `json:"versions"`
}

// comparedDocuments counts the documents of a collection.
type comparedDocuments struct {
	Scanned    int `json:"scanned"`
	Conflicted int `json:"conflicted"`
	// Changed would show something else.
	Changed int `json:"changed"`
	// Truncated says that there are more than were scanned.
	Truncated bool `json:"truncated"`
}

// A checkAnswer is what POST /v1/policies/check answers.
type checkAnswer struct {
	OK     bool   `json:"ok"`
	Policy string `json:"policy"`
	// Hash is that of the policy's script.
	Hash  string `json:"hash,omitempty"`
	Cases struct {
		Generated int `json:"generated"`
		Recorded  int `json:"recorded"`
	} `json:"cases"`
	Faults    []Fault            `json:"faults"`
	Documents *comparedDocuments `json:"documents,omitempty"`
	Outcomes  []checkedOutcome   `json:"outcomes"`
}

// A policyCheck is the check of settings, and what it has found.
type policyCheck struct {
	s        *Server
	settings *core.Settings
	// cases are the recorded conflicts, changes whether their documents would
	// show something else.
	cases     []conflict.Case
	changes   []bool
	documents *comparedDocuments
	have      crdt.Vector
	faults    []conflict.Fault
	outcomes  []conflict.Tried
	generated int
}

// scripted reports whether settings have a script. The other policies are ours,
// and pass by construction.
func scripted(s *core.Settings) bool {
	r := s.Resolver()
	for _, path := range conflict.CheckedPaths(r, true) {
		if conflict.Hash(conflict.At(r, path)) != "" {
			return true
		}
	}
	return false
}

// compare looks at what the settings would change in a collection.
func (p *policyCheck) compare(ctx context.Context, collection string) error {
	p.documents = &comparedDocuments{}
	c, err := p.s.region.Compare(ctx, collection, p.settings.Resolver(), func(d *region.Compared) error {
		changed := !value.Equal(d.Now.Value, d.Then.Value)
		if changed {
			p.documents.Changed++
		}
		for i := range d.Asked {
			if len(p.cases) == MaxCheckRecorded {
				break
			}
			p.cases = append(p.cases, p.recorded(collection, d.ID, &d.Asked[i].Conflict))
			p.changes = append(p.changes, changed)
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.have = c.Have
	p.documents.Scanned, p.documents.Conflicted, p.documents.Truncated = c.Scanned, c.Conflicted, c.Truncated
	return nil
}

func (p *policyCheck) recorded(collection, id string, c *crdt.Conflict) conflict.Case {
	out := conflict.Case{Name: "document " + id, Context: conflict.Context{Collection: collection, ID: id, Path: c.Path}}
	for _, v := range c.Versions {
		out.Versions = append(out.Versions, conflict.Version{Version: v, Region: p.s.region.RegionOf(v.Dot.Replica)})
	}
	return out
}

// run checks the policy on the recorded conflicts, and on generated ones.
func (p *policyCheck) run(collection string) {
	r := p.settings.Resolver()
	report := conflict.Check(r, p.cases)
	p.outcomes, p.faults = report.Tried, report.Faults
	if !report.OK() {
		return // the collection's own conflicts say most
	}
	for _, path := range conflict.CheckedPaths(r, p.settings.Type == crdt.TypeRegister) {
		cases := conflict.Generate(conflict.Context{Collection: collection, ID: "generated", Path: path}, CheckGenerated)
		report := conflict.Check(r, cases)
		p.generated += len(report.Tried)
		if p.faults = report.Faults; len(p.faults) > 0 {
			return
		}
	}
}

// refuse is the problem of settings whose check found a fault, or nil.
func (p *policyCheck) refuse() error {
	if len(p.faults) == 0 {
		return nil
	}
	f := p.fault(&p.faults[0])
	e := problemf(badPolicy, "the check of the policy found a fault in the case %q: %s", f.Case, f.Why)
	if f.Path != "" {
		e = problemf(badPolicy, "the check of the policy found a fault in the case %q, at %q: %s", f.Case, f.Path, f.Why)
	}
	e.fault = &f
	return e
}

func (p *policyCheck) fault(f *conflict.Fault) Fault {
	return Fault{Kind: f.Kind, Why: f.Why, Case: f.Case.Name, Path: f.Case.Context.Path, Versions: checkedVersions(&f.Case, -1)}
}

func checkedVersions(c *conflict.Case, shown int) []checkedVersion {
	out := make([]checkedVersion, len(c.Versions))
	for i := range c.Versions {
		v := &c.Versions[i]
		out[i] = checkedVersion{Dot: v.Dot.String(), Stamp: v.Stamp.String(), Region: v.Region, Shown: i == shown}
		if !v.Deleted {
			out[i].Value = shortValue(v.Value)
		}
	}
	return out
}

// shortValue writes a value, or nothing if it is long.
func shortValue(v any) json.RawMessage {
	if value.Size(v) > MaxCheckValue {
		return nil
	}
	return value.Append(nil, v, value.Options{})
}

func (p *policyCheck) answer() checkAnswer {
	a := checkAnswer{
		OK: len(p.faults) == 0, Policy: conflict.Name(p.settings.Policy), Hash: conflict.Hash(p.settings.Policy),
		Faults: []Fault{}, Documents: p.documents, Outcomes: []checkedOutcome{},
	}
	a.Cases.Generated, a.Cases.Recorded = p.generated, len(p.outcomes)
	for i := range p.faults {
		a.Faults = append(a.Faults, p.fault(&p.faults[i]))
	}
	r := p.settings.Resolver()
	for i := range p.outcomes {
		if i == MaxCheckOutcomes {
			break
		}
		t := &p.outcomes[i]
		out := checkedOutcome{
			ID: t.Case.Context.ID, Path: t.Case.Context.Path, Policy: conflict.Name(conflict.At(r, t.Case.Context.Path)),
			Versions: checkedVersions(&t.Case, t.Outcome.Shown), Open: t.Outcome.Open, Failed: t.Outcome.Failed, Why: t.Outcome.Reason,
			Changes: p.changes[i],
		}
		if t.Outcome.Shown < 0 {
			out.Value = shortValue(t.Outcome.Value)
		}
		a.Outcomes = append(a.Outcomes, out)
	}
	return a
}

// checkSettings checks settings that have a script, before they are set. If
// there is a collection of the name already, its conflicts are among the cases,
// and are compared with or without a script if asked.
func (s *Server) checkSettings(ctx context.Context, collection string, settings *core.Settings, compare bool) (*policyCheck, error) {
	p := &policyCheck{s: s, settings: settings}
	if err := p.compareIfThere(ctx, collection, compare || scripted(settings)); err != nil {
		return nil, err
	}
	if !scripted(settings) {
		return p, nil
	}
	p.run(collection)
	return p, p.refuse()
}

func (p *policyCheck) compareIfThere(ctx context.Context, collection string, wanted bool) error {
	if !wanted {
		return nil
	}
	switch c, err := p.s.region.Collection(collection); {
	case errors.Is(err, core.ErrUnknownCollection):
		return nil
	case err != nil:
		return err
	case c.Settings.Type != p.settings.Type:
		return fmt.Errorf("%w: %s is a %v collection; the type is fixed when a collection is made", core.ErrExists, c.Name, c.Settings.Type)
	}
	return p.compare(ctx, collection)
}

// A dryRun is what PUT of a collection answers with ?dry-run=1.
type dryRun struct {
	DryRun bool   `json:"dry_run"`
	Name   string `json:"name"`
	// Exists says that there is such a collection: it would be changed, not made.
	Exists    bool               `json:"exists"`
	Settings  *core.Settings     `json:"settings"`
	Documents *comparedDocuments `json:"documents,omitempty"`
}

func (x *exchange) answerDryRun(r *http.Request, name string, settings *core.Settings, p *policyCheck) error {
	if p.documents == nil {
		if err := core.CheckName(name); err != nil {
			return err
		}
	}
	x.saw(p.have)
	return x.answerJSON(r, http.StatusOK, dryRun{true, name, p.documents != nil, settings, p.documents})
}

// checkPolicy answers POST /v1/policies/check.
func (s *Server) checkPolicy(x *exchange, r *http.Request) error {
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	if err := needJSON(r); err != nil {
		return err
	}
	body, err := readBody(r, MaxSettingsBytes)
	if err != nil {
		return err
	}
	defer body.release()
	collection, settings, err := s.parseCheck(body.b)
	if err != nil {
		return err
	}
	if err := x.goHolder(r, collection); err != nil {
		return err
	}
	if err := x.await(r); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.cfg.Timeout)
	defer cancel()
	p := &policyCheck{s: s, settings: settings}
	if collection != "" {
		if err := p.compare(ctx, collection); err != nil {
			return err
		}
		x.saw(p.have)
	}
	p.run(collection)
	return x.answerJSON(r, http.StatusOK, p.answer())
}

// parseCheck reads {"policy": …, "fields": …, "type": …, "collection": …}. What is
// left out is as in the collection.
func (s *Server) parseCheck(body []byte) (collection string, settings *core.Settings, err error) {
	if err := checkJSON(body); err != nil {
		return "", nil, err
	}
	var in struct {
		Collection string          `json:"collection,omitempty"`
		Type       string          `json:"type,omitempty"`
		Policy     json.RawMessage `json:"policy,omitempty"`
		Fields     json.RawMessage `json:"fields,omitempty"`
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return "", nil, problemf(malformedRequest, `write {"policy": …, "fields": …, "type": …, "collection": …}: %v`, err)
	}
	if in.Policy == nil && in.Fields == nil {
		return "", nil, problemf(malformedRequest, `"policy" or "fields" is missing: what is to be checked?`)
	}
	if in.Collection != "" {
		c, err := s.region.Collection(in.Collection)
		if err != nil {
			return "", nil, err
		}
		present := c.Settings.Type.String()
		if in.Type == "" {
			in.Type = present
		}
		if in.Type != present {
			return "", nil, fmt.Errorf("%w: %s is a %s collection", core.ErrExists, c.Name, present)
		}
		if in.Policy == nil {
			if in.Policy, err = conflict.Marshal(c.Settings.Policy); err != nil {
				return "", nil, err
			}
		}
	}
	collection, in.Collection = in.Collection, ""
	b, err := json.Marshal(&in)
	if err != nil {
		return "", nil, err
	}
	parsed, err := core.ParseSettings(b)
	return collection, &parsed, err
}
