package sandbox_test

import (
	"errors"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meridiandb/meridian/conflict/sandbox"
	"github.com/meridiandb/meridian/crdt/value"
)

type object = map[string]any

// versionsOf makes versions of values, oldest first.
func versionsOf(values ...any) (all []map[string]any) {
	for i, v := range values {
		all = append(all, object{
			"value": v, "rank": int64(i), "millis": int64(1000 + i), "region": []string{"us-east", "eu-west", "ap-south"}[i%3],
		})
	}
	return all
}

func compile(t testing.TB, source string) *sandbox.Script {
	t.Helper()
	s, err := sandbox.Compile(source)
	if err != nil {
		t.Fatalf("%v in\n%s", err, source)
	}
	return s
}

// body is a script whose function has this body.
func body(statements string) string {
	return "function resolve(versions, context) {\n" + statements + "\n}"
}

func two() []map[string]any {
	return versionsOf(object{"n": int64(1), "tags": []any{"a"}}, object{"n": int64(5), "tags": []any{"b", "c"}})
}

var aContext = object{"collection": "carts", "id": "7", "path": ""}

func TestWhatScriptsReturnIsShown(t *testing.T) {
	for script, want := range map[string]any{
		`return Math.max(...versions.map(v => v.value.n))`:                        int64(5),
		`return versions.map(v => v.value.n).reduce((a, b) => a + b, 0) / 4`:      1.5,
		`return { ...versions[0].value, by: context.id }`:                         object{"n": int64(1), "tags": []any{"a"}, "by": "7"},
		`return [...new Set(versions.flatMap(v => [...v.value.tags]))].sort()`:    []any{"a", "b", "c"},
		`const { n, ...rest } = versions[1].value; return rest`:                   object{"tags": []any{"b", "c"}},
		`const [first, ...others] = versions; return others.length`:               int64(1),
		`let s = ""; for (const k in versions[0]) s += k + " "; return s`:         "millis rank region value ",
		"return `${context.collection}/${context.id}: ${versions[1].value.tags}`": "carts/7: b,c",
		`return null`:                    nil,
		`return [undefined, true, "x"]`:  []any{nil, true, "x"},
		`return { a: undefined, b: 1 }`:  object{"b": int64(1)},
		`return -0`:                      math.Copysign(0, -1),
		`return 0.1 + 0.2`:               0.30000000000000004,
		`return 9007199254740991`:        int64(9007199254740991),
		`return 1e300`:                   1e300,
		`return 9223372036854775807n`:    int64(math.MaxInt64),
		`return BigInt(context.id) * 2n`: int64(14),
		`return JSON.parse(JSON.stringify(versions[0].value)).tags.concat("z")`:                    []any{"a", "z"},
		`return JSON.stringify({ b: 1, a: [1.5, null], c: undefined })`:                            `{"a":[1.5,null],"b":1}`,
		`return versions.find(v => v.region === "eu-west")?.value?.tags?.[1] ?? "none"`:            "c",
		`const m = new Map(Object.entries({ a: 1 })); m.set("b", 2); return Object.fromEntries(m)`: object{"a": int64(1), "b": int64(2)},
		`const o = {}; for (const k of ["toString", "constructor", "__proto__", "valueOf"]) o[k] = k; return o`: object{
			"toString": "toString", "constructor": "constructor", "__proto__": "__proto__", "valueOf": "valueOf"},
		`try { null.x } catch (e) { return e.name + (e instanceof TypeError) }`:                                                         "TypeErrortrue",
		`switch (versions.length) { case 2: return "two"; default: return "other" }`:                                                    "two",
		`outer: for (let i = 0; ; i++) { for (;;) { if (i > 2) break outer; continue outer } } return 3`:                                int64(3),
		`let i = 0; do { i++ } while (i < 10); while (i < 20) i++; return i`:                                                            int64(20),
		`return Array.from({ length: 3 }, (_, i) => i * i)`:                                                                             []any{int64(0), int64(1), int64(4)},
		`return "a-b-c".split("-").reverse().join("+").toUpperCase().replace("A", "x").padStart(7, ".")`:                                "..C+B+x",
		`return Object.prototype.hasOwnProperty.call(versions[0], "value") && Array.isArray(versions)`:                                  true,
		`return typeof Math.sqrt(2) + (1 in [5, 6]) + [3, 1, 2].sort((a, b) => b - a) + [[1, [2]]].flat(9)`:                             "numbertrue3,2,11,2",
		`return versions.length / 2 / 1`:                                                                                                int64(1),
		`var f = function g(n, { a = 2, b: [c] } = { b: [3] }, ...more) { return n < 1 ? a + c + more.length : g(n - 1) }; return f(3)`: int64(5),
	} {
		r, err := compile(t, body(script)).Call(two(), aContext)
		if err != nil {
			t.Errorf("%s: %v", script, err)
			continue
		}
		if r.Version != -1 || !cmp.Equal(r.Value, want) || value.Check(r.Value, value.Limits{}) != nil || r.Steps < 1 {
			t.Errorf("%s gives %#v (version %d, %d steps), want %#v", script, r.Value, r.Version, r.Steps, want)
		}
	}
}

