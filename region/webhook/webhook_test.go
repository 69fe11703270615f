package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/webhook"
)

var update = flag.Bool("update", false, "write the golden files anew")

const secret = "a secret of some length"

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func question() *conflict.Question {
	r := crdt.ReplicaID{0: 1, 6: 0x70, 8: 0x80, 15: 9}
	stamp := func(ms int64) crdt.Stamp { return crdt.StampAt(time.UnixMilli(noon.UnixMilli() + ms)) }
	return &conflict.Question{
		ID: "5933c008e3af375bab61c6ac", Attempt: 2, Cluster: "shop", Region: "us-east",
		Collection: "carts", Document: "ana", Path: "/v", Type: "document",
		Versions: []conflict.Version{
			{Version: crdt.Version{Dot: crdt.Dot{Replica: r, Seq: 3}, Stamp: stamp(0), Value: map[string]any{"n": 1.5, "big": int64(1) << 60}}, Region: "us-east"},
			{Version: crdt.Version{Dot: crdt.Dot{Replica: r, Seq: 4}, Stamp: stamp(80), Deleted: true}, Region: "eu-west"},
			{Version: crdt.Version{Dot: crdt.Dot{Replica: r, Seq: 5}, Stamp: stamp(90), Value: "x", Answer: true}},
		},
	}
}

func ask(t *testing.T, h http.HandlerFunc) (conflict.Answer, error) {
	t.Helper()
	s := httptest.NewServer(h)
	defer s.Close()
	c := webhook.NewCaller(func() time.Time { return noon })
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return c.Ask(ctx, &conflict.Callback{URL: s.URL + "/hook?key=hidden", Secret: secret}, question())
}

// The request is as documented, to the byte.
func TestRequest(t *testing.T) {
	var got []byte
	a, err := ask(t, func(w http.ResponseWriter, r *http.Request) {
		got, _ = io.ReadAll(r.Body)
		if err := webhook.Verify(secret, r.Header.Get("Meridian-Signature"), got, noon, time.Minute); err != nil {
			t.Error(err)
		}
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Idempotency-Key") != question().ID {
			t.Errorf("%s %v", r.Method, r.Header)
		}
		_, _ = w.Write([]byte(`{"value": {"n": 2}, "reason": "because\n  of   that"}`))
	})
	if want := (conflict.Answer{Kind: conflict.AnswerValue, Value: map[string]any{"n": int64(2)}, Reason: "because of that"}); err != nil || !cmp.Equal(a, want) {
		t.Errorf("%+v, %v", a, err)
	}
	path := filepath.Join("testdata", "question.json")
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.TrimSpace(string(golden)), string(got)); d != "" {
		t.Errorf("the request has changed:\n%s", d)
	}
}

func TestAnswers(t *testing.T) {
	answers := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, c := range map[string]struct {
		h           http.HandlerFunc
		kind        conflict.AnswerKind
		says        string
		unavailable bool
	}{
		"keep":        {h: answers(200, `{"keep":true}`), kind: conflict.AnswerKeep},
		"delete":      {h: answers(200, `{"delete":true}`), kind: conflict.AnswerDelete},
		"null":        {h: answers(200, `{"value":null}`), kind: conflict.AnswerValue},
		"500":         {h: answers(500, "oh no\n\n at Object.<anonymous>"), says: `500 Internal Server Error: "oh no at Object.<anonymous>"`, unavailable: true},
		"503":         {h: answers(503, ""), says: "503", unavailable: true},
		"404":         {h: answers(404, ""), says: "404", unavailable: true},
		"401":         {h: answers(401, ""), says: "401", unavailable: true},
		"redirect":    {h: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) }, says: "302", unavailable: true},
		"422":         {h: answers(422, `{"error":"no"}`), says: "422 Unprocessable Entity"},
		"html":        {h: answers(200, "<html>"), says: "not an answer: no JSON object"},
		"empty":       {h: answers(200, ""), says: "not an answer"},
		"nothing":     {h: answers(200, `{"reason":"none"}`), says: "it says nothing"},
		"two things":  {h: answers(200, `{"keep":true,"value":1}`), says: "it says two things"},
		"unknown":     {h: answers(200, `{"vaule":1}`), says: `there is no member "vaule"`},
		"not true":    {h: answers(200, `{"keep":false}`), says: "keep is not true"},
		"large":       {h: answers(200, `{"value":"`+strings.Repeat("x", conflict.MaxAnswerBytes)+`"}`), says: "more than"},
		"inexact":     {h: answers(200, `{"value":1e400}`), says: "not an answer"},
		"broken off":  {h: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, says: "not available", unavailable: true},
		"hidden key?": {h: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, says: "EOF", unavailable: true},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := ask(t, c.h)
			if c.says == "" {
				if err != nil || a.Kind != c.kind {
					t.Errorf("%+v, %v", a, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.says) || errors.Is(err, webhook.ErrUnavailable) != c.unavailable {
				t.Errorf("%+v, error %v, want %q", a, err, c.says)
			}
			if err != nil && (strings.Contains(err.Error(), "hidden") || len(err.Error()) > 600) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestSlowAndAbsentApplications(t *testing.T) {
	c := webhook.NewCaller(time.Now)
	defer c.Close()
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer s.Close()
	defer close(hang)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Ask(ctx, &conflict.Callback{URL: s.URL}, question()); !errors.Is(err, webhook.ErrUnavailable) || !strings.Contains(err.Error(), "did not answer in time") {
		t.Error(err)
	}
	if _, err := c.Ask(t.Context(), &conflict.Callback{URL: "http://127.0.0.1:1/"}, question()); !errors.Is(err, webhook.ErrUnavailable) || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
}

func TestSignatures(t *testing.T) {
	body := []byte(`{"id":1}`)
	good := webhook.Sign(secret, body, noon)
	// Computed by openssl dgst -sha256 -hmac.
	if want := "t=1893499200,v1=363ac7bec59ed5b6a2dc8e4da8cf33044f4ad17afd0d6e4907e86b35a5cbaeeb"; good != want {
		t.Errorf("signature %s, want %s", good, want)
	}
	if err := webhook.Verify(secret, good, body, noon.Add(time.Minute), time.Minute); err != nil {
		t.Error(err)
	}
	if err := webhook.Verify(secret, good, body, noon.Add(2*time.Minute), time.Minute); !errors.Is(err, webhook.ErrTooOld) {
		t.Error(err)
	}
	for name, header := range map[string]string{
		"missing": "", "other secret": webhook.Sign("another", body, noon), "other body": webhook.Sign(secret, []byte("{}"), noon),
		"other time": strings.Replace(good, "t=1", "t=2", 1), "no hex": good[:len(good)-1] + "x", "cut": good[:20], "garbage": ",v1=,t=",
	} {
		if err := webhook.Verify(secret, header, body, noon, time.Minute); !errors.Is(err, webhook.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	for _, s := range []string{`{"keep":true}`, `{"value":{"a":[1,2.5]},"reason":"x"}`, `{"delete":true}`, `[]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := conflict.ParseAnswer(b)
		if err != nil {
			if !errors.Is(err, conflict.ErrBadAnswer) {
				t.Fatal(err)
			}
			return
		}
		if !json.Valid(b) || a.Check(&conflict.Question{Path: "/x"}) != nil || len(a.Reason) > conflict.MaxAnswerReason+3 {
			t.Fatalf("%+v", a)
		}
	})
}
