package region_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/conflict/journal"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/crdt/value"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares a text with a file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "conflicts", name+".txt")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./region -run Explained -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the explanation has changed:\n%s", diff)
	}
}

// minute waits for the next one, so that times in explanations do not depend on
// how long the regions took to agree.
func (c *cluster) minute() {
	time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
}

func (c *cluster) cut() {
	c.minute()
	for i, a := range c.names {
		for _, b := range c.names[i+1:] {
			c.net.Cut(a, b)
		}
	}
	synctest.Wait()
}

func (c *cluster) heal() {
	for i, a := range c.names {
		for _, b := range c.names[i+1:] {
			c.net.Heal(a, b)
		}
	}
	c.settle(20 * time.Second)
	c.minute()
}

// edit makes an edit, a millisecond after the one before.
func (c *cluster) edit(name, col, id string, e crdt.Edit) core.Receipt {
	c.t.Helper()
	time.Sleep(time.Millisecond)
	r, err := c.regions[name].Write(context.Background(), core.Write{Docs: []core.DocWrite{{Collection: col, ID: id, Edit: e}}})
	if err != nil {
		c.t.Fatalf("edit of %s/%s in %s: %v", col, id, name, err)
	}
	return r
}

func put(doc string) crdt.Edit   { return crdt.Edit{Kind: crdt.EditPut, Value: parse(doc)} }
func merge(doc string) crdt.Edit { return crdt.Edit{Kind: crdt.EditMergePatch, Value: parse(doc)} }

func ops(text string) crdt.Edit {
	o, err := value.ParseOps([]byte(text), value.DefaultLimits)
	if err != nil {
		panic(err)
	}
	return crdt.Edit{Kind: crdt.EditOps, Ops: o}
}

func parse(doc string) any {
	v, err := value.Parse([]byte(doc), value.DefaultLimits)
	if err != nil {
		panic(err)
	}
	return v
}

func (c *cluster) conflicts(name string, q region.ConflictQuery) []*journal.Record {
	c.t.Helper()
	if q.Limit == 0 {
		q.Limit = region.MaxListLimit
	}
	p, err := c.regions[name].Conflicts(context.Background(), q)
	if err != nil {
		c.t.Fatal(err)
	}
	return p.Records
}

// one returns the only conflict that a region knows of.
func (c *cluster) one(name string) *journal.Record {
	c.t.Helper()
	all := c.conflicts(name, region.ConflictQuery{})
	if len(all) != 1 {
		for _, r := range all {
			c.t.Log(r.State, r.Explain())
		}
		c.t.Fatalf("%s knows of %d conflicts, want 1", name, len(all))
	}
	return all[0]
}

// same checks that all regions know of the same conflicts, however they met.
func (c *cluster) same() {
	c.t.Helper()
	var first []string
	for i, n := range c.names {
		var ids []string
		for _, r := range c.conflicts(n, region.ConflictQuery{}) {
			ids = append(ids, r.ID.String()+" "+string(r.State)+" "+r.Explain())
		}
		slices.Sort(ids)
		if i == 0 {
			first = ids
		} else if diff := cmp.Diff(first, ids); diff != "" {
			c.t.Errorf("%s and %s know of other conflicts:\n%s", c.names[0], n, diff)
		}
	}
}

func (c *cluster) explained(file string) {
	c.t.Helper()
	var b strings.Builder
	all := c.conflicts("us-east", region.ConflictQuery{})
	slices.SortFunc(all, func(a, b *journal.Record) int { return strings.Compare(a.Explain(), b.Explain()) })
	for _, r := range all {
		fmt.Fprintf(&b, "%s, %s\n%s\n", r.Kind, r.State, r.Explain())
	}
	golden(c.t, file, b.String())
}

func inConflictOf(t *testing.T, regions []string, settings string, test func(c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := start(t, 5*time.Millisecond, mesh, regions...)
		defer c.stop()
		c.settings("carts", settings)
		test(c)
	})
}

var (
	two   = []string{"eu-west", "us-east"}
	three = []string{"ap-south", "eu-west", "us-east"}
	five  = []string{"af-south", "ap-south", "eu-west", "sa-east", "us-east"}
)

