package sandbox

import (
	"github.com/dop251/goja"
)

// ofLists returns the metered functions of Array.prototype, nil for other kinds.
func (z *realm) ofLists(kind, name string, original native) native {
	switch kind {
	case "list": // goes through the list once
		return func(c goja.FunctionCall) goja.Value {
			_, n := z.listOf(c.This, name)
			z.pay(n + 1)
			return original(c)
		}
	case "search": // compares with each element
		return func(c goja.FunctionCall) goja.Value {
			_, n := z.listOf(c.This, name)
			z.pay(n + 1)
			if s, ok := c.Argument(0).(goja.String); ok {
				z.pay(n * (s.Length() / bytesPerStep))
			}
			return original(c)
		}
	case "concat":
		return func(c goja.FunctionCall) goja.Value {
			_, n := z.listOf(c.This, name)
			z.pay(n + 1)
			for _, a := range c.Arguments {
				if o, ok := a.(*goja.Object); ok && o.ClassName() == "Array" {
					_, n := z.listOf(o, name)
					z.pay(n)
				}
			}
			return original(c)
		}
	case "sort":
		return func(c goja.FunctionCall) goja.Value {
			o, n := z.listOf(c.This, name)
			z.pay(sortCost(n))
			if goja.IsUndefined(c.Argument(0)) {
				z.sortsTexts(o, n, name)
			}
			return original(c)
		}
	case "join":
		return z.join
	case "flat":
		return func(c goja.FunctionCall) goja.Value {
			o, _ := z.listOf(c.This, name)
			depth := int64(1)
			if d := c.Argument(0); !goja.IsUndefined(d) {
				depth = min(d.ToInteger(), maxJoins)
			}
			return z.rt.NewArray(z.flat(nil, o, depth)...)
		}
	case "flatMap":
		return z.flatMap
	}
	return nil
}

// sortsTexts pays for sorting without a comparison, which is by text.
func (z *realm) sortsTexts(o *goja.Object, n int, name string) {
	longest := 0
	for i := range n {
		switch e := element(o, i).(type) {
		case goja.String:
			longest = max(longest, e.Length())
		case *goja.Object:
			panic(z.rt.NewTypeError("%s needs a comparison where elements are objects", name))
		}
	}
	z.pay(sortCost(n) * (longest / bytesPerStep))
}

// join is that of lists, and what turns a list into a text. Unlike the engine's
// it looks at the length before it makes anything.
func (z *realm) join(c goja.FunctionCall) goja.Value {
	o, n := z.listOf(c.This, "join")
	separator := z.toText(z.rt.ToValue(","))
	if s := c.Argument(0); !goja.IsUndefined(s) {
		separator = z.toText(s)
	}
	if z.joins++; z.joins > maxJoins {
		panic(limit("it makes a text of lists that are nested more than %d deep", maxJoins))
	}
	defer func() { z.joins-- }()
	z.pay(n + 1)
	var b goja.StringBuilder
	length := 0
	add := func(s goja.String) {
		length += s.Length()
		z.fits(length)
		z.made(s.Length())
		b.WriteString(s)
	}
	for i := range n {
		if i > 0 {
			add(separator)
		}
		if e := element(o, i); !goja.IsUndefined(e) && !goja.IsNull(e) {
			add(z.toText(e))
		}
	}
	return b.String()
}

// flat appends the elements of lists within lists.
func (z *realm) flat(to []any, o *goja.Object, depth int64) []any {
	_, n := z.listOf(o, "flat")
	for i := range n {
		z.pay(1)
		e := element(o, i)
		if inner, ok := e.(*goja.Object); ok && inner.ClassName() == "Array" && depth > 0 {
			to = z.flat(to, inner, depth-1)
			continue
		}
		to = append(to, e)
	}
	return to
}

func (z *realm) flatMap(c goja.FunctionCall) goja.Value {
	o, n := z.listOf(c.This, "flatMap")
	f, ok := goja.AssertFunction(c.Argument(0))
	if !ok {
		panic(z.rt.NewTypeError("flatMap needs a function"))
	}
	var all []any
	for i := range n {
		z.pay(1)
		e, err := f(c.Argument(1), element(o, i), z.rt.ToValue(i), o)
		if err != nil {
			panic(err)
		}
		if inner, ok := e.(*goja.Object); ok && inner.ClassName() == "Array" {
			all = z.flat(all, inner, 0)
			continue
		}
		all = append(all, e)
	}
	return z.rt.NewArray(all...)
}
