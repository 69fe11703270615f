package sim_test

import (
	"bytes"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/meridiandb/meridian/e2e/sim"
)

// A mutant is a breakage of one or two lines of the product. Those marked as
// fixed are bugs that the simulation found; their seeds are in regressions.
type mutant struct {
	name     string
	pkg      string // folder below the module's root
	old, new string
	// caught is the check that is expected to find it, "" for any.
	caught string
	// seed is one that is known to find what is rare, and is tried first; 0 if none.
	seed uint64
	// with is a class of faults that every seed has, and that goes without other stores that are put back or
	// lost; "" for those that it draws.
	with sim.Fault
}

var mutants = []mutant{
	{
		name: "apply without looking at the dependencies", pkg: "region/core",
		old: "if !ok || !c.have.Covers(p.change.Deps) {", new: "if !ok {",
		caught: "checkI04CausalDelivery",
	},
	{
		name: "acknowledge what is not committed", pkg: "region/core",
		old: "if len(c.batch.Docs) > 0 || len(c.batch.Log) > 0 || len(c.batch.TrimLog) > 0 || snapshot || c.changed {", new: "if len(c.batch.Log)%4 != 3 && (len(c.batch.Docs) > 0 || len(c.batch.Log) > 0 || len(c.batch.TrimLog) > 0 || snapshot || c.changed) {",
	},
	{
		name: "reuse sequence numbers after a rollback", pkg: "region/core",
		old: "	c.replica = c.cfg.NewReplica()\n", new: "",
	},
	{
		name: "fixed: let a store that was put back go on as it was", pkg: "region/core",
		old: "	if cfg.Discontinuous {\n", new: "	if cfg.Discontinuous && false {\n",
	},
	{
		name: "fixed: let a store that was put back write before it has caught up", pkg: "region/core",
		old: "c.replica, c.announced, c.synced, c.founder, c.unmet = replica, false, false, false, 0", new: "c.replica, c.announced, c.synced, c.founder, c.unmet = replica, false, true, false, 0",
		caught: "checkI12StableIsStable",
	},
	{
		name: "fixed: wait no longer for a snapshot that takes longer", pkg: "region/core",
		old: `b.failed, b.peer, b.idle = b.peer, "", b.idle+1`, new: `b.failed, b.peer, b.idle = b.peer, "", 0`,
		caught: "checkConvergence", seed: 1973,
	},
	{
		name: "take catch-up from the origin only", pkg: "region/core",
		old: "if !c.canSupply(p, r, s.From) || n < s.From || p.cut.Get(r) >= s.From {", new: "if !c.canSupply(p, r, s.From) || n < s.From || p.cut.Get(r) >= s.From || c.catalog.Region(r) != name {",
		caught: "checkConvergence",
	},
	{
		name: "send some of what only some regions hold to all", pkg: "region/core",
		old: "	case o.residency == nil:\n", new: "	case o.residency == nil || len(o.bytes)%3 == 0:\n",
		caught: "checkResidency",
	},
	{
		name: "let a holder take a placeholder", pkg: "region/core",
		old: "if !r.HeldBy(c.cfg.Region) || !r.Withheld || r.Lost || c.losses[lossOf(ch)] {", new: "if true {",
		caught: "checkResidency",
	},
	{
		name: "take any donor for what only some regions hold", pkg: "region/core",
		old: "		if !s.held(col, s.from) {\n", new: "		if s.from == \"\" {\n",
	},
	{
		name: "apply nothing above the copy of a damaged document", pkg: "region/core",
		old: "if m.Collection != key.Collection || m.ID != key.ID {", new: "if m.Collection != key.Collection || m.ID != key.ID || m.ID != \"\" {",
	},
	{
		name: "leave the digests as they were when a document is repaired", pkg: "region/core",
		old: "	for _, i := range wrong {\n", new: "	for _, i := range wrong[:0] {\n",
		caught: "checkDigestsAreOfDocuments",
	},
	{
		name: "remember only requests that were made here", pkg: "region/core",
		old: "if ch.Request == nil {\n", new: "if ch.Request == nil || ch.Dot.Replica != c.replica {\n",
		caught: "checkOnce",
	},
	{
		name: "spend more than the share", pkg: "region/core",
		old: "delta < 0 && n < 0 && is.limited(up)", new: "delta < 0 && n < -2 && is.limited(up)",
		caught: "checkBounds",
	},
	{
		name: "delete while others have shares", pkg: "region/core",
		old: "if len(lack.Regions) > 0 {", new: "if len(lack.Regions) > 9 {",
		caught: "checkDeletesAll",
	},
	{
		name: "forget a context entry", pkg: "region/core",
		old:    "	m.Collection, m.ID = t.col.Incarnation, d.ID\n",
		new:    "	m.Collection, m.ID = t.col.Incarnation, d.ID\n	if len(m.Context) > 1 {\n		m.Context = m.Context[1:]\n	}\n",
		caught: "checkContext",
	},
	{
		name: "take held for stable", pkg: "region/core",
		old: "stable.Meet(p.counted)", new: "stable.Meet(p.report.Have)",
		caught: "checkI12StableIsStable",
	},
	{
		name: "count a report before what it names is here", pkg: "region/core",
		old: "if p.waiting.Len() > 0 && have.Covers(p.needs) {", new: "if p.waiting.Len() > 0 {",
		caught: "checkI12StableIsStable",
	},
	{
		name: "grant a home that not all regions know", pkg: "region/core",
		old: "return !c.sync.stable.Contains(d)", new: "return !c.have.Contains(d)",
		caught: "checkOneHome",
	},
	{
		name: "take writes while the home is only claimed", pkg: "region/core",
		old: "	case !h.Granted:\n", new: "	case false:\n",
		caught: "checkOneHome",
	},
	{
		name: "claim a home without asking anybody", pkg: "region/core",
		old: "next.Granted = now.Strict() && now.Granted && now.Replica == c.replica", new: "next.Granted = true",
		caught: "checkOneHome",
	},
	{
		name: "trim what is held here, not what is stable", pkg: "region/core",
		old: "changed := s.Trim(c.sync.stable)", new: "changed := s.Trim(c.have)",
		caught: "checkI14TrimmedLikeUntrimmed",
	},
	{
		name: "stamp without looking at the document", pkg: "region/core",
		old: "c.clock.Next(c.now, seen)", new: "c.clock.Next(c.now, 0)",
		caught: "checkI11Stamps",
	},
	{
		name: "take duplicates in", pkg: "region/core",
		old: "if ch.Dot.Seq <= have {", new: "if ch.Dot.Seq < have {",
	},
	{
		name: "let the inbox grow", pkg: "region/core",
		old: "if !next && b.bytes+size > b.limit {", new: "if !next && b.bytes+size > b.limit*64 {",
		caught: "checkI08Bounds",
	},
	{
		name: "let the cache grow", pkg: "region/core",
		old: "for c.size > c.limit && c.lru.Len() > 1 {", new: "for c.size > c.limit*64 && c.lru.Len() > 1 {",
		caught: "checkI08Memory",
	},
	{
		name: "let the queue for trimming grow", pkg: "region/core",
		old: "if q.queued[e.key] || len(q.items) >= q.limit {", new: "if q.queued[e.key] {",
		caught: "checkI08Memory",
	},
	{
		name: "leave a document of a batch out", pkg: "region/core",
		old: "	for _, e := range c.dirty {\n", new: "	for _, e := range c.dirty[:max(1, len(c.dirty)-1)] {\n",
	},
	{
		name: "ask once and never again", pkg: "region/core",
		old: "if c.uptime-q.progress < c.cfg.Timing.RequestTimeout {", new: "if q.id > 0 {",
		caught: "checkConvergence",
	},
	{
		name: "let a fresh write leave deletions behind", pkg: "crdt",
		old: "m.Fresh && x.Delete != NotDelete && hd.Deps.Contains(x.Dot) ||", new: "",
	},
	{
		name: "take no notice of a deletion that wins", pkg: "crdt",
		old: "return !hd.Deps.Contains(w) })", new: "return len(h.heads) > 9 && !hd.Deps.Contains(w) })",
	},
	{
		name: "lose the write after a restart", pkg: "region/core",
		old: "c.have = r.Vector()", new: "c.have = r.Vector().Meet(c.have)",
	},
	{
		name: "forget what stood in a document when it is read again", pkg: "region/core",
		old: "if e.fresh || c.conflicts.Idle() {", new: "if true {",
		caught: "checkI05SameConflicts",
	},
	{
		name: "look for conflicts only where there are several heads", pkg: "region/core",
		old: "if len(heads) < 2 && len(e.watched.now) == 0 {", new: "if len(heads) < 2 {",
		caught: "checkI05SameConflicts",
	},
	{
		name: "ask the application whoever else could", pkg: "region/core",
		old: "		return c.sync.reachable[i]\n", new: "		return c.cfg.Region\n",
		caught: "checkI07OneArbiter",
	},
	{
		name: "write an answer over versions that the application was not shown", pkg: "region/core",
		old: "Path: path, Covers: q.dots,", new: "Path: path, Covers: dotsOf(&f.Conflict),",
		caught: "checkI07OnlyAskedFor",
	},
	{
		name: "write an answer as if a client had", pkg: "region/core",
		old: "		m.Decision = crdt.DecisionAnswer\n", new: "",
		caught: "checkI07OnlyAskedFor",
	},
	{
		name: "forget what was decided while the versions stand", pkg: "crdt",
		old: "return stable.Contains(a) && !lives(a) })", new: "return stable.Contains(a) && (lives == nil || !lives(Dot{})) })",
		caught: "checkI14TrimmedLikeUntrimmed",
	},
	{
		name: "do not look again when the arbiter changes", pkg: "region/core",
		old: "queued: map[string]bool{}, scanning: true}", new: "queued: map[string]bool{}}",
		caught: "checkI07AllIsDecided",
	},
	{
		name: "fixed: look for what is open in the store only", pkg: "region/core",
		old: "			if e.key.Collection == dot {\n", new: "			if e.key.Collection == dot && false {\n",
		caught: "checkI07AllIsDecided",
	},
	{
		name: "fixed: cache documents of a collection that was not made", pkg: "region/core",
		old: "			c.cache.remove(t.entry)\n", new: "",
		caught: "step",
	},
	{
		name: "fixed: time requests by the wall clock", pkg: "region/core",
		old: "c.uptime += max(now.Sub(c.now), 0)", new: "c.uptime += now.Sub(c.now)",
	},
	{
		name: "fixed: let an old report outbid those after the clock went back", pkg: "region/core",
		old: "		c.sync.reportSeq = max(c.sync.reportSeq, r.Seq)\n", new: "",
		caught: "checkI12StableGrows",
	},
	{
		name: "fixed: forget a document whose last head was taken by a swallowed write", pkg: "crdt",
		old: "return len(h.heads)+len(h.wins) > 0 }", new: "return len(h.heads) > 0 }",
		caught: "checkI14TrimmedLikeUntrimmed",
	},
	{
		name: "fixed: count for stable what not all told who know a new replica", pkg: "region/core",
		old: "	if c.allKnown(stable) {\n", new: "	{\n",
		caught: "checkI12StableIsStable",
	},
	{
		name: "fixed: wait for what a donor has lost", pkg: "region/core",
		old: "c.met, p.owed = true, have", new: "c.met, p.owed = true, p.owed.Join(have)",
		caught: "checkConvergence",
	},
	{
		name: "fixed: keep what a store had sent before it was put back", pkg: "region/core",
		old: "	c.forgetFrom(region, r)\n", new: "",
		caught: "checkI12StableGrows", seed: 3011,
	},
	{
		name: "fixed: take a copy of a damaged document from the last request only", pkg: "region/core",
		old: "	if d.id == 0 {\n", new: "	{\n",
		caught: "checkConvergence", seed: 15331,
	},
	{
		name: "cut the log below what is held here", pkg: "region/core",
		old: "v := c.sync.held.Meet(c.sync.stable)", new: "v := c.have",
		caught: "checkI12CutBelowHeld",
	},
	{
		name: "replay what a copied document has already", pkg: "region/core",
		old: "			return s.have.Contains(d)\n", new: "			return s.have.Contains(d) && i == 0\n",
	},
	{
		name: "serve a snapshot whose parts are of different moments", pkg: "region/core",
		old: "		v = v.Join(b.segments[i].have)\n", new: "		v = b.segments[i-i].have\n",
	},
	{
		name: "keep the old documents under a snapshot", pkg: "region/core",
		old: "		c.batch.Docs = append(c.batch.Docs, store.DocPut{Key: key})\n", new: "",
	},
	{
		name: "fixed: serve a request for a snapshot twice", pkg: "region/core",
		old: "if m.ID > p.copies {", new: "if m.ID > 0 {",
		caught: "wire",
	},
	{
		name: "complete a removal before all have frozen", pkg: "region/core",
		old: "return slices.Equal(f.of, due) && f.as.Covers(c.firstsOf(m.Region))", new: "return f.as.Len() > 0 || len(due) > 0",
		with: sim.Removals,
	},
	{
		name: "make anew before others know of the replica", pkg: "region/core",
		old: "c.boot.phase == bootNone && c.synced && c.announced && c.writable() == nil", new: "c.boot.phase == bootNone",
		with: sim.Removals,
	},
	{
		name: "make anew what another store has made anew", pkg: "region/core",
		old: "case !a.skip.Contains(ch.Dot):", new: "case true:",
		caught: "checkMadeAnew", with: sim.Removals,
	},
	{
		name: "fixed: bring in one side of a conflict only", pkg: "region/core",
		old: "shown, b.versions = b.versions[0].Value, b.versions[1:]", new: "shown, b.versions = b.versions[0].Value, nil",
		caught: "checkMadeAnew", seed: 190, with: sim.Removals,
	},
	{
		name: "fixed: wait for regions that were given up", pkg: "region/core",
		old: "return c.isGivenUp(name) && !c.within(c.peers[name])", new: "return c.isGivenUp(name) && c.hears(c.peers[name])",
		caught: "checkConvergence", seed: 828, with: sim.Removals,
	},
	{
		name: "wait for holders of what is not held here", pkg: "region/core",
		old: " || c.boot.phase != bootCopying || !col.Settings.HeldBy(c.cfg.Region) {", new: " || c.boot.phase != bootCopying {",
		caught: "checkConvergence", seed: 4743, with: sim.Vaults,
	},
	{
		name: "do not keep what is empty", pkg: "region/core",
		old:    "if !col.Settings.HeldBy(c.cfg.Region) {\n\t\t\tcontinue\n\t\t}\n\t\tholders",
		new:    "if !col.Settings.HeldBy(c.cfg.Region) || c.digests.Of(dot).IsZero() {\n\t\t\tcontinue\n\t\t}\n\t\tholders",
		caught: "checkConvergence", seed: 2542, with: sim.Vaults,
	},
	{
		name: "rely on a hub that copies a snapshot", pkg: "region/core",
		old: "if c.peers[name].report.Copying {", new: "if false {",
		caught: "checkConvergence", seed: 3514, with: sim.Vaults,
	},
}

