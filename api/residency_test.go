package api

import (
	"strings"
	"testing"
	"time"
)

const (
	private  = "/v1/collections/private"
	aPrivate = private + "/docs/1"
)

// resident runs a test with three regions 40 ms from each other, and a collection
// that eu-west and ap-south hold.
func resident(t *testing.T, elsewhere string, test func(w *world)) {
	t.Helper()
	far(t, func(w *world) {
		w.on("eu-west", "PUT", private, `{"regions":["eu-*","ap-south"],"elsewhere":"`+elsewhere+`"}`).gives(201)
		w.settle()
		w.reach()
		test(w)
	})
}

func TestOthersForwardToAHolder(t *testing.T) {
	resident(t, "forward", func(w *world) {
		var r *reply
		if d := took(func() { r = w.do("PUT", aPrivate, `{"who":"ana"}`).with("If-None-Match", "*").gives(201) }); d != rtt {
			t.Errorf("a forwarded write took %v, want %v", d, rtt)
		}
		if holder := r.Get(HeaderRegion); holder == "us-east" || r.Get(HeaderVia) != "us-east" {
			t.Errorf("answered by %q via %q", holder, r.Get(HeaderVia))
		}
		w.settle()
		for _, holder := range []string{"eu-west", "ap-south"} {
			if got := w.on(holder, "GET", aPrivate, nil).gives(200).is(`{"who":"ana"}`); got.Get(HeaderRegion) != holder {
				t.Errorf("%s lets %s answer", holder, got.Get(HeaderRegion))
			}
		}
		// Each kind of request is answered as a holder does.
		w.do("GET", aPrivate, nil).gives(200).is(`{"who":"ana"}`)
		w.do("GET", aPrivate+"?read=quorum", nil).gives(200)
		w.do("GET", aPrivate+"/versions", nil).gives(200)
		w.do("PATCH", aPrivate, `{"n":1}`).with("Content-Type", MediaMergePatch).gives(200)
		w.do("POST", private+"/docs", `{"new":true}`).gives(201)
		w.do("POST", "/v1/batch", `{"docs":[{"collection":"private","id":"b","put":{}}]}`).gives(200)
		w.settle()
		if r := w.do("GET", private+"/docs", nil).gives(200); strings.Count(r.body, `"etag"`) != 3 {
			t.Errorf("listed: %s", r.body)
		}
		w.do("GET", private+"/changes?cursor=0", nil).gives(200)
		w.do("GET", "/v1/conflicts?collection=private", nil).gives(200)
		if r := w.do("GET", "/v1/changes?cursor=0&limit=100", nil).gives(200); strings.Contains(r.body, "private") {
			t.Errorf("a region that holds nothing of it tells of changes: %s", r.body)
		}
		w.do("PUT", private, `{"regions":["ap-south","eu-*"],"policy":"siblings"}`).gives(200)
		w.do("DELETE", aPrivate, nil).gives(204)
		w.do("DELETE", private, nil).gives(204)
	})
}

func TestOthersRefuseWhatTheyDoNotHold(t *testing.T) {
	resident(t, "refuse", func(w *world) {
		w.on("eu-west", "PUT", aPrivate, `{"who":"ana"}`).gives(201)
		w.settle()
		for _, path := range []string{aPrivate, aPrivate + "/versions", private + "/docs", private + "/changes?cursor=0"} {
			w.do("GET", path, nil).gives(421).as(notHeld, "ap-south, eu-west")
		}
		w.do("PUT", aPrivate, `{}`).gives(421).as(notHeld, "ask there")
		w.do("POST", "/v1/batch", `{"docs":[{"collection":"private","id":"b","put":{}}]}`).gives(421)
		w.do("DELETE", private, nil).gives(421)
		// Its settings are no secret.
		if r := w.do("GET", private, nil).gives(200); !strings.Contains(r.body, `"regions":["ap-south","eu-*"],"elsewhere":"refuse"`) {
			t.Errorf("settings: %s", r.body)
		}
	})
}

