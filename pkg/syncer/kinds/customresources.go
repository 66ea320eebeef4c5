package kinds

import (
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/custom"
	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// CustomOptions describe a kind of custom resources. They come from its definition.
type CustomOptions struct {
	// Resource is the name of the definition, such as widgets.example.com. The kind has that
	// name.
	Resource string
	// Kind is the type of the objects, in the version to sync.
	Kind schema.GroupVersionKind
	// Cluster is the identity of the virtual cluster.
	Cluster translate.Cluster
	// HasStatus specifies that the status has an address of its own. A write of it then makes no
	// new generation of the object. Default: it has none.
	HasStatus bool
	// Plan is what the objects refer to.
	Plan *custom.Plan
	// PatchContent changes the content of a copy, after references are renamed. nil changes
	// nothing.
	PatchContent func(s syncer.Scope, virtual *unstructured.Unstructured, content map[string]any) error
}

// CustomResources returns the kinds that sync a custom resource of the tenant. One is for the objects
// themselves. Others are for the Secrets and ConfigMaps that they refer to, and for the Secrets that
// the host writes for them. It omits a kind that no field of the resource needs, because each costs memory.
func CustomResources(o CustomOptions) []syncer.Kind {
	all := []syncer.Kind{syncer.Define(o.Resource, customToHost(o))}
	if o.Plan.Names("secrets") {
		all = append(all, syncer.Define("secrets of "+o.Resource, customSecrets(o)))
	}
	if o.Plan.Names("configmaps") {
		all = append(all, syncer.Define("configmaps of "+o.Resource, customConfigMaps(o)))
	}
	if o.Plan.Produces() {
		all = append(all, syncer.Define("secrets from "+o.Resource, customProduced(o)))
	}
	return all
}

// newEmpty returns an empty object of the kind.
func (o CustomOptions) newEmpty() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(o.Kind)
	return u
}

func customToHost(o CustomOptions) syncer.Resource[*unstructured.Unstructured, *unstructured.Unstructured] {
	return syncer.Resource[*unstructured.Unstructured, *unstructured.Unstructured]{
		Owner:      syncer.Virtual,
		Names:      translate.Hashed,
		NewVirtual: o.newEmpty,
		NewHost:    o.newEmpty,
		Down:       o.fillHost,
		Up:         o.fillVirtual,
	}
}

// contentField is the key of [labels.LastApplied] with the digests of the top-level fields of a copy.
// For a top-level field whose own fields are recorded one by one, the key is "content.FIELD". The
// code calls such a top-level field a part. An example is spec.
const contentField = "content"

// maxParts is the largest number of fields that are recorded one by one.
const maxParts = 64

// fillHost fills in the host copy. Admission and controllers of the host may change the copy. So a
// field is only written if the tenant's value has changed since it was last applied.
func (o CustomOptions) fillHost(s syncer.Scope, virtual, host *unstructured.Unstructured) error {
	content := contentOf(virtual)
	if problems := o.Plan.Check(content, virtual.GetNamespace()); len(problems) > 0 {
		// Admission denies it, unless it was stored before the rules.
		unsupported := &translate.UnsupportedError{}
		for _, p := range problems {
			unsupported.Problems = append(unsupported.Problems, fmt.Errorf("%s: %s", p.Path, p.Detail))
		}
		return unsupported
	}
	o.Plan.ToHost(content, virtual.GetNamespace(), s.Cluster, o.Resource)
	if o.PatchContent != nil {
		if err := o.PatchContent(s, virtual, content); err != nil {
			return err
		}
	}
	host.SetLabels(translate.SyncLabels(host.GetLabels(), virtual.GetLabels()))
	applied := applyContent(host.Object, content, translate.DecodeLastApplied(host.GetAnnotations()[labels.LastApplied]))
	if o.HasStatus {
		applied[generationField] = translate.LastApplied{generationKey: strconv.FormatInt(virtual.GetGeneration(), 10)}
	}
	text, err := translate.EncodeLastApplied(applied)
	if err != nil {
		return err
	}
	translate.SetAnnotation(host, labels.LastApplied, text)
	return nil
}

// applyContent writes the changed fields of an object into its copy, and returns the digests to
// record. The fields of a part are written one by one, unless there are more than maxParts.
func applyContent(host, content map[string]any, before map[string]translate.LastApplied) map[string]translate.LastApplied {
	whole := map[string]any{}
	applied := map[string]translate.LastApplied{}
	for key, value := range content {
		name, fields := contentField+"."+key, partsOf(value)
		earlier, isWhole := before[contentField][key]
		into, isObject := host[key].(map[string]any)
		if fields == nil {
			whole[key] = value
		} else {
			applied[name] = translate.DigestValues(fields)
		}
		switch {
		case isWhole && earlier == translate.DigestValues(map[string]any{key: value})[key]:
		case fields != nil && isObject && !isWhole:
			applyFields(into, fields, before[name], applied[name])
		default:
			host[key] = value
		}
	}
	removeParts(host, content, before)
	applied[contentField] = translate.DigestValues(whole)
	return applied
}

// removeParts removes the parts that an object no longer has from its copy.
func removeParts(host, content map[string]any, before map[string]translate.LastApplied) {
	for key := range before[contentField] {
		if content[key] == nil {
			delete(host, key)
		}
	}
	for name := range before {
		if key, ok := strings.CutPrefix(name, contentField+"."); ok && content[key] == nil {
			delete(host, key)
		}
	}
}

