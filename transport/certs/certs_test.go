package certs_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meridiandb/meridian/transport/certs"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func folder(t *testing.T, regions ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tls")
	must(t, certs.InitAuthority(dir, "demo", certs.Validity{}))
	for _, r := range regions {
		must(t, certs.Issue(dir, r, []string{"db.example.com", "192.0.2.7"}, certs.Validity{}))
	}
	return dir
}

func TestRegionsOfAFolderKnowEachOther(t *testing.T) {
	dir := folder(t, "us-east", "eu-west")
	us, err := certs.Load(dir, "us-east", nil)
	must(t, err)
	eu, err := certs.Load(dir, "eu-west", nil)
	must(t, err)
	a, err := us.Credentials()
	must(t, err)
	b, err := eu.Credentials()
	must(t, err)
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		id, err := a.Verify([]*x509.Certificate{b.Certificate.Leaf}, time.Now(), usage)
		if err != nil || id.String() != "meridian://demo/eu-west" {
			t.Errorf("got %s, %v", id, err)
		}
	}
	if l := b.Certificate.Leaf; l.DNSNames[0] != "db.example.com" || l.IPAddresses[0].String() != "192.0.2.7" {
		t.Errorf("hosts %v, %v", l.DNSNames, l.IPAddresses)
	}
	for file, mode := range map[string]os.FileMode{"ca.key": 0o600, "us-east.key": 0o600, "ca.crt": 0o644, "us-east.crt": 0o644} {
		info, err := os.Stat(filepath.Join(dir, file))
		must(t, err)
		if got := info.Mode().Perm(); got&^mode != 0 {
			t.Errorf("%s has mode %o", file, got)
		}
	}
}

func TestNothingIsOverwritten(t *testing.T) {
	dir := folder(t, "us-east")
	before, err := os.ReadFile(filepath.Join(dir, "us-east.key"))
	must(t, err)
	if err := certs.InitAuthority(dir, "other", certs.Validity{}); !errors.Is(err, certs.ErrExists) {
		t.Errorf("InitAuthority: %v", err)
	}
	if err := certs.Issue(dir, "us-east", nil, certs.Validity{}); !errors.Is(err, certs.ErrExists) {
		t.Errorf("Issue: %v", err)
	}
	must(t, os.Remove(filepath.Join(dir, "us-east.crt")))
	if err := certs.Issue(dir, "us-east", nil, certs.Validity{}); !errors.Is(err, certs.ErrExists) {
		t.Errorf("Issue with the key there: %v", err)
	}
	after, err := os.ReadFile(filepath.Join(dir, "us-east.key"))
	must(t, err)
	if !bytes.Equal(before, after) {
		t.Error("the key has changed")
	}
}

func TestMissingFilesNameTheCommandThatMakesThem(t *testing.T) {
	empty := t.TempDir()
	dir := folder(t)
	for _, test := range []struct {
		err  error
		want string
	}{
		{certs.Issue(empty, "us-east", nil, certs.Validity{}), "meridian certs init --dir " + empty + " --cluster"},
		{load(empty, "us-east"), "meridian certs init --dir " + empty + " --cluster"},
		{load(dir, "us-east"), "meridian certs issue --dir " + dir + " --region us-east"},
	} {
		if !errors.Is(test.err, certs.ErrMissing) || !strings.Contains(test.err.Error(), test.want) {
			t.Errorf("got %v", test.err)
		}
	}
}

func load(dir, region string) error {
	_, err := certs.Load(dir, region, nil)
	return err
}

