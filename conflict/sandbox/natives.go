package sandbox

import (
	"fmt"
	"strings"

	"github.com/dop251/goja"

	"github.com/meridiandb/meridian/crdt/value"
)

type native = func(goja.FunctionCall) goja.Value

// meter is what realm.js asks for natives: meter(kind, name, original) returns
// the function that replaces original. meter("missing") lists what is to be
// replaced by functions that throw.
func (z *realm) meter(c goja.FunctionCall) goja.Value {
	kind, name := c.Argument(0).String(), c.Argument(1).String()
	if len(c.Arguments) == 1 {
		return z.rt.ToValue(missing)
	}
	if kind == "missing" {
		return z.rt.ToValue(z.missing(name, c.Argument(2).String()))
	}
	if strings.HasPrefix(kind, "new ") {
		return z.rt.ToValue(z.collection(kind, c.Argument(2)))
	}
	original, ok := c.Argument(2).Export().(native)
	if !ok {
		panic(z.rt.NewTypeError("%s is not a native function", name))
	}
	f := z.metered(kind, name, original)
	if f == nil {
		panic(z.rt.NewTypeError("there is no meter %q, for %s", kind, name))
	}
	return z.rt.ToValue(f)
}

// missing lists functions that people look for: where, which, and why they are not here.
var missing = [][]string{
	{"Math", "random", noRandomness},
	{"Math", inexact, noLastDigit},
	{"String.prototype", "localeCompare toLocaleLowerCase toLocaleUpperCase normalize", "it differs from machine to machine; compare with < and >"},
	{"String.prototype", "match matchAll search", "a policy script has no regular expressions"},
	{"Array.prototype", "toLocaleString", "it differs from machine to machine"},
	{"Number.prototype", "toLocaleString", "it differs from machine to machine"},
	{"Object", "defineProperty defineProperties freeze getPrototypeOf setPrototypeOf getOwnPropertyNames", notNeeded},
	{"Function.prototype", "bind", "write a function that calls it"},
}

func (z *realm) missing(name, why string) native {
	return func(goja.FunctionCall) goja.Value {
		panic(z.rt.NewTypeError("there is no %s here: %s", name, why))
	}
}

// collection makes the constructor of Map or Set, which reads a list.
func (z *realm) collection(kind string, original goja.Value) func(goja.ConstructorCall) *goja.Object {
	return func(c goja.ConstructorCall) *goja.Object {
		var args []goja.Value
		if a := c.Argument(0); !goja.IsUndefined(a) && !goja.IsNull(a) {
			args = append(args, z.elements(goja.FunctionCall{Arguments: []goja.Value{a}}))
			if kind == "new Set" {
				z.readElements(args[0])
			}
		}
		o, err := z.rt.New(original, args...)
		if err != nil {
			panic(err)
		}
		return o
	}
}

// readElements pays for the texts in a list.
func (z *realm) readElements(v goja.Value) {
	if o, ok := v.(*goja.Object); ok {
		_, n := z.listOf(o, "this")
		for i := range n {
			z.read(element(o, i))
		}
	}
}

// metered returns the function that counts, and then does what original does.
func (z *realm) metered(kind, name string, original native) native {
	switch kind {
	case "argument": // reads its arguments
		return func(c goja.FunctionCall) goja.Value {
			z.pay(1)
			z.readAll(c.Arguments)
			if name == "BigInt" {
				z.shortInteger(c.Argument(0))
			}
			return original(c)
		}
	case "members": // goes through the members of its arguments
		return func(c goja.FunctionCall) goja.Value {
			for _, a := range c.Arguments {
				z.pay(z.memberCount(a))
			}
			return original(c)
		}
	case "from": // collects what can be iterated
		return z.from(name, original)
	case "create":
		return func(c goja.FunctionCall) goja.Value {
			if len(c.Arguments) > 1 {
				panic(z.rt.NewTypeError("%s takes a prototype alone", name))
			}
			return original(c)
		}
	case "apply":
		return func(c goja.FunctionCall) goja.Value {
			if a := c.Argument(1); !goja.IsUndefined(a) && !goja.IsNull(a) {
				_, n := z.listOf(a, name)
				z.pay(n)
			}
			return original(c)
		}
	case "collection": // goes through a Map or a Set
		return func(c goja.FunctionCall) goja.Value {
			if o, ok := c.This.(*goja.Object); ok {
				z.pay(int(o.Get("size").ToInteger()) + 1)
			}
			return original(c)
		}
	case "parse":
		return z.jsonParse
	case "stringify":
		return z.jsonStringify
	}
	if f := z.ofLists(kind, name, original); f != nil {
		return f
	}
	return z.ofTexts(kind, name, original)
}

