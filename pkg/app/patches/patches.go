package patches

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/patch"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Error is returned for invalid patches in a configuration.
type Error struct {
	// Problems are in the order of the settings.
	Problems []patch.Problem
}

// Error returns the problems, one per line.
func (e *Error) Error() string {
	lines := []string{fmt.Sprintf("the patches in the configuration have problems: %d", len(e.Problems))}
	for _, p := range e.Problems {
		lines = append(lines, fmt.Sprintf("%s: Invalid value: %q: %s", p.Path, p.Value, p.Detail))
	}
	return strings.Join(lines, "\n  ")
}

// Patches are the compiled patches of a configuration: settings path of a kind -> patches.
type Patches map[string]*patch.Set

// New compiles the patches of a configuration. It returns an [*Error] if some are invalid.
func New(sync *v1alpha1.Sync) (Patches, error) {
	sets, problems := patch.CompileAll(sync)
	if len(problems) > 0 {
		return nil, &Error{problems}
	}
	return sets, nil
}

// eventsSetting is the settings path of all Events of the host.
const eventsSetting = "sync.fromHost.events"

// Patched returns the kinds of a row with their patches. The first kind has those of the settings of the row.
// Of the others, only Events of the host have patches: those of all Events.
func (p Patches) Patched(row kinds.Row, all []syncer.Kind) []syncer.Kind {
	for i, kind := range all {
		_, isEvent := kind.NewVirtual().(*corev1.Event)
		switch {
		case isEvent:
			all[i] = ApplyTo(kind, p[eventsSetting])
		case i == 0 && kind.Name() == row.Name():
			all[i] = ApplyTo(kind, p[row.Setting])
		}
	}
	return all
}

// ApplyTo returns a kind with its patches. Without patches, the kind still removes what earlier
// patches have written.
func ApplyTo(kind syncer.Kind, set *patch.Set) syncer.Kind {
	switch {
	case !set.IsEmpty():
		return kind.WithPatch(ForKind(set, kind.Owner()))
	case kind.Owner() == syncer.Virtual:
		return kind.WithoutPatch(undo)
	}
	return kind
}

// undo removes from a host copy what earlier patches have written.
func undo(s syncer.Scope, r syncer.PatchRequest) error {
	c, err := newChange(s, r)
	if err != nil {
		return err
	}
	return kindPatch{set: &patch.Set{}, owner: syncer.Virtual}.down(c, r)
}

// ForKind returns patches in the form in which the engine calls them. owner is the owner of the
// kind.
func ForKind(set *patch.Set, owner syncer.Side) syncer.Patch {
	k := kindPatch{set: set, owner: owner}
	return k.apply
}

// kindPatch applies the patches of a kind.
type kindPatch struct {
	set   *patch.Set
	owner syncer.Side
}

// apply patches one object. Copies, on either side, are patched by expressions. The status that
// comes back from a host copy is patched by reverse expressions. A copy with a record of earlier
// expressions loses what they have written, even if only reverse ones are left.
func (k kindPatch) apply(s syncer.Scope, r syncer.PatchRequest) error {
	isCopy := r.Side != k.owner
	if isCopy && !k.set.HasDown() && !hasRecord(r.Before) || !isCopy && (k.owner == syncer.Host || !k.set.HasUp()) {
		return nil
	}
	c, err := newChange(s, r)
	if err != nil {
		return err
	}
	if !isCopy {
		if err := k.set.Up(c); err != nil {
			return err
		}
		return fromTree(c.Copy, r.Copy)
	}
	return k.down(c, r)
}

// hasRecord reports whether patches have written something into a copy. before is nil for a new one.
func hasRecord(before client.Object) bool {
	if before == nil {
		return false
	}
	_, patched := before.GetAnnotations()[labels.Patched]
	return patched
}

// newChange returns the input of patches for a request of the engine.
func newChange(s syncer.Scope, r syncer.PatchRequest) (patch.Change, error) {
	c := patch.Change{Cluster: s.Cluster, Virtual: client.ObjectKeyFromObject(virtualOf(r)), CopyKey: client.ObjectKeyFromObject(r.Copy)}
	var originalErr, copyErr error
	c.Original, originalErr = toTree(r.Original)
	c.Copy, copyErr = toTree(r.Copy)
	return c, errors.Join(originalErr, copyErr)
}

// down patches a copy by expressions. For a host copy it also records what was patched, because
// the host may change the copy.
func (k kindPatch) down(c patch.Change, r syncer.PatchRequest) error {
	if k.owner == syncer.Virtual && r.Before != nil {
		var err error
		if c.Before, err = toTree(r.Before); err != nil {
			return err
		}
		c.Record = r.Before.GetAnnotations()[labels.Patched]
	}
	record, err := k.set.Down(c)
	if err != nil {
		return err
	}
	if err := fromTree(c.Copy, r.Copy); err != nil {
		return err
	}
	if k.owner == syncer.Virtual {
		setRecord(r.Copy, record)
	}
	return nil
}

// virtualOf returns the virtual object of a request.
func virtualOf(r syncer.PatchRequest) client.Object {
	if r.Side == syncer.Host {
		return r.Original
	}
	return r.Copy
}

// setRecord records on a host copy what was patched. An empty record removes it.
func setRecord(copied client.Object, record string) {
	annotations := map[string]string{}
	for key, value := range copied.GetAnnotations() {
		if key != labels.Patched {
			annotations[key] = value
		}
	}
	if record != "" {
		annotations[labels.Patched] = record
	}
	if len(annotations) == 0 {
		annotations = nil
	}
	copied.SetAnnotations(annotations)
}

// toTree returns an object as unstructured JSON. An unstructured object is not copied.
func toTree(object client.Object) (map[string]any, error) {
	if u, ok := object.(*unstructured.Unstructured); ok {
		return u.Object, nil
	}
	tree, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the object: %w", err)
	}
	return tree, nil
}

// fromTree decodes unstructured JSON into an object.
func fromTree(tree map[string]any, object client.Object) error {
	if u, ok := object.(*unstructured.Unstructured); ok {
		u.Object = tree
		return nil
	}
	decoded := reflect.New(reflect.TypeOf(object).Elem())
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(tree, decoded.Interface()); err != nil {
		return fmt.Errorf("the patched object is not valid: %w", err)
	}
	reflect.ValueOf(object).Elem().Set(decoded.Elem())
	return nil
}

// Content returns a function that patches the content of copies of the tenant's custom
// resources. It returns nil if there are no patches.
func Content(set *patch.Set) func(s syncer.Scope, virtual *unstructured.Unstructured, content map[string]any) error {
	if !set.HasDown() {
		return nil
	}
	return func(s syncer.Scope, virtual *unstructured.Unstructured, content map[string]any) error {
		key := client.ObjectKeyFromObject(virtual)
		return set.Content(patch.Change{
			Cluster: s.Cluster, Virtual: key, CopyKey: translate.Hashed(s.Cluster, key),
			Original: virtual.Object, Copy: content,
		})
	}
}
