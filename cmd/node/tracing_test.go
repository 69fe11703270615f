package node

import (
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	spans "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// A receiver takes spans by OTLP over HTTP.
type receiver struct {
	t   *testing.T
	url string

	mu  sync.Mutex
	got []received
}

type received struct {
	region string // of the resource
	*spans.Span
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{t: t}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	r.url = s.URL
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var in collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(body, &in)
	}
	if err != nil || req.URL.Path != otlpTracesPath {
		r.t.Errorf("%s: %v", req.URL.Path, err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, res := range in.GetResourceSpans() {
		for _, scope := range res.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				r.got = append(r.got, received{attr(res.GetResource().GetAttributes(), "service.instance.id"), s})
			}
		}
	}
}

func attr(all []*common.KeyValue, key string) string {
	for _, a := range all {
		if a.GetKey() == key {
			return a.GetValue().GetStringValue()
		}
	}
	return ""
}

// named returns the spans of a name, by the region that made them.
func (r *receiver) named(name string) map[string]*spans.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]*spans.Span{}
	for _, s := range r.got {
		if s.GetName() == name {
			out[s.region] = s.Span
		}
	}
	return out
}

const (
	traceID     = "4bf92f3577b34da6a3ce929d0e0e4736"
	traceparent = "00-" + traceID + "-00f067aa0ba902b7-01"
)

func put(t *testing.T, url, id, parent string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url+"/v1/collections/carts/docs/"+id, strings.NewReader(`{"v":1}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if parent != "" {
		req.Header.Set("Traceparent", parent)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("%d: %s", res.StatusCode, b)
	}
}

// TestTraceFollowsAWriteIntoTheOtherRegions: one trace, with spans of all three.
func TestTraceFollowsAWriteIntoTheOtherRegions(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
	r := newReceiver(t)
	names := []string{"us-east", "eu-west", "ap-south"}
	cfgs := cluster(t, names...)
	nodes := make([]*Node, len(cfgs))
	for i := range cfgs {
		cfgs[i].Tracing = Tracing{Endpoint: r.url}
		nodes[i] = start(t, cfgs[i])
	}
	put(t, nodes[0].URL(), "untraced", "")
	put(t, nodes[0].URL(), "unsampled", strings.TrimSuffix(traceparent, "1")+"0")
	put(t, nodes[0].URL(), "traced", traceparent)
	deadline := time.Now().Add(time.Minute)
	for len(r.named("meridian apply")) < 2 || len(r.named("PUT /v1/collections/{collection}/docs/{id}")) < 1 || len(r.named("meridian write")) < 1 {
		if time.Now().After(deadline) {
			t.Fatalf("only these spans came: %v", r.got)
		}
		time.Sleep(5 * time.Millisecond)
	}
	request := r.named("PUT /v1/collections/{collection}/docs/{id}")["us-east"]
	write := r.named("meridian write")["us-east"]
	applied := r.named("meridian apply")
	if request == nil || write == nil || applied["eu-west"] == nil || applied["ap-south"] == nil {
		t.Fatalf("spans of other regions: %v", r.got)
	}
	if got := hex.EncodeToString(request.GetParentSpanId()); got != "00f067aa0ba902b7" {
		t.Errorf("the request's parent is %s", got)
	}
	if string(write.GetParentSpanId()) != string(request.GetSpanId()) {
		t.Error("the write is not part of the request")
	}
	for region, s := range applied {
		if string(s.GetParentSpanId()) != string(write.GetSpanId()) {
			t.Errorf("what was applied in %s is not part of the write", region)
		}
		if attr(s.GetAttributes(), "meridian.change") != attr(write.GetAttributes(), "meridian.change") ||
			attr(s.GetAttributes(), "meridian.origin") != "us-east" || s.GetEndTimeUnixNano() < s.GetStartTimeUnixNano() {
			t.Errorf("%s: %v", region, s)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.got) != 4 {
		t.Errorf("%d spans, of which only 4 should have been made: %v", len(r.got), r.got)
	}
	for _, s := range r.got {
		if hex.EncodeToString(s.GetTraceId()) != traceID {
			t.Errorf("a span of another trace: %v", s)
		}
	}
}

// TestFailingReceiverHarmsNobody: writes go on, the node ends well, and it is logged once.
func TestFailingReceiverHarmsNobody(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "5")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer s.Close()
	cfg := cluster(t, "us-east")[0]
	log := &lockedLog{said: make(chan struct{}, 100)}
	cfg.Tracing, cfg.Logger = Tracing{Endpoint: s.URL, Sample: 1}, slog.New(slog.NewTextHandler(log, nil))
	n := start(t, cfg)
	put(t, n.URL(), "a", "")
	for {
		select {
		case <-log.said:
		case <-time.After(time.Minute):
			t.Fatal("nothing was logged")
		}
		if log.count("spans cannot be sent") == 1 {
			break
		}
	}
	put(t, n.URL(), "b", "")
}

// lockedLog is a log that tells when something was written.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
	said chan struct{}
}

func (l *lockedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.said <- struct{}{}:
	default:
	}
	return l.text.Write(b)
}

func (l *lockedLog) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s)
}

func TestTracingIsChecked(t *testing.T) {
	for _, bad := range []Tracing{{Endpoint: "collector:4318"}, {Endpoint: "ftp://x"}, {Endpoint: "http://"}, {Sample: -1}, {Sample: 1.5}} {
		if err := bad.Validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	for _, good := range []Tracing{{}, {Endpoint: "https://x/v1/traces", Sample: 1}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
}
