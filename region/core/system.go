package core

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/store"
)

// Ids in the system collection.
const (
	collectionPrefix = "c:"
	replicaPrefix    = "r:"
)

func collectionID(d crdt.Dot) string { return collectionPrefix + d.String() }

// A collectionDoc is a collection as the system collection has it. Settings are
// kept as one text: merged field by field, two valid ones could make an invalid one.
type collectionDoc struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Settings string `json:"settings"`
	Explicit bool   `json:"explicit"`
	Born     uint64 `json:"born"`
	Deleted  bool   `json:"deleted"`
}

type replicaDoc struct {
	Region string `json:"region"`
}

func (c *Collection) system() any {
	own := c.Settings
	own.Homes = nil // documents of their own
	settings, err := own.marshal(conflict.MarshalStored)
	if err != nil {
		panic(err) // settings were parsed before
	}
	return collectionDoc{c.Name, c.Settings.Type.String(), string(settings), c.Explicit, uint64(c.Born), c.Deleted}
}

// announce makes the first change of a replica, which binds it to its region,
// as soon as it has caught up. It writes nothing else before join says so.
func (c *Core) announce() error {
	if ready := c.announceable() == nil; c.announced || !ready {
		return nil
	}
	c.announced, c.founder = true, c.founding()
	return c.writeSystem(c.header(0, 0), systemDoc{replicaPrefix + c.replica.String(), replicaDoc{Region: c.cfg.Region}})
}

// loadCatalog reads the system collection.
func (c *Core) loadCatalog() error {
	for d, err := range c.reader.Docs(crdt.Dot{}, "", "") {
		if err != nil {
			return err
		}
		s, err := DecodeDocument(d.State)
		if err != nil {
			return fmt.Errorf("system document %q: %w", d.ID, err)
		}
		if err := c.systemChanged(d.ID, s); err != nil {
			return err
		}
	}
	return nil
}

// StoredCollections lists the incarnations of all collections that a store has,
// the system collection first.
func StoredCollections(reader store.Reader) ([]crdt.Dot, error) {
	out := []crdt.Dot{{}}
	for d, err := range reader.Docs(crdt.Dot{}, collectionPrefix, "") {
		if err != nil {
			return nil, err
		}
		dot, err := crdt.ParseDot(strings.TrimPrefix(d.ID, collectionPrefix))
		if err != nil {
			return nil, fmt.Errorf("%w: collection %q: %w", crdt.ErrCorrupt, d.ID, err)
		}
		out = append(out, dot)
	}
	return out, nil
}

// systemChanged takes a changed document of the system collection into the catalog.
func (c *Core) systemChanged(id string, s crdt.State) error {
	view := c.systemView(id, s)
	if !view.Exists {
		return nil
	}
	doc := value.Append(nil, view.Value, value.Options{})
	switch {
	case strings.HasPrefix(id, replicaPrefix):
		r, err := crdt.ParseReplicaID(strings.TrimPrefix(id, replicaPrefix))
		if err != nil {
			return fmt.Errorf("%w: %w", crdt.ErrCorrupt, err)
		}
		var d replicaDoc
		if err := json.Unmarshal(doc, &d); err != nil {
			return fmt.Errorf("%w: replica %v: %w", crdt.ErrCorrupt, r, err)
		}
		c.catalog = c.catalog.withRegion(r, d.Region)
		c.succeeded(d.Region, r)
	case strings.HasPrefix(id, collectionPrefix):
		dot, err := crdt.ParseDot(strings.TrimPrefix(id, collectionPrefix))
		if err != nil {
			return fmt.Errorf("%w: %w", crdt.ErrCorrupt, err)
		}
		col, err := c.parseCollection(dot, doc)
		if err != nil {
			return fmt.Errorf("%w: collection %v: %w", crdt.ErrCorrupt, dot, err)
		}
		heads := s.Heads().Dots()
		col.Revision = crdt.VersionTag(heads)[:8]
		c.catalog = c.catalog.with(col)
		c.sync.replan = c.sync.replan || col.Settings.Regions != nil // for the links between those that hold it
	case strings.HasPrefix(id, homePrefix):
		return c.homeChanged(id, doc)
	case strings.HasPrefix(id, memberPrefix):
		return c.memberChanged(id, doc)
	case strings.HasPrefix(id, removalPrefix):
		return c.removalChanged(id, doc)
	case strings.HasPrefix(id, freezePrefix):
		return c.freezeChanged(id, doc)
	case strings.HasPrefix(id, gonePrefix):
		return c.goneChanged(id, doc, s.Heads().Dots())
	case strings.HasPrefix(id, broughtPrefix):
		return c.broughtChanged(id, doc)
	case id == topologyID:
		return c.topologyChanged(doc)
	}
	return nil
}

// systemView shows a document of the system collection: of concurrent values the
// one with the greatest stamp.
func (c *Core) systemView(id string, s crdt.State) crdt.View {
	return s.View(conflict.View(conflict.LWW(), conflict.Context{ID: id}, c.catalog.Region))
}

func (c *Core) parseCollection(dot crdt.Dot, doc []byte) (*Collection, error) {
	var d collectionDoc
	if err := json.Unmarshal(doc, &d); err != nil {
		return nil, err
	}
	t, err := crdt.ParseType(d.Type)
	if err != nil {
		return nil, err
	}
	settings, err := ParseSettings([]byte(d.Settings))
	if err != nil {
		// A newer version may know more; the documents do not depend on it.
		c.note(true, "collection settings are not understood here, the defaults are used", "collection", d.Name, "error", err)
		settings = DefaultSettings()
	}
	settings.Type = t
	return &Collection{
		Incarnation: dot, Name: d.Name, Settings: settings,
		Explicit: d.Explicit, Born: crdt.Stamp(d.Born), Deleted: d.Deleted,
	}, nil
}
