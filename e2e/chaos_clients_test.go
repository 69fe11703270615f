package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/e2e/cluster"
	"github.com/meridiandb/meridian/e2e/history"
)

const (
	// chaosPatience is how long clients wait for an answer before they take the
	// outcome for unknown.
	chaosPatience = 2 * time.Second
	// tokenWait is how long a region may wait for what a client's token names.
	tokenWait = "wait=1"
	// generation is how long clients use the same keys, so that no document, and no
	// reading of it, grows with the length of the test.
	generation = 10 * time.Second
	// pace is the pause of a client between two operations, at the most.
	pace = 40 * time.Millisecond
	// pinned is how many clients stay in each region, roaming how many move.
	pinned, roaming = 2, 4
	bankAccounts    = 5
	deposit         = 100
	maxChaosAnswer  = 16 << 20
)

// Collections of the workloads.
const (
	inRegister = "chaos-register"
	inSiblings = "chaos-siblings"
	inDocs     = "chaos-docs"
	inBank     = "chaos-bank"
	inTexts    = "chaos-texts"
)

func keyOf(object history.Object, gen int) string { return fmt.Sprintf("%s-%d", object, gen) }

func account(key string, i int) string { return fmt.Sprintf("%s/a/%d", key, i) }

// seedData makes the collections, and what has to be there once: an empty
// document per generation, and the accounts of the banks.
func (x *chaos) seedData() {
	x.c.MakeCollection(x.t, inRegister, `{"type":"register","policy":"lww"}`)
	x.c.MakeCollection(x.t, inSiblings, `{"type":"register","policy":"siblings"}`)
	x.c.MakeCollection(x.t, inDocs, `{}`)
	x.c.MakeCollection(x.t, inBank, `{}`)
	x.c.MakeCollection(x.t, inTexts, `{"type":"automerge"}`)
	first := x.c.Nodes[0]
	for gen := range x.gens {
		first.Put(x.t, inDocs, keyOf(history.Set, gen), `{"v":{"$set":[]}}`)
		first.Put(x.t, inDocs, keyOf(history.Counter, gen), `{"v":{"$counter":0}}`)
		first.Put(x.t, inDocs, keyOf(history.List, gen), `{"v":[]}`)
		first.Put(x.t, inTexts, keyOf(history.Text, gen), `{"v":""}`)
		bank := history.Op{Process: "setup", Region: first.Region, Object: history.Bank, Kind: history.Write, Key: keyOf(history.Bank, gen), Result: history.OK}
		bank.Balances = map[string]int64{}
		for i := range bankAccounts {
			first.Put(x.t, inBank, account(bank.Key, i), fmt.Sprintf(`{"n":{"$counter":%d}}`, deposit))
			bank.Balances[account(bank.Key, i)] = deposit
		}
		x.rec.Record(bank)
	}
	x.c.AwaitEqual(x.t)
}

// A chaosClient is one process of the history.
type chaosClient struct {
	x      *chaos
	name   string
	region string
	roams  bool
	rand   *rand.Rand
	token  string
	count  int
}

// startClients starts those of a round. They go on until stop is closed.
func (x *chaos) startClients(round int) {
	x.stop = make(chan struct{})
	number := 0
	start := func(region string, roams bool) {
		c := &chaosClient{
			x: x, name: fmt.Sprintf("%d.%d", round, number), region: region, roams: roams,
			rand: rand.New(rand.NewPCG(uint64(round), uint64(number))),
		}
		number++
		x.wg.Go(c.run)
	}
	for _, n := range x.nodes {
		for range pinned {
			start(n.Region, false)
		}
	}
	for range roaming {
		start(x.nodes[0].Region, true)
	}
}

func (c *chaosClient) run() {
	for {
		c.something(min(int(time.Since(c.x.start)/generation), c.x.gens-1))
		select {
		case <-c.x.stop:
			return
		case <-time.After(time.Duration(c.rand.Int64N(int64(pace)))):
		}
		if c.roams && c.rand.IntN(3) == 0 {
			c.region = c.x.nodes[c.rand.IntN(len(c.x.nodes))].Region
		}
	}
}

