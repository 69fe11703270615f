package region

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/meridiandb/meridian/conflict"
	"github.com/meridiandb/meridian/region/core"
	"github.com/meridiandb/meridian/region/webhook"
)

// A CallbackFunc decides a conflict in the program that embeds Meridian: the
// policy {"callback": {"function": NAME}} of a collection. It must return when
// ctx ends, and may be called by several goroutines at a time. What it is given
// is its own. It may be asked again about what it has answered, under the same
// Question.ID: the region may have stopped before it wrote the answer, or others
// may not have heard of it. An error means: try again later.
type CallbackFunc func(ctx context.Context, q conflict.Question) (conflict.Answer, error)

// maxRunning bounds the calls that are under way, those of a core that was given
// up included.
const maxRunning = 4 * core.MaxCalls

// A caller asks callbacks, each in a goroutine of its own that ends with ctx.
type caller struct {
	ctx       context.Context
	functions map[string]CallbackFunc
	webhooks  *webhook.Caller
	running   sync.WaitGroup
	slots     chan struct{}
	called    chan core.Called
}

func newCaller(ctx context.Context, cfg *Config) *caller {
	return &caller{
		ctx: ctx, functions: cfg.Callbacks, webhooks: webhook.NewCaller(cfg.Clock),
		slots: make(chan struct{}, maxRunning), called: make(chan core.Called, maxRunning),
	}
}

// start makes a call. Its outcome comes over called.
func (c *caller) start(call core.Call) {
	select {
	case c.slots <- struct{}{}:
	default:
		// Each slot ends in something to receive, so there is room for this.
		c.report(core.Called{ID: call.Question.ID, Err: errors.New("too many calls are under way"), Unavailable: true})
		return
	}
	c.running.Go(func() {
		defer func() { <-c.slots }()
		answer, err := c.ask(call)
		c.report(core.Called{ID: call.Question.ID, Answer: answer, Err: err, Unavailable: errors.Is(err, webhook.ErrUnavailable)})
	})
}

func (c *caller) report(e core.Called) {
	select {
	case c.called <- e:
	case <-c.ctx.Done():
	}
}

func (c *caller) ask(call core.Call) (answer conflict.Answer, err error) {
	ctx, cancel := context.WithTimeout(c.ctx, call.Callback.Timeout)
	defer cancel()
	if call.Callback.Function == "" {
		answer, err = c.webhooks.Ask(ctx, call.Callback, &call.Question)
	} else {
		answer, err = c.askFunction(ctx, call)
	}
	if err == nil {
		err = answer.Check(&call.Question)
	}
	return answer, err
}

func (c *caller) askFunction(ctx context.Context, call core.Call) (answer conflict.Answer, err error) {
	name := call.Callback.Function
	f, ok := c.functions[name]
	if !ok {
		return answer, fmt.Errorf("%w: this region was not given the function %q", webhook.ErrUnavailable, name)
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the function %q panicked: %v", name, p)
		}
	}()
	answer, err = f(ctx, call.Question.Clone())
	if err != nil && ctx.Err() != nil {
		return answer, fmt.Errorf("%w: the function %q did not answer in %v", webhook.ErrUnavailable, name, call.Callback.Timeout)
	}
	answer.Reason = conflict.ShortReason(answer.Reason)
	return answer, err
}

// stop waits for the calls that are under way. The context has ended.
func (c *caller) stop() {
	c.running.Wait()
	c.webhooks.Close()
}

// CallbackStatus tells of the calls of callbacks since the start.
func (r *Region) CallbackStatus() []core.CallbackCount { return r.published.Load().conflicts.Callbacks }
