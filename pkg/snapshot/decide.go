package snapshot

import (
	"context"
	"errors"
	"fmt"
)

// errSourceChanged is the error of a copy that is not complete any more.
var errSourceChanged = errors.New("another replica has written to it during the move")

// verify compares the target with what was copied, and records the result. A source
// that others can reach is read once more.
func (r *moveRun) verify(ctx context.Context) error {
	copied, err := newestContent(ctx, r.target.client)
	if err != nil {
		return err
	}
	got, err := verify(ctx, r.record.Digest, &content{r.source.client, r.record.Revision}, copied)
	if err != nil {
		return fmt.Errorf("the copy in %s is not complete: %w", r.Target.Location, err)
	}
	r.Report("Verified", "digest", got.String())
	if err := r.At(PointVerified); err != nil {
		return err
	}
	if err := r.verifyUnchanged(ctx); err != nil {
		return err
	}
	if err := r.writeIdentity(ctx); err != nil {
		return err
	}
	r.record.Phase = PhaseCopied
	if err := r.writeRecord(ctx); err != nil {
		return err
	}
	return r.At(PointRecordCopied)
}

// verifyUnchanged compares the source as it is now with what was copied. Nobody else
// can write to a store on the volume.
func (r *moveRun) verifyUnchanged(ctx context.Context) error {
	if r.Source.OnVolume {
		return r.At(PointSourceUnchanged)
	}
	now, err := newestContent(ctx, r.source.client)
	if err != nil {
		return err
	}
	got, err := now.digest(ctx)
	if err != nil {
		return err
	}
	if !got.isSame(r.record.Digest) {
		return fmt.Errorf("cannot switch from %s: %w", r.Source.Location, errSourceChanged)
	}
	return r.At(PointSourceUnchanged)
}

// writeIdentity makes the target a store of this virtual cluster.
func (r *moveRun) writeIdentity(ctx context.Context) error {
	if r.Identity == "" || r.target.state.identity != "" {
		return r.At(PointIdentityWritten)
	}
	if _, err := create(ctx, r.target.client, identityKey, r.Identity); err != nil {
		return err
	}
	return r.At(PointIdentityWritten)
}

// decide finishes the mark in the source. From then on the target is the store.
func (r *moveRun) decide(ctx context.Context) error {
	if err := r.At(PointDeciding); err != nil {
		return err
	}
	r.mark.Phase = PhaseMoved
	if _, err := update(ctx, r.source.client, markKey, encode(r.mark), r.source.state.markRevision); err != nil {
		return fmt.Errorf("cannot mark %s as moved: %w", r.Source.Location, err)
	}
	return r.At(PointDecided)
}

// finish records in the target that it is the store.
func (r *moveRun) finish(ctx context.Context) (*Result, error) {
	if err := r.At(PointFinishing); err != nil {
		return nil, err
	}
	r.record.Phase = PhaseDone
	if err := r.writeRecord(ctx); err != nil {
		return nil, err
	}
	r.Report("The store is moved", "from", r.Source.Location, "to", r.Target.Location, "digest", r.record.Digest.String())
	if err := r.At(PointFinished); err != nil {
		return nil, err
	}
	return &Result{Moved: true, Record: r.record}, nil
}
