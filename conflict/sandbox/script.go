package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/dop251/goja"
	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/parser"
)

const scriptName = "policy"

// A Script is a policy's script, compiled. It may be used by any goroutine.
type Script struct {
	source, hash string
	program      *goja.Program
}

// Compile reads a script that declares a function resolve(versions, context).
// Nothing of it is run. The error wraps ErrSource and says where.
func Compile(source string) (*Script, error) {
	if len(source) > MaxSource {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrSource, len(source), MaxSource)
	}
	if !utf8.ValidString(source) {
		return nil, fmt.Errorf("%w: it is not UTF-8", ErrSource)
	}
	if err := scan(source); err != nil {
		return nil, err
	}
	prg, err := parse(source)
	if err != nil {
		return nil, err
	}
	if err := instrument(prg); err != nil {
		return nil, err
	}
	program, err := compile(prg)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(source))
	return &Script{source: source, hash: hex.EncodeToString(sum[:])[:HashLen], program: program}, nil
}

// HashLen is the length of a script's hash in characters.
const HashLen = 12

// Source is the script as it was given to Compile.
func (s *Script) Source() string { return s.source }

// Hash is the beginning of the SHA-256 of the source, in hexadecimal.
func (s *Script) Hash() string { return s.hash }

// parse reads the source. It reads no source map, which would be a file.
func parse(source string) (prg *ast.Program, err error) {
	defer func() {
		if x := recover(); x != nil {
			prg, err = nil, fmt.Errorf("%w: it cannot be read: %.200v", ErrSource, x)
		}
	}()
	prg, err = goja.Parse(scriptName, source, parser.WithDisableSourceMaps)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrSource, clip(err.Error()))
	}
	return prg, nil
}

func compile(prg *ast.Program) (p *goja.Program, err error) {
	defer func() {
		if x := recover(); x != nil {
			p, err = nil, fmt.Errorf("%w: it cannot be compiled: %.200v", ErrSource, x)
		}
	}()
	p, err = goja.CompileAST(prg, true)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrSource, clip(err.Error()))
	}
	return p, nil
}

// A Result is what a script makes of a conflict.
type Result struct {
	// Version is the index of the version that the script returned, or whose
	// value it returned, as it is; -1 if it made a value.
	Version int
	// Value is the value that it made: one of package value, without types.
	Value any
	// Steps is what the call has cost.
	Steps int
}

// valueMember is the member of a version that holds its value.
const valueMember = "value"

// Call calls resolve(versions, context). Versions are objects whose values are
// their members named value. The error wraps ErrLimit, ErrThrown, ErrResult or ErrTime.
func (s *Script) Call(versions []map[string]any, context map[string]any) (Result, error) {
	z, err := takeRealm()
	if err != nil {
		return Result{}, err
	}
	r, sound, err := z.call(s, versions, context)
	if sound {
		z.giveBack()
	}
	return r, err
}

// CallFresh is Call in a realm that was never used before.
func (s *Script) CallFresh(versions []map[string]any, context map[string]any) (Result, error) {
	z, err := newRealm()
	if err != nil {
		return Result{}, err
	}
	r, _, err := z.call(s, versions, context)
	return r, err
}

// call runs a script. The realm is sound afterwards, and can be used again,
// unless the clock or a defect of the engine ended the call.
func (z *realm) call(s *Script, versions []map[string]any, context map[string]any) (r Result, sound bool, err error) {
	defer func() {
		if x := recover(); x != nil {
			sound = false
			if e, ok := x.(*stop); ok { // while the result was read
				sound, err = true, z.failure(e)
				return
			}
			err = fmt.Errorf("%w: the engine failed: %.200v", ErrThrown, x)
		}
	}()
	//nolint:forbidigo // an outer bound, in case the machine is much slower than the steps expect: its trip is an error, never a value
	watchdog := time.AfterFunc(MaxTime, func() { z.rt.Interrupt(ErrTime) })
	defer watchdog.Stop()
	r, err = z.run(s, versions, context)
	r.Steps = int(MaxSteps - z.steps)
	if !watchdog.Stop() || errors.Is(err, ErrTime) {
		return Result{}, false, fmt.Errorf("%w: it ran longer than %v", ErrTime, MaxTime)
	}
	return r, true, err
}

func (z *realm) run(s *Script, versions []map[string]any, context map[string]any) (Result, error) {
	resolve, err := z.load(s)
	if err != nil {
		return Result{}, err
	}
	list := make([]any, len(versions))
	for i := range versions {
		list[i] = versions[i]
	}
	all := z.list(list)
	returned, err := resolve(goja.Undefined(), all, z.object(context))
	if err != nil {
		return Result{}, z.failure(err)
	}
	return z.result(returned, versions, all)
}

// load runs the script, which declares its functions anew, and returns resolve.
func (z *realm) load(s *Script) (goja.Callable, error) {
	f, err := z.rt.RunProgram(s.program)
	if err != nil {
		return nil, z.failure(err)
	}
	wrapper, ok := goja.AssertFunction(f)
	if !ok {
		return nil, fmt.Errorf("%w: it cannot be run", ErrSource)
	}
	f, err = wrapper(goja.Undefined(), z.natives...)
	if err != nil {
		return nil, z.failure(err)
	}
	resolve, ok := goja.AssertFunction(f)
	if !ok {
		return nil, fmt.Errorf("%w: resolve is not a function", ErrThrown)
	}
	return resolve, nil
}