// something does one operation that is drawn, or two.
func (c *chaosClient) something(gen int) {
	objects := []history.Object{history.Register, history.Siblings, history.Set, history.Counter, history.List, history.Text, history.Bank}
	object := objects[c.rand.IntN(len(objects))]
	key := keyOf(object, gen)
	write := c.rand.IntN(2) == 0
	switch {
	case object == history.Siblings:
		if seen, etag, ok := c.readSiblings(key, false); ok && write {
			c.writeSiblings(key, seen, etag)
		}
	case !write:
		c.read(object, key, false)
	case object == history.Text:
		c.insert(key)
	case object == history.Register:
		q := cluster.PutRequest(inRegister, key, "")
		c.write(history.Op{Object: object, Kind: history.Write, Key: key}, func(v string) cluster.Request {
			q.Body = fmt.Sprintf(`{"v":%q}`, v)
			return q
		})
	case object == history.Set:
		c.patch(history.Op{Object: object, Kind: history.Add, Key: key}, `[{"op":"add","path":"/v","value":%q}]`)
	case object == history.List:
		c.patch(history.Op{Object: object, Kind: history.Append, Key: key}, `[{"op":"insert","path":"/v/-","value":%q}]`)
	case object == history.Counter:
		amount := 1 + c.rand.Int64N(1000)
		c.write(history.Op{Object: object, Kind: history.Inc, Key: key, Amount: amount}, func(string) cluster.Request {
			return c.ops(key, fmt.Sprintf(`[{"op":"inc","path":"/v","value":%d}]`, amount))
		})
	case object == history.Bank:
		c.transfer(key)
	}
}

func (c *chaosClient) ops(key, ops string) cluster.Request { return patchRequest(inDocs, key, ops) }

func patchRequest(collection, key, ops string, header ...string) cluster.Request {
	return cluster.Request{Method: http.MethodPatch, Path: cluster.DocPath(collection, key), Type: cluster.Ops, Body: ops, Header: header}
}

func (c *chaosClient) patch(op history.Op, format string) {
	c.write(op, func(v string) cluster.Request { return c.ops(op.Key, fmt.Sprintf(format, v)) })
}

// insert puts a word at the front of a text, or between two words of the text as
// it was read, if it is still that.
func (c *chaosClient) insert(key string) {
	index, header := 0, []string(nil)
	if c.rand.IntN(3) > 0 {
		op := history.Op{Object: history.Text, Kind: history.Read, Key: key}
		res := c.understood(&op, cluster.Request{Path: cluster.DocPath(inTexts, key)})
		if res == nil {
			return
		}
		for _, word := range op.Values[:c.rand.IntN(len(op.Values)+1)] {
			index += len(word) + 1
		}
		header = []string{"If-Match", res.ETag()}
	}
	c.write(history.Op{Object: history.Text, Kind: history.Insert, Key: key}, func(v string) cluster.Request {
		return patchRequest(inTexts, key, fmt.Sprintf(`[{"op":"splice","path":"/v","index":%d,"insert":"%s "}]`, index, v), header...)
	})
}

func (c *chaosClient) transfer(key string) {
	accs := c.rand.Perm(bankAccounts)
	op := history.Op{
		Object: history.Bank, Kind: history.Transfer, Key: key,
		From: account(key, accs[0]), To: account(key, accs[1]), Amount: 1 + c.rand.Int64N(deposit),
	}
	c.write(op, func(v string) cluster.Request {
		return cluster.Request{Method: http.MethodPost, Path: "/v1/batch", Body: fmt.Sprintf(`{"docs":[
			{"collection":%[1]q,"id":%[2]q,"ops":[{"op":"inc","path":"/n","value":%[4]d}]},
			{"collection":%[1]q,"id":%[3]q,"ops":[{"op":"inc","path":"/n","value":%[5]d}]},
			{"collection":%[1]q,"id":%[6]q,"put":{}}]}`,
			inBank, op.From, op.To, -op.Amount, op.Amount, key+"/t/"+v)}
	})
}

