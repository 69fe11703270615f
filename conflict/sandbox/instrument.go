package sandbox

import (
	"fmt"

	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/file"
	"github.com/dop251/goja/token"
	"github.com/dop251/goja/unistring"
)

// The natives that the instrumented code calls. No script can write their
// names, since they have a space: they are parameters of the function that the
// script is wrapped in, and cannot be reached in any other way.
const (
	// tickName counts the nodes of a function's or a loop's body when it is entered.
	tickName = "a tick"
	// sumName checks and counts a text that an operator has made.
	sumName = "a sum"
	// operandName counts a text or integer that an operator is about to read.
	operandName = "an operand"
	// partName turns a part of a template into a text, and counts it.
	partName = "a part"
	// elementsName counts what is to be spread into a list.
	elementsName = "elements"
	// membersName counts what is to be spread into an object, or enumerated.
	membersName = "members"
)

var nativeNames = []string{tickName, sumName, operandName, partName, elementsName, membersName}

const entryPoint = "resolve"

// maxTreeDepth bounds the recursion of what walks the syntax tree.
const maxTreeDepth = 500

// absent are names that scripts of another kind use, and why they are not here.
var absent = map[string]string{
	"eval":        "a policy script makes no code",
	"Function":    "a policy script makes no code",
	"arguments":   "name the parameters, or take the rest: (...all)",
	"Date":        "a policy knows no present; the versions have millis and time",
	"Promise":     noWaiting,
	"setTimeout":  noWaiting,
	"setInterval": noWaiting,
	"fetch":       "a policy reads nothing but its arguments",
	"require":     "a policy script stands alone",
	"process":     "a policy reads nothing but its arguments",
	"console":     "a policy says nothing but what it returns",
	"globalThis":  "a policy keeps nothing between calls",
	"RegExp":      "the work of regular expressions cannot be counted; use includes, startsWith, split or indexOf",
	"Intl":        "it differs from machine to machine",
	"crypto":      "a policy draws no randomness",
	"performance": "a policy knows no present",
	"Proxy":       notNeeded,
	"Reflect":     notNeeded,
	"Symbol":      notNeeded,
	"WeakMap":     notNeeded,
	"WeakSet":     notNeeded,
	"WeakRef":     notNeeded,
	"ArrayBuffer": notNeeded,
	"Uint8Array":  notNeeded,
}

const (
	noWaiting = "a policy waits for nothing"
	notNeeded = "it is left out of policy scripts"
)

// An instrumenter takes a script's syntax tree apart. It lets through what it
// knows, so that nothing is left uncounted, and puts the counting in.
type instrumenter struct {
	file  *file.File
	depth int
	nodes int // in the body at hand
	err   error
}

// instrument rewrites a script to a function of the natives that returns the
// script's function resolve.
func instrument(prg *ast.Program) error {
	in := &instrumenter{file: prg.File}
	if !declares(prg.Body, entryPoint) {
		return fmt.Errorf("%w: it does not declare a function %s(versions, context)", ErrSource, entryPoint)
	}
	in.statements(prg.Body)
	if in.err != nil {
		return in.err
	}
	params := &ast.ParameterList{}
	for _, name := range nativeNames {
		params.List = append(params.List, &ast.Binding{Target: &ast.Identifier{Name: unistring.String(name), Idx: 1}})
	}
	body := append([]ast.Statement{tickStatement(1, in.nodes)}, prg.Body...)
	body = append(body, &ast.ReturnStatement{Return: 1, Argument: &ast.Identifier{Name: entryPoint, Idx: 1}})
	prg.Body = []ast.Statement{&ast.ExpressionStatement{Expression: &ast.FunctionLiteral{
		Function: 1, ParameterList: params, Body: &ast.BlockStatement{List: body}, DeclarationList: prg.DeclarationList,
	}}}
	prg.DeclarationList = nil
	return nil
}

