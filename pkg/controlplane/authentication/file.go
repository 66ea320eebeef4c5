package authentication

import (
	"cmp"
	"context"
	"os"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// readEvery is how often the file is looked at.
const readEvery = 5 * time.Second

// File is a file with settings that changes while the server runs.
type File struct {
	// Path is the file.
	Path string
	// Load reads the settings from it.
	Load func() (v1alpha1.Authentication, error)
	// Issuers gets the settings.
	Issuers *Issuers
	Clock   clock.WithTicker
	// Every is how often the file is looked at. Default: 5 s.
	Every time.Duration

	seen os.FileInfo
}

// Run sets the issuers from the file, and again whenever the file changes. Settings that are
// wrong are logged and not used.
func (f *File) Run(ctx context.Context) error {
	f.update(ctx)
	ticker := f.Clock.NewTicker(cmp.Or(f.Every, readEvery))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
			f.update(ctx)
		}
	}
}

// update reads the file if it is another one than before. The kubelet replaces the file of a
// volume instead of writing to it.
func (f *File) update(ctx context.Context) {
	info, err := os.Stat(f.Path)
	if err == nil && f.seen != nil && os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) && info.Size() == f.seen.Size() {
		return
	}
	var settings v1alpha1.Authentication
	if err == nil {
		settings, err = f.Load()
	}
	if err == nil {
		err = f.Issuers.Set(ctx, settings)
	}
	f.seen = info
	if err != nil {
		klog.FromContext(ctx).Error(err, "Cannot use the settings of issuers, those before stay in use")
		f.Issuers.RecordProblem(err.Error())
		return
	}
	f.Issuers.RecordProblem("")
}