func TestConflictsAreExplained(t *testing.T) {
	for _, test := range []struct {
		name     string
		regions  []string
		settings string
		before   string
		edits    map[string]crdt.Edit
	}{
		{"register-two", two, `{"type":"register","policy":"lww"}`, "", map[string]crdt.Edit{
			"eu-west": put(`{"from":"eu"}`), "us-east": put(`{"from":"us"}`)}},
		{"register-siblings", two, `{"type":"register","policy":"siblings"}`, `{}`, map[string]crdt.Edit{
			"eu-west": put(`{"from":"eu"}`), "us-east": put(`{"from":"us"}`)}},
		{"field-three", three, `{}`, `{"price":1}`, map[string]crdt.Edit{
			"eu-west": put(`{"price":2}`), "us-east": put(`{"price":3}`), "ap-south": put(`{"price":4}`)}},
		{"field-five-priority", five, `{"policy":{"region-priority":["eu-west","us-east"]}}`, `{"price":1}`, map[string]crdt.Edit{
			"eu-west": put(`{"price":2}`), "us-east": put(`{"price":3}`), "ap-south": put(`{"price":4}`),
			"sa-east": put(`{"price":5}`), "af-south": put(`{"price":6}`)}},
		{"element", two, `{}`, `{"items":[{"sku":"tea","n":1},{"sku":"milk","n":1}]}`, map[string]crdt.Edit{
			"eu-west": ops(`[{"op":"set","path":"/items/1/n","value":2}]`), "us-east": ops(`[{"op":"set","path":"/items/1/n","value":3}]`)}},
		{"types", two, `{}`, `{"a":1}`, map[string]crdt.Edit{
			"eu-west": put(`{"a":1,"who":"ada"}`), "us-east": put(`{"a":1,"who":{"name":"ada","age":36}}`)}},
		{"delete-edit", two, `{}`, `{"a":1}`, map[string]crdt.Edit{
			"eu-west": {Kind: crdt.EditDelete}, "us-east": put(`{"a":2}`)}},
		{"register-delete-edit", two, `{"type":"register"}`, `{"a":1}`, map[string]crdt.Edit{
			"eu-west": {Kind: crdt.EditDelete}, "us-east": put(`{"a":2}`)}},
		{"delete-wins", two, `{"delete":"wins"}`, `{"a":1}`, map[string]crdt.Edit{
			"eu-west": {Kind: crdt.EditDelete}, "us-east": put(`{"a":2}`)}},
		{"register-delete-wins", two, `{"type":"register","delete":"wins"}`, `{"a":1}`, map[string]crdt.Edit{
			"eu-west": put(`{"a":2}`), "us-east": {Kind: crdt.EditDelete}}},
		{"agreed", two, `{}`, `{"a":1}`, map[string]crdt.Edit{
			"eu-west": put(`{"a":2,"b":1}`), "us-east": put(`{"a":2,"c":1}`)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inConflictOf(t, test.regions, test.settings, func(c *cluster) {
				if test.before != "" {
					c.edit("eu-west", "carts", "c1", put(test.before))
					c.settle(5 * time.Second)
				}
				c.cut()
				for _, n := range test.regions {
					c.edit(n, "carts", "c1", test.edits[n])
				}
				c.heal()
				c.same()
				c.explained(test.name)
			})
		})
	}
}

func TestWriteThatCoversTheVersionsEndsTheConflict(t *testing.T) {
	inConflictOf(t, two, `{"type":"register"}`, func(c *cluster) {
		t := c.t
		c.cut()
		c.edit("eu-west", "carts", "c1", put(`{"from":"eu"}`))
		c.edit("us-east", "carts", "c1", put(`{"from":"us"}`))
		c.heal()
		before := c.one("us-east")
		if before.State != journal.ByPolicy || before.Settled != nil {
			t.Fatalf("%+v", before)
		}
		c.edit("eu-west", "carts", "c1", put(`{"from":"both"}`))
		c.settle(5 * time.Second)
		c.same()
		after := c.one("us-east")
		if after.State != journal.ByWrite || after.ID != before.ID || after.Seen != before.Seen || after.Changed <= before.Changed {
			t.Errorf("%+v", after)
		}
		c.explained("covered")
	})
}

