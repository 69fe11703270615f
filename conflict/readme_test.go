package conflict_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/meridiandb/meridian/conflict"
)

// TestScriptsOfTheReadmePassTheirCheck runs each script that README.md shows.
func TestScriptsOfTheReadmePassTheirCheck(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	scripts := regexp.MustCompile("(?s)```js\n(.*?)```").FindAllSubmatch(readme, -1)
	if len(scripts) < 3 {
		t.Fatalf("%d scripts", len(scripts))
	}
	for _, s := range scripts {
		p, err := conflict.Script(string(s[1]))
		if err != nil {
			t.Errorf("%v in\n%s", err, s[1])
			continue
		}
		if report := check(t, p, true); !report.OK() {
			t.Errorf("%s: %s in %+v\n%s", report.Faults[0].Kind, report.Faults[0].Why, report.Faults[0].Case, s[1])
		}
	}
	settings := regexp.MustCompile("(?s)```json\n.*?\"fields\": (\\{.*\\})\\}\n```").FindSubmatch(readme)
	if settings == nil {
		t.Fatal("no fields")
	}
	if _, err := conflict.ParseFields(settings[1]); err != nil {
		t.Error(err)
	}
}