// declares reports whether statements declare a name, so that leaving it out is
// noticed before it is called.
func declares(list []ast.Statement, name unistring.String) bool {
	is := func(bindings []*ast.Binding) bool {
		for _, b := range bindings {
			if id, ok := b.Target.(*ast.Identifier); ok && id.Name == name && b.Initializer != nil {
				return true
			}
		}
		return false
	}
	for _, s := range list {
		switch s := s.(type) {
		case *ast.FunctionDeclaration:
			if s.Function.Name != nil && s.Function.Name.Name == name {
				return true
			}
		case *ast.VariableStatement:
			if is(s.List) {
				return true
			}
		case *ast.LexicalDeclaration:
			if is(s.List) {
				return true
			}
		}
	}
	return false
}

func (in *instrumenter) refuse(at ast.Node, format string, args ...any) {
	if in.err != nil {
		return
	}
	p := in.file.Position(int(at.Idx0()) - in.file.Base())
	in.err = fmt.Errorf("%w: line %d, column %d: %s", ErrSource, p.Line, p.Column, fmt.Sprintf(format, args...))
}

// enter counts a node and bounds the depth.
func (in *instrumenter) enter(at ast.Node) {
	in.nodes++
	if in.depth++; in.depth > maxTreeDepth {
		in.refuse(at, "expressions and statements are nested more than %d deep", maxTreeDepth)
	}
}

func (in *instrumenter) leave() { in.depth-- }

// within counts the nodes of a body apart from those around it.
func (in *instrumenter) within(f func()) (nodes int) {
	outer := in.nodes
	in.nodes = 0
	f()
	nodes = in.nodes
	in.nodes = outer + 1
	return nodes
}

func call(at file.Idx, native string, args ...ast.Expression) ast.Expression {
	return &ast.CallExpression{
		Callee:          &ast.Identifier{Name: unistring.String(native), Idx: at},
		LeftParenthesis: at, ArgumentList: args, RightParenthesis: at,
	}
}

func number(at file.Idx, n int) ast.Expression {
	return &ast.NumberLiteral{Idx: at, Literal: fmt.Sprint(n), Value: int64(n)}
}

func tickStatement(at file.Idx, nodes int) ast.Statement {
	return &ast.ExpressionStatement{Expression: call(at, tickName, number(at, nodes+1))}
}

func (in *instrumenter) statements(list []ast.Statement) {
	for i := range list {
		list[i] = in.statement(list[i])
	}
}

func (in *instrumenter) statement(s ast.Statement) ast.Statement {
	if s == nil || in.err != nil {
		return s
	}
	in.enter(s)
	defer in.leave()
	if in.err != nil {
		return s
	}
	switch s := s.(type) {
	case *ast.BlockStatement:
		in.statements(s.List)
	case *ast.ExpressionStatement:
		s.Expression = in.expr(s.Expression)
	case *ast.VariableStatement:
		in.bindings(s.List)
	case *ast.LexicalDeclaration:
		in.bindings(s.List)
	case *ast.FunctionDeclaration:
		in.function(s.Function)
	case *ast.ReturnStatement:
		s.Argument = in.expr(s.Argument)
	case *ast.ThrowStatement:
		s.Argument = in.expr(s.Argument)
	case *ast.IfStatement:
		s.Test = in.expr(s.Test)
		s.Consequent = in.statement(s.Consequent)
		s.Alternate = in.statement(s.Alternate)
	case *ast.LabelledStatement:
		s.Statement = in.statement(s.Statement)
	case *ast.SwitchStatement:
		s.Discriminant = in.operand(in.expr(s.Discriminant), len(s.Body))
		for _, c := range s.Body {
			c.Test = in.expr(c.Test)
			in.statements(c.Consequent)
		}
	case *ast.TryStatement:
		in.statements(s.Body.List)
		if s.Catch != nil {
			if s.Catch.Parameter != nil {
				in.target(s.Catch.Parameter, false)
			}
			in.statements(s.Catch.Body.List)
		}
		if s.Finally != nil {
			in.statements(s.Finally.List)
		}
	case *ast.ForStatement, *ast.ForInStatement, *ast.ForOfStatement, *ast.WhileStatement, *ast.DoWhileStatement:
		in.loop(s)
	case *ast.EmptyStatement, *ast.BranchStatement:
	case *ast.ClassDeclaration:
		in.refuse(s, "a policy script has no classes")
	case *ast.DebuggerStatement, *ast.WithStatement, *ast.BadStatement:
		in.refuse(s, "this statement has no place in a policy script")
	default:
		in.refuse(s, "a statement that is not known here (%T)", s)
	}
	return s
}

