// Command pure checks what no linter does: the packages whose results must
// depend on their arguments alone start no goroutine and wait in no select
// (which chooses at random). Their clocks, randomness and imports are the
// business of forbidigo and depguard, see .golangci.yml.
//
//	go run ./.ci/pure DIR...
//
// It looks at the Go files below each DIR, tests left out; a DIR that does not
// exist is skipped. Status 1 if something was found.
package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	found := 0
	for _, dir := range os.Args[1:] {
		n, err := checkDir(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, "pure:", err)
			os.Exit(2)
		}
		found += n
	}
	if found > 0 {
		os.Exit(1)
	}
}

func checkDir(dir string) (found int, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		n, err := checkFile(path)
		found += n
		return err
	})
	return found, err
}

func checkFile(path string) (found int, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return 0, err
	}
	report := func(n ast.Node, what string) {
		found++
		fmt.Printf("%s: %s\n", fset.Position(n.Pos()), what)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			report(n, "a pure package starts no goroutine")
		case *ast.SelectStmt:
			report(n, "a pure package waits for nothing, and select chooses at random")
		}
		return true
	})
	return found, nil
}