// A conflict in which one side goes on writing stays one conflict.
func TestConflictGoesOnUnderANewID(t *testing.T) {
	inConflictOf(t, three, `{}`, func(c *cluster) {
		t := c.t
		c.edit("eu-west", "carts", "c1", put(`{"n":0}`))
		c.settle(5 * time.Second)
		c.cut()
		for i := range 5 {
			for _, n := range three {
				c.edit(n, "carts", "c1", merge(fmt.Sprintf(`{"n":%q}`, n+fmt.Sprint(i))))
			}
		}
		c.heal()
		r := c.one("ap-south")
		if len(r.Versions) != 3 || string(r.Versions[2].Value) != `"us-east4"` {
			t.Errorf("%+v", r.Versions)
		}
		for _, n := range three {
			one := c.one(n)
			if one.ID != r.ID {
				t.Errorf("%s calls it %v, ap-south %v", n, one.ID, r.ID)
			}
			for _, old := range one.Past {
				if d, err := c.regions[n].Conflict(t.Context(), old); err != nil || d.ID != r.ID {
					t.Errorf("%s by a past id: %v, %v", n, d.Record, err)
				}
			}
		}
	})
}

func TestConflictInAnElementFollowsIt(t *testing.T) {
	inConflictOf(t, two, `{}`, func(c *cluster) {
		t := c.t
		c.edit("eu-west", "carts", "c1", put(`{"items":[{"n":1},{"n":1}]}`))
		c.settle(5 * time.Second)
		c.cut()
		c.edit("eu-west", "carts", "c1", ops(`[{"op":"set","path":"/items/1/n","value":2}]`))
		c.edit("us-east", "carts", "c1", ops(`[{"op":"set","path":"/items/1/n","value":3}]`))
		c.heal()
		c.edit("eu-west", "carts", "c1", ops(`[{"op":"insert","path":"/items/0","value":{"n":9}}]`))
		c.settle(5 * time.Second)
		c.same()
		r := c.one("us-east")
		if r.Path != "/items/2/n" || r.State != journal.ByPolicy {
			t.Fatalf("%s is %s", r.Path, r.State)
		}
		eu := r.Versions[0].Dot
		if _, err := c.regions["us-east"].RestoreConflict(t.Context(), core.Restore{Conflict: r.ID, Dot: eu}); err != nil {
			t.Fatal(err)
		}
		c.settle(5 * time.Second)
		c.same()
		if got := value.Append(nil, c.get("eu-west", "carts", "c1").View.Value, value.Options{}); string(got) != `{"items":[{"n":9},{"n":1},{"n":2}]}` {
			t.Errorf("after the restore: %s", got)
		}
		if r := c.one("eu-west"); r.State != journal.Undone || r.Settled.Restored != eu {
			t.Errorf("%s, %+v", r.State, r.Settled)
		}
		// The conflict is settled now, and its place may have moved.
		ask := core.Restore{Conflict: r.ID, Dot: r.Versions[1].Dot}
		if _, err := c.regions["us-east"].RestoreConflict(t.Context(), ask); !errors.Is(err, core.ErrMoved) {
			t.Errorf("restore into a list without a condition: %v", err)
		}
		ask.If.Match = []string{c.get("us-east", "carts", "c1").Tag}
		if _, err := c.regions["us-east"].RestoreConflict(t.Context(), ask); err != nil {
			t.Error(err)
		}
		if got := value.Append(nil, c.get("us-east", "carts", "c1").View.Value, value.Options{}); string(got) != `{"items":[{"n":9},{"n":1},{"n":3}]}` {
			t.Errorf("after the second restore: %s", got)
		}
	})
}

