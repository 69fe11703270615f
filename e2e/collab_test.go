package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// repos are clients of automerge-repo in a process of node.
type repos struct {
	t  *testing.T
	in io.Writer

	mu      sync.Mutex
	next    int
	answers map[int]chan answer
	stderr  *strings.Builder
}

type answer struct {
	ID    int             `json:"id"`
	Value json.RawMessage `json:"value"`
	Error string          `json:"error"`
}

// reposDir is where the packages are, once they are installed.
var reposDir string

// The packages are installed once for all tests.
var installRepos = sync.OnceValues(func() (string, error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", err
		}
	}
	dir, err := os.MkdirTemp("", "meridian-e2e-collab-")
	if err != nil {
		return "", err
	}
	reposDir = dir
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "collab"))); err != nil {
		return dir, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("npm install: %w\n%.2000s", err, out)
	}
	return dir, nil
})

// removeRepos takes the packages away again.
func removeRepos() error {
	if reposDir == "" {
		return nil
	}
	return os.RemoveAll(reposDir)
}

// startRepos starts the process. Without node the test is skipped, loudly.
func startRepos(t *testing.T) *repos {
	t.Helper()
	dir, err := installRepos()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skipf("NOT TESTED with real clients: node and npm are needed (Debian: apt-get install nodejs npm): %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := &repos{t: t, answers: map[int]chan answer{0: make(chan answer, 1)}, stderr: &strings.Builder{}}
	cmd := exec.CommandContext(t.Context(), "node", "client.mjs")
	cmd.Dir = dir
	cmd.Stderr = r.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.in = in
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.listen(out)
	}()
	t.Cleanup(func() {
		_ = in.Close()
		<-done
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the clients said:\n%.4000s", r.stderr)
		}
	})
	select {
	case <-r.answers[0]:
	case <-time.After(cluster.Patience):
		t.Fatal("node does not start")
	}
	return r
}

func (r *repos) listen(out io.Reader) {
	s := bufio.NewScanner(out)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var a answer
		if json.Unmarshal(s.Bytes(), &a) != nil {
			continue
		}
		r.mu.Lock()
		ch := r.answers[a.ID]
		delete(r.answers, a.ID)
		r.mu.Unlock()
		if ch != nil {
			ch <- a
		}
	}
}

// begin starts an action; the function that it returns waits for its end.
func (r *repos) begin(action, client string, args map[string]any) func() (json.RawMessage, error) {
	r.t.Helper()
	r.mu.Lock()
	r.next++
	id, ch := r.next, make(chan answer, 1)
	r.answers[id] = ch
	m := map[string]any{"id": id, "do": action, "client": client}
	for k, v := range args {
		m[k] = v
	}
	b, err := json.Marshal(m)
	if err == nil {
		_, err = r.in.Write(append(b, '\n'))
	}
	r.mu.Unlock()
	if err != nil {
		r.t.Fatal(err)
	}
	return func() (json.RawMessage, error) {
		select {
		case a := <-ch:
			if a.Error != "" {
				return nil, fmt.Errorf("%s of %s: %s", action, client, a.Error)
			}
			return a.Value, nil
		case <-time.After(2 * cluster.Patience):
			return nil, fmt.Errorf("%s of %s: no answer", action, client)
		}
	}
}

func (r *repos) try(action, client string, args map[string]any) (json.RawMessage, error) {
	return r.begin(action, client, args)()
}

