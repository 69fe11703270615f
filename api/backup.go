package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/meridiandb/meridian/region"
	"github.com/meridiandb/meridian/region/backup"
)

const (
	// MediaBackup is the media type of a backup.
	MediaBackup = "application/vnd.meridian.backup"
	// maxBackups is how many backups are made at a time.
	maxBackups = 2
	// backupWrite is how long a client may take in nothing before it is dropped.
	backupWrite = time.Minute
)

var backupMedia = []string{MediaBackup}

// getBackup streams a backup. One that breaks off lacks its end, and the
// connection is ended without one.
func (s *Server) getBackup(x *exchange, r *http.Request) error {
	q := parseQuery(r, "since", "base")
	since, id := q.text("since"), q.text("base")
	if q.err != nil {
		return q.err
	}
	if (since == "") != (id == "") || len(id) > maxBackupID {
		return problemf(malformedRequest, "\"since\", the position of an earlier backup, and \"base\", its id, go together")
	}
	var base *region.BackupBase
	if id != "" {
		have, err := backup.ParsePosition(since)
		if err != nil {
			return problemf(malformedRequest, "\"since\" is not the position of a backup: %v", err)
		}
		base = &region.BackupBase{ID: id, Have: have}
	}
	if r.Method == http.MethodHead {
		x.Header()["Content-Type"] = backupMedia
		x.empty(r, http.StatusOK)
		return nil
	}
	if s.backups.Add(1) > maxBackups {
		s.backups.Add(-1)
		return problemf(busy, "%d backups are being made already", maxBackups)
	}
	defer s.backups.Add(-1)
	out := &backupStream{x: x, conn: http.NewResponseController(x)}
	x.feed = true // it takes as long as it takes
	h, n, err := s.region.Backup(r.Context(), out, base)
	switch {
	case err == nil:
		s.log.Info("a backup was made", "id", h.ID, "base", h.Base, "documents", n.Documents, "changes", n.Changes, "bytes", n.Bytes, "from", r.RemoteAddr)
		return nil
	case x.status == 0:
		x.feed = false
		return err
	default:
		s.log.Warn("a backup broke off", "id", h.ID, "error", err, "from", r.RemoteAddr)
		panic(http.ErrAbortHandler)
	}
}

// maxBackupID bounds the id of a backup, which is a UUID.
const maxBackupID = 64

// A backupStream is the body of the answer.
type backupStream struct {
	x    *exchange
	conn *http.ResponseController
}

func (b *backupStream) Write(p []byte) (int, error) {
	if b.x.status == 0 {
		h := b.x.Header()
		h["Content-Type"], h["Cache-Control"], h["X-Content-Type-Options"] = backupMedia, noStore, noSniff
		h[HeaderStaleness] = b.x.s.staleness()
		if err := b.conn.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return 0, err
		}
	}
	if err := b.conn.SetWriteDeadline(time.Now().Add(backupWrite)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return b.x.Write(p)
}
