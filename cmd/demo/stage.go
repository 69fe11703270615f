package demo

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// A stage writes the story.
type stage struct {
	out   io.Writer
	color bool
	width int
	empty bool // the last line was
}

// Widths in columns. Lines longer than maxColumns are hard to read.
const (
	maxColumns = 100
	minColumns = 60
	margin     = 2
)

func newStage(out io.Writer, color bool, width int) *stage {
	if width == 0 {
		width = maxColumns
	}
	return &stage{out: out, color: color, width: min(max(width, minColumns), maxColumns)}
}

// Colours, as terminals know them.
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (s *stage) paint(color, text string) string {
	if !s.color || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

func (s *stage) line(text string) {
	s.empty = text == ""
	fmt.Fprintln(s.out, text)
}

// blank leaves one line free.
func (s *stage) blank() {
	if !s.empty {
		s.line("")
	}
}

// title starts an act.
func (s *stage) title(number int, name string) {
	text := fmt.Sprintf("Act %d  %s", number, name)
	s.blank()
	s.line(s.paint(bold, text))
	s.line(s.paint(dim, strings.Repeat("─", s.width)))
}

// scene starts a part of an act.
func (s *stage) scene(name string) {
	s.blank()
	s.line(s.paint(bold, "▸ "+name))
}

// say writes paragraphs.
func (s *stage) say(text string) {
	for _, l := range wrap(text, s.width) {
		s.line(l)
	}
}

// commands shows how to do by hand what is done.
func (s *stage) commands(texts ...string) {
	s.blank()
	for _, text := range texts {
		for i, l := range strings.Split(text, "\n") {
			prompt := "  "
			if i == 0 {
				prompt = s.paint(dim, "$ ")
			}
			s.line("  " + prompt + s.paint(yellow, l))
		}
	}
	s.blank()
}

// check writes whether something is as it should be, and what was found if not.
func (s *stage) check(ok bool, claim, found string) {
	mark := s.paint(green, "✓")
	if !ok {
		mark = s.paint(red, "✗")
		if found != "" {
			claim += ". But: " + found
		}
	}
	for i, l := range wrap(claim, s.width-2*margin) {
		if i > 0 {
			mark = " "
		}
		s.line("  " + mark + " " + l)
	}
}

// table writes rows under a header. The widest cells are broken if it does not fit.
func (s *stage) table(rows [][]string) {
	widths := s.columns(rows)
	s.blank()
	for i, row := range rows {
		cells := make([][]string, len(row))
		height := 1
		for j, c := range row {
			cells[j] = fold(c, widths[j])
			height = max(height, len(cells[j]))
		}
		for k := range height {
			var b strings.Builder
			b.WriteString(strings.Repeat(" ", margin))
			for j := range row {
				text := ""
				if k < len(cells[j]) {
					text = cells[j][k]
				}
				b.WriteString(text)
				b.WriteString(strings.Repeat(" ", widths[j]-columns(text)+gap))
			}
			text := strings.TrimRight(b.String(), " ")
			if i == 0 {
				text = s.paint(dim, text)
			}
			s.line(text)
		}
	}
	s.blank()
}

// gap is between two columns of a table.
const gap = 2

// columns finds the widths of a table's columns.
func (s *stage) columns(rows [][]string) []int {
	var widths []int
	for _, row := range rows {
		for j, c := range row {
			if j == len(widths) {
				widths = append(widths, 0)
			}
			widths[j] = max(widths[j], columns(c))
		}
	}
	total := margin + gap*(len(widths)-1)
	for _, w := range widths {
		total += w
	}
	for ; total > s.width; total-- {
		widest := 0
		for j, w := range widths {
			if w > widths[widest] {
				widest = j
			}
		}
		widths[widest]--
	}
	return widths
}

// columns is how wide a text is. There are no wide characters in the story.
func columns(s string) int { return utf8.RuneCountInString(s) }

// wrap breaks a text into lines between words.
func wrap(text string, width int) []string {
	var lines []string
	for paragraph := range strings.SplitSeq(text, "\n") {
		line := ""
		for word := range strings.FieldsSeq(paragraph) {
			switch {
			case line == "":
				line = word
			case columns(line)+1+columns(word) > width:
				lines = append(lines, line)
				line = word
			default:
				line += " " + word
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// fold breaks a cell, after a comma or a space if there is one near the end of
// the line.
func fold(text string, width int) []string {
	var lines []string
	r := []rune(text)
	for len(r) > width {
		cut := width
		for k := width; k > width/2; k-- {
			if r[k-1] == ',' || r[k-1] == ' ' {
				cut = k
				break
			}
		}
		lines = append(lines, strings.TrimRight(string(r[:cut]), " "))
		r = r[cut:]
	}
	return append(lines, string(r))
}