func (r *repos) must(action, client string, args map[string]any) json.RawMessage {
	r.t.Helper()
	v, err := r.try(action, client, args)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func (r *repos) connect(client string, n *cluster.Node) {
	r.t.Helper()
	r.must("connect", client, map[string]any{"url": strings.Replace(n.URL(), "http", "ws", 1) + "/v1/collections/notes/sync"})
}

// create makes a document, and waits until the client's region has it.
func (r *repos) create(client string, n *cluster.Node, value any) (url, id string) {
	r.t.Helper()
	if err := json.Unmarshal(r.must("create", client, map[string]any{"value": value}), &url); err != nil {
		r.t.Fatal(err)
	}
	id = strings.TrimPrefix(url, "automerge:")
	cluster.Await(r.t, cluster.Patience, "the document that a client made", func() (bool, string) {
		res, err := n.Do(r.t.Context(), cluster.Request{Path: cluster.DocPath("notes", id)})
		if err != nil {
			return false, err.Error()
		}
		return res.Status == http.StatusOK, res.Text()
	})
	return url, id
}

type note struct {
	Text string `json:"text"`
	N    int    `json:"n"`
}

func (r *repos) note(action, client, url string) note {
	r.t.Helper()
	var n note
	if err := json.Unmarshal(r.must(action, client, map[string]any{"url": url}), &n); err != nil {
		r.t.Fatal(err)
	}
	return n
}

// awaitText waits until clients and regions all have the same text, which has to
// fit want.
func (r *repos) awaitText(id string, clients []string, nodes []*cluster.Node, want func(text string) bool) string {
	r.t.Helper()
	var text string
	cluster.Await(r.t, cluster.Patience, "the same text everywhere", func() (bool, string) {
		texts := map[string]string{}
		for _, n := range nodes {
			res, err := n.Try(r.t.Context(), cluster.Request{Path: cluster.DocPath("notes", id)}, http.StatusOK)
			if err != nil {
				return false, err.Error()
			}
			texts[n.Region] = cluster.Field[string](r.t, res.Body, "text")
		}
		for _, c := range clients {
			texts[c] = r.note("value", c, "automerge:"+id).Text
		}
		text = texts[nodes[0].Region]
		for _, t := range texts {
			if t != text {
				return false, fmt.Sprint(texts)
			}
		}
		return want(text), fmt.Sprint(texts)
	})
	return text
}

func notes(t *testing.T) (*cluster.Cluster, *repos) {
	t.Helper()
	r := startRepos(t)
	c := cluster.Start(t, cluster.Options{})
	c.MakeCollection(t, "notes", `{"type":"automerge"}`)
	return c, r
}

// has reports whether what was typed is in a text, each character in its order.
func has(text, typed string) bool {
	for _, c := range text {
		if rest, ok := strings.CutPrefix(typed, string(c)); ok {
			typed = rest
		}
	}
	return typed == ""
}

// Two people in two regions type into one text while the regions cannot reach
// each other.
func TestCollabTypeWhileCut(t *testing.T) {
	t.Parallel()
	c, r := notes(t)
	east, west, south := c.Nodes[0], c.Nodes[1], c.Nodes[2]
	r.connect("ana", east)
	r.connect("bob", west)
	url, id := r.create("ana", east, map[string]any{"text": ""})
	r.note("find", "bob", url)

	cluster.Cut(t, c.AllLinks()...)
	lower, upper := "the quick brown fox jumps over the lazy dog ", "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG "
	ana := r.begin("type", "ana", map[string]any{"url": url, "text": lower})
	bob := r.begin("type", "bob", map[string]any{"url": url, "text": upper})
	for _, done := range []func() (json.RawMessage, error){ana, bob} {
		if _, err := done(); err != nil {
			t.Fatal(err)
		}
	}
	r.awaitText(id, []string{"ana"}, []*cluster.Node{east}, func(s string) bool { return s == lower })
	r.awaitText(id, []string{"bob"}, []*cluster.Node{west}, func(s string) bool { return s == upper })
	cluster.Heal(t, c.AllLinks()...)
	// And with REST in between.
	r.begin("type", "ana", map[string]any{"url": url, "text": "1234"})
	south.Patch(t, "notes", id, "application/vnd.meridian.ops+json", `[{"op":"set","path":"/n","value":1}]`)
	text := r.awaitText(id, []string{"ana", "bob"}, c.Nodes, func(s string) bool { return len(s) == len(lower)+len(upper)+4 })
	if !strings.Contains(text, strings.TrimSpace(lower)) || !strings.Contains(text, strings.TrimSpace(upper)) || !has(text, "1234") {
		t.Errorf("what was typed is torn apart: %q", text)
	}
	c.AwaitEqual(t)

	// A late joiner, on the region where nobody was.
	r.connect("eve", south)
	if n := r.note("find", "eve", url); n.Text != text || n.N != 1 {
		t.Errorf("the late joiner has %+v", n)
	}
}

// A client that was away brings what it wrote meanwhile.
func TestCollabReconnectsWithUnsentEdits(t *testing.T) {
	t.Parallel()
	c, r := notes(t)
	r.connect("ana", c.Nodes[0])
	r.connect("bob", c.Nodes[1])
	url, id := r.create("ana", c.Nodes[0], map[string]any{"text": "start "})
	r.note("find", "bob", url)
	r.must("disconnect", "ana", nil)
	r.must("type", "ana", map[string]any{"url": url, "text": "offline"})
	r.must("type", "bob", map[string]any{"url": url, "text": "online"})
	r.must("reconnect", "ana", nil)
	r.awaitText(id, []string{"ana", "bob"}, c.Nodes, func(s string) bool {
		return len(s) == len("start offlineonline") && has(s, "offline") && has(s, "online")
	})
	// It deleted the note meanwhile, and has nothing new: deleted it stays.
	r.must("disconnect", "ana", nil)
	c.Nodes[2].Delete(t, "notes", id)
	c.AwaitEqual(t)
	r.must("reconnect", "ana", nil)
	r.must("set", "bob", map[string]any{"url": url, "key": "n", "value": 7})
	// Bob's edit did not know of the deletion, so the note is back, whole.
	r.awaitText(id, []string{"ana", "bob"}, c.Nodes, func(s string) bool { return strings.HasPrefix(s, "start ") })
}

func TestCollabManyDocuments(t *testing.T) {
	t.Parallel()
	c, r := notes(t)
	r.connect("ana", c.Nodes[0])
	r.connect("bob", c.Nodes[1])
	const count = 200
	urls := make([]string, count)
	for i := range urls {
		urls[i], _ = r.create("ana", c.Nodes[0], map[string]any{"text": fmt.Sprint("note ", i), "n": i})
	}
	start := time.Now()
	var waits []func() (json.RawMessage, error)
	for _, url := range urls {
		waits = append(waits, r.begin("find", "bob", map[string]any{"url": url}))
	}
	for i, wait := range waits {
		b, err := wait()
		var n note
		if err == nil {
			err = json.Unmarshal(b, &n)
		}
		if err != nil || n.N != i {
			t.Fatalf("document %d: %+v, %v", i, n, err)
		}
	}
	t.Logf("%d documents are in another client, by another region, after %v", count, time.Since(start).Round(time.Millisecond))
	for i, url := range urls {
		r.must("set", "bob", map[string]any{"url": url, "key": "n", "value": -i})
	}
	cluster.Await(t, cluster.Patience, "the edits of all documents", func() (bool, string) {
		for i, url := range urls {
			if n := r.note("value", "ana", url); n.N != -i {
				return false, fmt.Sprintf("document %d has %d", i, n.N)
			}
		}
		return true, ""
	})
	c.AwaitEqual(t)
}

// A note has its home in one region. What is typed elsewhere is written there, and
// waits with its client while the home cannot be reached.
func TestCollabAtAStrictHome(t *testing.T) {
	t.Parallel()
	r := startRepos(t)
	c := cluster.Start(t, cluster.Options{})
	east, west := c.Nodes[0], c.Nodes[1]
	c.MakeCollection(t, "notes", `{"type":"automerge","home":{"region":"`+east.Region+`","mode":"strict"}}`)
	r.connect("ana", east)
	r.connect("bob", west)
	url, id := r.create("bob", west, map[string]any{"text": "start "})
	r.note("find", "ana", url)
	r.must("type", "bob", map[string]any{"url": url, "text": "west "})
	r.awaitText(id, []string{"ana", "bob"}, c.Nodes, func(s string) bool { return s == "start west " })

	cluster.Cut(t, east.Links(c.Nodes[1], c.Nodes[2])...)
	west.AwaitLink(t, east, "down")
	r.must("type", "bob", map[string]any{"url": url, "text": "abc"})
	r.must("type", "ana", map[string]any{"url": url, "text": "xyz"})
	west.AwaitLog(t, "wait for the home of the document")
	r.awaitText(id, []string{"ana"}, []*cluster.Node{east}, func(s string) bool { return s == "start west xyz" })
	r.awaitText(id, nil, []*cluster.Node{west}, func(s string) bool { return s == "start west " })
	cluster.Heal(t, east.Links(c.Nodes[1], c.Nodes[2])...)
	r.awaitText(id, []string{"ana", "bob"}, c.Nodes, func(s string) bool {
		return len(s) == len("start west abcxyz") && has(s, "abc") && has(s, "xyz")
	})
}

func TestCollabSurvivesKill(t *testing.T) {
	t.Parallel()
	c, r := notes(t)
	east := c.Nodes[0]
	east.SetArg("--http", strings.TrimPrefix(east.URL(), "http://")) // where its clients look for it
	r.connect("ana", east)
	r.connect("bob", c.Nodes[1])
	url, id := r.create("ana", east, map[string]any{"text": ""})
	r.note("find", "bob", url)
	text := strings.Repeat("abcdefghij", 30)
	typing := r.begin("type", "ana", map[string]any{"url": url, "text": text})
	for range 2 {
		before := len(r.note("value", "ana", url).Text)
		cluster.Await(t, cluster.Patience, "some more text", func() (bool, string) {
			n := len(r.note("value", "ana", url).Text)
			return n > before+20 || n == len(text), fmt.Sprint(n)
		})
		east.Kill(t)
		east.Start(t)
	}
	if _, err := typing(); err != nil {
		t.Fatal(err)
	}
	r.awaitText(id, []string{"ana", "bob"}, c.Nodes, func(s string) bool { return s == text })
}

// A note whose history has grown goes on as a new one that shows the same, formats
// included, and begins a history of its own.
func TestCollabGoesOnWithoutTheHistory(t *testing.T) {
	t.Parallel()
	c, r := notes(t)
	east, west := c.Nodes[0], c.Nodes[1]
	r.connect("ana", east)
	r.connect("bob", west)
	url, id := r.create("ana", east, map[string]any{"text": ""})
	r.note("find", "bob", url)
	typed := strings.Repeat("some text ", 20)
	r.must("type", "ana", map[string]any{"url": url, "text": typed})
	r.must("mark", "ana", map[string]any{"url": url, "start": 2, "end": 40, "name": "bold", "value": true})
	r.must("mark", "ana", map[string]any{"url": url, "start": 20, "end": 60, "name": "link", "value": "https://example.com"})
	r.must("mark", "ana", map[string]any{"url": url, "start": 10, "end": 15, "name": "bold", "value": false})
	r.must("set", "bob", map[string]any{"url": url, "key": "n", "value": 1})
	r.awaitText(id, []string{"ana", "bob"}, c.Nodes, func(s string) bool { return s == typed })
	// The text says nothing of what came after it. What either client has of the other
	// has gone through both of their regions.
	want := string(r.must("spans", "ana", map[string]any{"url": url}))
	cluster.Await(t, cluster.Patience, "marks and number at the other client", func() (bool, string) {
		n, got := r.note("value", "ana", url).N, string(r.must("spans", "bob", map[string]any{"url": url}))
		return n == 1 && got == want, fmt.Sprint(n, got)
	})
	c.AwaitEqual(t)

	form := func(n *cluster.Node, id, query string) *cluster.Response {
		return n.Must(t, cluster.Request{Path: cluster.DocPath("notes", id) + "/automerge" + query}, http.StatusOK)
	}
	old := form(west, id, "")
	made := west.Must(t, cluster.Request{
		Method: http.MethodPost, Path: "/v1/collections/notes/docs", Type: "application/vnd.automerge",
		Body: string(form(west, id, "?history=none").Body),
	}, http.StatusCreated)
	next := made.Header.Get("Location")
	next = next[strings.LastIndex(next, "/")+1:]
	c.AwaitEqual(t)
	now := form(east, next, "")
	t.Logf("%s changes of %s operations in %d bytes are now %s of %s in %d",
		old.Header.Get("Meridian-History-Changes"), old.Header.Get("Meridian-History-Operations"), len(old.Body),
		now.Header.Get("Meridian-History-Changes"), now.Header.Get("Meridian-History-Operations"), len(now.Body))
	if got := now.Header.Get("Meridian-History-Changes"); got != "1" {
		t.Errorf("the new note has %s changes", got)
	}

	newURL := "automerge:" + next
	for _, client := range []string{"ana", "bob"} {
		if n := r.note("find", client, newURL); n.Text != typed || n.N != 1 {
			t.Errorf("%s has %+v", client, n)
		}
		if got := r.must("spans", client, map[string]any{"url": newURL}); string(got) != want || !strings.Contains(string(got), "example.com") {
			t.Errorf("%s sees %s, before it was %s", client, got, want)
		}
	}
	ana := r.begin("type", "ana", map[string]any{"url": newURL, "text": "abc"})
	bob := r.begin("type", "bob", map[string]any{"url": newURL, "text": "XYZ"})
	for _, done := range []func() (json.RawMessage, error){ana, bob} {
		if _, err := done(); err != nil {
			t.Fatal(err)
		}
	}
	text := r.awaitText(next, []string{"ana", "bob"}, c.Nodes, func(s string) bool { return len(s) == len(typed)+6 })
	if !strings.HasPrefix(text, typed) || !has(text, "abc") || !has(text, "XYZ") {
		t.Errorf("the new note is %q", text)
	}
	r.awaitText(id, []string{"ana", "bob"}, c.Nodes, func(s string) bool { return s == typed })
	c.AwaitEqual(t)
}

// Presence, unknown documents, and where a document is saved.
func TestCollabPresenceAndHolders(t *testing.T) {
	t.Parallel()
	c, r := notes(t)
	r.connect("ana", c.Nodes[0])
	r.connect("bob", c.Nodes[1])
	r.connect("eve", c.Nodes[0])
	url, _ := r.create("ana", c.Nodes[0], map[string]any{"text": "hello"})
	for _, client := range []string{"bob", "eve"} {
		r.note("find", client, url)
		r.must("listen", client, map[string]any{"url": url})
	}
	cluster.Await(t, cluster.Patience, "the cursor", func() (bool, string) {
		// It may be lost, so it is told until it is heard, as cursors are.
		r.must("say", "ana", map[string]any{"url": url, "message": map[string]any{"cursor": 3}})
		state := ""
		ok := true
		for _, client := range []string{"bob", "eve"} {
			heard := string(r.must("heard", client, nil))
			state += client + " heard " + heard + " "
			ok = ok && strings.Contains(heard, `{"cursor":3}`)
		}
		return ok, state
	})

	if _, err := r.try("find", "bob", map[string]any{"url": "automerge:2j9knpCseyhnK8izDmLpGP5WMdZQ", "timeout": 15000}); err == nil ||
		!strings.Contains(err.Error(), "unavailable") {
		t.Errorf("a document that nobody has: %v", err)
	}

	var storage []string
	for _, n := range c.Nodes {
		storage = append(storage, uuid.NewSHA1(uuid.NameSpaceURL, []byte("meridian://"+cluster.Name+"/"+n.Region)).String())
	}
	r.must("subscribe", "bob", map[string]any{"storage": storage})
	saved := func(want ...bool) {
		t.Helper()
		cluster.Await(t, cluster.Patience, fmt.Sprint("saved in ", want), func() (bool, string) {
			b := r.must("saved", "bob", map[string]any{"url": url, "storage": storage})
			var got []bool
			return json.Unmarshal(b, &got) == nil && slices.Equal(got, want), string(b)
		})
	}
	saved(true, true, true)
	cluster.Cut(t, c.Nodes[2].Links(c.Nodes[0], c.Nodes[1])...)
	r.must("set", "bob", map[string]any{"url": url, "key": "n", "value": 5})
	saved(true, true, false)
	cluster.Heal(t, c.Nodes[2].Links(c.Nodes[0], c.Nodes[1])...)
	saved(true, true, true)
}
