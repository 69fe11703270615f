package cmd

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// A buildInfo is what is known of how the program was built.
type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// version and revision are set by the linker where there is no repository for the
// go command to ask, as in the build of an image.
var version, revision string

func readBuild() buildInfo {
	b := buildInfo{Version: cmp.Or(version, "(devel)"), Revision: revision, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if version == "" && info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = cmp.Or(revision, s.Value)
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func newVersion(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "version",
		Short:   "Say which version this is",
		Long:    "Say which version this is, of which revision, and built with what.",
		Example: "  meridian version\n  meridian version --json",
		Args:    exactArgs(),
		RunE: func(*cobra.Command, []string) error {
			b := readBuild()
			if asJSON {
				return a.printJSON(b)
			}
			text := "meridian " + b.Version
			if b.Revision != "" {
				text += " (" + b.Revision
				if b.Modified {
					text += ", modified"
				}
				text += ")"
			}
			fmt.Fprintf(a.out, "%s, %s, %s\n", text, b.Go, b.Platform)
			return nil
		},
	}
	addJSONFlag(c, &asJSON)
	return c
}
