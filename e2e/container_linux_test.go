package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/e2e/cluster"
)

// imageUser is who the image runs as.
const imageUser = 65532

// podman is how containers are run. Where a machine forbids raising limits, runc
// must be told to leave them.
var podman = []string{"--runtime", "runc"}

// containerFlags are those of a region, as the production guide has them.
var containerFlags = []string{
	"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000",
	"--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges", "--no-healthcheck",
}

// A pod is a set of containers that go when the test ends.
type pod struct {
	t                    *testing.T
	dir, prefix, network string
	image                string
}

// needContainers skips the test where it cannot run.
func needContainers(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"podman", "buildah", "runc"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("NOT TESTED: the image and its containers: %v; install Debian's podman, buildah, runc and aardvark-dns", err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: the image and its containers: their networks need root")
	}
}

// run runs a command and returns what it wrote to standard output.
func (p *pod) run(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.t.Context()), 3*cluster.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.Bytes(), errOut.Bytes())
	}
	return strings.TrimSpace(out.String()), nil
}

func (p *pod) must(name string, args ...string) string {
	p.t.Helper()
	out, err := p.run(name, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

// podman runs podman.
func (p *pod) podman(args ...string) string {
	p.t.Helper()
	return p.must("podman", append(slices.Clone(podman), args...)...)
}

// meridian runs the program in the container of a region.
func (p *pod) meridian(region string, args ...string) (string, error) {
	return p.run("podman", append(append(slices.Clone(podman), "exec", p.name(region), "/meridian"), args...)...)
}

func (p *pod) name(region string) string { return p.prefix + "-" + region }

// newPod builds the binary and the image, and makes a network.
func newPod(t *testing.T) *pod {
	t.Helper()
	needContainers(t)
	p := &pod{t: t, dir: t.TempDir(), prefix: fmt.Sprintf("meridian-e2e-%d", os.Getpid())}
	p.network, p.image = p.prefix+"-wan", "localhost/"+p.prefix
	root := filepath.Join(p.dir, "root-fs")
	p.must("env", "BUILDFLAGS=", "VERSION=v0.0.0-e2e", "REVISION=cafe", "../deploy/build-static", filepath.Join(root, "meridian"))
	p.must("../deploy/root-fs", root)
	p.must("buildah", "bud", "--quiet", "--format", "docker", "--tag", p.image,
		"--build-arg", "VERSION=v0.0.0-e2e", "--build-arg", "REVISION=cafe", "--file", "../deploy/prebuilt.Dockerfile", root)
	t.Cleanup(func() { p.podman("rmi", "--force", p.image) })
	p.podman("network", "create", p.network)
	t.Cleanup(func() { p.podman("network", "rm", "--force", p.network) })
	return p
}

// start starts regions that know each other by the names of their containers.
func (p *pod) start(regions ...string) {
	p.t.Helper()
	certs := p.folder("certs")
	once := append(append([]string{"run", "--rm", "--network", "none", "--volume", certs + ":/certs"}, containerFlags...), p.image)
	p.podman(append(once, "certs", "init", "--dir", "/certs", "--cluster", cluster.Name)...)
	for _, r := range regions {
		p.podman(append(once, "certs", "issue", "--dir", "/certs", "--region", r)...)
	}
	for _, r := range regions {
		var peers []string
		for _, o := range regions {
			if o != r {
				peers = append(peers, o+"="+p.name(o)+":7400")
			}
		}
		args := append([]string{
			"run", "--detach", "--name", p.name(r), "--network", p.network,
			"--volume", certs + ":/certs:ro", "--volume", p.folder("data-"+r) + ":/data",
		}, containerFlags...)
		p.t.Cleanup(func() {
			if p.t.Failed() {
				log, _ := exec.Command("podman", "logs", p.name(r)).CombinedOutput()
				p.t.Logf("log of %s:\n%s", r, log)
			}
			p.podman("rm", "--force", "--time", "1", p.name(r))
		})
		p.podman(append(args, p.image, "serve", "--region", r, "--cluster", cluster.Name, "--peers", strings.Join(peers, ","))...)
	}
	for _, r := range regions {
		if _, err := p.meridian(r, "status", "--probe", "ready", "--wait", cluster.Patience.String()); err != nil {
			p.t.Fatal(err)
		}
	}
}

// folder makes a folder that the image's user may write.
func (p *pod) folder(name string) string {
	p.t.Helper()
	dir := filepath.Join(p.dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Chown(dir, imageUser, imageUser); err != nil {
		p.t.Fatal(err)
	}
	return dir
}

// put writes a document in a region.
func (p *pod) put(region, id, doc string) {
	p.t.Helper()
	if _, err := p.meridian(region, "put", "carts", id, doc); err != nil {
		p.t.Fatal(err)
	}
}

// await waits until regions show a document.
func (p *pod) await(id, want string, regions ...string) {
	p.t.Helper()
	for _, r := range regions {
		cluster.Await(p.t, cluster.Patience, id+" in "+r, func() (bool, string) {
			got, err := p.meridian(r, "get", "carts", id)
			return err == nil && compact(got) == want, fmt.Sprint(got, err)
		})
	}
}

func compact(s string) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(s)) != nil {
		return s
	}
	return b.String()
}

// link is the state of a link as a region sees it.
func (p *pod) link(from, to string) (string, error) {
	out, err := p.meridian(from, "status", "--json")
	if err != nil {
		return "", err
	}
	var s struct {
		Regions []struct {
			Region string
			Link   struct{ State string }
		}
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return "", err
	}
	for _, r := range s.Regions {
		if r.Region == to {
			return r.Link.State, nil
		}
	}
	return "", fmt.Errorf("%s does not know %s", from, to)
}

// TestContainersFormAClusterAndHeal runs three containers of the image on a
// network, takes one off it, and puts it back.
func TestContainersFormAClusterAndHeal(t *testing.T) {
	p := newPod(t)
	us, eu, ap := "us-east", "eu-west", "ap-south"
	p.start(us, eu, ap)
	p.put(us, "a", `{"v":1}`)
	p.await("a", `{"v":1}`, us, eu, ap)

	p.podman("network", "disconnect", p.network, p.name(eu))
	p.put(eu, "there", `{"eu":true}`)
	p.put(us, "here", `{"us":true}`)
	p.put(us, "a", `{"us":true,"v":1}`)
	p.put(eu, "a", `{"eu":true,"v":1}`)
	p.await("here", `{"us":true}`, us, ap)
	for _, gone := range []string{us, ap} {
		cluster.Await(t, cluster.Patience, gone+" to notice the cut", func() (bool, string) {
			state, err := p.link(gone, eu)
			return err == nil && state != "up", fmt.Sprint(state, err)
		})
	}
	if out, err := p.meridian(eu, "get", "carts", "here"); err == nil {
		t.Fatalf("a region without a network has %s", out)
	}
	if out, err := p.meridian(us, "get", "carts", "there"); err == nil {
		t.Fatalf("what was written in a region without a network got out: %s", out)
	}

	p.podman("network", "connect", p.network, p.name(eu))
	for _, doc := range [][2]string{
		{"here", `{"us":true}`}, {"there", `{"eu":true}`}, {"a", `{"eu":true,"us":true,"v":1}`},
	} {
		p.await(doc[0], doc[1], us, eu, ap)
	}

	if got := p.podman("image", "inspect", "--format", "{{.HealthCheck.Test}}", p.image); got != "[CMD /meridian status --probe ready]" {
		t.Errorf("the health check is %s", got)
	}
	if out, err := p.meridian(eu, "version"); err != nil || !strings.HasPrefix(out, "meridian v0.0.0-e2e (cafe)") {
		t.Errorf("the version is %q: %v", out, err)
	}
	for _, label := range [][2]string{{"version", "v0.0.0-e2e"}, {"revision", "cafe"}, {"licenses", "Apache-2.0"}} {
		if got := p.podman("image", "inspect", "--format", `{{index .Labels "org.opencontainers.image.`+label[0]+`"}}`, p.image); got != label[1] {
			t.Errorf("label %s: %q", label[0], got)
		}
	}
	if got := p.podman("image", "inspect", "--format", "{{.User}}", p.image); got != "65532:65532" {
		t.Errorf("the image runs as %q", got)
	}
	p.podman("stop", "--time", "20", p.name(ap))
	if got := p.podman("inspect", "--format", "{{.State.ExitCode}}", p.name(ap)); got != "0" {
		t.Errorf("SIGTERM ends the container with status %s", got)
	}
}

// TestTheTwoDockerfilesMakeOneImage compares the last stages.
func TestTheTwoDockerfilesMakeOneImage(t *testing.T) {
	var stages []string
	for _, name := range []string{"Dockerfile", "prebuilt.Dockerfile"} {
		b, err := os.ReadFile(filepath.Join("..", "deploy", name))
		if err != nil {
			t.Fatal(err)
		}
		_, stage, found := strings.Cut(string(b), "\nFROM scratch\n")
		if !found {
			t.Fatalf("%s has no last stage", name)
		}
		stage = strings.ReplaceAll(stage, " --from=build", "")
		stages = append(stages, strings.ReplaceAll(stage, " /root-fs/", " /"))
	}
	if strings.ReplaceAll(stages[0], "/root-fs", "") != stages[1] {
		t.Errorf("the stages differ:\n%s\n---\n%s", stages[0], stages[1])
	}
}
