// Command go is a webhook for the policy "callback": it decides about carts that
// were changed in several regions at once. Run it with
//
//	SECRET=… ADDR=127.0.0.1:9000 go run .
//
// and set {"callback": {"url": "http://127.0.0.1:9000/conflicts", "secret": "…"}}
// as the policy of a collection of type register.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/meridiandb/meridian/region/webhook"
)

// A question is what a region asks. There is more in it: see conflict/README.md.
type question struct {
	Version  int    `json:"version"`
	ID       string `json:"id"`
	Document string `json:"document"`
	Path     string `json:"path"`
	Versions []struct {
		Region  string `json:"region"`
		Deleted bool   `json:"deleted"`
		Value   cart   `json:"value"`
	} `json:"versions"`
}

type cart struct {
	Owner string   `json:"owner"`
	Items []string `json:"items"`
	// Locked carts are being paid: a person has to look at a conflict.
	Locked bool `json:"locked,omitempty"`
}

// answer decides: everything that was put into a cart on any side is in it. It
// gives the same answer to the same question, however often it is asked.
func answer(q *question) map[string]any {
	var out cart
	for _, v := range q.Versions { // the oldest first
		if v.Deleted {
			continue
		}
		if v.Value.Locked {
			return map[string]any{"keep": true, "reason": "the cart is being paid"}
		}
		out.Owner = v.Value.Owner
		for _, item := range v.Value.Items {
			if !slices.Contains(out.Items, item) {
				out.Items = append(out.Items, item)
			}
		}
	}
	if len(out.Items) == 0 {
		return map[string]any{"delete": true, "reason": "nothing is in it"}
	}
	return map[string]any{"value": out, "reason": fmt.Sprintf("%d carts in one", len(q.Versions))}
}

// handle answers one request. A status other than 200 means: ask again later.
func handle(secret string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, webhook.MaxRequestBytes))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := webhook.Verify(secret, r.Header.Get(webhook.HeaderSignature), body, time.Now(), 5*time.Minute); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		var q question
		if err := json.Unmarshal(body, &q); err != nil || q.Version != 1 {
			http.Error(w, "this webhook reads questions of version 1 about carts", http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer(&q)); err != nil {
			fmt.Fprintln(os.Stderr, "an answer was not sent:", err)
		}
	}
}

func run() error {
	secret := os.Getenv("SECRET")
	if secret == "" {
		return errors.New("set SECRET to what the policy has")
	}
	l, err := net.Listen("tcp", os.Getenv("ADDR"))
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, "listening on", l.Addr())
	http.HandleFunc("POST /conflicts", handle(secret))
	s := &http.Server{ReadHeaderTimeout: 5 * time.Second}
	return s.Serve(l)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