// maxIntegerText is how long a text may be that BigInt reads.
const maxIntegerText = 80

func (z *realm) shortInteger(v goja.Value) {
	if s, ok := v.(goja.String); ok && s.Length() > maxIntegerText {
		panic(z.rt.NewTypeError("BigInt reads at most %d characters here", maxIntegerText))
	}
}

// from is Array.from or Object.fromEntries.
func (z *realm) from(name string, original native) native {
	return func(c goja.FunctionCall) goja.Value {
		if len(c.Arguments) == 0 {
			return original(c)
		}
		args := append([]goja.Value(nil), c.Arguments...)
		switch o, ok := args[0].(*goja.Object); {
		case !ok, o.ClassName() == "Array":
			args[0] = z.elements(goja.FunctionCall{Arguments: args[:1]})
		case o.GetSymbol(goja.SymIterator) != nil:
			args[0] = z.collect(o)
		default: // {length: n}
			length := o.Get("length")
			if length != nil {
				z.pay(int(min(max(length.ToInteger(), 0), MaxSteps+1)))
			}
		}
		return original(goja.FunctionCall{This: c.This, Arguments: args})
	}
}

// jsonStringify writes canonical JSON, by the same rules as a result.
func (z *realm) jsonStringify(c goja.FunctionCall) goja.Value {
	if len(c.Arguments) != 1 {
		panic(z.rt.NewTypeError("JSON.stringify takes one argument here"))
	}
	conv := converter{z: z}
	v, err := conv.value(c.Arguments[0], 0)
	if err != nil {
		panic(z.rt.NewTypeError("JSON.stringify: %v", err))
	}
	z.pay(conv.items)
	n := value.Size(value.Plain(v))
	z.fits(n)
	z.made(n)
	return z.rt.ToValue(string(value.Append(nil, v, value.Options{})))
}

// jsonParse reads JSON with exact numbers, and makes objects that can be changed.
func (z *realm) jsonParse(c goja.FunctionCall) goja.Value {
	if len(c.Arguments) != 1 {
		panic(z.rt.NewTypeError("JSON.parse takes one argument here"))
	}
	s := z.textOf(c.Arguments[0], "JSON.parse")
	z.fits(s.Length())
	z.pay(s.Length()/bytesPerStep + 1)
	v, err := value.Parse([]byte(s.String()), value.Limits{MaxBytes: 4 * MaxText, MaxDepth: MaxDepth, MaxItems: MaxResultItems})
	if err != nil {
		panic(z.rt.NewTypeError("JSON.parse: %v", err))
	}
	return z.copyOf(value.Plain(v))
}

// copyOf makes objects and lists of a script's own.
func (z *realm) copyOf(v any) goja.Value {
	z.pay(1)
	switch v := v.(type) {
	case []any:
		all := make([]any, len(v))
		for i, e := range v {
			all[i] = z.copyOf(e)
		}
		return z.rt.NewArray(all...)
	case map[string]any:
		o := z.rt.NewObject()
		for _, name := range (&objectView{members: v}).Keys() {
			if err := o.DefineDataProperty(name, z.copyOf(v[name]), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE); err != nil {
				panic(z.rt.NewTypeError("%v", err))
			}
		}
		return o
	}
	return z.toJS(v)
}

func limitError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrLimit, fmt.Sprintf(format, args...))
}
