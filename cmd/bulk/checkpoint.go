package bulk

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrCheckpoint is wrapped by what is wrong with the file of a checkpoint.
var ErrCheckpoint = errors.New("the import cannot go on from its checkpoint")

// A checkpoint says how much of an input has been imported, and into what. The
// hash is that of the records, so that another input is noticed.
type checkpoint struct {
	Format     int    `json:"format"`
	Cluster    string `json:"cluster"`
	Collection string `json:"collection"`
	IDs        string `json:"ids"` // where they come from
	Records    int    `json:"records"`
	SHA256     string `json:"sha256"`
}

const (
	checkpointFormat   = 1
	maxCheckpointBytes = 64 << 10
	checkpointMode     = 0o644
)

// A position is how far an import has come.
type position struct {
	path   string // "" if there is no file
	now    checkpoint
	before checkpoint // of the former run
	sum    hash.Hash
}

// openPosition reads the checkpoint of a former run, if there is one.
func openPosition(path string, now checkpoint) (*position, error) {
	now.Format = checkpointFormat
	p := &position{path: path, now: now, sum: sha256.New()}
	if path == "" {
		return p, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	if info.Size() > maxCheckpointBytes || json.NewDecoder(f).Decode(&p.before) != nil || p.before.Format != checkpointFormat {
		return nil, fmt.Errorf("%w: %s is not one, or of a newer format", ErrCheckpoint, path)
	}
	b := p.before
	if b.Cluster != now.Cluster || b.Collection != now.Collection || b.IDs != now.IDs {
		return nil, fmt.Errorf("%w: %s is of an import into %s of cluster %s with ids from %s; this one is into %s of %s with ids from %s",
			ErrCheckpoint, path, b.Collection, b.Cluster, b.IDs, now.Collection, now.Cluster, now.IDs)
	}
	return p, nil
}

// pass takes a document into account. It reports whether the former run has
// imported it already.
func (p *position) pass(d *document) (done bool, err error) {
	p.sum.Write(d.raw)
	p.sum.Write([]byte{'\n'})
	p.now.Records = d.number
	if d.number > p.before.Records {
		return false, nil
	}
	if d.number == p.before.Records && p.hash() != p.before.SHA256 {
		return true, fmt.Errorf("%w: the first %d documents are not those that %s is about", ErrCheckpoint, d.number, p.path)
	}
	return true, nil
}

func (p *position) hash() string { return hex.EncodeToString(p.sum.Sum(nil)) }

// ended checks that the input is not shorter than what was imported of it.
func (p *position) ended() error {
	if p.now.Records < p.before.Records {
		return fmt.Errorf("%w: the input has %d documents, %s is about %d", ErrCheckpoint, p.now.Records, p.path, p.before.Records)
	}
	return nil
}

// save writes how far the import has come, in place of what was there.
func (p *position) save() error {
	if p.path == "" {
		return nil
	}
	p.now.SHA256 = p.hash()
	b, err := json.Marshal(p.now)
	if err != nil {
		return err
	}
	return ReplaceFile(p.path, func(f *os.File) error {
		_, err := f.Write(append(b, '\n'))
		return err
	})
}

// ReplaceFile writes a file beside path and puts it in its place when it is whole.
func ReplaceFile(path string, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	err = write(f)
	err = errors.Join(err, f.Chmod(checkpointMode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
