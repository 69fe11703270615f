package core

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region/store"
)

// SetAside is the name of the collection that gets what a region that came back
// could not write where it belonged. What only some regions hold goes to one of its own,
// of that name with an addition, that the same regions hold.
const SetAside = "set-aside"

// asideSuffix is the room for a number behind an id of that collection.
const asideSuffix = 21

// putAside writes a document that has no place into the collection for such.
func (c *Core) putAside(d *oldDoc, was *Collection, why error) error {
	name := d.key.Collection.String()
	view := crdt.View{}
	if was != nil {
		name = was.Name
	}
	if d.state != nil {
		view = d.state.View(newest)
	}
	c.note(true, "a document of this region could not be brought in where it belongs", "collection", name, "document", d.key.ID,
		"reason", why)
	switch {
	case d.damaged:
		return c.stuck(d, errors.New("the store's copy is damaged"))
	case !view.Exists:
		return nil // it was deleted here
	}
	aside, settings := SetAside, DefaultSettings()
	if r := d.changes[0].Residency; r != nil {
		// It must not leave the regions that held it.
		aside, settings.Regions = fmt.Sprintf("%s-%08x", SetAside, crdt.HashRegions(r.Regions)>>32), r.Regions
	}
	col, err := c.catalog.Collection(aside)
	if err != nil {
		col = &Collection{Name: aside, Settings: settings}
		if err := c.createCollection(col); err != nil {
			return err
		}
		col = c.catalog.byDot[col.Incarnation]
	}
	e, err := c.freeAside(col, name+":"+d.key.ID)
	if err != nil {
		return err
	}
	doc := map[string]any{"region": c.cfg.Region, "collection": name, "id": d.key.ID, "reason": why.Error(), "value": view.Value}
	if others := d.others(view); len(others) > 0 {
		doc["others"] = others
	}
	edit := crdt.Edit{Kind: crdt.EditPut, Value: doc}
	if err = c.placeEdit(d, col, e, edit, seesAll); err != nil && !errors.Is(err, errStore) {
		doc["value"], doc["others"] = string(value.Append(nil, view.Value, value.Options{})), string(value.Append(nil, d.others(view), value.Options{}))
		err = c.placeEdit(d, col, e, edit, seesAll)
	}
	if errors.Is(err, errStore) {
		return err
	}
	if err != nil {
		return c.stuck(d, err)
	}
	c.rebasing.counts.SetAside++
	return nil
}

// errUnsure says that nobody knows whether something was made anew.
var errUnsure = errors.New("another store that had the same was to bring it in, and was lost before it said that it has")

// leaveToOthers takes from what was set aside of a document what other stores make anew. What one was to that
// is lost goes to the collection for what has no place, unless the document shows the same now.
func (c *Core) leaveToOthers(d *oldDoc, a *asideRecord) error {
	all, names := d.changes, d.names
	lost := *d
	d.changes, lost.changes, lost.names = nil, nil, nil
	for i, ch := range all {
		switch {
		case !a.skip.Contains(ch.Dot):
			d.changes = append(d.changes, ch)
		case c.unsure(a, ch.Dot):
			lost.changes, lost.names = append(lost.changes, ch), append(lost.names, names[i])
		}
	}
	if len(lost.changes) == 0 || d.key.Collection.IsZero() {
		return nil
	}
	was, err := c.oldCollection(d.key.Collection)
	if errors.Is(err, errStore) {
		return err
	}
	if same, err := c.showsSame(d, was); same || err != nil {
		return err
	}
	lost.begun = c.have.Get(c.replica)
	if err := c.putAside(&lost, was, errUnsure); err != nil {
		return err
	}
	for _, name := range lost.names {
		c.putMeta(name, nil) // once, also if the rest has to wait
	}
	return nil
}

// showsSame reports whether a document shows what its store had when it was set aside.
func (c *Core) showsSame(d *oldDoc, was *Collection) (bool, error) {
	col := c.catalog.byDot[d.key.Collection]
	if col == nil && was != nil {
		col, _ = c.catalog.Collection(was.Name)
	}
	if col == nil || d.state == nil {
		return false, nil
	}
	e, err := c.load(store.DocKey{Collection: col.Incarnation, ID: d.key.ID}, col.Settings.Type)
	if errors.Is(err, errStore) {
		return false, err
	}
	if err != nil {
		return false, nil //nolint:nilerr // it shows nothing
	}
	now, old := e.state.View(newest), d.state.View(newest)
	return now.Exists == old.Exists && value.Equal(now.Value, old.Value), nil
}

// stuck leaves a document where it is.
func (c *Core) stuck(d *oldDoc, why error) error {
	c.note(true, "a document of this region can be written nowhere, it stays set aside in the store and is tried again after a restart",
		"collection", d.key.Collection, "document", d.key.ID, "reason", why)
	return errStuck
}

// freeAside finds an id in the collection of what has no place that no document has: the
// same may have come of another incarnation of its collection, or when the region came back before.
func (c *Core) freeAside(col *Collection, of string) (*entry, error) {
	id := c.cfg.Region + ":" + of
	if len(id) > crdt.MaxIDBytes-asideSuffix {
		sum := sha256.Sum256([]byte(id))
		id = c.cfg.Region + ":" + hex.EncodeToString(sum[:])
	}
	for n, next := 2, id; ; n++ {
		e, err := c.load(store.DocKey{Collection: col.Incarnation, ID: next}, col.Settings.Type)
		if err != nil || !e.state.Heads().Visible() {
			return e, err
		}
		next = id + ":" + strconv.Itoa(n)
	}
}

// others are the values of a document that its store had beside those that it showed.
func (d *oldDoc) others(view crdt.View) (out []any) {
	if d.state.Type() == crdt.TypeRegister {
		for _, v := range d.state.Versions() {
			if !v.Deleted && !value.Equal(v.Value, view.Value) {
				out = append(out, map[string]any{"path": "", "value": v.Value})
			}
		}
		return out
	}
	for i := range view.Conflicts {
		x := &view.Conflicts[i]
		for j, v := range x.Versions {
			if j != x.Shown && !v.Deleted {
				out = append(out, map[string]any{"path": x.Path, "value": v.Value})
			}
		}
	}
	return out
}
