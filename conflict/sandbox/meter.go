package sandbox

import (
	"math/big"
	"math/bits"
	"strconv"

	"github.com/dop251/goja"
)

// pay takes steps from the budget.
func (z *realm) pay(steps int) {
	if z.steps -= int64(steps); z.steps < 0 {
		z.steps = 0
		panic(limit("it takes more than %d steps", MaxSteps))
	}
}

// made takes the length of a text from the budget.
func (z *realm) made(n int) {
	if z.text -= int64(n); z.text < 0 {
		z.text = 0
		panic(limit("it goes through more than %d MiB of texts", MaxTextMade>>20))
	}
	z.pay(n / bytesPerStep)
}

// afford is made outside of a script's run.
func (z *realm) afford(n int) error {
	if z.text -= int64(n); z.text < 0 {
		return limitError("it goes through more than %d MiB of texts", MaxTextMade>>20)
	}
	return nil
}

// fits refuses a text that is too long.
func (z *realm) fits(n int) {
	if n > MaxText {
		panic(limit("it makes a text of more than %d Ki characters", MaxText>>10))
	}
}

// tick pays for a body that is entered.
func (z *realm) tick(c goja.FunctionCall) goja.Value {
	z.pay(int(c.Arguments[0].ToInteger()))
	return goja.Undefined()
}

// sum checks what an operator has made.
func (z *realm) sum(c goja.FunctionCall) goja.Value {
	v := c.Arguments[0]
	z.read(v)
	if s, ok := v.(goja.String); ok {
		z.fits(s.Length())
		z.made(s.Length())
	}
	return v
}

// operand pays for what an operator reads, so many times.
func (z *realm) operand(c goja.FunctionCall) goja.Value {
	v, times := c.Arguments[0], 1
	if len(c.Arguments) > 1 {
		times = int(c.Arguments[1].ToInteger())
	}
	for range times {
		z.read(v)
	}
	return v
}

// read pays for reading a value once.
func (z *realm) read(v goja.Value) {
	switch v := v.(type) {
	case *goja.Object:
		return
	case goja.String:
		z.pay(v.Length() / bytesPerStep)
		return
	}
	if v.ExportType() == typeOfBigInt && v.Export().(*big.Int).BitLen() > maxIntegerBits {
		panic(limit("it makes an integer of more than %d bits", maxIntegerBits))
	}
}

// part turns a part of a template into a text.
func (z *realm) part(c goja.FunctionCall) goja.Value {
	s := z.toText(c.Arguments[0])
	z.made(s.Length())
	return s
}

// elements pays for what is to be spread into a list, and hands over a list where
// its length is not known before.
func (z *realm) elements(c goja.FunctionCall) goja.Value {
	v := c.Arguments[0]
	if n, ok := z.length(v); ok {
		z.pay(n)
		return v
	}
	return z.collect(v)
}

// members pays for what is to be spread into an object, or enumerated.
func (z *realm) members(c goja.FunctionCall) goja.Value {
	z.pay(z.memberCount(c.Arguments[0]))
	return c.Arguments[0]
}

func (z *realm) memberCount(v goja.Value) int {
	if n, ok := z.length(v); ok {
		return n
	}
	o, ok := v.(*goja.Object)
	if !ok {
		return 1
	}
	if view, ok := viewOf(o).(*objectView); ok {
		return len(view.members) + 1
	}
	if o.ClassName() != "Object" {
		return 1
	}
	return len(o.Keys()) + 1
}

// length is that of a text or a list.
func (z *realm) length(v goja.Value) (int, bool) {
	switch v := v.(type) {
	case goja.String:
		return v.Length(), true
	case *goja.Object:
		if v.ClassName() == "Array" {
			return int(v.Get("length").ToInteger()), true
		}
	}
	return 0, false
}

// collect makes a list of what can be iterated.
func (z *realm) collect(v goja.Value) goja.Value {
	var all []any
	z.rt.ForOf(v, func(e goja.Value) bool {
		z.pay(1)
		all = append(all, e)
		return true
	})
	return z.rt.NewArray(all...)
}

// listOf demands a list, and says how long it is: nothing else has a length that
// is sure not to change.
func (z *realm) listOf(v goja.Value, name string) (*goja.Object, int) {
	o, ok := v.(*goja.Object)
	if !ok || o.ClassName() != "Array" {
		panic(z.rt.NewTypeError("%s is for lists", name))
	}
	return o, int(o.Get("length").ToInteger())
}

func (z *realm) textOf(v goja.Value, name string) goja.String {
	s, ok := v.(goja.String)
	if !ok {
		panic(z.rt.NewTypeError("%s is for texts", name))
	}
	return s
}

// toText turns a value into a text, as the language does.
func (z *realm) toText(v goja.Value) goja.String {
	v = v.ToString() // of an object; the engine leaves numbers as they are
	if s, ok := v.(goja.String); ok {
		return s
	}
	return z.textOf(z.rt.ToValue(v.String()), "a text")
}

func (z *realm) readAll(args []goja.Value) {
	for _, a := range args {
		z.read(a)
	}
}

// sortCost is how many comparisons sorting n elements may take.
func sortCost(n int) int { return n * (bits.Len(uint(max(n, 1))) + 1) }

func element(o *goja.Object, i int) goja.Value {
	v := o.Get(strconv.Itoa(i))
	if v == nil {
		return goja.Undefined()
	}
	return v
}