func TestVersionsAreRecognisedByIdentity(t *testing.T) {
	for script, want := range map[string]int{
		`return versions[1]`:       1,
		`return versions[0].value`: 0,
		`return versions.reduce((a, b) => a.rank > b.rank ? a : b)`:               1,
		`const [a] = [...versions].sort((a, b) => b.millis - a.millis); return a`: 1,
		`return { ...versions[0].value }`:                                         -1,
		`return versions[0].value.n`:                                              -1,
	} {
		if r, err := compile(t, body(script)).Call(two(), aContext); err != nil || r.Version != want {
			t.Errorf("%s returns version %d, error %v, want %d", script, r.Version, err, want)
		}
	}
}

func TestValuesComeBackAsTheyWere(t *testing.T) {
	tricky := object{
		"big": int64(math.MaxInt64), "one": 1.0, "text": "a\u2028ü🎉", "counter": value.Counter(7),
		"set": value.NewSet([]any{"x", int64(2)}), "nested": []any{object{"deep": []any{}}, nil, math.Copysign(0, -1), 1e20},
	}
	for _, script := range []string{
		`return { is: versions[0].value }`,
		`const { is } = { is: versions[0].value }; return { is }`,
	} {
		r, err := compile(t, body(script)).Call(versionsOf(tricky, tricky), aContext)
		if err != nil || !value.Equal(r.Value, object{"is": tricky}) {
			t.Errorf("%s gives %#v, error %v", script, r.Value, err)
		}
	}
	r, err := compile(t, body(`return versions[0].value.big + 1n > versions[0].value.counter + versions[0].value.set.length && versions[0].value.text.length === 5`)).
		Call(versionsOf(tricky), aContext)
	if err != nil || r.Value != true {
		t.Errorf("got %v, error %v", r.Value, err)
	}
}