// loop instruments a loop: each round pays for its body, its test and its step.
func (in *instrumenter) loop(s ast.Statement) {
	var body *ast.Statement
	var nodes int
	switch s := s.(type) {
	case *ast.ForStatement:
		switch i := s.Initializer.(type) {
		case *ast.ForLoopInitializerExpression:
			i.Expression = in.expr(i.Expression)
		case *ast.ForLoopInitializerVarDeclList:
			in.bindings(i.List)
		case *ast.ForLoopInitializerLexicalDecl:
			in.bindings(i.LexicalDeclaration.List)
		}
		body = &s.Body
		nodes = in.within(func() {
			s.Test, s.Update = in.expr(s.Test), in.expr(s.Update)
			*body = in.statement(*body)
		})
	case *ast.ForInStatement:
		s.Source = call(s.For, membersName, in.expr(s.Source))
		body = &s.Body
		nodes = in.within(func() {
			in.into(s.Into)
			*body = in.statement(*body)
		})
	case *ast.ForOfStatement:
		s.Source = in.expr(s.Source)
		body = &s.Body
		nodes = in.within(func() {
			in.into(s.Into)
			*body = in.statement(*body)
		})
	case *ast.WhileStatement:
		body = &s.Body
		nodes = in.within(func() {
			s.Test = in.expr(s.Test)
			*body = in.statement(*body)
		})
	case *ast.DoWhileStatement:
		body = &s.Body
		nodes = in.within(func() {
			s.Test = in.expr(s.Test)
			*body = in.statement(*body)
		})
	}
	// The test is evaluated once more than the body.
	in.nodes += nodes
	if in.err == nil {
		at := s.Idx0()
		*body = &ast.BlockStatement{LeftBrace: at, List: []ast.Statement{tickStatement(at, nodes), *body}, RightBrace: at}
	}
}

func (in *instrumenter) into(i ast.ForInto) {
	switch i := i.(type) {
	case *ast.ForIntoVar:
		in.target(i.Binding.Target, false)
		i.Binding.Initializer = in.expr(i.Binding.Initializer)
	case *ast.ForDeclaration:
		in.target(i.Target, false)
	case *ast.ForIntoExpression:
		i.Expression = in.assigned(i.Expression, false)
	default:
		in.refuse(i, "a loop that is not known here (%T)", i)
	}
}

func (in *instrumenter) bindings(list []*ast.Binding) {
	for _, b := range list {
		in.target(b.Target, b.Initializer != nil)
		b.Initializer = restCounted(b.Target, in.expr(b.Initializer))
	}
}

// restCounted counts a value that a pattern takes the rest of.
func restCounted(target ast.Expression, v ast.Expression) ast.Expression {
	switch t := target.(type) {
	case *ast.ArrayPattern:
		if t.Rest != nil && v != nil {
			return call(t.LeftBracket, elementsName, v)
		}
	case *ast.ObjectPattern:
		if t.Rest != nil && v != nil {
			return call(t.LeftBrace, membersName, v)
		}
	}
	return v
}

// target instruments what is declared: a name or a pattern. The value of a
// pattern with a rest has to be at hand, to be counted.
func (in *instrumenter) target(t ast.Expression, valued bool) {
	switch t := t.(type) {
	case *ast.Identifier:
		in.nodes++
		in.name(t, t.Name)
	case *ast.ArrayPattern, *ast.ObjectPattern:
		in.pattern(t, valued)
	default:
		in.refuse(t, "a declaration that is not known here (%T)", t)
	}
}