// write does an operation that changes something, with a value that is used nowhere else.
func (c *chaosClient) write(op history.Op, request func(value string) cluster.Request) {
	c.count++
	value := fmt.Sprintf("%s-%d", c.name, c.count)
	if op.Kind != history.Inc {
		op.Value = value
	}
	began := time.Now()
	c.do(&op, request(value))
	if op.Result == history.OK {
		c.x.acked[op.Region].set(began)
	}
	c.x.rec.Record(op)
}

// Problems that leave open whether a write was made.
var openProblems = []string{"internal", "timeout", "stopped", "storage"}

// do sends a request, and enters into op what came of it. It returns the answer
// if there is one.
func (c *chaosClient) do(op *history.Op, q cluster.Request) *cluster.Response {
	op.Process, op.Region, op.Start = c.name, c.region, c.x.rec.Now()
	defer func() { op.End = c.x.rec.Now() }()
	res, err := c.send(q)
	if err != nil {
		op.Result, op.Error = history.Unknown, err.Error()
		var notSent *net.OpError
		if errors.As(err, &notSent) && notSent.Op == "dial" {
			op.Result = history.Refused
		}
		return nil
	}
	none := op.Kind == history.Read && res.Status == http.StatusNotFound
	if res.Status < 400 || none {
		op.Result, op.Token = history.OK, res.Token()
		// An answer to a request with a token covers it; a refusal need not.
		c.token = op.Token
		return res
	}
	op.Result, op.Error = history.Refused, res.Text()
	var problem struct{ Type string }
	err = json.Unmarshal(res.Body, &problem)
	if kind := strings.TrimPrefix(problem.Type, "/problems/"); err != nil || slices.Contains(openProblems, kind) {
		op.Result = history.Unknown
	}
	return nil
}

