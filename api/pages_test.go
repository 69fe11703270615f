package api

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/fstest"

	"github.com/meridiandb/meridian/region"
)

func TestPagesAreServed(t *testing.T) {
	tune := func(_ *region.Config, c *Config) {
		c.Pages = map[string]fs.FS{"hello": fstest.MapFS{"index.html": {Data: []byte("<h1>hello</h1>")}, "a.js": {Data: []byte("1")}}}
	}
	inWorld(t, []string{"us-east"}, tune, func(w *world) {
		for path, want := range map[string]int{"/hello/": http.StatusOK, "/hello/a.js": http.StatusOK, "/hello/b.js": http.StatusNotFound, "/other/": http.StatusNotFound} {
			rec := httptest.NewRecorder()
			w.servers["us-east"].ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
			if rec.Code != want {
				t.Errorf("%s: %d, want %d", path, rec.Code, want)
			}
		}
	})
}