// TestI07_HostileScriptsAreContained: whatever a script does, its call ends
// soon, and says why.
func TestI07_HostileScriptsAreContained(t *testing.T) {
	for script, want := range map[string]error{
		// loops
		`while (true);`:     sandbox.ErrLimit,
		`for (;;) {}`:       sandbox.ErrLimit,
		`do ; while (true)`: sandbox.ErrLimit,
		`let i = 0; while (i++ < 1e9 ? true : false) continue`:              sandbox.ErrLimit,
		`try { for (;;); } catch (e) { return 1 } finally { return 2 }`:     sandbox.ErrLimit,
		`for (;;) { try { for (;;); } catch (e) {} }`:                       sandbox.ErrLimit,
		`return resolve(versions, context)`:                                 sandbox.ErrLimit,
		`const f = () => g(), g = () => f(); f()`:                           sandbox.ErrLimit,
		`const o = { toString() { return o + "" } }; return o + ""`:         sandbox.ErrLimit,
		`const o = { valueOf() { return +o } }; return o * 2`:               sandbox.ErrLimit,
		`[1].map(function f() { [1].map(f) })`:                              sandbox.ErrLimit,
		`const a = []; for (const x of (a.push(1), a)) a.push(x)`:           sandbox.ErrLimit,
		`const m = new Map([[0, 0]]); for (const [k] of m) m.set(k + 1, 0)`: sandbox.ErrLimit,
		// memory: texts
		`let s = "x"; for (;;) s += s`:                                                 sandbox.ErrLimit,
		`let s = "x"; for (;;) s = s + s`:                                              sandbox.ErrLimit,
		"let s = 'x'; for (;;) s = `${s}${s}${s}`":                                     sandbox.ErrLimit,
		`return "x".repeat(1e9)`:                                                       sandbox.ErrLimit,
		`return "x".padStart(1e9)`:                                                     sandbox.ErrLimit,
		`return "x".padEnd(2 ** 3)`:                                                    nil, // refused
		`const s = "x".repeat(1e5); return s.replaceAll("x", s)`:                       sandbox.ErrLimit,
		`const s = "x".repeat(1e5); return s.replaceAll("", s)`:                        sandbox.ErrLimit,
		`const s = "x".repeat(1e5); return Array(1000).fill(s).join("")`:               sandbox.ErrLimit,
		`const s = "x".repeat(1e5); return String(Array(1000).fill(s))`:                sandbox.ErrLimit,
		`const s = "x".repeat(1e5); return "".concat(s, s, s)`:                         sandbox.ErrLimit,
		`const s = "x".repeat(1e5), all = []; for (let i = 0; ; i++) all.push(s + i)`:  sandbox.ErrLimit,
		`const s = "x".repeat(1e5); return [s, s, s, s]`:                               sandbox.ErrResult,
		`const s = "x".repeat(1e5); const o = {}; for (let i = 0; ; i++) o[s + i] = 1`: sandbox.ErrLimit,
		`const s = "x".repeat(2e5); for (;;) if (s + "a" === s + "b") return 1`:        sandbox.ErrLimit,
		`const s = "7".repeat(2e5); for (;;) if (s * 1 > 0) continue`:                  sandbox.ErrLimit,
		`const s = "7".repeat(2e5); let n = 0; for (;;) n += Number(s)`:                sandbox.ErrLimit,
		// memory: lists
		`return new Array(4e9).fill(0)`:                                                                            sandbox.ErrLimit,
		`const a = []; a.length = 4e9; return a.map(x => x)`:                                                       sandbox.ErrLimit,
		`const a = []; a[4e9] = 1; return [...a]`:                                                                  sandbox.ErrLimit,
		`const a = []; a[4e9] = 1; return a.indexOf(2)`:                                                            sandbox.ErrLimit,
		`const a = []; a[4e9] = 1; return Math.max(...a)`:                                                          sandbox.ErrLimit,
		`const a = []; a[4e9] = 1; return Math.max.apply(null, a)`:                                                 sandbox.ErrLimit,
		`const a = []; a[4e9] = 1; return new Set(a).size`:                                                         sandbox.ErrLimit,
		`const a = []; a[4e9] = 1; const [b, ...c] = a; return c`:                                                  sandbox.ErrLimit,
		`const a = []; a[4e9] = 1; return { ...a }`:                                                                sandbox.ErrLimit,
		`const a = []; a[4e9] = 1; return Object.keys(a)`:                                                          sandbox.ErrLimit,
		`const a = []; a[4e9] = 1; return a.sort()`:                                                                sandbox.ErrLimit,
		`const a = []; a[4e9] = 1; return a`:                                                                       sandbox.ErrResult,
		`return Array.from({ length: 4e9 })`:                                                                       sandbox.ErrLimit,
		`return Array.from({ length: Infinity }, () => 0)`:                                                         sandbox.ErrLimit,
		`let a = [1]; for (;;) a = [...a, ...a]`:                                                                   sandbox.ErrLimit,
		`let a = [1]; for (;;) a = a.concat(a)`:                                                                    sandbox.ErrLimit,
		`let a = [1]; for (;;) a = a.flatMap(x => a)`:                                                              sandbox.ErrLimit,
		`const a = Array(1000).fill(Array(1000).fill(0)); return a.flat()`:                                         sandbox.ErrLimit,
		`for (let a = []; ; a = [a]) ;`:                                                                            sandbox.ErrLimit,
		`let a = []; for (let i = 0; i < 5000; i++) a = [a]; return String(a)`:                                     sandbox.ErrLimit,
		`let a = []; for (let i = 0; i < 5000; i++) a = [a]; return a`:                                             sandbox.ErrResult,
		`let a = []; for (let i = 0; i < 5000; i++) a = [a]; return a.flat(Infinity)`:                              nil,
		`const a = []; a.push(a); return a`:                                                                        sandbox.ErrResult,
		`const a = []; a.push(a); return String(a)`:                                                                sandbox.ErrLimit,
		`const a = []; a.push(a, a); return a.flat(Infinity)`:                                                      sandbox.ErrLimit,
		`const o = {}; for (let i = 0; i < 3000; i++) o["k" + i] = 1; const all = []; for (;;) all.push({ ...o })`: sandbox.ErrLimit,
		`const o = {}; for (let i = 0; i < 3000; i++) o["k" + i] = 1; for (;;) Object.assign({}, o)`:               sandbox.ErrLimit,
		`let n = 3n; for (;;) n = n * n`:                                                                           sandbox.ErrLimit,
		`let n = 3n; for (;;) n *= n`:                                                                              sandbox.ErrLimit,
		// results
		`return "x".repeat(2e5) + "y".repeat(2e5)`: sandbox.ErrLimit,
		`return Array(20000).fill(1)`:              sandbox.ErrResult,
		`return undefined`:                         sandbox.ErrResult,
		``:                                         sandbox.ErrResult,
		`return NaN`:                               sandbox.ErrResult,
		`return 1 / 0`:                             sandbox.ErrResult,
		`return () => 1`:                           sandbox.ErrResult,
		`return new Map()`:                         sandbox.ErrResult,
		`return new Error("x")`:                    sandbox.ErrResult,
		`return { $counter: 1 }`:                   sandbox.ErrResult,
		`return 2n * 9223372036854775807n`:         sandbox.ErrResult,
		`return 9007199254740991 + 5`:              sandbox.ErrResult,
		`return "🎉"[0]`:                            sandbox.ErrResult,
		// clocks, randomness and ways out
		`return Math["random"]()`:                                       sandbox.ErrThrown,
		`return Math["exp"](1)`:                                         sandbox.ErrThrown,
		`return [].constructor.constructor("return 1")()`:               sandbox.ErrThrown,
		`return (() => 1).constructor("return this")()`:                 sandbox.ErrThrown,
		`return "x".localeCompare("y")`:                                 sandbox.ErrThrown,
		`return "x".match("y")`:                                         sandbox.ErrThrown,
		`return "x".replace("x", () => "y")`:                            sandbox.ErrThrown,
		`return this.x`:                                                 sandbox.ErrThrown,
		`return unknown`:                                                sandbox.ErrThrown,
		`return Object.defineProperty({}, "x", { get() { return 1 } })`: sandbox.ErrThrown,
		`return Object.create({}, { x: { get: () => 1 } })`:             sandbox.ErrThrown,
		`return JSON.parse("{")`:                                        sandbox.ErrThrown,
		`const a = []; a.push(a); return JSON.stringify(a)`:             sandbox.ErrThrown,
		`throw new Error("no\n\u001b[31m")`:                             sandbox.ErrThrown,
		`throw { toString() { for (;;); } }`:                            sandbox.ErrThrown,
		`throw versions[0]`:                                             sandbox.ErrThrown,
		`throw undefined`:                                               sandbox.ErrThrown,
		`versions[0].value.n = 1`:                                       sandbox.ErrThrown,
		`versions.sort()`:                                               sandbox.ErrThrown,
		`delete versions[0].value`:                                      sandbox.ErrThrown,
		`versions.length = 0`:                                           sandbox.ErrThrown,
		`const a = [3, 2, 1]; a.sort(() => { a.length = 0; return 1 }); return 1`: nil,
	} {
		start := time.Now()
		s, err := sandbox.Compile(body(script))
		if err != nil {
			if want == nil && errors.Is(err, sandbox.ErrSource) {
				continue
			}
			t.Errorf("%s: %v", script, err)
			continue
		}
		_, err = s.Call(two(), aContext)
		if want != nil && !errors.Is(err, want) || errors.Is(err, sandbox.ErrTime) {
			t.Errorf("%s: error %v, want %v", script, err, want)
		}
		if err != nil && (len(err.Error()) > 500 || strings.ContainsAny(err.Error(), "\n\x1b")) {
			t.Errorf("%s: the message %q is not fit to be shown", script, err)
		}
		if took := time.Since(start); took > sandbox.MaxTime {
			t.Errorf("%s took %v", script, took)
		}
	}
}

