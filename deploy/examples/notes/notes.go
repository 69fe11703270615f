// Package notes is the example of live collaboration: a page with a note that two
// people edit, each by a region of their own, with the clients of automerge-repo.
// "meridian demo" serves it. The files in dist are built by build.mjs from src and
// the packages in package-lock.json, and are checked in, so that nothing has to be
// built to see it.
package notes

import (
	"embed"
	"io/fs"
)

//go:embed dist
var dist embed.FS

// Files is the built page.
func Files() fs.FS {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the name is a constant
	}
	return files
}
