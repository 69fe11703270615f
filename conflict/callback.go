package conflict

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/meridiandb/meridian/crdt"
)

// Bounds of a callback in a collection's settings.
const (
	// MaxCallbackURL is the greatest length of a webhook's URL, in bytes.
	MaxCallbackURL = 2048
	// MaxFunctionName is the greatest length of a function's name, in bytes.
	MaxFunctionName = 128
	// MinSecret and MaxSecret bound the length of the secret that requests are
	// signed with, in bytes.
	MinSecret = 16
	MaxSecret = 256
	// DefaultCallbackTimeout is how long an answer may take unless the settings
	// say otherwise, MaxCallbackTimeout what they can say at the most.
	DefaultCallbackTimeout = 2 * time.Second
	MinCallbackTimeout     = 10 * time.Millisecond
	MaxCallbackTimeout     = 30 * time.Second
)

// HiddenSecret stands for the secret of a webhook wherever settings are shown.
// In settings that are sent it means the secret that the collection has already.
const HiddenSecret = "***"

// A Callback is the policy "callback": the application decides, and what it
// answers is written. As a view it shows the newest version, as [LWW] does, and
// says whether the application has decided; asking it is the affair of the region.
type Callback struct {
	// URL is the webhook, or Function the name of a Go function that the regions
	// were given by the program that embeds them. One of them is set.
	URL, Function string
	// Secret signs the requests to a webhook.
	Secret string
	// Timeout is how long one try may take.
	Timeout time.Duration
}

// CallbackOf returns the callback that a policy is, nil if it is another.
func CallbackOf(r Resolver) *Callback {
	c, _ := r.(*Callback)
	return c
}

// Spec is the policy as settings show it: without its secret.
func (c *Callback) Spec() any { return c.spec(HiddenSecret) }

// StoredSpec is a policy as it is stored and replicated: with its secret.
func StoredSpec(r Resolver) any {
	if c, ok := r.(*Callback); ok {
		return c.spec(c.Secret)
	}
	return r.Spec()
}

func (c *Callback) spec(secret string) any {
	setting := map[string]any{"timeout": c.Timeout.String()}
	if c.Function != "" {
		setting["function"] = c.Function
	} else {
		setting["url"], setting["secret"] = c.URL, secret
	}
	return map[string]any{callbackName: setting}
}

// Revealed returns the callback with the secret of the one that it replaces, if it
// came with [HiddenSecret].
func (c *Callback) Revealed(old Resolver) (*Callback, error) {
	if c.Secret != HiddenSecret {
		return c, nil
	}
	o := CallbackOf(old)
	if o == nil || o.URL != c.URL {
		return nil, fmt.Errorf("%w: %s: %q stands for the secret that the collection has for this url, and it has none; send the secret itself",
			ErrBadPolicy, callbackName, HiddenSecret)
	}
	out := *c
	out.Secret = o.Secret
	return &out, nil
}

const callbackUsage = `{"callback": {"url": "https://…", "secret": "…", "timeout": "2s"}}, or {"callback": {"function": "name"}} where Meridian is embedded`

func parseCallback(setting any) (Resolver, error) {
	bad := func(format string, args ...any) (Resolver, error) {
		return nil, fmt.Errorf("%w: %s: %s; write %s", ErrBadPolicy, callbackName, fmt.Sprintf(format, args...), callbackUsage)
	}
	members, ok := setting.(map[string]any)
	if !ok {
		return bad("it needs an object")
	}
	c := &Callback{Timeout: DefaultCallbackTimeout}
	for name, v := range members {
		text, ok := v.(string)
		if !ok {
			return bad("%.40q must be a string", name)
		}
		switch name {
		case "url":
			c.URL = text
		case "function":
			c.Function = text
		case "secret":
			c.Secret = text
		case "timeout":
			d, err := time.ParseDuration(text)
			if err != nil || d < MinCallbackTimeout || d > MaxCallbackTimeout {
				return bad("timeout must be a duration from %v to %v, such as \"2s\"", MinCallbackTimeout, MaxCallbackTimeout)
			}
			c.Timeout = d
		default:
			return bad("there is no setting %.40q", name)
		}
	}
	switch {
	case (c.URL == "") == (c.Function == ""):
		return bad("either url or function is needed")
	case c.Function != "" && c.Secret != "":
		return bad("secret is for webhooks")
	case len(c.Function) > MaxFunctionName || strings.ContainsFunc(c.Function, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return bad("the function's name has at most %d bytes and no control characters", MaxFunctionName)
	case c.Function != "":
		return c, nil
	}
	u, err := url.Parse(c.URL)
	if err != nil || len(c.URL) > MaxCallbackURL || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return bad("url must be http:// or https://, with a host, without user or fragment, of at most %d bytes", MaxCallbackURL)
	}
	if c.Secret != HiddenSecret && (len(c.Secret) < MinSecret || len(c.Secret) > MaxSecret) {
		return bad("secret must have %d to %d bytes; `openssl rand -hex 32` makes one", MinSecret, MaxSecret)
	}
	return c, nil
}

// Resolve shows the newest version, and says how far the application has decided.
func (c *Callback) Resolve(ctx Context, versions []Version) crdt.Outcome {
	first, second := best(versions, compareAge)
	out := crdt.Outcome{Shown: first}
	clock := clockOf(versions)
	switch ctx.Decided {
	case crdt.DecisionKeep:
		out.Open = true
		out.Reason = fmt.Sprintf("the callback left the versions as they are: all %d are offered, and the newest, %s, stands in until one is written that covers them",
			len(versions), describe(&versions[first], clock))
	case crdt.DecisionAnswer:
		out.Reason = "all versions are answers of the callback, given in regions that could not hear of each other, and the newest counts: " +
			newer(versions, first, second)
	default:
		out.Pending = true
		out.Reason = fmt.Sprintf("the callback has not decided yet, and until it does, the newest is shown: %s%s",
			newer(versions, first, second), answersAmong(versions, clock))
	}
	return out
}

// answersAmong tells of earlier answers among versions that are to be decided.
func answersAmong(versions []Version, c clock) string {
	var names []string
	for _, i := range slices.Backward(canonicalOrder(versions)) {
		if v := &versions[i]; v.Answer && len(names) < maxNamed {
			names = append(names, describe(v, c))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; already an answer: " + strings.Join(names, ", ")
}