func TestStreamsAreForHoldersOnly(t *testing.T) {
	resident(t, "forward", func(w *world) {
		w.do("GET", private+"/changes", nil).with("Accept", MediaEvents).gives(421).as(notHeld, "eu-west")
		w.do("GET", "/v1/conflicts?collection=private&feed=1", nil).gives(421)
	})
}

func TestHoldersThatCannotBeReached(t *testing.T) {
	resident(t, "forward", func(w *world) {
		w.on("eu-west", "PUT", aPrivate, `{"who":"ana"}`).gives(201)
		w.settle()
		w.cut("us-east", "eu-west")
		w.cut("us-east", "ap-south")
		time.Sleep(5 * time.Second)
		w.do("GET", aPrivate, nil).gives(503).as(holdersAway, "ap-south, eu-west")
		w.do("PUT", aPrivate, `{}`).gives(503).as(holdersAway, "none of them")
		w.on("eu-west", "GET", aPrivate, nil).gives(200)
	})
}

func TestOnlyHoldersAcknowledge(t *testing.T) {
	resident(t, "forward", func(w *world) {
		for _, asked := range []string{"all", "2", "majority"} {
			_, r := w.on("eu-west", "PUT", aPrivate+"?acks="+asked, `{}`).send()
			if got := r.Get(HeaderAcked); got != "eu-west,ap-south" {
				t.Errorf("acks=%s: acknowledged by %q", asked, got)
			}
		}
		w.on("eu-west", "PUT", aPrivate+"?acks=3", `{}`).gives(422).as(invalid, "held by 2")
		w.on("eu-west", "PUT", aPrivate+"?acks=us-east", `{}`).gives(422).as(invalid, "us-east")
		w.do("PUT", aPrivate+"?acks=all", `{}`).gives(200)
		if got := w.on("ap-south", "GET", aPrivate+"?read=all", nil).gives(200).Get(HeaderRead); got != "ap-south,eu-west" {
			t.Errorf("read of %q", got)
		}
		// Without the region that does not hold it, nothing is missing.
		w.cut("us-east", "eu-west")
		w.cut("us-east", "ap-south")
		w.on("eu-west", "PUT", aPrivate+"?acks=all", `{"n":1}`).gives(200)
	})
}

func TestRegionsOfACollection(t *testing.T) {
	resident(t, "forward", func(w *world) {
		for _, bad := range []string{
			`{"regions":[]}`, `{"regions":"eu-west"}`, `{"regions":["eu west"]}`, `{"regions":["mars-*"]}`, `{"elsewhere":"refuse"}`,
			`{"regions":["eu-*"],"elsewhere":"ignore"}`, `{"regions":["eu-*"],"home":"us-east"}`, `{"regions":["eu-*"],"acks":2}`,
		} {
			if _, r := w.on("eu-west", "PUT", "/v1/collections/bad", bad).send(); r.status != 422 {
				t.Errorf("%s: %d %s", bad, r.status, r.body)
			}
		}
		w.on("eu-west", "PUT", private, `{"regions":["eu-*"]}`).gives(409).as(exists, "fixed")
		w.on("eu-west", "PUT", private, `{}`).gives(409)
		w.on("eu-west", "POST", private+"/home", `{"region":"us-east"}`).gives(422).as(invalid, "does not hold")
		// One that holds it makes it.
		if r := w.do("PUT", "/v1/collections/other", `{"regions":["eu-*"]}`).gives(201); r.Get(HeaderRegion) != "eu-west" {
			t.Errorf("made by %q", r.Get(HeaderRegion))
		}
		w.settle()
		for _, docs := range []string{
			`{"collection":"private","id":"b","put":{}},{"collection":"carts","id":"b","put":{}}`,
			`{"collection":"carts","id":"b","put":{}},{"collection":"private","id":"b","put":{}}`,
			`{"collection":"other","id":"b","put":{}},{"collection":"private","id":"b","put":{}}`,
		} {
			w.on("eu-west", "POST", "/v1/batch", `{"docs":[`+docs+`]}`).gives(422).as(severalHolders, "same regions")
		}
	})
}