// partsOf returns the fields of a part whose digests are recorded one by one, nil for none.
func partsOf(value any) map[string]any {
	fields, _ := value.(map[string]any)
	if len(fields) > maxParts {
		return nil
	}
	return fields
}

// applyFields writes the fields that have changed, and removes those that are gone.
func applyFields(into, fields map[string]any, before, applied translate.LastApplied) {
	for key, value := range fields {
		if before[key] != applied[key] {
			into[key] = value
		}
	}
	for key := range before {
		if _, ok := applied[key]; !ok {
			delete(into, key)
		}
	}
}

// contentOf returns a copy of an object without its type, metadata and status.
func contentOf(virtual *unstructured.Unstructured) map[string]any {
	content := runtime.DeepCopyJSON(virtual.Object)
	for _, key := range []string{"apiVersion", "kind", "metadata", "status"} {
		delete(content, key)
	}
	return content
}

// fillVirtual fills in the status, with the names that the tenant knows.
func (o CustomOptions) fillVirtual(s syncer.Scope, host, virtual *unstructured.Unstructured) error {
	status, ok := host.Object["status"]
	if !ok {
		return nil
	}
	known := o.Plan.HostNames(virtual.Object, virtual.GetNamespace(), s.Cluster, o.Resource)
	r := statusRewriter{
		rewriter: rewriterFor(s, virtual, known.Own), mapped: known.Mapped,
		hostNamespace: s.Cluster.Namespace, namespace: virtual.GetNamespace(),
		generation: o.generations(host),
	}
	rewritten := r.value(status)
	if fields, ok := rewritten.(map[string]any); ok && !isCondition(fields) {
		observe(fields, r.generation)
	}
	virtual.Object["status"] = rewritten
	return nil
}

// rewriterFor returns the rewriter of texts of the host about an object. names maps a host name ->
// the name in the virtual namespace.
func rewriterFor(s syncer.Scope, virtual *unstructured.Unstructured, names map[string]string) translate.Rewriter {
	rewriter := translate.Rewriter{Cluster: s.Cluster}
	own := client.ObjectKeyFromObject(virtual)
	rewriter.AddObject(translate.Hashed(s.Cluster, own), own)
	for host, name := range names {
		referred := types.NamespacedName{Namespace: own.Namespace, Name: name}
		rewriter.AddObject(types.NamespacedName{Namespace: s.Cluster.Namespace, Name: host}, referred)
	}
	return rewriter
}

// statusRewriter replaces host names in a status by virtual names.
type statusRewriter struct {
	rewriter translate.Rewriter
	// mapped has host objects that the tenant sees -> their virtual copies.
	mapped                   map[types.NamespacedName]types.NamespacedName
	hostNamespace, namespace string
	// generation returns the generation of the tenant's object for one of the copy.
	generation func(int64) int64
}

// value returns a value with virtual names in all of its texts.
func (r *statusRewriter) value(value any) any {
	switch value := value.(type) {
	case string:
		if value == r.hostNamespace {
			return r.namespace
		}
		return r.rewriter.Rewrite(value)
	case map[string]any:
		rewritten := make(map[string]any, len(value))
		for key, inner := range value {
			if inner != nil { // Controllers in Go may write null for empty fields.
				rewritten[key] = r.value(inner)
			}
		}
		if copied, ok := r.mapped[namedKey(value)]; ok {
			rewritten["namespace"], rewritten["name"] = copied.Namespace, copied.Name
		}
		if isCondition(rewritten) {
			observe(rewritten, r.generation)
		}
		return rewritten
	case []any:
		rewritten := make([]any, len(value))
		for i, inner := range value {
			rewritten[i] = r.value(inner)
		}
		return rewritten
	}
	return value
}

// namedKey returns the namespace and name in a value of a status, empty if it has none.
func namedKey(value map[string]any) types.NamespacedName {
	namespace, _ := value["namespace"].(string)
	name, _ := value["name"].(string)
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// HostCustomResource returns the kind that copies custom resources of the host to the virtual
// cluster.
func HostCustomResource(o CustomOptions, settings v1alpha1.HostCustomResource) syncer.Kind {
	selector := toSelector(settings.Selector)
	if settings.IsNamespaced() {
		passes := func(host *unstructured.Unstructured) bool { return selector.Matches(apilabels.Set(host.GetLabels())) }
		r := mapped(v1alpha1.Mapped{Mappings: v1alpha1.Mappings(settings.Mappings)}, o.newEmpty, passes, o.copyContent)
		r.NewVirtual, r.NewHost = o.newEmpty, o.newEmpty
		return syncer.Define(o.Resource, r)
	}
	r := sameNamed(o.copyContent)
	r.NewVirtual, r.NewHost, r.Select = o.newEmpty, o.newEmpty, selector
	return syncer.Define(o.Resource, r)
}

// copyContent copies everything but the metadata of a host object to its virtual copy. In the status,
// observed generations become those of the virtual copy.
func (o CustomOptions) copyContent(host, virtual *unstructured.Unstructured) {
	for key := range virtual.Object {
		if _, ok := host.Object[key]; !ok && key != "metadata" {
			delete(virtual.Object, key)
		}
	}
	for key, value := range host.Object {
		if key != "metadata" {
			virtual.Object[key] = value
		}
	}
	if status, ok := virtual.Object["status"].(map[string]any); ok && o.HasStatus && host.GetGeneration() != 0 {
		// An API server gives a new object the generation 1.
		observeStatus(status, generationsSince(host.GetGeneration(), max(1, virtual.GetGeneration())))
	}
}
