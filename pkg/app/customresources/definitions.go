package customresources

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/custom"
)

// Definitions caches the definitions in the virtual cluster of the kinds that the settings
// select, and compiles their plans.
type Definitions struct {
	kinds      map[string]kind
	watches    map[string]*definitionWatch
	objects    metadata.Interface
	allowsHost func(host string) bool
	images     custom.Images
	maxGrace   int64
	// clusterDomain is the DNS domain of the virtual cluster.
	clusterDomain string

	mu       sync.Mutex
	plans    map[string]plan
	onChange func(resource string)
}

// plan is a compiled plan, or the error of its compilation.
type plan struct {
	version string // resource version of the definition that it was compiled from
	plan    *custom.Plan
	err     error
}

// Options configure [NewDefinitions].
type Options struct {
	// Settings select the kinds.
	Settings v1alpha1.Sync
	// Client reads definitions of the virtual cluster.
	Client apiextensionsclient.Interface
	// Objects reads the virtual copies of custom resources of the host.
	Objects metadata.Interface
	// ClusterDomain is the DNS domain of the virtual cluster. Default: cluster.local.
	ClusterDomain string
	// AllowsHost reports whether the tenant may use a host name. An empty name means all names.
	AllowsHost func(host string) bool
	// Images are the rules for images.
	Images custom.Images
	// MaxGracePeriodSeconds is how long pods may take to end.
	MaxGracePeriodSeconds int64
}

// NewDefinitions returns the definitions of the kinds that the settings select.
func NewDefinitions(o Options) (*Definitions, error) {
	d := &Definitions{objects: o.Objects, allowsHost: o.AllowsHost, images: o.Images, maxGrace: o.MaxGracePeriodSeconds, clusterDomain: o.ClusterDomain, kinds: newKinds(o.Settings), watches: map[string]*definitionWatch{}, plans: map[string]plan{}}
	for resource, k := range d.kinds {
		if k.fromHost != nil {
			if _, err := metav1.LabelSelectorAsSelector(&k.fromHost.Selector); err != nil {
				return nil, fmt.Errorf("cannot use %s.selector: %w", k.setting, err)
			}
		}
		var err error
		if d.watches[resource], err = newDefinitionWatch(o.Client, resource, d.changed); err != nil {
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

// changed passes a change to the controller of the current term.
func (d *Definitions) changed(resource string) {
	d.mu.Lock()
	onChange := d.onChange
	d.mu.Unlock()
	if onChange != nil {
		onChange(resource)
	}
}

// setOnChange sets the function that is called after a change, nil for none.
func (d *Definitions) setOnChange(onChange func(string)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onChange = onChange
}

// resources returns the names of all definitions.
func (d *Definitions) resources() []string { return slices.Sorted(maps.Keys(d.kinds)) }

// Plan returns what the objects of a kind of the tenant refer to. It is nil if the definition
// is the tenant's own, whose objects have no copies. It fails if the virtual cluster does not
// have the definition of the host yet.
func (d *Definitions) Plan(resource string) (*custom.Plan, error) {
	k := d.kinds[resource]
	definition, _ := d.watches[resource].get()
	if definition != nil && !custom.IsCopy(definition) {
		return nil, nil //nolint:nilnil // No rule is for them.
	}
	if definition == nil || k.toHost == nil {
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

// compile compiles the plan for the version in which the kind is synced.
func (d *Definitions) compile(k kind, definition *apiextensionsv1.CustomResourceDefinition) (*custom.Plan, error) {
	version, err := custom.ChooseVersion(definition, k.wanted.Version)
	if err != nil {
		return nil, err
	}
	return custom.Compile(custom.SchemaOf(definition, version), custom.Options{
		Setting: k.setting, References: k.toHost.References, Trusted: k.toHost.Trusted, ClusterDomain: d.clusterDomain,
		Synced:                func(resource string) bool { return d.kinds[resource].toHost != nil },
		FromHost:              func(resource string) *v1alpha1.HostCustomResource { return d.kinds[resource].fromHost },
		Shown:                 d.isShown,
		AllowsHost:            d.allowsHost,
		AllowedFields:         k.toHost.AllowedFields,
		Images:                d.images,
		MaxGracePeriodSeconds: d.maxGrace,
	})
}

// lookupTimeout bounds one read of an object of the virtual cluster.
const lookupTimeout = 5 * time.Second

// isShown reports whether the virtual cluster has a copy of a host object. It reads live,
// because every replica calls it and only the leader has caches of these kinds.
func (d *Definitions) isShown(resource, namespace, name string) bool {
	w, ok := d.watches[resource]
	if !ok || d.objects == nil {
		return false
	}
	definition, _ := w.get()
	if definition == nil || !custom.IsCopy(definition) {
		return false
	}
	version, err := custom.ChooseVersion(definition, d.kinds[resource].wanted.Version)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	plural := schema.GroupVersionResource{Group: definition.Spec.Group, Version: version, Resource: definition.Spec.Names.Plural}
	object, err := d.objects.Resource(plural).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	// A terminating copy is kept only by a finalizer.
	return err == nil && object.Annotations[labels.HostUID] != "" && object.DeletionTimestamp == nil
}
