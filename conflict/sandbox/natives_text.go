package sandbox

import (
	"strings"

	"github.com/dop251/goja"
)

// casePerStep is how many characters are turned into another case for a step.
const casePerStep = 8

// ofTexts returns the metered functions of String.prototype, nil for other kinds.
// They are for texts alone: the length of what is turned into one is not known.
func (z *realm) ofTexts(kind, name string, original native) native {
	var before func(s goja.String, c goja.FunctionCall)
	switch kind {
	case "text":
		before = func(goja.String, goja.FunctionCall) {}
	case "case": // looks each character up
		before = func(s goja.String, _ goja.FunctionCall) { z.pay(s.Length() / casePerStep) }
	case "repeat":
		before = func(s goja.String, c goja.FunctionCall) {
			n := min(max(c.Argument(0).ToInteger(), 0), MaxText+1)
			if s.Length() > 0 {
				z.fits(s.Length() * int(n))
			}
		}
	case "pad":
		before = func(_ goja.String, c goja.FunctionCall) {
			z.fits(int(min(max(c.Argument(0).ToInteger(), 0), MaxText+1)))
		}
	case "replace":
		before = func(s goja.String, c goja.FunctionCall) { z.replaces(s, c, name) }
	case "split":
		before = func(s goja.String, c goja.FunctionCall) {
			separator := c.Argument(0)
			if !goja.IsUndefined(separator) {
				z.pay(strings.Count(s.String(), z.textOf(separator, "the separator of "+name).String()))
			}
		}
	default:
		return nil
	}
	return func(c goja.FunctionCall) goja.Value {
		s := z.textOf(c.This, name)
		z.pay(s.Length()/bytesPerStep + 1)
		for _, a := range c.Arguments {
			if _, ok := a.(*goja.Object); ok {
				panic(z.rt.NewTypeError("%s takes texts and numbers, not objects, lists and functions", name))
			}
			z.read(a)
		}
		before(s, c)
		v := original(c)
		if t, ok := v.(goja.String); ok {
			z.fits(max(t.Length()-s.Length(), 0)) // a part of a long text may be long
			z.made(t.Length())
		}
		return v
	}
}

// replaces looks at how long the result will be.
func (z *realm) replaces(s goja.String, c goja.FunctionCall, name string) {
	what, by := z.textOf(c.Argument(0), "what "+name+" replaces").String(), z.textOf(c.Argument(1), "what "+name+" puts in").String()
	if strings.Contains(by, "$") {
		panic(z.rt.NewTypeError("%s puts in no text with a $ here, which has a meaning of its own; use split and join", name))
	}
	times := 1
	if strings.HasSuffix(name, "All") {
		times = strings.Count(s.String(), what)
	}
	z.fits(times * len(by))
	z.pay(times)
}
