package snapshot

import "fmt"

// earlierResult returns the result of a move that was finished before this run, nil if it was
// not. The source may be gone by then.
func (r *moveRun) earlierResult() *Result {
	t := r.target.state
	if t.record == nil || t.record.Phase != PhaseDone || t.mark != nil || t.record.From != r.Source.Location || !r.isOurs(t) {
		return nil
	}
	return &Result{Record: *t.record}
}

// isOurs reports whether a store is of this virtual cluster, or of none.
func (r *moveRun) isOurs(s *state) bool { return s.cluster == "" || s.cluster == r.Cluster }

// checkTarget returns why the target must not be written to, nil if it may. It may
// have what an interrupted move has left, or what was moved away from it earlier.
func (r *moveRun) checkTarget() error {
	t := r.target.state
	switch {
	case !r.isOurs(t):
		return fmt.Errorf("cannot move to %s: it belongs to another virtual cluster, with anchor %s", r.Target.Location, t.cluster)
	case t.isEmpty():
		return nil
	case t.record != nil && t.record.Phase != PhaseDone:
		return nil
	case t.mark != nil && t.mark.Phase == PhaseMoved:
		return nil
	}
	return fmt.Errorf("cannot move to %s: it is not empty; empty it, or remove %s to use it as it is",
		r.Target.Location, moveFromSetting)
}

// isDecided reports whether the mark in the source was finished by the move that
// the target records.
func (r *moveRun) isDecided() bool {
	mark, record := r.source.state.mark, r.target.state.record
	return mark != nil && mark.Phase == PhaseMoved && record != nil && record.ID == mark.ID
}

// checkSource returns why the source must not be moved, nil if it may.
func (r *moveRun) checkSource() error {
	s, where := r.source.state, r.Source.Location
	switch {
	case !r.isOurs(s):
		return fmt.Errorf("cannot move from %s: it belongs to another virtual cluster, with anchor %s", where, s.cluster)
	case s.mark != nil && s.mark.Phase == PhaseMoved:
		return fmt.Errorf("cannot move from %s: it was moved to %s on %s and is out of date", where, s.mark.To, s.mark.Time.Format(timeFormat))
	case s.mark.isHeldByOther(r.By, r.Clock.Now()):
		return fmt.Errorf("waiting for %s, which moves %s to %s", s.mark.By, where, s.mark.To)
	case s.record != nil && s.record.Phase != PhaseDone:
		return fmt.Errorf("cannot move from %s: a move from %s to it is not finished", where, s.record.From)
	case s.keys == 0:
		return fmt.Errorf("cannot move from %s: %w", where, errNoContent)
	case s.cluster == "" && !r.Source.OnVolume:
		return fmt.Errorf("cannot move from %s: it has no identity, so that nobody knows whose it is", where)
	}
	return nil
}
