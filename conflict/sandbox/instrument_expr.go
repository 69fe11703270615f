package sandbox

import (
	"slices"
	"strings"

	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/token"
)

func (in *instrumenter) exprs(list []ast.Expression) {
	for i, e := range list {
		list[i] = in.expr(e)
	}
}

// expr instruments an expression and returns what stands for it.
func (in *instrumenter) expr(e ast.Expression) ast.Expression {
	if e == nil || in.err != nil {
		return e
	}
	in.enter(e)
	defer in.leave()
	if in.err != nil {
		return e
	}
	switch e := e.(type) {
	case *ast.NullLiteral, *ast.BooleanLiteral, *ast.NumberLiteral, *ast.StringLiteral, *ast.ThisExpression:
	case *ast.Identifier:
		in.name(e, e.Name)
	case *ast.ArrayLiteral:
		in.list(e.Value)
	case *ast.ObjectLiteral:
		in.object(e)
	case *ast.FunctionLiteral:
		in.function(e)
	case *ast.ArrowFunctionLiteral:
		in.arrow(e)
	case *ast.CallExpression:
		e.Callee = in.expr(e.Callee)
		in.list(e.ArgumentList)
	case *ast.NewExpression:
		e.Callee = in.expr(e.Callee)
		in.list(e.ArgumentList)
	case *ast.DotExpression:
		e.Left = in.expr(e.Left)
		in.property(e)
	case *ast.BracketExpression:
		e.Left = in.expr(e.Left)
		e.Member = in.operand(in.expr(e.Member), 1)
	case *ast.OptionalChain:
		e.Expression = in.expr(e.Expression)
	case *ast.Optional:
		e.Expression = in.expr(e.Expression)
	case *ast.ConditionalExpression:
		e.Test, e.Consequent, e.Alternate = in.expr(e.Test), in.expr(e.Consequent), in.expr(e.Alternate)
	case *ast.SequenceExpression:
		in.exprs(e.Sequence)
	case *ast.UnaryExpression:
		return in.unary(e)
	case *ast.BinaryExpression:
		return in.binary(e)
	case *ast.AssignExpression:
		return in.assign(e)
	case *ast.TemplateLiteral:
		return in.templateLiteral(e)
	default:
		in.unknown(e)
	}
	return e
}

func (in *instrumenter) unknown(e ast.Expression) {
	switch e := e.(type) {
	case *ast.SpreadElement:
		in.refuse(e, "... has no place here")
	case *ast.RegExpLiteral:
		in.refuse(e, "a policy script has no regular expressions: their work cannot be counted")
	case *ast.YieldExpression, *ast.AwaitExpression:
		in.refuse(e, "a policy script has no generators and no async functions")
	case *ast.ClassLiteral, *ast.SuperExpression, *ast.MetaProperty, *ast.PrivateDotExpression:
		in.refuse(e, "a policy script has no classes")
	default:
		in.refuse(e, "an expression that is not known here (%T)", e)
	}
}

// inexact are the functions of Math that no standard defines to the last bit:
// regions on different machines must come to the same result.
const inexact = "acos acosh asin asinh atan atan2 atanh cbrt cos cosh exp expm1 hypot log log10 log1p log2 pow sin sinh tan tanh"

const (
	noRandomness = "a policy draws no randomness"
	noLastDigit  = "its last digit differs from machine to machine"
)

func (in *instrumenter) property(e *ast.DotExpression) {
	of, ok := e.Left.(*ast.Identifier)
	if !ok || of.Name != "Math" {
		return
	}
	switch name := e.Identifier.Name.String(); {
	case name == "random":
		in.refuse(e, "there is no Math.random here: %s", noRandomness)
	case slices.Contains(strings.Fields(inexact), name):
		in.refuse(e, "there is no Math.%s here: %s", name, noLastDigit)
	}
}

// list instruments elements or arguments.
func (in *instrumenter) list(all []ast.Expression) {
	for i, e := range all {
		if s, ok := e.(*ast.SpreadElement); ok {
			s.Expression = call(s.Expression.Idx0(), elementsName, in.expr(s.Expression))
			in.nodes++
			continue
		}
		all[i] = in.expr(e)
	}
}

func (in *instrumenter) object(o *ast.ObjectLiteral) {
	for _, p := range o.Value {
		in.nodes++
		switch p := p.(type) {
		case *ast.PropertyShort:
			in.name(p, p.Name.Name)
			if p.Initializer != nil {
				in.refuse(p, "a default has no place here")
			}
		case *ast.PropertyKeyed:
			in.key(p)
			if p.Kind == ast.PropertyKindGet || p.Kind == ast.PropertyKindSet {
				in.refuse(p, "a policy script has no getters and setters")
				return
			}
			p.Value = in.expr(p.Value)
		case *ast.SpreadElement:
			p.Expression = call(p.Expression.Idx0(), membersName, in.expr(p.Expression))
		default:
			in.refuse(p, "a member that is not known here (%T)", p)
		}
	}
}

