package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// An edit is a request that some region takes while it cannot reach the others.
type edit struct{ media, body string } // media is one of PATCH, "" for PUT, deletion for DELETE

const deletion = "DELETE"

func put(doc string) []edit   { return []edit{{"", doc}} }
func ops(patch string) []edit { return []edit{{cluster.Ops, patch}} }

// A scenario is a document, and what is done to it in three regions at once.
type scenario struct {
	name string
	// settings of the collection; "" is a collection of documents made by the
	// first write.
	settings string
	seed     string // the document that all start from; "" is none
	edits    [3][]edit
	// want is the document afterwards; check, if set, looks at more.
	want  string
	check func(t *testing.T, c *cluster.Cluster, collection string)
}

const docID = "the-document"

var scenarios = []scenario{
	{
		name: "different fields", seed: `{"a":1,"b":1,"c":1,"same":[1,2,3]}`,
		edits: [3][]edit{
			put(`{"a":2,"b":1,"c":1,"same":[1,2,3]}`), put(`{"a":1,"b":2,"c":1,"same":[1,2,3]}`),
			put(`{"a":1,"b":1,"c":2,"new":true,"same":[1,2,3]}`),
		},
		want: `{"a":2,"b":2,"c":2,"new":true,"same":[1,2,3]}`,
	},
	{
		name: "a document with nested maps made on all sides", settings: `{}`,
		edits: [3][]edit{
			put(`{"profile":{"name":"Ann","address":{"city":"Oslo"}}}`),
			put(`{"profile":{"mail":"ann@example.org","address":{"zip":"0150"}}}`),
			put(`{"profile":{"address":{"street":{"name":"Karl Johans gate","number":22}}}}`),
		},
		want: `{"profile":{"address":{"city":"Oslo","street":{"name":"Karl Johans gate","number":22},"zip":"0150"},"mail":"ann@example.org","name":"Ann"}}`,
	},
	{
		name: "nested maps made on all sides", seed: `{"id":7}`,
		edits: [3][]edit{
			put(`{"id":7,"a":{"b":{"x":1}}}`), put(`{"id":7,"a":{"b":{"y":1}}}`),
			{{cluster.MergePatch, `{"a":{"b":{"z":1},"c":{}}}`}},
		},
		want: `{"a":{"b":{"x":1,"y":1,"z":1},"c":{}},"id":7}`,
	},
	{
		name: "different list elements", seed: `{"items":[{"id":"a","n":1},{"id":"b","n":1},{"id":"c","n":1}]}`,
		edits: [3][]edit{
			put(`{"items":[{"id":"a","n":2},{"id":"b","n":1},{"id":"c","n":1}]}`),
			put(`{"items":[{"id":"a","n":1},{"id":"b","n":1,"gift":true},{"id":"c","n":1}]}`),
			put(`{"items":[{"id":"a","n":1},{"id":"b","n":1}]}`),
		},
		want: `{"items":[{"id":"a","n":2},{"gift":true,"id":"b","n":1}]}`,
	},
	{
		name: "insertions at one place by PUT", seed: `{"l":["x","y"]}`,
		edits: [3][]edit{
			put(`{"l":["x","a1","a2","a3","a4","y"]}`), put(`{"l":["x","b1","b2","b3","b4","y"]}`),
			put(`{"l":["x","c1","c2","c3","c4","y"]}`),
		},
		check: func(t *testing.T, c *cluster.Cluster, collection string) { notInterleaved(t, c, collection, 4) },
	},
	{
		name: "insertions at one place one by one, forwards and backwards", seed: `{"l":["x","y"]}`,
		edits: [3][]edit{
			{{cluster.Ops, insert(1, "a1")}, {cluster.Ops, insert(2, "a2")}, {cluster.Ops, insert(3, "a3")}},
			{{cluster.Ops, insert(1, "b3")}, {cluster.Ops, insert(1, "b2")}, {cluster.Ops, insert(1, "b1")}},
			{{cluster.JSONPatch, addAt(1, "c2")}, {cluster.JSONPatch, addAt(1, "c1")}, {cluster.JSONPatch, addAt(3, "c3")}},
		},
		check: func(t *testing.T, c *cluster.Cluster, collection string) { notInterleaved(t, c, collection, 3) },
	},
	{
		name: "one element moved to three places", seed: `{"l":["m","b","c","d","e","f"]}`,
		edits: [3][]edit{
			ops(`[{"op":"move","from":"/l/0","path":"/l/5"}]`), ops(`[{"op":"move","from":"/l/0","path":"/l/2"}]`),
			put(`{"l":["b","c","d","m","e","f"]}`),
		},
		check: func(t *testing.T, c *cluster.Cluster, collection string) {
			list := listOf(t, c.Nodes[0], collection)
			rest := slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "m" })
			if len(list) != 6 || strings.Join(rest, "") != "bcdef" {
				t.Errorf("one element was moved, and the list is now %q", list)
			}
		},
	},
	{
		name: "one element moved and edited", seed: `{"l":[{"id":"m","v":1},{"id":"n","v":1},{"id":"o","v":1}]}`,
		edits: [3][]edit{
			ops(`[{"op":"move","from":"/l/0","path":"/l/2"}]`),
			put(`{"l":[{"id":"m","v":2},{"id":"n","v":1},{"id":"o","v":1}]}`),
			ops(`[{"op":"set","path":"/l/0/w","value":3}]`),
		},
		want: `{"l":[{"id":"n","v":1},{"id":"o","v":1},{"id":"m","v":2,"w":3}]}`,
	},
	{
		name: "increments", seed: `{"likes":10,"stock":{"$counter":100}}`,
		edits: [3][]edit{
			slices.Repeat(ops(`[{"op":"inc","path":"/likes","value":1},{"op":"inc","path":"/stock","value":-2}]`), 20),
			slices.Repeat(ops(`[{"op":"inc","path":"/likes","value":3},{"op":"inc","path":"/stock","value":-1}]`), 20),
			slices.Repeat(ops(`[{"op":"inc","path":"/likes","value":-1},{"op":"inc","path":"/stock","value":5}]`), 20),
		},
		want: `{"likes":70,"stock":140}`,
	},
	{
		name: "a counter that is reset and incremented", seed: `{"n":{"$counter":10}}`,
		edits: [3][]edit{
			ops(`[{"op":"set","path":"/n","value":{"$counter":0}}]`), ops(`[{"op":"inc","path":"/n","value":5}]`),
			ops(`[{"op":"set","path":"/n","value":{"$counter":0}},{"op":"inc","path":"/n","value":2}]`),
		},
		want: `{"n":7}`,
	},
	{
		name: "a set", seed: `{"tags":{"$set":["a","b"]}}`,
		edits: [3][]edit{
			ops(`[{"op":"remove","path":"/tags","value":"a"},{"op":"remove","path":"/tags","value":"b"}]`),
			ops(`[{"op":"add","path":"/tags","value":"a"}]`), ops(`[{"op":"add","path":"/tags","value":"c"}]`),
		},
		want: `{"tags":["a","c"]}`,
	},
	{
		name: "one field set thrice", seed: `{"title":"old"}`,
		edits: [3][]edit{put(`{"title":"a"}`), put(`{"title":"b"}`), put(`{"title":"c"}`)},
		check: func(t *testing.T, c *cluster.Cluster, collection string) {
			res := c.Nodes[1].Get(t, collection, docID)
			if res.Header.Get("Meridian-Conflict") != "merge" || res.Header.Get("Meridian-Conflict-Count") != "1" {
				t.Errorf("the answer does not say that there is a conflict: %v", res.Header)
			}
			v := c.Nodes[0].Versions(t, collection, docID)
			if len(v.Conflicts) != 1 || v.Conflicts[0].Path != "/title" || values(v.Conflicts[0].Versions) != `"a" "b" "c"` {
				t.Errorf("the versions do not list all three titles: %+v", v)
			}
		},
	},
	{
		name: "a map against a scalar", seed: `{"v":null}`,
		edits: [3][]edit{put(`{"v":{"is":"a map"}}`), put(`{"v":"a text"}`), nil},
		check: func(t *testing.T, c *cluster.Cluster, collection string) {
			v := c.Nodes[2].Versions(t, collection, docID)
			if len(v.Conflicts) != 1 || v.Conflicts[0].Path != "/v" || values(v.Conflicts[0].Versions) != `"a text" {"is":"a map"}` {
				t.Errorf("the versions do not list both: %+v", v)
			}
		},
	},
	{
		name: "a field removed and edited below", seed: `{"a":{"x":1,"y":1},"b":1}`,
		edits: [3][]edit{put(`{"b":1}`), put(`{"a":{"x":2,"y":1},"b":1}`), nil},
		want:  `{"a":{"x":2},"b":1}`,
	},
	{
		name: "a document deleted and edited", seed: `{"a":1,"b":{"c":1}}`,
		edits: [3][]edit{{{deletion, ""}}, ops(`[{"op":"set","path":"/b/d","value":2}]`), nil},
		want:  `{"a":1,"b":{"c":1,"d":2}}`,
	},
	{
		name: "a document deleted for good and edited", settings: `{"delete":"wins"}`, seed: `{"a":1}`,
		edits: [3][]edit{{{deletion, ""}}, put(`{"a":2}`), nil},
		check: func(t *testing.T, c *cluster.Cluster, collection string) {
			for _, n := range c.Nodes {
				n.Must(t, cluster.Request{Path: cluster.DocPath(collection, docID)}, http.StatusNotFound)
			}
		},
	},
	{
		name: "an lww register", settings: `{"type":"register","policy":"lww"}`, seed: `{"v":0}`,
		edits: [3][]edit{put(`{"v":1}`), put(`{"v":2}`), put(`{"v":3}`)},
		check: func(t *testing.T, c *cluster.Cluster, collection string) {
			v := c.Nodes[1].Versions(t, collection, docID)
			if values(v.Versions) != `{"v":1} {"v":2} {"v":3}` || len(v.Conflicts) != 1 || v.Conflicts[0].Why == "" {
				t.Errorf("the versions do not list and explain all three: %+v", v)
			}
			shown := slices.DeleteFunc(slices.Clone(v.Versions), func(v cluster.Version) bool { return !v.Shown })
			if len(shown) != 1 || string(shown[0].Value) != c.Nodes[2].Get(t, collection, docID).Text() {
				t.Errorf("not the one version is shown: %+v", v)
			}
		},
	},
	{
		name: "a register with an order of regions", settings: `{"type":"register","policy":{"region-priority":["eu-west","ap-south"]}}`, seed: `{"v":0}`,
		edits: [3][]edit{put(`{"v":1}`), put(`{"v":2}`), put(`{"v":3}`)},
		want:  `{"v":2}`,
	},
	{
		name: "siblings of a register", settings: `{"type":"register","policy":"siblings"}`, seed: `{"v":0}`,
		edits: [3][]edit{put(`{"v":1}`), put(`{"v":2}`), nil},
		check: settleSiblings,
	},
	{
		name: "an older version and what happened since", seed: `{"a":1,"b":1,"l":[1,2,3]}`,
		edits: [3][]edit{
			{{"", `{"a":2,"b":1,"l":[1,2,3]}`}, {"", `{"a":3,"b":1,"l":[1,2,3]}`}, {basedOnSeed, `{"a":1,"b":2,"l":[1,3]}`}}, nil, nil,
		},
		want: `{"a":3,"b":2,"l":[1,3]}`,
	},
}

