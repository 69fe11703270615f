package api

import (
	"encoding/json"
	"net/http"
	"time"
)

// MaxClockOffset is how far the clock of a region can be shifted, either way.
const MaxClockOffset = 24 * time.Hour

// A Clock is one that can be shifted.
type Clock interface {
	// Offset is how far it is ahead of the true time.
	Offset() time.Duration
	// SetOffset lets it jump to a new offset. Any goroutine may call it.
	SetOffset(time.Duration)
}

// A clockFault is how far a clock is ahead, as text.
type clockFault struct {
	Offset string `json:"offset"`
}

const clockExample = `{"offset": "-1h30m"}`

// clock returns the region's clock, if it can be shifted.
func (s *Server) clock() (Clock, error) {
	if s.cfg.Clock == nil {
		return nil, problemf(faultsOff, "the clock can be shifted only where the server was started with --fault-injection")
	}
	return s.cfg.Clock, nil
}

func (s *Server) getClock(x *exchange, r *http.Request) error {
	c, err := s.clock()
	if err != nil {
		return err
	}
	return x.answerJSON(r, http.StatusOK, clockFault{c.Offset().String()})
}

func (s *Server) putClock(x *exchange, r *http.Request) error {
	c, err := s.clock()
	if err != nil {
		return err
	}
	if q := parseQuery(r); q.err != nil {
		return q.err
	}
	if err := needJSON(r); err != nil {
		return err
	}
	body, err := readBody(r, MaxSettingsBytes)
	if err != nil {
		return err
	}
	defer body.release()
	if err := checkJSON(body.b); err != nil {
		return err
	}
	var f clockFault
	if err := json.Unmarshal(body.b, &f); err != nil {
		return problemf(invalid, "%v; the fault of a clock is such as %s", err, clockExample)
	}
	d, err := time.ParseDuration(f.Offset)
	if err != nil {
		return problemf(invalid, "the offset is no duration: write %s", clockExample)
	}
	if d.Abs() > MaxClockOffset {
		return problemf(invalid, "the offset is more than %v", MaxClockOffset)
	}
	c.SetOffset(d)
	s.log.Warn("the clock was shifted", "offset", d)
	return x.answerJSON(r, http.StatusOK, clockFault{d.String()})
}