// operand counts a value before an operator reads it, if it can be long.
func (in *instrumenter) operand(e ast.Expression, times int) ast.Expression {
	if e == nil || short(e) || in.err != nil {
		return e
	}
	if times == 1 {
		return call(e.Idx0(), operandName, e)
	}
	return call(e.Idx0(), operandName, e, number(e.Idx0(), times))
}

// short reports whether e is surely a small value.
func short(e ast.Expression) bool {
	switch e := e.(type) {
	case *ast.NullLiteral, *ast.BooleanLiteral, *ast.ThisExpression, *ast.FunctionLiteral, *ast.ArrowFunctionLiteral:
		return true
	case *ast.StringLiteral:
		return len(e.Value) <= bytesPerStep
	case *ast.NumberLiteral:
		return len(e.Literal) <= bytesPerStep
	case *ast.UnaryExpression:
		return e.Operator == token.NOT || e.Operator == token.TYPEOF
	case *ast.BinaryExpression:
		return e.Comparison
	}
	return false
}

func (in *instrumenter) unary(e *ast.UnaryExpression) ast.Expression {
	switch e.Operator {
	case token.NOT, token.TYPEOF, token.VOID, token.INCREMENT, token.DECREMENT, token.DELETE:
		e.Operand = in.expr(e.Operand)
	case token.PLUS, token.MINUS, token.BITWISE_NOT:
		e.Operand = in.operand(in.expr(e.Operand), 1)
	default:
		in.refuse(e, "an operator that is not known here (%v)", e.Operator)
	}
	return e
}

func (in *instrumenter) binary(e *ast.BinaryExpression) ast.Expression {
	switch e.Operator {
	case token.LOGICAL_AND, token.LOGICAL_OR, token.COALESCE:
		e.Left, e.Right = in.expr(e.Left), in.expr(e.Right)
		return e
	case token.EXPONENT:
		in.refuse(e, "there is no ** here: its last digit differs from machine to machine; multiply")
		return e
	case token.SHIFT_LEFT, token.SHIFT_RIGHT, token.UNSIGNED_SHIFT_RIGHT:
		in.refuse(e, "there are no shifts here; multiply or divide")
		return e
	case token.PLUS:
		e.Left, e.Right = in.expr(e.Left), in.expr(e.Right)
		if in.err != nil {
			return e
		}
		return call(e.Idx0(), sumName, e)
	case token.EQUAL, token.STRICT_EQUAL, token.NOT_EQUAL, token.STRICT_NOT_EQUAL,
		token.LESS, token.LESS_OR_EQUAL, token.GREATER, token.GREATER_OR_EQUAL:
		// The work is bounded by the shorter side.
		e.Left, e.Right = in.expr(e.Left), in.expr(e.Right)
		if in.err == nil && !short(e.Left) && !short(e.Right) {
			e.Left, e.Right = in.operand(e.Left, 1), in.operand(e.Right, 1)
		}
		return e
	case token.MINUS, token.MULTIPLY, token.SLASH, token.REMAINDER, token.AND, token.OR, token.EXCLUSIVE_OR:
		e.Left, e.Right = in.operand(in.expr(e.Left), 1), in.operand(in.expr(e.Right), 1)
	case token.IN:
		e.Left, e.Right = in.operand(in.expr(e.Left), 1), in.expr(e.Right)
	case token.INSTANCEOF:
		e.Left, e.Right = in.expr(e.Left), in.expr(e.Right)
	default:
		in.refuse(e, "an operator that is not known here (%v)", e.Operator)
	}
	return e
}

func (in *instrumenter) assign(e *ast.AssignExpression) ast.Expression {
	e.Left = in.assigned(e.Left, e.Operator == token.ASSIGN)
	switch e.Operator {
	case token.ASSIGN:
		e.Right = restCounted(e.Left, in.expr(e.Right))
	case token.LOGICAL_AND, token.LOGICAL_OR, token.COALESCE:
		e.Right = in.expr(e.Right)
	case token.PLUS:
		e.Right = in.expr(e.Right)
		if in.err == nil {
			return call(e.Idx0(), sumName, e)
		}
	case token.MINUS, token.MULTIPLY, token.SLASH, token.REMAINDER, token.AND, token.OR, token.EXCLUSIVE_OR:
		e.Right = in.operand(in.expr(e.Right), 1)
		if in.err == nil {
			return call(e.Idx0(), sumName, e)
		}
	default:
		in.refuse(e, "an operator that is not known here (%v=)", e.Operator)
	}
	return e
}

func (in *instrumenter) templateLiteral(e *ast.TemplateLiteral) ast.Expression {
	if e.Tag != nil {
		in.refuse(e, "a policy script has no tagged templates")
		return e
	}
	for i, x := range e.Expressions {
		if x = in.expr(x); in.err != nil {
			return e
		}
		e.Expressions[i] = call(x.Idx0(), partName, x)
	}
	if len(e.Expressions) == 0 {
		return e
	}
	return call(e.Idx0(), sumName, e)
}
