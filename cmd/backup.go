package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/meridiandb/meridian/api/client"
	"github.com/meridiandb/meridian/cmd/bulk"
	"github.com/meridiandb/meridian/crdt"
	"github.com/meridiandb/meridian/region/backup"
	"github.com/meridiandb/meridian/region/badgerstore"
)

// backupJSON is what backup and restore print for programs.
type backupJSON struct {
	backup.Header
	backup.Summary
	Seconds float64 `json:"seconds"`
}

func newBackup(a *app) *cobra.Command {
	var (
		since         string
		quiet, asJSON bool
	)
	c := &cobra.Command{
		Use:   "backup FILE|-",
		Short: "Back up all that a region has, while it runs",
		Long: `Write a backup of all documents, the log and the settings of one region, as they are at one
moment, while reads and writes go on. Any one region will do: all of them have the same. Older
versions of documents, which writes can be based on for a while, are left out.

With --since it has only what has changed since an earlier backup, which is read and checked
first. Restoring then takes the full backup and each incremental one, in their order. That
works as long as the region's log reaches back to the earlier backup.

The backup is compressed and has a checksum; a file is put in its place when it is complete.
The summary goes to standard output, or to standard error if the backup goes there.`,
		Example: `  meridian backup monday.backup
  meridian backup --since monday.backup tuesday.backup
  meridian backup - | ssh vault 'cat > monday.backup'
  meridian restore monday.backup tuesday.backup --data data/us-east`,
		GroupID: groupBulk,
		Args:    exactArgs("FILE"),
	}
	t := a.addTarget(c)
	fs := c.Flags()
	fs.StringVar(&since, "since", "", "an earlier backup `file`: write only what has changed since")
	fs.BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	fs.BoolVar(&asJSON, "json", false, "print the summary as JSON, for programs")
	c.RunE = func(c *cobra.Command, args []string) error {
		cl, err := t.connect(c)
		if err != nil {
			return err
		}
		start := time.Now()
		base, position := "", ""
		if since != "" {
			h, err := a.checkBackup(c, since, quiet)
			if err != nil {
				return err
			}
			base, position = h.ID, h.Position()
		}
		var done backupJSON
		write := func(w io.Writer) (err error) {
			done.Header, done.Summary, err = a.receiveBackup(c.Context(), cl, w, base, position, quiet)
			return err
		}
		summary := a.out
		if args[0] == "-" {
			summary, err = a.err, write(a.out)
		} else {
			err = bulk.ReplaceFile(args[0], func(f *os.File) error { return errors.Join(write(f), f.Sync()) })
		}
		if err != nil {
			return err
		}
		done.Seconds = time.Since(start).Seconds()
		return a.printBackup(summary, &done, asJSON, quiet)
	}
	return c
}

// receiveBackup copies a backup and checks it on the way.
func (a *app) receiveBackup(ctx context.Context, cl *client.Client, w io.Writer, base, position string, quiet bool) (backup.Header, backup.Summary, error) {
	body, err := cl.Backup(ctx, base, position)
	if err != nil {
		return backup.Header{}, backup.Summary{}, err
	}
	defer body.Close()
	show := a.newProgress(quiet, "backing up", 0)
	defer show.end()
	return backup.Check(io.TeeReader(body, w), func(s backup.Summary) { show.show(int(s.Documents), int64(s.Bytes)) })
}

// checkBackup reads an earlier backup.
func (a *app) checkBackup(c *cobra.Command, path string, quiet bool) (backup.Header, error) {
	f, err := openBackup(c, path)
	if err != nil {
		return backup.Header{}, err
	}
	defer f.Close()
	show := a.newProgress(quiet, "checking "+filepath.Base(path), 0)
	defer show.end()
	h, _, err := backup.Check(f, func(s backup.Summary) { show.show(int(s.Documents), int64(s.Bytes)) })
	if err != nil {
		return h, fmt.Errorf("%s: %w", path, err)
	}
	return h, nil
}

func openBackup(c *cobra.Command, path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, usagef(c, "there is no file %s", path)
	}
	return f, err
}

func (a *app) printBackup(w io.Writer, done *backupJSON, asJSON, quiet bool) error {
	switch {
	case asJSON:
		sink := &app{out: w}
		return sink.printJSON(done)
	case quiet:
		return nil
	}
	kind := "full"
	if !done.Full() {
		kind = "incremental"
	}
	_, err := fmt.Fprintf(w, "%s of %s, %s: %s, %s, %s, in %.1f s\n", done.ID, printable(done.Region), kind,
		count(int(done.Documents), "document"), count(int(done.Changes), "change"), byteSize(int64(done.Bytes)), done.Seconds)
	return err
}

