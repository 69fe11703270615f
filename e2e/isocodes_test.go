package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// isoCodes is where Debian's package iso-codes puts its tables.
const isoCodes = "/usr/share/iso-codes/json"

// The tables: the file iso_NAME.json is an object whose member NAME is a list of
// objects, each with an id of its own.
var tables = []struct {
	name, idField, collection string
}{
	{"639-3", "alpha_3", "languages"},
	{"3166-1", "alpha_2", "countries"},
	{"3166-2", "code", "subdivisions"},
	{"4217", "alpha_3", "currencies"},
	{"15924", "alpha_4", "scripts"},
}

// Real data: thousands of documents are imported into one region while the
// others edit the same documents, over a link that is cut meanwhile.
func TestI05_RealDataImportedWhileOthersEditIsEqualEverywhere(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(isoCodes); err != nil {
		t.Skipf("NOT TESTED WITH REAL DATA: %s is not there; install Debian's package iso-codes", isoCodes)
	}
	c := cluster.Start(t, cluster.Options{})
	a := c.Nodes[0]
	rows := map[string]map[string]map[string]any{} // collection, id
	for _, tab := range tables {
		rows[tab.collection] = readTable(t, tab.name, tab.idField)
		c.MakeCollection(t, tab.collection, `{}`)
	}

	stop := make(chan struct{})
	var editors sync.WaitGroup
	edits := make([]map[string]map[string]bool, len(c.Nodes)) // node, collection, id
	for i, n := range c.Nodes[1:] {
		edits[i+1] = map[string]map[string]bool{}
		editors.Go(func() { editRows(t, n, rows, edits[i+1], stop) })
	}
	start := time.Now()
	imported := 0
	for i, tab := range tables {
		if i == 2 {
			cluster.Cut(t, cluster.Link{a, c.Nodes[1]})
		}
		out := cluster.MustRun(t, "import", filepath.Join(isoCodes, "iso_"+tab.name+".json"), "--member", tab.name,
			"--collection", tab.collection, "--id-field", tab.idField, "--addr", a.URL(), "--quiet")
		t.Log(out)
		imported += len(rows[tab.collection])
	}
	took := time.Since(start)
	close(stop)
	editors.Wait()
	// What is edited now has seen the import, or is concurrent with it where the
	// link is cut: all of it has to survive.
	for _, n := range c.Nodes {
		for _, tab := range tables {
			for _, id := range finalRows(rows[tab.collection]) {
				n.Patch(t, tab.collection, id, cluster.MergePatch, fmt.Sprintf(`{"final":{%q:true}}`, n.Region))
			}
		}
	}
	cluster.Heal(t, cluster.Link{a, c.Nodes[1]})
	equal := c.AwaitEqual(t)
	docs := c.AwaitSame(t)
	if docs != imported {
		t.Errorf("there are %d documents, the tables have %d", docs, imported)
	}
	count := 0
	for i, byCollection := range edits {
		for _, ids := range byCollection {
			count += len(ids)
		}
		checkRows(t, c.Nodes[len(c.Nodes)-1-i], rows, edits)
	}
	t.Logf("%d documents imported in %v while %d of them were edited elsewhere; equal %v after that", imported, took.Round(time.Millisecond), count, equal.Round(time.Millisecond))

	// The same again changes nothing.
	before := c.Nodes[1].Dump(t)
	tab := tables[1]
	var summary struct {
		Created, Unchanged int
	}
	out := cluster.MustRun(t, "import", filepath.Join(isoCodes, "iso_"+tab.name+".json"), "--member", tab.name,
		"--collection", tab.collection, "--id-field", tab.idField, "--addr", c.Nodes[2].URL(), "--quiet", "--existing", "skip", "--json")
	cluster.Decode(t, []byte(out), &summary)
	c.AwaitEqual(t)
	if diff := before.Diff(c.Nodes[1].Dump(t)); diff != "" || summary.Created != 0 {
		t.Errorf("importing again (%s) has changed something: %s", out, diff)
	}
}