// basedOnSeed makes an edit a PUT with the entity tag of the seed as Meridian-Base.
const basedOnSeed = "based on the seed"

func insert(index int, v string) string {
	return fmt.Sprintf(`[{"op":"insert","path":"/l/%d","value":%q}]`, index, v)
}

func addAt(index int, v string) string {
	return fmt.Sprintf(`[{"op":"add","path":"/l/%d","value":%q}]`, index, v)
}

// values are those of versions, in a fixed order.
func values(versions []cluster.Version) string {
	var all []string
	for _, v := range versions {
		all = append(all, string(v.Value))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func listOf(t *testing.T, n *cluster.Node, collection string) []string {
	t.Helper()
	return cluster.Field[[]string](t, n.Get(t, collection, docID).Body, "l")
}

// notInterleaved demands that what each of three regions has put between x and y
// is there in one piece, in order.
func notInterleaved(t *testing.T, c *cluster.Cluster, collection string, each int) {
	t.Helper()
	list := strings.Join(listOf(t, c.Nodes[0], collection), "")
	if len(list) != 2+3*2*each || list[0] != 'x' || list[len(list)-1] != 'y' {
		t.Fatalf("elements are missing: %s", list)
	}
	for _, by := range "abc" {
		piece := ""
		for i := range each {
			piece += fmt.Sprintf("%c%d", by, i+1)
		}
		if !strings.Contains(list, piece) {
			t.Errorf("%s is not in one piece: %s", piece, list)
		}
	}
}

// settleSiblings reads both siblings and writes over them.
func settleSiblings(t *testing.T, c *cluster.Cluster, collection string) {
	res := c.Nodes[2].Must(t, cluster.Request{
		Path: cluster.DocPath(collection, docID), Header: []string{"Accept", cluster.Siblings + ", application/json"},
	}, http.StatusMultipleChoices)
	var v cluster.Versions
	cluster.Decode(t, res.Body, &v)
	if values(v.Versions) != `{"v":1} {"v":2}` || v.ETag != res.ETag() {
		t.Fatalf("not both siblings are returned: %s", res.Body)
	}
	// Who does not ask for them gets one, and is told.
	if one := c.Nodes[2].Get(t, collection, docID); one.Header.Get("Meridian-Conflict") != "siblings" {
		t.Errorf("the answer does not say that there are siblings: %v", one.Header)
	}
	// One that has seen only one of them does not settle it.
	res = c.Nodes[2].Put(t, collection, docID, `{"v":"settled"}`, "If-Match", v.ETag)
	for _, n := range c.Nodes {
		got := n.Must(t, cluster.Request{
			Path: cluster.DocPath(collection, docID), Token: res.Token(), Header: []string{"Accept", cluster.Siblings + ", application/json"},
		}, http.StatusOK)
		if got.Text() != `{"v":"settled"}` {
			t.Errorf("%s shows %s", n.Region, got.Text())
		}
		if left := n.Versions(t, collection, docID); len(left.Versions) != 1 || len(left.Conflicts) != 0 {
			t.Errorf("%s: siblings are left: %+v", n.Region, left)
		}
	}
	c.Nodes[0].Must(t, cluster.PutRequest(collection, docID, `{}`, "If-Match", v.ETag), http.StatusPreconditionFailed)
}

// do makes an edit.
func (e edit) do(t *testing.T, n *cluster.Node, collection, seedTag string) {
	t.Helper()
	switch e.media {
	case "":
		n.Put(t, collection, docID, e.body)
	case basedOnSeed:
		n.Put(t, collection, docID, e.body, "Meridian-Base", seedTag)
	case deletion:
		n.Delete(t, collection, docID)
	default:
		n.Patch(t, collection, docID, e.media, e.body)
	}
}

func TestI05_ConcurrentEditsMerge(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	collection := func(s scenario) string { return strings.NewReplacer(" ", "-", ",", "").Replace(s.name) }
	seeds := map[string]string{}
	for _, s := range scenarios {
		if s.settings != "" {
			c.MakeCollection(t, collection(s), s.settings)
		}
		if s.seed != "" {
			seeds[s.name] = c.Nodes[0].Put(t, collection(s), docID, s.seed).ETag()
		}
	}
	c.AwaitSame(t)
	cluster.Cut(t, c.AllLinks()...)
	for _, s := range scenarios {
		for i, n := range c.Nodes {
			for _, e := range s.edits[i] {
				e.do(t, n, collection(s), seeds[s.name])
			}
		}
	}
	cluster.Heal(t, c.AllLinks()...)
	c.AwaitSame(t)
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			if s.want != "" {
				for _, n := range c.Nodes {
					if got := n.Get(t, collection(s), docID).Text(); got != s.want {
						t.Errorf("%s shows %s, want %s", n.Region, got, s.want)
					}
				}
			}
			if s.check != nil {
				s.check(t, c, collection(s))
			}
		})
	}
	c.AwaitSame(t)
}

