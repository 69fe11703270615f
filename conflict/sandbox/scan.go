package sandbox

import (
	"fmt"
	"strings"
)

// scan bounds what the parser is given. It follows strings, templates and
// comments, so that brackets are counted as the parser sees them, and refuses
// regular expressions, and slashes that might begin one.
//
// The parser reads "(…)" again when it finds "=>" behind it, at every level of
// arrow functions within the parameters of arrow functions: that doubles the
// work with each, and is what maxArrowNesting is for.
func scan(src string) error {
	s := scanner{src: src, groups: []group{{}}}
	for s.at < len(s.src) {
		if err := s.next(); err != nil {
			return err
		}
	}
	return nil
}

const (
	maxNesting      = 64  // brackets within brackets
	maxArrows       = 256 // arrow functions in one script
	maxArrowNesting = 3   // arrow functions within parameters of arrow functions
)

// A group is a bracket that is open.
type group struct {
	open byte
	// statement says that a statement follows, not an operator: if (…) and the like.
	statement bool
	// arrows is how deeply arrow functions are nested in parameters within.
	arrows int
}

type scanner struct {
	src    string
	at     int
	groups []group // the first is the script itself
	arrows int
	// divides says that a slash here divides; unsure, that it may begin a
	// regular expression too.
	divides, unsure bool
	// head says that the last word takes a condition in brackets.
	head bool
}

func (s *scanner) fail(format string, args ...any) error {
	line, column := 1, 1
	for i := range s.at {
		if column++; s.src[i] == '\n' {
			line, column = line+1, 1
		}
	}
	return fmt.Errorf("%w: line %d, column %d: %s", ErrSource, line, column, fmt.Sprintf(format, args...))
}

func (s *scanner) peek(text string) bool {
	return len(s.src)-s.at >= len(text) && s.src[s.at:s.at+len(text)] == text
}

// newline returns the length of the line terminator at i, 0 if there is none.
func (s *scanner) newline(i int) int {
	switch rest := s.src[i:]; {
	case rest[0] == '\n', rest[0] == '\r':
		return 1
	case len(rest) >= 3 && (rest[:3] == "\u2028" || rest[:3] == "\u2029"):
		return 3
	}
	return 0
}

func (s *scanner) next() error {
	c := s.src[s.at]
	if n := s.newline(s.at); n > 0 || c == ' ' || c == '\t' || c == '\v' || c == '\f' {
		s.at += max(n, 1)
		return nil
	}
	if s.peek("//") || s.peek("/*") {
		return s.comment()
	}
	divides, unsure, head := s.divides, s.unsure, s.head
	s.divides, s.unsure, s.head = false, false, false
	switch c {
	case '"', '\'':
		s.divides = true
		return s.text(c)
	case '`':
		s.at++
		return s.template()
	case '(', '[', '{':
		return s.push(group{open: c, statement: head})
	case ')', ']', '}':
		return s.pop(c)
	case '/':
		return s.slash(divides, unsure)
	case '#', '@':
		return s.fail("%q has no place here", c)
	case '=':
		if s.peek("=>") {
			s.at++
			if s.arrows++; s.arrows > maxArrows {
				return s.fail("more than %d arrow functions", maxArrows)
			}
		}
	case '+', '-':
		// After x++ a slash divides, in ++/x/ it does not.
		s.unsure = s.at > 0 && s.src[s.at-1] == c
		s.divides = s.unsure
	}
	if isWord(c) {
		s.word()
		return nil
	}
	s.at++
	return nil
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '$' || c == '\\' || c >= 0x80
}

// word skips a name, a keyword or a number.
func (s *scanner) word() {
	start := s.at
	s.divides = true
	for s.at < len(s.src) && isWord(s.src[s.at]) && s.newline(s.at) == 0 {
		// It may be white space, or a keyword in disguise.
		s.unsure = s.unsure || s.src[s.at] >= 0x80 || s.src[s.at] == '\\'
		s.at++
	}
	switch s.src[start:s.at] {
	case "if", "while", "for", "with":
		s.head = true
	case "return", "typeof", "case", "do", "else", "in", "of", "instanceof", "new", "delete", "void", "throw", "yield", "await":
		s.unsure = true // a name in x.return, a keyword elsewhere
	}
}