func readTable(t *testing.T, name, idField string) map[string]map[string]any {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(isoCodes, "iso_"+name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var file map[string][]map[string]any
	cluster.Decode(t, b, &file)
	rows := map[string]map[string]any{}
	for _, row := range file[name] {
		rows[row[idField].(string)] = row
	}
	return rows
}

// editRows edits rows of each table, until stopped, also rows that have not
// arrived yet: it puts a field of its own into them and counts.
func editRows(t *testing.T, n *cluster.Node, rows map[string]map[string]map[string]any, done map[string]map[string]bool, stop <-chan struct{}) {
	for round := 0; ; round++ {
		for _, tab := range tables {
			ids := sortedKeys(rows[tab.collection])
			for i := range 5 {
				select {
				case <-stop:
					return
				default:
				}
				id := ids[(round*97+i*31)%len(ids)]
				patch := fmt.Sprintf(`[{"op":"set","path":"/notes/%s","value":%d},{"op":"inc","path":"/edits","value":1}]`, n.Region, round)
				q := cluster.Request{Method: http.MethodPatch, Path: cluster.DocPath(tab.collection, id), Type: cluster.Ops, Body: patch}
				if _, err := n.Try(t.Context(), q, http.StatusOK, http.StatusCreated); err != nil {
					t.Errorf("an edit of %s failed: %v", id, err)
					return
				}
				if done[tab.collection] == nil {
					done[tab.collection] = map[string]bool{}
				}
				done[tab.collection][id] = true
			}
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// finalRows are the ids of some rows that are edited in all regions at the end.
func finalRows[V any](rows map[string]V) (ids []string) {
	all := sortedKeys(rows)
	for i := 0; i < len(all); i += 1 + len(all)/20 {
		ids = append(ids, all[i])
	}
	return ids
}

// checkRows demands that a region has each row as it is in the table, but for
// what was edited: the notes, which the import replaces where it has seen them,
// and the edits at the end.
func checkRows(t *testing.T, n *cluster.Node, rows map[string]map[string]map[string]any, edits []map[string]map[string]bool) {
	t.Helper()
	wrong := 0
	for collection, table := range rows {
		edited := map[string]bool{}
		for _, byCollection := range edits {
			for id := range byCollection[collection] {
				edited[id] = true
			}
		}
		got := list(t, n, collection)
		for _, id := range finalRows(table) {
			if marks, _ := got[id]["final"].(map[string]any); len(marks) != 3 {
				t.Errorf("%s: of the edits of %s/%s in three regions these are left: %v", n.Region, collection, id, marks)
			}
			delete(got[id], "final")
		}
		for id, row := range table {
			doc := got[id]
			delete(doc, "notes")
			delete(doc, "edits")
			want, err := json.Marshal(row)
			if err != nil {
				t.Fatal(err)
			}
			have, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			if string(want) != string(have) {
				if wrong++; wrong < 4 {
					t.Errorf("%s: %s/%s is %s, in the table it is %s (edited: %v)", n.Region, collection, id, have, want, edited[id])
				}
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%s: %d rows are not as in the tables", n.Region, wrong)
	}
}

// list reads all documents of a collection.
func list(t *testing.T, n *cluster.Node, collection string) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{}
	for cursor := ""; ; {
		path := "/v1/collections/" + collection + "/docs?limit=1000"
		if cursor != "" {
			path += "&cursor=" + cursor
		}
		var page struct {
			Docs []struct {
				ID    string         `json:"id"`
				Value map[string]any `json:"value"`
			} `json:"docs"`
			Cursor string `json:"cursor"`
		}
		cluster.Decode(t, n.Must(t, cluster.Request{Path: path}, http.StatusOK).Body, &page)
		for _, d := range page.Docs {
			all[d.ID] = d.Value
		}
		if cursor = page.Cursor; cursor == "" {
			return all
		}
	}
}