// A collection that two regions make at once is two: the name goes to one of
// them, and the other stays readable.
func TestCollectionMadeTwiceKeepsBoth(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{})
	a, b := c.Nodes[0], c.Nodes[1]
	cluster.Cut(t, c.AllLinks()...)
	// The implicit one is first, and yields to the explicit one all the same.
	a.Put(t, "twice", "d", `{"in":"a"}`)
	b.Must(t, cluster.Request{Method: http.MethodPut, Path: "/v1/collections/twice", Body: `{"type":"register","policy":"lww"}`}, http.StatusCreated)
	b.Put(t, "twice", "d", `{"in":"b"}`)
	cluster.Heal(t, c.AllLinks()...)
	c.AwaitSame(t)
	var list struct {
		Collections []struct {
			Name        string `json:"name"`
			Incarnation string `json:"incarnation"`
			Shadowed    bool   `json:"shadowed"`
		} `json:"collections"`
	}
	third := c.Nodes[2]
	cluster.Decode(t, third.Must(t, cluster.Request{Path: "/v1/collections"}, http.StatusOK).Body, &list)
	if len(list.Collections) != 2 {
		t.Fatalf("not both are listed: %+v", list)
	}
	for _, col := range list.Collections {
		name, want := col.Name, `{"in":"b"}`
		if col.Shadowed {
			name, want = col.Incarnation, `{"in":"a"}`
		}
		if got := third.Get(t, name, "d").Text(); got != want {
			t.Errorf("%s shows %s, want %s", name, got, want)
		}
	}
}
