package tests

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/google/go-cmp/cmp"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

const chartDir = "../chart/meridian"

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// render renders the chart as "helm template" does, checks of the values included.
func render(t *testing.T, values chartutil.Values) (string, error) {
	t.Helper()
	c := loadChart(t)
	all, err := chartutil.ToRenderValues(c, values, chartutil.ReleaseOptions{Name: "meridian", Namespace: "shop", Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return "", err
	}
	files, err := engine.Engine{Strict: true}.Render(c, all)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if text := strings.TrimSpace(files[name]); text != "" && !strings.HasSuffix(name, ".txt") && !strings.HasSuffix(name, ".tpl") {
			fmt.Fprintf(&out, "---\n# Source: %s\n%s\n", name, text)
		}
	}
	return out.String(), nil
}

func valueSets(t *testing.T) []string {
	t.Helper()
	sets, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(sets) < 5 {
		t.Fatalf("%d sets of values: %v", len(sets), err)
	}
	return append(sets, kindValues(t)...)
}

// kindValues are what the scripts for laptops give the chart, besides --set.
func kindValues(t *testing.T) []string {
	t.Helper()
	sets, err := filepath.Glob("../k*/values.yaml")
	if err != nil || len(sets) != 2 {
		t.Fatalf("values of kind and k3d: %v %v", sets, err)
	}
	return sets
}

// setByScript is what the scripts set by --set, over their file of values.
const setByScript = `
region: us-east
cluster: shop
certificates:
  secretName: meridian-certificates
peers:
  eu-west: 172.18.0.3:30740
image:
  repository: localhost/meridian
  tag: latest
`

func parseValues(t *testing.T, b []byte) chartutil.Values {
	t.Helper()
	v, err := chartutil.ReadValues(b)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func readValues(t *testing.T, path string) (name string, values chartutil.Values) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	name, values = strings.TrimSuffix(filepath.Base(path), ".yaml"), parseValues(t, b)
	if name == "values" {
		name = filepath.Base(filepath.Dir(path))
		values = chartutil.CoalesceTables(parseValues(t, []byte(setByScript)), values)
	}
	return name, values
}

func TestChartRendersAsGolden(t *testing.T) {
	for _, path := range valueSets(t) {
		name, values := readValues(t, path)
		t.Run(name, func(t *testing.T) {
			got, err := render(t, values)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "render", name+".yaml")
			if *update {
				if err := errors.Join(os.MkdirAll(filepath.Dir(golden), 0o755), os.WriteFile(golden, []byte(got), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatalf("%v (-update writes it)", err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the render has changed (-update takes it over):\n%s", diff)
			}
		})
	}
}

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme, monitoring.AddToScheme, certmanager.AddToScheme,
	} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// decode decodes manifests strictly: an unknown or a repeated field is an error.
func decode(t *testing.T, manifests string) (objects []runtime.Object, err error) {
	t.Helper()
	scheme := newScheme(t)
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{Yaml: true, Strict: true})
	docs := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifests)))
	for {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(doc)) == 0 {
			continue
		}
		o, _, err := strict.Decode(doc, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("%w in\n%s", err, doc)
		}
		objects = append(objects, o)
	}
}

func TestManifestsAreWhatTheAPIServerTakes(t *testing.T) {
	kinds := map[string]bool{}
	for _, path := range valueSets(t) {
		name, values := readValues(t, path)
		t.Run(name, func(t *testing.T) {
			text, err := render(t, values)
			if err != nil {
				t.Fatal(err)
			}
			objects, err := decode(t, text)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				kinds[o.GetObjectKind().GroupVersionKind().Kind] = true
				if set, ok := o.(*appsv1.StatefulSet); ok {
					restricted(t, &set.Spec.Template.Spec)
				}
			}
		})
	}
	for _, kind := range []string{"StatefulSet", "Service", "ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount", "ServiceMonitor", "Certificate"} {
		if !kinds[kind] {
			t.Errorf("no set of values renders a %s", kind)
		}
	}
	if _, err := decode(t, "apiVersion: v1\nkind: Service\nspec: {typo: 1}\n"); err == nil {
		t.Error("an unknown field is taken")
	}
}

// restricted checks what the restricted Pod Security Standard asks for.
func restricted(t *testing.T, p *corev1.PodSpec) {
	t.Helper()
	if p.HostNetwork || p.HostPID || p.HostIPC || p.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Error("the pod is not restricted")
	}
	for _, c := range p.Containers {
		s := c.SecurityContext
		if *s.AllowPrivilegeEscalation || !*s.RunAsNonRoot || !*s.ReadOnlyRootFilesystem || len(s.Capabilities.Add) > 0 ||
			!slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("container %s is not restricted", c.Name)
		}
	}
	for _, v := range p.Volumes {
		if v.HostPath != nil {
			t.Errorf("volume %s is of the host", v.Name)
		}
	}
}

func TestWrongValuesAreRefused(t *testing.T) {
	image := "image: {tag: one}\ncluster: shop\n"
	good := image + "region: us-east\ncertificates: {secretName: s}\n"
	if _, err := render(t, parseValues(t, []byte(good))); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ values, want string }{
		"no region":      {image + "certificates: {secretName: s}\n", "region"},
		"no tag":         {"region: us-east\ncluster: shop\ncertificates: {secretName: s}\n", "tag"},
		"name":           {good + "peers: {EU: 'h:1'}\n", "EU"},
		"address":        {good + "peers: {eu: host}\n", "eu"},
		"unknown":        {good + "peeers: {}\n", "peeers"},
		"unknown deep":   {good + "persistence: {sise: 1Gi}\n", "sise"},
		"star, no hub":   {good + "topology: {kind: star}\n", "hub"},
		"hub, no star":   {good + "topology: {kind: mesh, hub: us-east}\n", "hub"},
		"no secret":      {image + "region: us-east\n", "secretName"},
		"no issuer":      {image + "region: us-east\ncertificates: {source: cert-manager}\n", "issuer"},
		"own setting":    {good + "config: {data: /tmp}\n", "data"},
		"short end":      {good + "terminationGracePeriodSeconds: 5\n", "terminationGracePeriodSeconds"},
		"replicas of it": {good + "podDisruptionBudget: {maxUnavailable: 2}\n", "maxUnavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := render(t, parseValues(t, []byte(test.values))); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestSettingsAreThoseOfServe(t *testing.T) {
	for _, path := range valueSets(t) {
		name, values := readValues(t, path)
		t.Run(name, func(t *testing.T) {
			text, err := render(t, values)
			if err != nil {
				t.Fatal(err)
			}
			objects, err := decode(t, text)
			if err != nil {
				t.Fatal(err)
			}
			help, err := os.ReadFile("../../cmd/testdata/help/meridian-serve.txt")
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				m, ok := o.(*corev1.ConfigMap)
				if !ok {
					continue
				}
				var settings map[string]any
				if err := sigsyaml.UnmarshalStrict([]byte(m.Data["serve.yaml"]), &settings); err != nil {
					t.Fatal(err)
				}
				for key := range settings {
					if !bytes.Contains(help, []byte(" --"+key+" ")) {
						t.Errorf("meridian serve has no --%s", key)
					}
				}
			}
		})
	}
}