// unproven are breakages that no run has caught yet within 2,000 seeds: the first two were tried for that long, those of
// forgotten stamps and of a snapshot too early for 500 to 1,700 (they were caught before other draws came to lie beside
// theirs), the others for 300 seeds or not at all. Those of making anew are caught by core tests (claim_test.go).
var unproven = []mutant{
	{
		name: "fixed: let a new replica write before it was vouched for", pkg: "region/core",
		old: "if err := c.announce(); err != nil || !c.vouched() {", new: "if err := c.announce(); err != nil {",
		caught: "checkI12StableIsStable",
	},
	{
		name: "count without all members for peers", pkg: "region/core",
		old: "if !c.synced || c.boot.apart() || !v.", new: "if c.boot.apart() || !v.",
		caught: "checkI12StableIsStable",
	},
	{
		name: "forget where the logs of removed regions end", pkg: "region/core",
		old: "out.ended = c.ended.Join(final)", new: "out.ended = c.ended",
		with: sim.Removals,
	},
	{
		name: "link with a store that nobody knows while a region is removed", pkg: "region/core",
		old: "return c.catalog.frozen(&self, due) && (c.catalog", new: "return !c.catalog.frozen(&self, due) && (c.catalog",
		with: sim.Removals,
	},
	{
		name: "fixed: take a replica in that did not know of a removal", pkg: "region/core",
		old: "!slices.ContainsFunc(heads, p.change.Deps.Contains) {", new: "!slices.ContainsFunc(heads, p.change.Deps.Contains) && heads == nil {",
		with: sim.Removals,
	},
	{
		name: "fixed: wait for what only a region had that is removed", pkg: "region/core",
		old: "ok && slices.Contains(due, m.incarnation()) || c.gone(name) {", new: "ok && slices.Contains(due, m.incarnation()) && p == nil || c.gone(name) {",
		caught: "checkConvergence", with: sim.Removals,
	},
	{
		name: "make anew before another store has made what that builds on", pkg: "region/core",
		old: "if c.rebasing.leftTo = nil; c.awaits(&a) {", new: "if c.rebasing.leftTo = nil; c.awaits(&a) && c.rebasing.leftTo != nil {",
		caught: "checkMadeAnew", with: sim.Removals,
	},
	{
		name: "make anew what another store claims at the same moment", pkg: "region/core",
		old: "if x.compare(claims[i]) < 0 && x.from", new: "if x.by.Compare(by) < -1 && x.from",
		caught: "checkMadeAnew", with: sim.Removals,
	},
	{
		name: "fixed: lose what a deletion that wins swallows", pkg: "region/core",
		old: "if d.swallowed(merged) {", new: "if d.swallowed(merged) && d.state == nil {",
		caught: "checkMadeAnew", with: sim.Removals,
	},
	{
		name: "fixed: remove regions where it is not known whose cluster it is", pkg: "region/core",
		old: "	if err := c.mayDecide(); err != nil {\n		return RemovalReceipt{}, err\n	}\n", new: "",
		caught: "checkConvergence", with: sim.Removals,
	},
	{
		name: "forget the stamps of forgotten documents with a snapshot", pkg: "region/core",
		old: "	c.forgotten = max(c.forgotten, m.Forgotten)\n", new: "",
		caught: "checkI11Stamps",
	},
	{
		name: "answer from an older clock than was shown", pkg: "region/core",
		old: "	b = binary.AppendUvarint(b, uint64(c.forgotten))\n", new: "	b = binary.AppendUvarint(b, 0)\n",
	},
	{
		name: "fixed: take a snapshot before it is clear whose changes the store has", pkg: "region/core",
		old: `if c.fenced != "" || c.suspect != "" {`, new: `if c.fenced != "" {`,
		caught: "checkI02ReplicaIsNew",
	},
}

