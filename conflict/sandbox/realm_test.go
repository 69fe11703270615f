package sandbox

import (
	"errors"
	"testing"

	"github.com/dop251/goja"
)

// TestI07_NothingInARealmCanBeChanged goes through all that can be reached in a
// realm and tries to change each property of it, and to add one.
func TestI07_NothingInARealmCanBeChanged(t *testing.T) {
	z, err := newRealm()
	if err != nil {
		t.Fatal(err)
	}
	// What a script can make without a name for it.
	s, err := Compile(`function resolve() { return [{}, [], function () {}, () => 1, "", 1, true, BigInt(1), [].values(), new Map().entries(), new Set().values(),
		new Map(), new Set(), new Error(), (() => { try { null.x } catch (e) { return e } })(), (() => { try { nobody } catch (e) { return e } })()] }`)
	if err != nil {
		t.Fatal(err)
	}
	resolve, err := z.load(s)
	if err != nil {
		t.Fatal(err)
	}
	made, err := resolve(goja.Undefined())
	if err != nil {
		t.Fatal(err)
	}
	type reached struct {
		o    *goja.Object
		path string
		own  bool // made by the script: it may be changed
	}
	todo := []reached{{z.rt.GlobalObject(), "global", false}}
	for _, n := range z.natives {
		todo = append(todo, reached{n.ToObject(z.rt), "native", true}) // no script has them
	}
	for _, name := range made.ToObject(z.rt).GetOwnPropertyNames() {
		if name != "length" {
			todo = append(todo, reached{made.ToObject(z.rt).Get(name).ToObject(z.rt), "made[" + name + "]", true})
		}
	}
	leak := z.rt.ToValue("leak")
	seen := map[*goja.Object]bool{}
	for len(todo) > 0 {
		r := todo[len(todo)-1]
		if todo = todo[:len(todo)-1]; seen[r.o] {
			continue
		}
		seen[r.o] = true
		if p := r.o.Prototype(); p != nil {
			todo = append(todo, reached{p, r.path + ".[[prototype]]", false})
		}
		if !r.own && r.o.DefineDataProperty("leak", leak, goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE) == nil {
			t.Errorf("%s can be added to", r.path)
		}
		for _, name := range r.o.GetOwnPropertyNames() {
			if err := z.rt.Try(func() {
				if o, ok := r.o.Get(name).(*goja.Object); ok {
					todo = append(todo, reached{o, r.path + "." + name, r.own && name != "constructor"})
				}
			}); err != nil {
				continue // a getter that wants another this
			}
			if !r.own && r.o.DefineDataProperty(name, leak, goja.FLAG_NOT_SET, goja.FLAG_NOT_SET, goja.FLAG_NOT_SET) == nil {
				t.Errorf("%s.%s can be changed", r.path, name)
			}
		}
		for _, sym := range r.o.Symbols() {
			if err := z.rt.Try(func() {
				if o, ok := r.o.GetSymbol(sym).(*goja.Object); ok {
					todo = append(todo, reached{o, r.path + "[" + sym.String() + "]", false})
				}
			}); err != nil {
				continue
			}
			if !r.own && r.o.DefineDataPropertySymbol(sym, leak, goja.FLAG_NOT_SET, goja.FLAG_NOT_SET, goja.FLAG_NOT_SET) == nil {
				t.Errorf("%s[%s] can be changed", r.path, sym)
			}
		}
	}
	if len(seen) < 150 {
		t.Errorf("only %d objects were reached", len(seen))
	}
}

func TestTheClockEndsACall(t *testing.T) {
	s, err := Compile(`function resolve() { return 1 }`)
	if err != nil {
		t.Fatal(err)
	}
	z, err := newRealm()
	if err != nil {
		t.Fatal(err)
	}
	z.rt.Interrupt(ErrTime) // as the watchdog does
	if _, sound, err := z.call(s, nil, nil); !errors.Is(err, ErrTime) || sound {
		t.Errorf("sound %v, error %v", sound, err)
	}
}