// TestI08_MemoryOfACallIsBounded: whatever a script spends its steps on, little
// memory comes of it, all garbage included.
func TestI08_MemoryOfACallIsBounded(t *testing.T) {
	const most = 160 << 20
	for _, script := range []string{
		`const a = []; for (;;) a.push({})`, `const a = []; for (;;) a.push([])`, `const a = []; for (;;) a.push(() => a)`,
		`const a = []; for (;;) a.push({ x: 1, y: 2, z: {} })`, `const a = []; for (;;) a.push(new Map([[1, 2]]))`, `const a = []; for (;;) a.push(new Error("x"))`,
		`const a = []; for (;;) a.push(Array.from({ length: 10 }, () => ({})))`, `const a = []; for (;;) { try { null.x } catch (e) { a.push(e) } }`,
		`const a = []; let i = 0; for (;;) a[i += 9] = 1`, `const s = "ü".repeat(1e5); for (;;) for (const c of s) break`, `const s = "ü".repeat(1e5); for (;;) s.split("ü")`,
		`const s = "ü".repeat(1e5); for (;;) s.toUpperCase()`, `const o = {}; for (let i = 0; i < 8000; i++) o["k" + i] = 1; for (;;) JSON.stringify(o)`,
		`const s = JSON.stringify(Array(8000).fill(1)); for (;;) JSON.parse(s)`, `const f = (...a) => a.length, x = Array(1000).fill(0); for (;;) f(...x)`,
	} {
		s := compile(t, body(script))
		_, _ = s.Call(two(), aContext) // makes a realm, if there is none
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := s.Call(two(), aContext)
		runtime.ReadMemStats(&after)
		if made := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, sandbox.ErrLimit) || made > most {
			t.Errorf("%s: %d MiB, error %v", script, made>>20, err)
		}
	}
}