func newRestore(a *app) *cobra.Command {
	var (
		data          string
		quiet, asJSON bool
	)
	c := &cobra.Command{
		Use:   "restore FILE… --data DIR",
		Short: "Make a data folder from a backup",
		Long: `Restore a full backup, and the incremental ones that followed it in their order, into a folder
that is empty or does not exist. "-" reads one from standard input. The backups are checked
on the way; the folder is put in its place when it is complete.

The folder can be served as any region of the same cluster, or of a new one. It is a new
replica: before it takes writes it fetches from its peers all that they have, and with it
what was written after the backup, in the lost store too. Changes that no other region had
received are gone. For a whole cluster that is lost, restore a backup in each region.`,
		Example: `  meridian restore monday.backup tuesday.backup --data data/us-east
  meridian serve --region us-east --data data/us-east …`,
		GroupID: groupBulk,
		Args:    needArgs("FILE"),
	}
	fs := c.Flags()
	fs.StringVar(&data, "data", "", "the `folder` to make (needed)")
	fs.BoolVarP(&quiet, "quiet", "q", false, "show no progress")
	fs.BoolVar(&asJSON, "json", false, "print the summary as JSON, for programs")
	c.RunE = func(c *cobra.Command, args []string) error {
		if data == "" {
			return usagef(c, "--data is missing")
		}
		start := time.Now()
		in, closeAll, err := a.openBackups(c, args)
		defer closeAll()
		if err != nil {
			return err
		}
		show := a.newProgress(quiet, "restoring", 0)
		h, n, err := restore(c.Context(), data, in, func(s backup.Summary) { show.show(int(s.Documents), int64(s.Bytes)) })
		show.end()
		if err != nil {
			return err
		}
		done := &backupJSON{h, n, time.Since(start).Seconds()}
		if asJSON || quiet {
			return a.printBackup(a.out, done, asJSON, quiet)
		}
		_, err = fmt.Fprintf(a.out, "%s is as %s was at %s: %s, %s, %s, in %.1f s\n", data, printable(h.Region), h.Created.Local().Format(time.DateTime),
			count(int(n.Documents), "document"), count(int(n.Changes), "change"), byteSize(int64(n.Bytes)), done.Seconds)
		return err
	}
	return c
}

// openBackups opens files, and standard input for "-".
func (a *app) openBackups(c *cobra.Command, paths []string) (in []io.Reader, closeAll func(), err error) {
	var files []*os.File
	closeAll = func() {
		for _, f := range files {
			_ = f.Close() // it was only read
		}
	}
	for _, path := range paths {
		if path == "-" {
			in = append(in, a.in)
			continue
		}
		f, err := openBackup(c, path)
		if err != nil {
			return nil, closeAll, err
		}
		files = append(files, f)
		in = append(in, f)
	}
	return in, closeAll, nil
}

// restore makes the store beside its place, and puts it there when it is complete.
func restore(ctx context.Context, dir string, in []io.Reader, progress func(backup.Summary)) (backup.Header, backup.Summary, error) {
	fail := func(err error) (backup.Header, backup.Summary, error) { return backup.Header{}, backup.Summary{}, err }
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fail(err)
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fail(advise(fmt.Errorf("%s is not empty", dir), "Name a new folder. Keep the old one until the restored region has caught up."))
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail(err)
	}
	replica, err := uuid.NewV7()
	if err != nil {
		return fail(err)
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fail(err)
	}
	tmp, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+".restoring-*")
	if err != nil {
		return fail(err)
	}
	st, err := badgerstore.Open(tmp, badgerstore.Options{})
	if err != nil {
		return fail(errors.Join(err, os.RemoveAll(tmp)))
	}
	h, n, err := backup.Restore(ctx, st, crdt.ReplicaID(replica), in, progress)
	if err = errors.Join(err, st.Close()); err != nil {
		return fail(errors.Join(err, os.RemoveAll(tmp)))
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fail(err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fail(err)
	}
	f, err := os.Open(parent)
	if err != nil {
		return fail(err)
	}
	return h, n, errors.Join(f.Sync(), f.Close())
}
