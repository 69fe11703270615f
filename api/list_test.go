package api

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/core"
)

type docsPage struct {
	Docs []struct {
		ID, ETag string
		Value    map[string]any
	}
	Cursor, At string
}

func TestListsAreReadPageByPage(t *testing.T) {
	alone(t, func(w *world) {
		var want []string
		for _, id := range []string{"a", "a/b", "a b", "b", "bä", "c"} {
			w.do("PUT", "/v1/collections/x/docs/"+url.PathEscape(id), fmt.Sprintf(`{"id":%q}`, id)).gives(201)
			want = append(want, id)
		}
		w.do("PUT", "/v1/collections/x/docs/aa", `{}`).gives(201)
		w.do("DELETE", "/v1/collections/x/docs/aa", nil).gives(204)
		slices.Sort(want)
		for limit := 1; limit <= 7; limit++ {
			var got []string
			link := fmt.Sprintf("/v1/collections/x/docs?limit=%d", limit)
			for pages := 0; link != ""; pages++ {
				var page docsPage
				r := w.do("GET", link, nil).gives(200).json(&page)
				for _, d := range page.Docs {
					got = append(got, d.ID)
					etag := w.do("GET", "/v1/collections/x/docs/"+url.PathEscape(d.ID), nil).gives(200).etag()
					if d.ETag != etag || d.Value["id"] != d.ID {
						t.Errorf("%s is listed as %+v", d.ID, d)
					}
				}
				if len(page.Docs) > limit || pages > 7 {
					t.Fatalf("limit %d: page %d has %d documents", limit, pages, len(page.Docs))
				}
				link = ""
				if page.Cursor != "" {
					link = fmt.Sprintf("/v1/collections/x/docs?cursor=%s&limit=%d", page.Cursor, limit)
				}
				if header := r.Get("Link"); (header == "") != (link == "") || header != "" && header != "<"+link+`>; rel="next"` {
					t.Errorf("Link is %q, cursor %q", header, page.Cursor)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("limit %d: got %q, want %q", limit, got, want)
			}
		}
		var page docsPage
		w.do("GET", "/v1/collections/x/docs?prefix=a&limit=2", nil).gives(200).json(&page)
		w.do("GET", "/v1/collections/x/docs?prefix=a&limit=2&cursor="+page.Cursor, nil).gives(200).json(&page)
		if len(page.Docs) != 1 || page.Docs[0].ID != "a/b" {
			t.Errorf("the last page of prefix a is %+v", page)
		}
		w.do("GET", "/v1/collections/x/docs?prefix=zz", nil).gives(200).is(`{"docs":[]}`)

		w.do("GET", "/v1/collections/none/docs", nil).gives(404).as(unknownColl, "none")
		w.do("GET", "/v1/collections/x/docs?prefix=b&cursor="+encodeCursor("a"), nil).gives(400).as(malformedCursor, "prefix")
		for _, bad := range []string{"x", "AQ", "AQ==", encodeCursor("a\x00"), encodeCursor(strings.Repeat("x", 600)), "Amlk"} {
			w.do("GET", "/v1/collections/x/docs?cursor="+url.QueryEscape(bad), nil).gives(400).as(malformedCursor, "")
		}
		for _, bad := range []string{"limit=0", "limit=1001", "limit=x", "limit=-1", "lmit=1", "prefix=%FF", "limit=1;x", "limit=1&limit=2"} {
			w.do("GET", "/v1/collections/x/docs?"+bad, nil).gives(400).as(malformedRequest, "")
		}
	})
}

func TestPagesEndAtTheirSize(t *testing.T) {
	alone(t, func(w *world) {
		big := `{"x":"` + strings.Repeat("x", 1<<20-100) + `"}`
		for i := range 20 {
			w.do("PUT", fmt.Sprintf("/v1/collections/x/docs/%02d", i), big).gives(201)
		}
		seen, query := 0, ""
		for seen < 20 {
			var page docsPage
			r := w.do("GET", "/v1/collections/x/docs"+query, nil).gives(200).json(&page)
			if len(r.body) > MaxListBytes+1<<20 || len(page.Docs) == 0 {
				t.Fatalf("a page of %d documents has %d bytes", len(page.Docs), len(r.body))
			}
			seen += len(page.Docs)
			query = "?cursor=" + page.Cursor
		}
		if query != "?cursor=" || seen != 20 {
			t.Errorf("%d documents were listed, and the last cursor is %q", seen, query)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add(encodeCursor("a"), "")
	f.Add(encodeCursor("a/ü"), "a")
	f.Add("AQ", "")
	f.Fuzz(func(t *testing.T, s, prefix string) {
		after, err := decodeCursor(s, prefix)
		if err != nil || s == "" {
			return
		}
		if encodeCursor(after) != s || !strings.HasPrefix(after, prefix) || core.CheckID(after) != nil {
			t.Errorf("%q is taken as after %q", s, after)
		}
	})
}

// pagesAt reads what is left of a list, page by page, and between the pages does
// something.
func pagesAt(w *world, name, at, cursor string, between func()) (ids []string) {
	for {
		var page docsPage
		w.on(name, "GET", "/v1/collections/x/docs?limit=2&at="+at+"&cursor="+cursor, nil).gives(200).json(&page)
		for _, d := range page.Docs {
			ids = append(ids, fmt.Sprint(d.ID, d.Value["n"]))
		}
		if page.Cursor == "" {
			return ids
		}
		at, cursor = page.At, page.Cursor
		between()
	}
}

func TestPagesShowOneMoment(t *testing.T) {
	inWorld(t, three, nil, func(w *world) {
		for i := range 7 {
			w.do("PUT", fmt.Sprintf("/v1/collections/x/docs/%d", i), `{"n":0}`).gives(201)
		}
		w.settle()
		n := 0
		change := func() {
			n++
			for i := range 6 {
				w.do("PUT", fmt.Sprintf("/v1/collections/x/docs/%d", i), fmt.Sprintf(`{"n":%d}`, n)).gives(200)
			}
			w.do("PUT", fmt.Sprintf("/v1/collections/x/docs/5-%d", n), `{"n":9}`).gives(201)
			if n == 1 {
				w.do("DELETE", "/v1/collections/x/docs/6", nil).gives(204)
				w.do("PUT", "/v1/collections/x", `{"policy":"lww"}`).gives(200)
			}
		}
		want := []string{"00", "10", "20", "30", "40", "50", "60"}
		if got := pagesAt(w, "us-east", "now", "", change); !slices.Equal(got, want) {
			t.Errorf("the pages show %v, want %v", got, want)
		}
		if got := pagesAt(w, "us-east", "", "", change); slices.Equal(got, want) || n < 6 {
			t.Errorf("without a moment the pages show %v", got)
		}
	})
}

func TestMomentsAreKeptForAWhile(t *testing.T) {
	inWorld(t, three, nil, func(w *world) {
		for i := range 3 {
			w.do("PUT", fmt.Sprintf("/v1/collections/x/docs/%d", i), `{}`).gives(201)
		}
		w.settle()
		const list = "/v1/collections/x/docs?limit=1&at="
		var page docsPage
		r := w.do("GET", list+"now", nil).gives(200).json(&page)
		if !strings.Contains(r.Get("Link"), "at="+page.At) {
			t.Errorf("the link to the next page is %q", r.Get("Link"))
		}
		w.on("eu-west", "GET", list+page.At, nil).gives(410).as(momentGone, "one of region")
		w.do("GET", list+"nonsense", nil).gives(410).as(momentGone, "no handle")
		for range 3 {
			time.Sleep(region.HandleIdle - 2*time.Second)
			w.do("GET", list+page.At, nil).gives(200)
		}
		time.Sleep(region.HandleIdle + 2*time.Second)
		w.do("GET", list+page.At, nil).gives(410).as(momentGone, "after it was last read")

		w.do("GET", list+"now", nil).gives(200).json(&page)
		w.stops["us-east"]()
		w.start("us-east")
		w.settle()
		w.do("GET", list+page.At, nil).gives(410).as(momentGone, "restart")

		for range region.MaxHandles {
			w.do("GET", list+"now", nil).gives(200)
		}
		w.do("GET", list+"now", nil).gives(429).as(busy, "256")
		w.do("GET", list, nil).gives(200)
		w.do("GET", "/v1/collections/x/docs?limit=3&at=now", nil).gives(200) // needs no handle
		time.Sleep(region.HandleIdle + 2*time.Second)
		w.do("GET", list+"now", nil).gives(200)
	})
}