func TestWhatCannotBeCountedIsRefused(t *testing.T) {
	for script, says := range map[string]string{
		``:                           "does not declare a function resolve",
		`function other() {}`:        "does not declare a function resolve",
		`let resolve`:                "does not declare a function resolve",
		`function resolve( {`:        "bad script",
		body(`return /x/.test("x")`): "regular expression",
		body(`return 1 + /"/ + 2`):   "regular expressions",
		body(`if (1) /"/.x; (a=(b=(c=1)=>1)=>1)=>1 // "`): "regular expression",
		body(`return eval("1")`):                          "no eval here",
		body(`return new Function("1")`):                  "no Function here",
		body(`return Date.now()`):                         "no Date here",
		body(`return Math.random()`):                      "no Math.random here",
		body(`return Math.exp(1)`):                        "last digit",
		body(`return 2 ** 3`):                             "no ** here",
		body(`return 1 << 3`):                             "no shifts",
		body(`return arguments`):                          "no arguments here",
		body(`return globalThis`):                         "no globalThis here",
		body(`return { get x() { return 1 } }`):           "getters",
		body(`return { set x(v) { } }`):                   "getters",
		body(`return { async x() { } }`):                  "async",
		body(`return { *x() { } }`):                       "generators",
		body("return f`x`"):                               "tagged",
		body(`class A {}`):                                "classes",
		body(`return class {}`):                           "classes",
		body(`return new.target`):                         "classes",
		body(`return import("x")`):                        "bad script",
		body(`debugger`):                                  "no place",
		body(`return function* () {}`):                    "generators",
		body(`return async () => 1`):                      "async",
		body(`const { a: { ...b } } = {}`):                "outermost",
		body(`for (const [a, ...b] of []) ;`):             "outermost",
		body(`(([a, ...b]) => 1)()`):                      "outermost",
		body(`with (versions) return 1`):                  "bad script",
		`async function resolve() {}`:                     "async",
		`function* resolve() {}`:                          "generators",
		body(`return "` + "\n" + `"`):                     "not closed",
		body(`/* `):                                       "not closed",
		body("`${"):                                       "clos",
		body(`)`):                                         "closes nothing",
		body(`#x`):                                        "no place",
		body(strings.Repeat("(", 1000)):                   "nested",
		body(strings.Repeat("[", 1000)):                   "nested",
		body(strings.Repeat("!", 10_000) + "1"):           "nested",
		body("1" + strings.Repeat("+1", 10_000)):          "nested",
		body(strings.Repeat("x=>", 5_000) + "1"):          "arrow functions",
		body(strings.Repeat("(a=", 30) + "1" + strings.Repeat(")=>1", 30)): "arrow functions",
		strings.Repeat(" ", sandbox.MaxSource+1):                           "at most",
		"\xff":                                                             "UTF-8",
	} {
		start := time.Now()
		_, err := sandbox.Compile(script)
		if !errors.Is(err, sandbox.ErrSource) || !strings.Contains(err.Error(), says) || len(err.Error()) > 500 {
			t.Errorf("%.80s: error %v, want %q", script, err, says)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%.80s: it took %v to refuse", script, took)
		}
	}
	_, err := sandbox.Compile("const a = 1;\n\nfunction resolve() {\n  return Date.now()\n}")
	if err == nil || !strings.Contains(err.Error(), "line 4, column 10") {
		t.Errorf("where? %v", err)
	}
}