func (s *scanner) comment() error {
	if s.peek("//") {
		for s.at < len(s.src) && s.newline(s.at) == 0 {
			s.at++
		}
		return nil
	}
	end := strings.Index(s.src[s.at+2:], "*/")
	if end < 0 {
		return s.fail("the comment is not closed")
	}
	s.at += end + 4
	return nil
}

func (s *scanner) text(quote byte) error {
	for i := s.at + 1; i < len(s.src); i++ {
		switch s.src[i] {
		case quote:
			s.at = i + 1
			return nil
		case '\\':
			if i++; i+1 < len(s.src) && s.src[i] == '\r' && s.src[i+1] == '\n' {
				i++
			}
		case '\n', '\r':
			return s.fail("the string is not closed on its line")
		}
	}
	return s.fail("the string is not closed")
}

// template skips the text of a template from after ` or } to ${ or `.
func (s *scanner) template() error {
	for i := s.at; i < len(s.src); i++ {
		switch c := s.src[i]; {
		case c == '\\':
			i++
		case c == '`':
			s.at, s.divides = i+1, true
			return nil
		case c == '$' && i+1 < len(s.src) && s.src[i+1] == '{':
			s.at = i + 1
			return s.push(group{open: '$'})
		}
	}
	return s.fail("the template is not closed")
}

func (s *scanner) push(g group) error {
	if len(s.groups) > maxNesting {
		return s.fail("brackets are nested more than %d deep", maxNesting)
	}
	s.groups = append(s.groups, g)
	s.at++
	return nil
}

var opens = map[byte]byte{')': '(', ']': '[', '}': '{'}

func (s *scanner) pop(c byte) error {
	last := len(s.groups) - 1
	g := s.groups[last]
	ofTemplate := c == '}' && g.open == '$'
	if last == 0 || g.open != opens[c] && !ofTemplate {
		return s.fail("%q closes nothing", c)
	}
	s.groups = s.groups[:last]
	s.at++
	if c == ')' && s.beforeArrow() {
		if g.arrows++; g.arrows > maxArrowNesting {
			return s.fail("arrow functions are nested more than %d deep in parameters of arrow functions", maxArrowNesting)
		}
	}
	s.groups[last-1].arrows = max(s.groups[last-1].arrows, g.arrows)
	if ofTemplate {
		return s.template()
	}
	s.divides, s.unsure = true, c == '}' || g.statement
	return nil
}

// beforeArrow reports whether "=>" is what comes next. Comments in between
// count as if they were one.
func (s *scanner) beforeArrow() bool {
	for i := s.at; i < len(s.src); i++ {
		n := s.newline(i)
		switch c := s.src[i]; {
		case n > 0:
			i += n - 1
		case c == ' ', c == '\t', c == '\v', c == '\f':
		case c == '/', c >= 0x80:
			return true
		default:
			return c == '=' && i+1 < len(s.src) && s.src[i+1] == '>'
		}
	}
	return false
}

// slash takes a division, and refuses what is or may be a regular expression.
func (s *scanner) slash(divides, unsure bool) error {
	if !divides {
		return s.fail("a policy script has no regular expressions: their work cannot be counted; use includes, startsWith, split or indexOf")
	}
	if unsure {
		for i := s.at + 1; i < len(s.src) && s.newline(i) == 0; i++ {
			switch s.src[i] {
			case '"', '\'', '`', '(', ')', '[', ']', '{', '}', '\\', '/':
				return s.fail("this slash could begin a regular expression, which a policy script cannot have; if it divides, end the line behind the divisor")
			}
		}
	}
	s.at++
	return nil
}
