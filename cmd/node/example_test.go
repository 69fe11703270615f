package node_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/meridiandb/meridian/cmd/node"
	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/transport/certs"
)

// sum decides about a stock that was counted in two places at once.
func sum(_ context.Context, q conflict.Question) (conflict.Answer, error) {
	total := int64(0)
	for _, v := range q.Versions {
		stock, _ := v.Value.(map[string]any)
		n, _ := stock["n"].(int64)
		total += n
	}
	return conflict.Answer{
		Kind: conflict.AnswerValue, Value: map[string]any{"n": total},
		Reason: fmt.Sprintf("%d counts of %s", len(q.Versions), q.Document),
	}, nil
}

// A program can have a region within it, and decide about conflicts by a function
// of its own.
func Example() {
	data, err := os.MkdirTemp("", "meridian")
	if err == nil {
		err = embed(data)
	}
	if err := errors.Join(err, os.RemoveAll(data)); err != nil {
		log.Fatal(err)
	}
	// Output: map[n:7]
}

func embed(data string) error {
	authority, err := certs.NewAuthority("shop", certs.Validity{})
	if err != nil {
		return err
	}
	credentials, err := authority.Issue("us-east")
	if err != nil {
		return err
	}
	n, err := node.New(node.Config{
		Region: "us-east", Cluster: "shop", Data: data, Credentials: credentials,
		HTTP: "127.0.0.1:0", PeerListen: "127.0.0.1:0",
		Callbacks: map[string]region.CallbackFunc{"sum": sum},
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	if err := n.AwaitReady(ctx); err != nil {
		return err
	}

	settings, err := core.ParseSettings([]byte(`{"type": "register", "policy": {"callback": {"function": "sum"}}}`))
	if err != nil {
		return err
	}
	if _, err := n.Region().PutCollection(ctx, core.PutCollection{Name: "stock", Settings: settings}); err != nil {
		return err
	}
	// Two people start from the same count, and do not know of each other.
	var last core.Receipt
	base := ""
	for i, count := range []int64{10, 3, 4} {
		last, err = n.Region().Write(ctx, core.Write{Docs: []core.DocWrite{{
			Collection: "stock", ID: "tea", BaseTag: base,
			Edit: crdt.Edit{Kind: crdt.EditPut, Value: map[string]any{"n": count}},
		}}})
		if err != nil {
			return err
		}
		if i == 0 {
			base = last.Docs[0].Tag
		}
	}

	seen := last.Have
	for {
		d, err := n.Region().Get(ctx, "stock", "tea")
		if err != nil {
			return err
		}
		if len(d.View.Conflicts) == 0 {
			fmt.Println(d.View.Value)
			break
		}
		// What decides is the region's next change.
		seen = seen.With(crdt.Dot{Replica: last.Dot.Replica, Seq: seen.Get(last.Dot.Replica) + 1})
		if err := n.Region().Wait(ctx, seen); err != nil {
			return err
		}
	}
	stop()
	return <-done
}
