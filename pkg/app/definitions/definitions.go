// Package definitions installs CustomResourceDefinitions that Sublet ships: those of volume
// snapshots, whose types are not built into Kubernetes. It keeps them when snapshots are
// switched off, because deleting them would delete the tenant's objects.
package definitions

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/typed/apiextensions/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/custom"
)

//go:embed snapshots/*.yaml
var files embed.FS

// firstRetry and lastRetry bound the pause before a failed write is retried, which doubles each
// time.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// Snapshots returns the definitions of volume snapshots. Their annotation marks them as those of
// Sublet, and contains a digest.
func Snapshots() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	const folder = "snapshots"
	entries, err := files.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("cannot list the definitions of snapshots: %w", err)
	}
	var all []*apiextensionsv1.CustomResourceDefinition
	for _, entry := range entries {
		text, err := files.ReadFile(path.Join(folder, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", entry.Name(), err)
		}
		definition := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(text, definition); err != nil {
			return nil, fmt.Errorf("cannot decode %s: %w", entry.Name(), err)
		}
		definition.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter}
		digest := sha256.Sum256(text)
		metav1.SetMetaDataAnnotation(&definition.ObjectMeta, labels.Definition, hex.EncodeToString(digest[:8]))
		all = append(all, definition)
	}
	return all, nil
}

// Keeper writes definitions into a virtual cluster.
type Keeper struct {
	// Client writes them. Its identity must be exempt from policies.
	Client apiextensionsclient.CustomResourceDefinitionInterface
	// Definitions are the definitions to write.
	Definitions []*apiextensionsv1.CustomResourceDefinition
	// Clock decides when to try again.
	Clock clock.Clock
}

// Run writes the definitions, retries until that succeeds, and returns when ctx ends. The kinds
// that need them wait until the API server serves their types.
func (k *Keeper) Run(ctx context.Context) error {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		var retry <-chan time.Time // never, once they are written
		if err := k.write(ctx); err != nil && ctx.Err() == nil {
			klog.InfoS("Definitions not written", "err", err, "retryAfter", pause)
			retry = k.Clock.After(pause)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-retry:
		}
	}
}

// write creates missing definitions, and updates those that differ.
func (k *Keeper) write(ctx context.Context) error {
	var failures []error
	for _, definition := range k.Definitions {
		failures = append(failures, k.writeOne(ctx, definition))
	}
	return errors.Join(failures...)
}

// writeOne writes one definition. It trusts no mark of the one that exists, because a tenant may have
// written that before snapshots were switched on.
func (k *Keeper) writeOne(ctx context.Context, definition *apiextensionsv1.CustomResourceDefinition) error {
	found, err := k.Client.Get(ctx, definition.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		if _, err = k.Client.Create(ctx, definition, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("cannot create definition %s: %w", definition.Name, err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("cannot get definition %s: %w", definition.Name, err)
	}
	next := found.DeepCopy()
	for key, value := range definition.Annotations {
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, key, value)
	}
	definition.Spec.DeepCopyInto(&next.Spec)
	custom.KeepStoredVersions(next, found)
	if !apiequality.Semantic.DeepEqual(found, next) {
		if _, err = k.Client.Update(ctx, next, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("cannot update definition %s: %w", definition.Name, err)
		}
	}
	if found.DeletionTimestamp != nil {
		return fmt.Errorf("cannot keep definition %s: it is being deleted, and is created again after that", definition.Name)
	}
	return nil
}
