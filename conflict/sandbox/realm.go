package sandbox

import (
	_ "embed"
	"errors"
	"fmt"
	"sync"

	"github.com/dop251/goja"
	"github.com/dop251/goja/parser"
)

//go:embed realm.js
var realmSource string

// A realm is a goja runtime made fit for policies. Its natives count on its
// meter. It serves one call at a time.
type realm struct {
	rt      *goja.Runtime
	natives []goja.Value // for nativeNames
	steps   int64        // left
	text    int64        // left, in UTF-16 units
	joins   int          // lists being joined within one another
}

var realmProgram = sync.OnceValues(func() (*goja.Program, error) {
	prg, err := goja.Parse("realm.js", realmSource, parser.WithDisableSourceMaps)
	if err != nil {
		return nil, err
	}
	return goja.CompileAST(prg, true)
})

// newRealm makes a realm.
func newRealm() (*realm, error) {
	prg, err := realmProgram()
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	z := &realm{rt: goja.New()}
	z.refill()
	f, err := z.rt.RunProgram(prg)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	for _, n := range []func(goja.FunctionCall) goja.Value{z.tick, z.sum, z.operand, z.part, z.elements, z.members} {
		z.natives = append(z.natives, z.rt.ToValue(n))
	}
	setup, ok := goja.AssertFunction(f)
	if !ok {
		return nil, errors.New("sandbox: realm.js is no function")
	}
	if _, err := setup(goja.Undefined(), z.rt.ToValue(z.meter)); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	z.rt.SetMaxCallStackSize(MaxCalls)
	z.refill() // of what the setup took
	return z, nil
}

// refill makes the realm ready for a call.
func (z *realm) refill() {
	z.steps, z.text, z.joins = MaxSteps, MaxTextMade, 0
}

// maxIdle is how many realms are kept for later calls: making one takes
// milliseconds. More than that are dropped.
const maxIdle = 8

// idle are the realms that no call uses.
var idle struct {
	sync.Mutex
	realms []*realm
}

func takeRealm() (*realm, error) {
	if z := takeIdle(); z != nil {
		return z, nil
	}
	return newRealm()
}

func takeIdle() *realm {
	idle.Lock()
	defer idle.Unlock()
	last := len(idle.realms) - 1
	if last < 0 {
		return nil
	}
	z := idle.realms[last]
	idle.realms[last], idle.realms = nil, idle.realms[:last]
	return z
}

func (z *realm) giveBack() {
	z.refill()
	idle.Lock()
	defer idle.Unlock()
	if len(idle.realms) < maxIdle {
		idle.realms = append(idle.realms, z)
	}
}
