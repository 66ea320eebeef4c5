package customresources

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/custom"
)

// Definitions are the definitions of custom resources that the virtual cluster has, of the
// kinds in the settings.
type Definitions struct {
	kinds   map[string]kind
	watches map[string]*definitionWatch

	mu       sync.Mutex
	plans    map[string]plan
	onChange func(resource string)
}

// plan is a compiled plan with the state of the definition that it is from.
type plan struct {
	version string // resource version of the definition
	plan    *custom.Plan
	err     error
}

// NewDefinitions returns the definitions of the kinds that settings ask for.
func NewDefinitions(client apiextensionsclient.Interface, settings v1alpha1.Sync) (*Definitions, error) {
	d := &Definitions{kinds: newKinds(settings), watches: map[string]*definitionWatch{}, plans: map[string]plan{}}
	for resource, k := range d.kinds {
		if k.fromHost != nil {
			if _, err := metav1.LabelSelectorAsSelector(&k.fromHost.Selector); err != nil {
				return nil, fmt.Errorf("cannot use %s.selector: %w", k.setting, err)
			}
		}
		var err error
		if d.watches[resource], err = newDefinitionWatch(client, resource, d.changed); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Run watches the definitions until ctx ends.
func (d *Definitions) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for resource, w := range d.watches {
		group.Go(func() { w.informer.RunWithContext(ctx) })
		group.Go(func() { w.awaitSynced(ctx, func() { d.changed(resource) }) })
	}
	group.Wait()
	return nil
}

// changed passes a change to the controller of the term.
func (d *Definitions) changed(resource string) {
	d.mu.Lock()
	onChange := d.onChange
	d.mu.Unlock()
	if onChange != nil {
		onChange(resource)
	}
}

// setOnChange sets who is told of changes, nil for nobody.
func (d *Definitions) setOnChange(onChange func(string)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onChange = onChange
}

// resources returns the names of all definitions.
func (d *Definitions) resources() []string { return slices.Sorted(maps.Keys(d.kinds)) }

// Plan returns what the objects of a kind of the tenant refer to. It fails if the virtual
// cluster does not have the definition of the host yet.
func (d *Definitions) Plan(resource string) (*custom.Plan, error) {
	k := d.kinds[resource]
	definition, _ := d.watches[resource].get()
	if definition == nil || !custom.IsCopy(definition) || k.toHost == nil {
		return nil, fmt.Errorf("the definition %s is not synced from the host yet", resource)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if known, ok := d.plans[resource]; ok && known.version == definition.ResourceVersion {
		return known.plan, known.err
	}
	known := plan{version: definition.ResourceVersion}
	known.plan, known.err = d.compile(k, definition)
	d.plans[resource] = known
	return known.plan, known.err
}

// compile returns the plan for the version in which the kind is synced.
func (d *Definitions) compile(k kind, definition *apiextensionsv1.CustomResourceDefinition) (*custom.Plan, error) {
	version, err := custom.ChooseVersion(definition, k.wanted.Version)
	if err != nil {
		return nil, err
	}
	return k.compile(definition, version, d.kinds)
}
