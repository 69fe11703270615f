package api

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGuaranteesHaveTests checks that each line of the table of what to ask for
// names a test, and that there is one of that name.
func TestGuaranteesHaveTests(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(readme), "\n### What to ask for\n")
	if !ok {
		t.Fatal("README.md has no table of what to ask for")
	}
	table, _, _ = strings.Cut(table, "\n#")
	var tests strings.Builder
	for _, pattern := range []string{"*_test.go", "../region/*_test.go", "../e2e/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			tests.Write(b)
		}
	}
	name := regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")
	lines := 0
	for line := range strings.SplitSeq(table, "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| to be sure") {
			continue
		}
		lines++
		named := name.FindAllStringSubmatch(line, -1)
		if len(named) == 0 {
			t.Errorf("no test: %s", line)
		}
		for _, m := range named {
			if !strings.Contains(tests.String(), "\nfunc "+m[1]+"(") {
				t.Errorf("there is no %s", m[1])
			}
		}
	}
	if lines < 10 {
		t.Errorf("the table has %d lines", lines)
	}
}