func TestLoadRefusesWhatDoesNotBelongTogether(t *testing.T) {
	dir, other := folder(t, "us-east", "eu-west"), folder(t, "us-east")
	copyTo := func(from, to string) {
		t.Helper()
		b, err := os.ReadFile(from)
		must(t, err)
		must(t, os.WriteFile(to, b, 0o600))
	}
	fresh := func(files map[string]string) string {
		t.Helper()
		d := t.TempDir()
		for to, from := range files {
			copyTo(from, filepath.Join(d, to))
		}
		return d
	}
	at := filepath.Join
	for name, test := range map[string]struct {
		files map[string]string
		want  error
	}{
		"foreign authority":   {map[string]string{"ca.crt": at(other, "ca.crt"), "us-east.crt": at(dir, "us-east.crt"), "us-east.key": at(dir, "us-east.key")}, certs.ErrAuthority},
		"another key":         {map[string]string{"ca.crt": at(dir, "ca.crt"), "us-east.crt": at(dir, "us-east.crt"), "us-east.key": at(dir, "eu-west.key")}, certs.ErrFile},
		"another region":      {map[string]string{"ca.crt": at(dir, "ca.crt"), "us-east.crt": at(dir, "eu-west.crt"), "us-east.key": at(dir, "eu-west.key")}, certs.ErrRegion},
		"authority as region": {map[string]string{"ca.crt": at(dir, "ca.crt"), "us-east.crt": at(dir, "ca.crt"), "us-east.key": at(dir, "ca.key")}, certs.ErrNoIdentity},
		"no authority":        {map[string]string{"ca.crt": at(dir, "us-east.key"), "us-east.crt": at(dir, "us-east.crt"), "us-east.key": at(dir, "us-east.key")}, certs.ErrFile},
	} {
		if err := load(fresh(test.files), "us-east"); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := certs.Issue(fresh(map[string]string{"ca.crt": at(dir, "us-east.crt"), "ca.key": at(dir, "us-east.key")}), "x", nil, certs.Validity{}); !errors.Is(err, certs.ErrFile) {
		t.Errorf("a region as authority: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"", "-a", "a-", "A", "a.b", "a/b", "a b", "ä", "a:b", strings.Repeat("a", 64)} {
		if err := certs.CheckName(name); !errors.Is(err, certs.ErrName) {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := certs.NewAuthority(name, certs.Validity{}); !errors.Is(err, certs.ErrName) {
			t.Errorf("authority %q: %v", name, err)
		}
		if err := certs.Issue(t.TempDir(), name, nil, certs.Validity{}); err == nil {
			t.Errorf("region %q", name)
		}
		if err := load(t.TempDir(), name); !errors.Is(err, certs.ErrName) {
			t.Errorf("Load %q: %v", name, err)
		}
	}
	for _, name := range []string{"a", "7", "us-east-1", strings.Repeat("a", 63)} {
		if err := certs.CheckName(name); err != nil {
			t.Error(err)
		}
	}
	if err := certs.Issue(folder(t), "ca", nil, certs.Validity{}); !errors.Is(err, certs.ErrName) {
		t.Errorf("region ca: %v", err)
	}
}

func TestValidityRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := certs.NewAuthority("demo", certs.Validity{Authority: 48 * time.Hour, Region: 24 * time.Hour})
		must(t, err)
		c, err := a.Issue("us-east")
		must(t, err)
		check := func(after time.Duration, want error) {
			t.Helper()
			_, err := c.Verify([]*x509.Certificate{c.Certificate.Leaf}, time.Now().Add(after), x509.ExtKeyUsageClientAuth)
			if !errors.Is(err, want) {
				t.Errorf("after %v: %v", after, err)
			}
		}
		check(-30*time.Minute, nil) // for clocks that are behind
		check(-2*time.Hour, certs.ErrExpired)
		check(23*time.Hour, nil)
		check(25*time.Hour, certs.ErrExpired)
		time.Sleep(36 * time.Hour)
		c, err = a.Issue("eu-west")
		must(t, err)
		if got := time.Until(c.Certificate.Leaf.NotAfter); got > 12*time.Hour {
			t.Errorf("valid for %v, longer than the authority", got)
		}
	})
	if _, err := certs.NewAuthority("demo", certs.Validity{Region: -1}); err == nil {
		t.Error("negative validity")
	}
}

// A region whose certificate has run out still starts: its clients need it.
func TestExpiredCertificateIsLoadedWithALogLine(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	must(t, certs.InitAuthority(dir, "demo", certs.Validity{}))
	must(t, certs.Issue(dir, "us-east", nil, certs.Validity{Region: time.Nanosecond}))
	var log bytes.Buffer
	if _, err := certs.Load(dir, "us-east", slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("log: %s", &log)
	}
}

func TestDerive(t *testing.T) {
	a, err := certs.NewAuthority("demo", certs.Validity{})
	must(t, err)
	c, err := a.Issue("us-east")
	must(t, err)
	one, ok := c.Derive("one")
	again, _ := c.Derive("one")
	two, _ := c.Derive("two")
	if !ok || one != again || one == two || one == [32]byte{} {
		t.Errorf("%v: %x, %x, %x", ok, one, again, two)
	}
}