// leaks are attempts to leave something for the next call.
var leaks = []string{
	`Object.prototype.leak = 1`, `Array.prototype.leak = 1`, `Array.prototype.map = () => 1`, `({}).constructor.leak = 1`,
	`[].values().next.leak = 1`, `parseInt.leak = 1`, `Math.leak = 1`, `Math.max = () => 0`, `JSON.stringify.leak = 1`,
	`try { null.x } catch (e) { e.constructor.prototype.leak = 1 }`, `try { null.x } catch (e) { e.constructor.leak = 1 }`,
	`try { nobody } catch (e) { e.constructor.prototype.message = 1 }`, `"".constructor.prototype.leak = 1`, `(() => 1).call.leak = 1`,
	`new Map().set.leak = 1`, `new Map().entries().next.leak = 1`, `Object.prototype.toString = () => "leak"`, `Error.prototype.message = "leak"`,
	`versions.leak = 1`, `versions[0].value.leak = 1`, `context.leak = 1`, `undefined = 1`, `Object = 1`, `leak = 1`, `(function () { this.leak = 1 })()`,
	`top.n++`, `delete Array.prototype.map`, `resolve.leak = 1; resolve = null`, `String.prototype.at.call.leak = 1`, `Object.assign(Object.prototype, { leak: 1 })`,
	`Object.assign(Array.prototype, { leak: 1 })`, `[].constructor.from.leak = 1`, `BigInt(1).constructor.leak = 1`, `true.constructor.leak = 1`,
}

const probe = `const top = { n: 0 };
function resolve(versions, context) {
  const seen = [++top.n, {}.leak, [].leak, Math.leak, parseInt.leak, [].values().next.leak, "".leak, resolve.leak, typeof leak, String({}),
    new Error().message, JSON.stringify.leak, new Map().set.leak, Object.leak, versions.leak, versions[0].value.leak, context.leak,
    [1].map(x => x + 1)[0], Math.max(1, 2), (() => 1).call.leak];
  try { null.x } catch (e) { seen.push(e.leak, e.constructor.leak) }
  try { nobody } catch (e) { seen.push(e.leak, e.message) }
  return seen;
}`

// TestI07_CallsLeaveNothingBehind runs every leak, and in between a script that
// looks for it, many times in the same few realms and once in a fresh one.
func TestI07_CallsLeaveNothingBehind(t *testing.T) {
	p := compile(t, probe)
	fresh, err := p.CallFresh(two(), aContext)
	if err != nil {
		t.Fatal(err)
	}
	for _, leak := range leaks {
		source := "const top = { n: 0 };\n" + body("try { "+leak+" } catch (e) { return 0 }\nreturn 1")
		s := compile(t, source)
		for range 2 {
			_, _ = s.Call(two(), aContext)
			r, err := p.Call(two(), aContext)
			if err != nil || !value.Equal(r.Value, fresh.Value) || r.Steps != fresh.Steps {
				t.Fatalf("after %s the probe sees\n%v (%d steps, error %v), in a fresh realm\n%v (%d steps)", leak, r.Value, r.Steps, err, fresh.Value, fresh.Steps)
			}
		}
	}
}

