package registry

import (
	"errors"
	"fmt"

	"github.com/spicelane/spicelane/harness/verdict"
)

// Find returns the state of a lane of `spicelane up`, or else of a running test.
func Find(name string) (State, error) {
	s, err := Registry{}.Load(name)
	if err == nil {
		return s, nil
	}
	for _, t := range RunningTests() {
		if t.Name == name {
			return t, nil
		}
	}
	return s, err
}

// FindReady returns the state of a lane, which must be up. If the lane has ended, the error has the
// verdict of its end.
func FindReady(name string) (State, error) {
	s, err := Find(name)
	if err != nil || s.State == StateReady {
		return s, err
	}
	why := s.Reason
	if why == "" {
		why = "see: spicelane logs " + name
	}
	e := &verdict.Error{Verdict: s.Verdict, Hop: s.Hop, Err: fmt.Errorf("lane %s is not up but %s: %s", name, s.State, why)}
	if e.Verdict == "" { // it was ended on request
		e.Verdict = verdict.Harness
	}
	return s, e
}

// FindControlled returns the state of a lane, which must be up and have a client to drive.
func FindControlled(name string) (State, error) {
	s, err := FindReady(name)
	if err == nil && s.ControlSocket == "" {
		err = &verdict.Error{Verdict: verdict.Harness, Op: "lane " + name, Err: errors.New("it has no client"), Hint: "it was brought up with --client none"}
	}
	return s, err
}
