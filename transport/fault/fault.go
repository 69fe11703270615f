// Package fault breaks links on request: it wraps a transport, and cuts, delays
// and drops what passes between this region and each other one. It is for
// demonstrations, drills and tests.
package fault

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// ErrInvalid is wrapped by what Validate and UnmarshalJSON return.
var ErrInvalid = errors.New("invalid fault")

// MaxDelay is the greatest delay, MaxFor the longest time for which a fault is set.
const (
	MaxDelay = time.Minute
	MaxFor   = 24 * time.Hour
)

// A State says whether anything passes.
type State string

// The states. The empty one stands for Up.
const (
	Up  State = "up"
	Cut State = "cut"
)

// A Direction says which way a fault works, as seen from this region.
type Direction string

// The directions. The empty one stands for Both.
const (
	Both Direction = "both"
	In   Direction = "in"
	Out  Direction = "out"
)

// A Fault is what is wrong with the link to a region. The zero Fault is nothing.
type Fault struct {
	// State Cut in both directions ends the link and keeps it from coming up
	// again; in one direction the link stays, and what is sent that way vanishes.
	State State
	// Delay holds up every message, in order, in each direction that the fault
	// works.
	Delay time.Duration
	// Loss is the share of live messages that vanish, drawn at random. Bulk
	// streams lose nothing: they stand for a transfer that repeats what is lost.
	Loss float64
	// Direction is which way the fault works.
	Direction Direction
	// For is how long the fault lasts, from when it is set; after that there is
	// again the last one that was set without an end. 0 is for good.
	For time.Duration
}

// Validate says what is wrong with f. The error wraps ErrInvalid.
func (f Fault) Validate() error {
	switch {
	case f.State != "" && f.State != Up && f.State != Cut:
		return fmt.Errorf("%w: state %q, use \"up\" or \"cut\"", ErrInvalid, f.State)
	case f.Direction != "" && f.Direction != Both && f.Direction != In && f.Direction != Out:
		return fmt.Errorf("%w: direction %q, use \"both\", \"in\" or \"out\"", ErrInvalid, f.Direction)
	case f.Delay < 0 || f.Delay > MaxDelay:
		return fmt.Errorf("%w: delay %v, use 0s to %v", ErrInvalid, f.Delay, MaxDelay)
	case f.For < 0 || f.For > MaxFor:
		return fmt.Errorf("%w: for %v, use 0s to %v", ErrInvalid, f.For, MaxFor)
	case f.Loss < 0 || f.Loss > 1 || math.IsNaN(f.Loss):
		return fmt.Errorf("%w: loss %v, use a share between 0 and 1", ErrInvalid, f.Loss)
	}
	return nil
}

// IsZero reports whether nothing is wrong.
func (f Fault) IsZero() bool { return f.State != Cut && f.Delay == 0 && f.Loss == 0 }

func (f Fault) in() bool  { return f.Direction != Out }
func (f Fault) out() bool { return f.Direction != In }

// off reports whether there must be no link at all.
func (f Fault) off() bool { return f.State == Cut && f.in() && f.out() }

// form is the JSON form of a fault.
type form struct {
	State     State     `json:"state,omitempty"`
	Delay     string    `json:"delay,omitempty"`
	Loss      float64   `json:"loss"`
	Direction Direction `json:"direction,omitempty"`
	For       string    `json:"for,omitempty"`
}

// MarshalJSON writes all members, For only if it is set.
func (f Fault) MarshalJSON() ([]byte, error) {
	out := form{State: f.State, Delay: f.Delay.String(), Loss: f.Loss, Direction: f.Direction}
	if out.State == "" {
		out.State = Up
	}
	if out.Direction == "" {
		out.Direction = Both
	}
	if f.For > 0 {
		out.For = f.For.String()
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads {"state": "cut"|"up", "delay": "80ms", "loss": 0.01,
// "direction": "both"|"in"|"out", "for": "30s"}. Members that are left out are as in the zero
// Fault, others are refused. The error wraps ErrInvalid.
func (f *Fault) UnmarshalJSON(b []byte) error {
	var in form
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows", ErrInvalid)
	}
	out := Fault{State: in.State, Loss: in.Loss, Direction: in.Direction}
	if in.Delay != "" {
		var err error
		if out.Delay, err = time.ParseDuration(in.Delay); err != nil {
			return fmt.Errorf("%w: delay %q, use a number with a unit, such as \"80ms\"", ErrInvalid, in.Delay)
		}
	}
	if in.For != "" {
		var err error
		if out.For, err = time.ParseDuration(in.For); err != nil {
			return fmt.Errorf("%w: for %q, use a number with a unit, such as \"30s\"", ErrInvalid, in.For)
		}
	}
	if err := out.Validate(); err != nil {
		return err
	}
	*f = out
	return nil
}