// drawn is a script put together at random, often one that fails.
func drawn(t *rapid.T) string {
	parts := rapid.SliceOfN(rapid.SampledFrom([]string{
		`for (const v of versions) total += v.value.n;`, `while (total < 1000) total = total * 2 + 1;`, `out.push(...versions.map(v => v.region));`,
		`out.push(JSON.stringify(versions[0]));`, `s += out.join("");`, `s += s;`, `if (s.length > 100) return s.length;`,
		`out.sort((a, b) => a < b ? 1 : -1);`, `m.set(s, total);`, `out.push(...m.keys());`, `total += m.size;`, `throw new Error(s);`,
		`for (;;) total++;`, `return versions[1];`, `return { total, s };`, `return out;`, `Object.prototype.x = 1;`, `out.push(String({ s }));`,
		`for (let i = 0; i < 3000; i++) out.push(i);`, `total = out.reduce((a, b) => a + (b * 1 || 0), total);`, `return [...new Set(out)];`,
	}), 1, 12).Draw(t, "parts")
	return body(`let total = 0, s = "x"; const out = [], m = new Map();` + "\n" + strings.Join(parts, "\n"))
}

// TestI07_ResultsDoNotDependOnTheRealm: the same call gives the same result,
// error and steps in a fresh realm and in one that was used for others.
func TestI07_ResultsDoNotDependOnTheRealm(t *testing.T) {
	tell := func(r sandbox.Result, err error) string {
		if err != nil {
			return err.Error()
		}
		return string(value.Append(nil, []any{int64(r.Version), int64(r.Steps), r.Value}, value.Options{Types: true}))
	}
	calls := 0
	rapid.Check(t, func(t *rapid.T) {
		s, err := sandbox.Compile(drawn(t))
		if err != nil {
			t.Fatal(err)
		}
		want := tell(s.Call(two(), aContext))
		for range 2 {
			if got := tell(s.Call(two(), aContext)); got != want {
				t.Fatalf("again: %s\nfirst: %s", got, want)
			}
		}
		if calls++; calls%10 == 0 { // a realm takes milliseconds
			if got := tell(s.CallFresh(two(), aContext)); got != want {
				t.Fatalf("fresh: %s\nused: %s", got, want)
			}
		}
	})
}

func TestScriptsRunInManyGoroutines(t *testing.T) {
	s := compile(t, probe)
	want, err := s.Call(two(), aContext)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if r, err := s.Call(two(), aContext); err != nil || !value.Equal(r.Value, want.Value) || r.Steps != want.Steps {
					t.Errorf("%+v, error %v", r, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzCompile(f *testing.F) {
	f.Add(probe)
	for _, leak := range leaks {
		f.Add(body(leak))
	}
	f.Fuzz(func(t *testing.T, source string) {
		start := time.Now()
		s, err := sandbox.Compile(source)
		if took := time.Since(start); took > sandbox.MaxTime {
			t.Fatalf("it took %v to compile", took)
		}
		if err != nil {
			if !errors.Is(err, sandbox.ErrSource) {
				t.Fatal(err)
			}
			return
		}
		if _, err := s.Call(two(), aContext); errors.Is(err, sandbox.ErrTime) {
			t.Fatal(err)
		}
	})
}

func BenchmarkCall(b *testing.B) {
	for name, script := range map[string]string{
		"newest":  `return versions.reduce((a, b) => b.rank > a.rank ? b : a)`,
		"maximum": `return Math.max(...versions.map(v => v.value.n))`,
		"union":   `return { ...versions[0].value, tags: [...new Set(versions.flatMap(v => [...v.value.tags]))].sort() }`,
		"throws":  `throw new Error("no")`,
		"endless": `while (true);`,
	} {
		b.Run(name, func(b *testing.B) {
			s := compile(b, body(script))
			vs := two()
			b.ReportAllocs()
			for b.Loop() {
				_, _ = s.Call(vs, aContext)
			}
		})
	}
	b.Run("compile", func(b *testing.B) {
		for b.Loop() {
			compile(b, probe)
		}
	})
	b.Run("fresh realm", func(b *testing.B) {
		s := compile(b, body(`return versions[1]`))
		for b.Loop() {
			_, _ = s.CallFresh(two(), aContext)
		}
	})
}