const root = "../.."

// mutate finds the file of a mutant and returns its name and what becomes of it.
func mutate(t *testing.T, m mutant) (file string, mutated []byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, m.pkg, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	places := 0
	for _, f := range files {
		src, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(src, []byte(m.old)); n > 0 && !strings.HasSuffix(f, "_test.go") {
			places += n
			file, mutated = f, bytes.Replace(src, []byte(m.old), []byte(m.new), 1)
		}
	}
	if places != 1 {
		t.Fatalf("%s: %s has %d places to break, not one: %s", m.name, m.pkg, places, m.old)
	}
	return file, mutated
}

// TestMutantsApply keeps the list in step with the code: each has its place, and
// what it makes of that compiles. That each is caught is TestMutants, which takes
// minutes: go test -tags mutants -run TestMutants -v -timeout 40m ./e2e/sim
func TestMutantsApply(t *testing.T) {
	packages := map[string]*checked{}
	for _, m := range slices.Concat(mutants, unproven) {
		file, mutated := mutate(t, m)
		if packages[m.pkg] == nil {
			packages[m.pkg] = load(t, m.pkg)
		}
		if err := packages[m.pkg].with(file, mutated); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

// A checked package can be checked for types with one of its files replaced.
type checked struct {
	set      *token.FileSet
	files    map[string]*ast.File
	importer types.Importer
}

func load(t *testing.T, pkg string) *checked {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", "./"+pkg)
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		exports[path] = file
	}
	c := &checked{set: token.NewFileSet(), files: map[string]*ast.File{}}
	c.importer = importer.ForCompiler(c.set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	paths, err := filepath.Glob(filepath.Join(root, pkg, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range paths {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		if c.files[f], err = parser.ParseFile(c.set, f, nil, parser.SkipObjectResolution); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// with checks the package with other contents of a file.
func (c *checked) with(file string, src []byte) error {
	f, err := parser.ParseFile(c.set, file, src, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	files := maps.Clone(c.files)
	files[file] = f
	config := types.Config{Importer: c.importer}
	_, err = config.Check(filepath.Base(filepath.Dir(file)), c.set, slices.Collect(maps.Values(files)), nil)
	return err
}