func (c *chaosClient) send(q cluster.Request) (*cluster.Response, error) {
	if q.Method == "" {
		q.Method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(c.x.ctx(), q.Method, c.x.urls[c.region]+q.Path, strings.NewReader(q.Body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", cluster.JSON)
	if q.Type != "" {
		req.Header.Set("Content-Type", q.Type)
	}
	if c.token != "" {
		req.Header.Set("Meridian-Token", c.token)
		req.Header.Set("Prefer", tokenWait)
	}
	for i := 0; i+1 < len(q.Header); i += 2 {
		req.Header.Set(q.Header[i], q.Header[i+1])
	}
	res, err := c.x.clients[c.region].Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxChaosAnswer))
	return &cluster.Response{Status: res.StatusCode, Header: res.Header, Body: body}, err
}

// read reads anything but siblings, and reports whether there was an answer.
func (c *chaosClient) read(object history.Object, key string, final bool) bool {
	op := history.Op{Object: object, Kind: history.Read, Key: key, Final: final}
	path := cluster.DocPath(inDocs, key)
	switch object {
	case history.Register:
		path = cluster.DocPath(inRegister, key)
	case history.Text:
		path = cluster.DocPath(inTexts, key)
	case history.Bank:
		path = "/v1/collections/" + inBank + "/docs?limit=1000&prefix=" + url.QueryEscape(key+"/")
	}
	return c.understood(&op, cluster.Request{Path: path}) != nil
}

// understood sends a read and records what it shows. It returns the answer if
// there is one that says so.
func (c *chaosClient) understood(op *history.Op, q cluster.Request) *cluster.Response {
	res := c.do(op, q)
	if res != nil {
		if err := understand(op, res); err != nil {
			c.x.t.Errorf("%v: %v in %s", op, err, res.Text())
			return nil
		}
	}
	c.x.rec.Record(*op)
	return res
}

var errMorePages = errors.New("the bank is longer than a page")

// understand enters into op what an answer shows.
func understand(op *history.Op, res *cluster.Response) error {
	var doc struct {
		V json.RawMessage `json:"v"`
	}
	switch {
	case op.Object == history.Bank:
		var page struct {
			Docs []struct {
				ID    string           `json:"id"`
				Value map[string]int64 `json:"value"`
			} `json:"docs"`
			Cursor string `json:"cursor"`
		}
		if err := json.Unmarshal(res.Body, &page); err != nil {
			return err
		}
		if page.Cursor != "" {
			return errMorePages
		}
		op.Balances = map[string]int64{}
		for _, d := range page.Docs {
			if id, ok := strings.CutPrefix(d.ID, op.Key+"/t/"); ok {
				op.Values = append(op.Values, id)
			} else {
				op.Balances[d.ID] = d.Value["n"]
			}
		}
		return nil
	case res.Status == http.StatusNotFound:
		return nil // what is missing, the checkers say
	}
	if err := json.Unmarshal(res.Body, &doc); err != nil {
		return err
	}
	switch op.Object {
	case history.Counter:
		return json.Unmarshal(doc.V, &op.Amount)
	case history.Text:
		var text string
		err := json.Unmarshal(doc.V, &text)
		op.Values = strings.Fields(text)
		return err
	case history.Register:
		op.Values = make([]string, 1)
		return json.Unmarshal(doc.V, &op.Values[0])
	default:
		return json.Unmarshal(doc.V, &op.Values)
	}
}

// readSiblings reads all concurrent values, and the entity tag that stands for them.
func (c *chaosClient) readSiblings(key string, final bool) (values []string, etag string, ok bool) {
	op := history.Op{Object: history.Siblings, Kind: history.Read, Key: key, Final: final}
	res := c.do(&op, cluster.Request{Path: cluster.DocPath(inSiblings, key), Header: []string{"Accept", cluster.Siblings}})
	if res != nil && res.Status != http.StatusNotFound {
		var err error
		if op.Values, err = siblingsIn(res); err != nil {
			c.x.t.Errorf("%v: %v in %s", op, err, res.Text())
			return nil, "", false
		}
		etag = res.ETag()
	}
	c.x.rec.Record(op)
	return op.Values, etag, op.Result == history.OK
}

func siblingsIn(res *cluster.Response) (values []string, err error) {
	type value struct {
		V string `json:"v"`
	}
	if res.Status != http.StatusMultipleChoices {
		var one value
		err = json.Unmarshal(res.Body, &one)
		return []string{one.V}, err
	}
	var all struct {
		Versions []struct {
			Value value `json:"value"`
		} `json:"versions"`
	}
	err = json.Unmarshal(res.Body, &all)
	for _, v := range all.Versions {
		values = append(values, v.Value.V)
	}
	return values, err
}

// writeSiblings replaces exactly the values that were seen, or none if others have come.
func (c *chaosClient) writeSiblings(key string, seen []string, etag string) {
	header := []string{"If-Match", etag}
	if etag == "" {
		header = []string{"If-None-Match", "*"}
	}
	c.write(history.Op{Object: history.Siblings, Kind: history.Write, Key: key, Saw: seen}, func(v string) cluster.Request {
		return cluster.PutRequest(inSiblings, key, fmt.Sprintf(`{"v":%q}`, v), header...)
	})
}

// finalReads reads everything in every region.
func (x *chaos) finalReads() {
	for _, n := range x.nodes {
		c := &chaosClient{x: x, name: "final " + n.Region, region: n.Region}
		for gen := range x.gens {
			for _, object := range []history.Object{history.Register, history.Set, history.Counter, history.List, history.Text, history.Bank} {
				if !c.read(object, keyOf(object, gen), true) {
					x.t.Errorf("%s does not show %s %d at the end", n.Region, object, gen)
				}
			}
			if _, _, ok := c.readSiblings(keyOf(history.Siblings, gen), true); !ok {
				x.t.Errorf("%s does not show siblings %d at the end", n.Region, gen)
			}
		}
	}
}
