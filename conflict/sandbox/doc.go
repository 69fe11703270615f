// Package sandbox runs the JavaScript of policies: functions of the concurrent
// versions of a document that every region must compute alike.
//
// goja runs the script (github.com/dop251/goja, in Go). It knows neither budgets
// nor determinism, so three things are put around it:
//
//   - The syntax tree is rewritten before it is compiled (instrument.go). Each
//     function and each round of a loop pays a step for every node of its body;
//     operators that make or read texts pay for their lengths. The tree is
//     checked on the way: what is not known is refused, so that nothing is left
//     uncounted. There are no regular expressions, generators, async functions,
//     classes, getters, tagged templates, shifts and powers.
//   - The realm (realm.js, natives.go) has what the language needs and no more: no
//     clock, randomness, code from text, prototypes to be had, nor functions whose
//     results differ from machine to machine. What works through lists and texts
//     is replaced by functions that pay for it first. All of it is frozen, down to
//     the last prototype: a script can leave nothing behind for the next call,
//     which is why realms are used again.
//   - Arguments are read-only views of values (values.go), made as they are looked at.
//
// So the same call takes the same steps everywhere, and one that takes too many
// fails everywhere. Two bounds are not deterministic and lie far beyond: a clock
// that interrupts a script after [MaxTime], and the process's memory. Memory is
// bounded by what the steps can make: at most a few hundred bytes each.
//
// Numbers: JavaScript has one kind, a 64-bit float. A number of a document that is
// a whole one within ±(2^53-1), or is a float, is a number. A larger integer is a
// BigInt, which JavaScript refuses to mix with numbers rather than round. On the
// way back whole numbers become integers; a whole number beyond 2^53-1 may have
// been rounded and is refused.
package sandbox

import "time"

// The bounds of one call.
const (
	// MaxSource is the greatest length of a script in bytes.
	MaxSource = 32 << 10
	// MaxSteps bounds the nodes that are evaluated, and what natives do in between.
	MaxSteps = 200_000
	// MaxText bounds the length of one text that a script makes, in UTF-16 units.
	MaxText = 256 << 10
	// MaxTextMade bounds all texts that a script makes or looks at, in UTF-16 units.
	MaxTextMade = 8 << 20
	// MaxCalls bounds how deeply functions call one another.
	MaxCalls = 200
	// MaxResult is the greatest size of a value that a script makes, as JSON.
	MaxResult = 256 << 10
	// MaxResultItems bounds its elements and members.
	MaxResultItems = 1 << 14
	// MaxDepth bounds how deeply a value is nested on its way to and from a script.
	MaxDepth = 64
	// MaxInteger is the greatest integer of a number, 2^53-1; BigInt goes beyond.
	MaxInteger = 1<<53 - 1
	// MaxTime is how long a call may take. The steps end it long before, unless
	// the machine is overloaded.
	MaxTime = 2 * time.Second
)

const (
	// bytesPerStep is how much of a text counts as one step.
	bytesPerStep = 64
	// maxIntegerBits bounds what BigInt operators read.
	maxIntegerBits = 256
	// maxJoins bounds lists within lists that are turned into a text.
	maxJoins = 32
)