func (in *instrumenter) pattern(p ast.Expression, valued bool) {
	in.enter(p)
	defer in.leave()
	if in.err != nil {
		return
	}
	const rest = "... in a pattern is for const, let, var and = alone, at the outermost level"
	switch p := p.(type) {
	case *ast.ArrayPattern:
		for i, e := range p.Elements {
			p.Elements[i] = in.assigned(e, false)
		}
		if p.Rest != nil {
			if !valued {
				in.refuse(p, rest)
			}
			p.Rest = in.assigned(p.Rest, false)
		}
	case *ast.ObjectPattern:
		for _, m := range p.Properties {
			switch m := m.(type) {
			case *ast.PropertyShort:
				in.name(m, m.Name.Name)
				m.Initializer = in.expr(m.Initializer)
			case *ast.PropertyKeyed:
				in.key(m)
				m.Value = in.assigned(m.Value, false)
			default:
				in.refuse(m, "a pattern that is not known here (%T)", m)
			}
			in.nodes++
		}
		if p.Rest != nil {
			if !valued {
				in.refuse(p, rest)
			}
			p.Rest = in.assigned(p.Rest, false)
		}
	}
}

// assigned instruments what an assignment or a pattern assigns to, with its default.
func (in *instrumenter) assigned(e ast.Expression, valued bool) ast.Expression {
	switch e := e.(type) {
	case nil:
		return nil
	case *ast.ArrayPattern, *ast.ObjectPattern:
		in.pattern(e, valued)
		return e
	case *ast.Binding:
		in.target(e.Target, false)
		e.Initializer = in.expr(e.Initializer)
		return e
	case *ast.AssignExpression: // a default
		if e.Operator != token.ASSIGN {
			in.refuse(e, "a pattern that is not known here")
			return e
		}
		e.Left = in.assigned(e.Left, false)
		e.Right = in.expr(e.Right)
		return e
	}
	return in.expr(e)
}

func (in *instrumenter) name(at ast.Node, name unistring.String) {
	if why, ok := absent[name.String()]; ok {
		in.refuse(at, "there is no %s here: %s", name, why)
	}
}

func (in *instrumenter) key(p *ast.PropertyKeyed) {
	if p.Computed {
		p.Key = in.operand(in.expr(p.Key), 1)
	}
}

func (in *instrumenter) parameters(p *ast.ParameterList) {
	if p == nil {
		return
	}
	for _, b := range p.List {
		in.target(b.Target, false)
		b.Initializer = in.expr(b.Initializer)
	}
	if p.Rest != nil {
		in.target(p.Rest, false)
	}
}

func (in *instrumenter) function(f *ast.FunctionLiteral) {
	if f.Async || f.Generator {
		in.refuse(f, "a policy script has no generators and no async functions")
		return
	}
	if f.Name != nil {
		in.name(f, f.Name.Name)
	}
	nodes := in.within(func() {
		in.parameters(f.ParameterList)
		in.statements(f.Body.List)
	})
	f.Body.List = append([]ast.Statement{tickStatement(f.Body.LeftBrace, nodes)}, f.Body.List...)
}

func (in *instrumenter) arrow(f *ast.ArrowFunctionLiteral) {
	if f.Async {
		in.refuse(f, "a policy script has no generators and no async functions")
		return
	}
	var nodes int
	switch b := f.Body.(type) {
	case *ast.BlockStatement:
		nodes = in.within(func() {
			in.parameters(f.ParameterList)
			in.statements(b.List)
		})
		b.List = append([]ast.Statement{tickStatement(b.LeftBrace, nodes)}, b.List...)
	case *ast.ExpressionBody:
		nodes = in.within(func() {
			in.parameters(f.ParameterList)
			b.Expression = in.expr(b.Expression)
		})
		if in.err == nil {
			at := b.Expression.Idx0()
			b.Expression = &ast.SequenceExpression{Sequence: []ast.Expression{call(at, tickName, number(at, nodes+1)), b.Expression}}
		}
	}
}