func TestLosersAreRestored(t *testing.T) {
	for _, test := range []struct {
		name, settings, before string
		eu, us                 crdt.Edit
		settle                 bool   // by a write, before the restore
		want                   string // after the restore of what is not shown; "" if the document is gone
	}{
		{"register", `{"type":"register"}`, `{}`, put(`{"from":"eu"}`), put(`{"from":"us"}`), false, `{"from":"eu"}`},
		{"register-settled", `{"type":"register"}`, `{}`, put(`{"from":"eu"}`), put(`{"from":"us"}`), true, `{"from":"eu"}`},
		{"field", `{}`, `{"a":0,"b":0}`, put(`{"a":1,"b":0}`), put(`{"a":2,"b":5}`), false, `{"a":1,"b":5}`},
		{"field-settled", `{}`, `{"a":0,"b":0}`, put(`{"a":1,"b":0}`), put(`{"a":2,"b":5}`), true, `{"a":1,"x":1}`},
		{"type", `{}`, `{}`, put(`{"a":{"x":1,"y":[1,2]}}`), put(`{"a":7}`), false, `{"a":{"x":1,"y":[1,2]}}`},
		{"deletion", `{}`, `{"a":0}`, crdt.Edit{Kind: crdt.EditDelete}, put(`{"a":1}`), false, ``},
		{"overruled", `{"delete":"wins"}`, `{"a":0}`, put(`{"a":1}`), crdt.Edit{Kind: crdt.EditDelete}, false, `{"a":1}`},
		{"register-overruled", `{"type":"register","delete":"wins"}`, `{"a":0}`, put(`{"a":1}`), crdt.Edit{Kind: crdt.EditDelete}, false, `{"a":1}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			inConflictOf(t, two, test.settings, func(c *cluster) {
				t := c.t
				c.edit("eu-west", "carts", "c1", put(test.before))
				c.settle(5 * time.Second)
				c.cut()
				c.edit("eu-west", "carts", "c1", test.eu)
				c.edit("us-east", "carts", "c1", test.us)
				c.heal()
				if test.settle {
					c.edit("us-east", "carts", "c1", put(`{"x":1}`))
					c.settle(5 * time.Second)
					c.minute()
				}
				for _, n := range two {
					r := c.one(n)
					for _, v := range r.Versions {
						if !v.Deleted && v.Value == nil {
							t.Errorf("%s has no value of %v", n, v.Dot)
						}
					}
				}
				r := c.one("us-east")
				loser := r.Versions[0].Dot
				if loser == r.Outcome.Shown {
					t.Fatalf("the older version is shown: %+v", r.Outcome)
				}
				if _, err := c.regions["us-east"].RestoreConflict(t.Context(), core.Restore{
					Conflict: r.ID, Dot: loser, If: core.Condition{Match: []string{"other"}},
				}); !errors.Is(err, core.ErrPrecondition) {
					t.Errorf("under a condition that does not hold: %v", err)
				}
				receipt, err := c.regions["us-east"].RestoreConflict(t.Context(), core.Restore{Conflict: r.ID, Dot: loser})
				if err != nil {
					t.Fatal(err)
				}
				c.settle(5 * time.Second)
				for _, n := range two {
					d := c.get(n, "carts", "c1")
					got := ""
					if d.View.Exists {
						got = string(value.Append(nil, d.View.Value, value.Options{}))
					}
					if got != test.want || len(d.View.Conflicts) > 0 {
						t.Errorf("%s shows %s with %d conflicts, want %s", n, got, len(d.View.Conflicts), test.want)
					}
				}
				r = c.one("us-east")
				if r.State != journal.Undone || r.Settled.Restored != loser || r.Settled.By != receipt.Dot {
					t.Errorf("state %s, %+v", r.State, r.Settled)
				}
				c.explained("restored-" + test.name)
			})
		})
	}
}

func TestConflictLogSurvivesARestart(t *testing.T) {
	inConflictOf(t, two, `{"policy":"siblings"}`, func(c *cluster) {
		t := c.t
		c.edit("eu-west", "carts", "c1", put(`{"n":0,"m":0}`))
		c.settle(5 * time.Second)
		c.cut()
		c.edit("eu-west", "carts", "c1", put(`{"n":1,"m":0}`))
		c.edit("us-east", "carts", "c1", put(`{"n":2,"m":0}`))
		c.heal()
		before := c.one("us-east")
		if before.State != journal.Open {
			t.Errorf("state %s", before.State)
		}
		c.stops["us-east"]()
		c.run("us-east")
		c.settle(20 * time.Second)
		if diff := cmp.Diff(before, c.one("us-east")); diff != "" {
			t.Errorf("after a restart:\n%s", diff)
		}
		// A write beside it does not touch it, one over it ends it.
		c.edit("us-east", "carts", "c1", merge(`{"m":1}`))
		if diff := cmp.Diff(before, c.one("us-east")); diff != "" {
			t.Errorf("after a write of another field:\n%s", diff)
		}
		c.edit("us-east", "carts", "c1", merge(`{"n":3}`))
		if r := c.one("us-east"); r.State != journal.ByWrite {
			t.Errorf("state %s", r.State)
		}
		c.settle(5 * time.Second)
		if r := c.one("eu-west"); r.State != journal.ByWrite {
			t.Errorf("state %s in eu-west", r.State)
		}
	})
}

func TestPreviewSaysWhatAnotherPolicyWouldShow(t *testing.T) {
	inConflictOf(t, two, `{}`, func(c *cluster) {
		t := c.t
		c.edit("eu-west", "carts", "c1", put(`{"price":{"amount":1,"unit":"eur"}}`))
		c.settle(5 * time.Second)
		c.cut()
		c.edit("eu-west", "carts", "c1", put(`{"price":{"amount":2,"unit":"eur"}}`))
		c.edit("us-east", "carts", "c1", put(`{"price":{"amount":3,"unit":"eur"}}`))
		c.heal()
		r := c.one("eu-west")
		eu := conflict.RegionPriority("eu-west")
		p, err := c.regions["eu-west"].PreviewConflict(t.Context(), r.ID, eu)
		if err != nil {
			t.Fatal(err)
		}
		want := []journal.DiffOp{{Op: "replace", Path: "/price/amount", Value: []byte("2")}}
		if diff := cmp.Diff(want, p.Diff); diff != "" || p.Outcome.Shown != r.Versions[0].Dot {
			t.Errorf("preview: %+v\n%s", p.Outcome, diff)
		}
		if got := value.Append(nil, c.get("eu-west", "carts", "c1").View.Value, value.Options{}); string(got) != `{"price":{"amount":3,"unit":"eur"}}` {
			t.Errorf("a preview has changed the document: %s", got)
		}
		same, err := c.regions["us-east"].PreviewConflict(t.Context(), r.ID, conflict.LWW())
		if err != nil || len(same.Diff) > 0 {
			t.Errorf("the same outcome: %+v, %v", same.Diff, err)
		}
		// Settled, it is compared with what is there now.
		c.edit("us-east", "carts", "c1", put(`{"price":{"amount":9,"unit":"eur"}}`))
		all, err := c.regions["us-east"].PreviewConflicts(t.Context(), "carts", eu, 10)
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		if diff := cmp.Diff(want, all[0].Diff); diff != "" {
			t.Error(diff)
		}
	})
}

func TestConflictShowsThePresentPolicyBesideTheRecordedOne(t *testing.T) {
	inConflictOf(t, two, `{}`, func(c *cluster) {
		t := c.t
		c.cut()
		c.edit("eu-west", "carts", "c1", put(`{"n":1}`))
		c.edit("us-east", "carts", "c1", put(`{"n":2}`))
		c.heal()
		c.settings("carts", `{"policy":{"region-priority":["eu-west"]}}`)
		r := c.one("eu-west")
		d, err := c.regions["us-east"].Conflict(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		if d.Policy.Name != "merge" || d.Present.Name != "region-priority" || d.Outcome.Shown != r.Versions[1].Dot || d.PresentOutcome.Shown != r.Versions[0].Dot {
			t.Errorf("recorded %+v %+v, now %+v %+v", d.Policy, d.Outcome, d.Present, d.PresentOutcome)
		}
		if !d.Stands || !d.Place.There || !value.Equal(d.Place.Value, int64(1)) || d.Tag == "" {
			t.Errorf("now %+v %s", d.Place, d.Tag)
		}
		for i, v := range d.Versions {
			if o := d.Versions[1-i].Dot; d.Saw[i].Contains(o) || d.Saw[i].Contains(v.Dot) {
				t.Errorf("%v was written having seen %v", v.Dot, d.Saw[i])
			}
		}
	})
}

func TestConflictFeedGivesEachChange(t *testing.T) {
	inConflictOf(t, two, `{"type":"register"}`, func(c *cluster) {
		t := c.t
		got := make(chan *journal.Record, 100)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			var after uint64
			for {
				all, next, err := c.regions["us-east"].ConflictChanges(ctx, after, 10)
				if err != nil {
					done <- err
					return
				}
				for _, r := range all {
					got <- r
				}
				after = next
			}
		}()
		c.cut()
		c.edit("eu-west", "carts", "c1", put(`{"from":"eu"}`))
		c.edit("us-east", "carts", "c1", put(`{"from":"us"}`))
		c.heal()
		if r := <-got; r.State != journal.ByPolicy || r.Rev != 1 {
			t.Errorf("first %+v", r)
		}
		c.edit("us-east", "carts", "c1", put(`{"from":"both"}`))
		if r := <-got; r.State != journal.ByWrite || r.Rev != 2 {
			t.Errorf("then %+v", r)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, _, err := c.regions["us-east"].ConflictChanges(t.Context(), 7, 10); !errors.Is(err, region.ErrFeedGone) {
			t.Errorf("from the future: %v", err)
		}
		if s := c.regions["us-east"].ConflictStatus(); s.Records != 1 || s.Changes != 2 || len(s.Counts) != 1 ||
			s.Counts[0] != (core.ConflictCount{Collection: "carts", Policy: "lww", Seen: 1}) {
			t.Errorf("%+v", s)
		}
	})
}
