package chart_test

import (
	"testing"

	"github.com/google/cel-go/cel"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/api/labels"
)

// hashedName has the form of a name that the syncer gives a copy.
const hashedName = "web-aaaaaaaaaaaaaaaaaaaaaaaaaa"

// fencedWrite is a create, or an update if old is set.
type fencedWrite struct {
	resource    string
	object, old client.Object
}

// evaluateFence evaluates a policy as an API server does. It returns the message of the first validation that fails.
func evaluateFence(t *testing.T, policy *admissionregistrationv1.ValidatingAdmissionPolicy, write fencedWrite) string {
	t.Helper()
	operation, old := "CREATE", any(nil)
	if write.old != nil {
		operation, old = "UPDATE", unstructuredOf(t, write.old)
	}
	variables := map[string]any{}
	input := map[string]any{
		"object": unstructuredOf(t, write.object), "oldObject": old, "variables": variables,
		"request": map[string]any{
			"operation": operation, "name": write.object.GetName(), "namespace": "tenant",
			"resource": map[string]any{"group": "", "version": "v1", "resource": write.resource},
		},
	}
	for _, v := range policy.Spec.Variables {
		if value, err := evaluate(t, v.Expression, input); err == nil { // An API server evaluates those alone that it needs.
			variables[v.Name] = value
		}
	}
	for _, v := range policy.Spec.Validations {
		value, err := evaluate(t, v.Expression, input)
		if err != nil {
			return err.Error()
		}
		if value != true {
			return v.Message
		}
	}
	return ""
}

// evaluate compiles and evaluates an expression.
func evaluate(t *testing.T, expression string, input map[string]any) (any, error) {
	t.Helper()
	var options []cel.EnvOption
	for name := range input {
		options = append(options, cel.Variable(name, cel.DynType))
	}
	environment, err := cel.NewEnv(options...)
	if err != nil {
		t.Fatal(err)
	}
	compiled, issues := environment.Compile(expression)
	if issues.Err() != nil {
		t.Fatalf("cannot compile %s: %v", expression, issues.Err())
	}
	program, err := environment.Program(compiled)
	if err != nil {
		t.Fatal(err)
	}
	value, _, err := program.Eval(input)
	if err != nil {
		return nil, err
	}
	return value.Value(), nil
}

// unstructuredOf returns an object as expressions see it.
func unstructuredOf(t *testing.T, object client.Object) map[string]any {
	t.Helper()
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	return fields
}

// anchorOwner returns an owner reference to the anchor of release shop.
func anchorOwner() metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "shop-anchor", UID: "anchor-uid"}
}

// copyWith returns a copy of a ConfigMap with these owners.
func copyWith(owners ...metav1.OwnerReference) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name: hashedName, Labels: map[string]string{labels.Cluster: "anchor-uid"}, OwnerReferences: owners,
	}}
}

// TestFenceRulesOfOwners checks that the garbage collector deletes each copy after the uninstall.
func TestFenceRulesOfOwners(t *testing.T) {
	t.Parallel()
	policy := object[*admissionregistrationv1.ValidatingAdmissionPolicy](t, mustRender(t, loadChart(t), fenceOn), "shop.tenant.sublet.dev")
	const only = "a copy has the label of its virtual cluster, and the anchor of the release as its only owner"
	alien, controlled := anchorOwner(), anchorOwner()
	alien.APIVersion = "example.com/v1"
	controlled.Controller = new(true)
	second := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "operators", UID: "operators-uid"}
	unowned := copyWith()
	unowned.OwnerReferences = []metav1.OwnerReference{}
	for name, c := range map[string]struct {
		write fencedWrite
		want  string
	}{
		"copy":              {fencedWrite{"configmaps", copyWith(anchorOwner()), nil}, ""},
		"copy of a pod":     {fencedWrite{"configmaps", copyWith(controlled), nil}, ""},
		"update":            {fencedWrite{"configmaps", copyWith(controlled), copyWith(anchorOwner())}, ""},
		"no owner":          {fencedWrite{"configmaps", copyWith(), nil}, only},
		"empty owners":      {fencedWrite{"configmaps", unowned, nil}, only},
		"alien owner":       {fencedWrite{"configmaps", copyWith(alien), nil}, only},
		"second owner":      {fencedWrite{"configmaps", copyWith(anchorOwner(), second), nil}, only},
		"owner by update":   {fencedWrite{"configmaps", copyWith(anchorOwner(), second), copyWith(anchorOwner())}, only},
		"alien by update":   {fencedWrite{"configmaps", copyWith(alien), copyWith(anchorOwner())}, only},
		"owner of the host": {fencedWrite{"configmaps", copyWith(second), nil}, only},
	} {
		if got := evaluateFence(t, policy, c.write); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// TestFenceRulesOfAnchor checks that the account cannot keep the anchor after the uninstall.
func TestFenceRulesOfAnchor(t *testing.T) {
	t.Parallel()
	policy := object[*admissionregistrationv1.ValidatingAdmissionPolicy](t, mustRender(t, loadChart(t), fenceOn), "shop.tenant.sublet.dev")
	const denied = "owners and finalizers of the anchor are the operator's"
	anchor := func(change func(*metav1.ObjectMeta)) *corev1.ConfigMap {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "shop-anchor", UID: types.UID("anchor-uid")}}
		change(&object.ObjectMeta)
		return object
	}
	plain := anchor(func(*metav1.ObjectMeta) {})
	deployed := func(m *metav1.ObjectMeta) {
		m.Finalizers = []string{"example.com/of-the-operator"}
		m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Application", Name: "shop", UID: "application-uid"}}
	}
	for name, c := range map[string]struct {
		object, old *corev1.ConfigMap
		want        string
	}{
		"record":           {anchor(func(m *metav1.ObjectMeta) { m.Annotations = map[string]string{"example.com/note": "x"} }), plain, ""},
		"operator's stay":  {anchor(func(m *metav1.ObjectMeta) { deployed(m); m.Annotations = map[string]string{"a": "b"} }), anchor(deployed), ""},
		"finalizer":        {anchor(func(m *metav1.ObjectMeta) { m.Finalizers = []string{"example.com/stay"} }), plain, denied},
		"owner":            {anchor(func(m *metav1.ObjectMeta) { m.OwnerReferences = []metav1.OwnerReference{anchorOwner()} }), plain, denied},
		"operator's leave": {plain, anchor(deployed), denied},
	} {
		if got := evaluateFence(t, policy, fencedWrite{"configmaps", c.object, c.old}); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// volumeWrite is a change of the volume of a tenant's claim.
type volumeWrite struct {
	before, change func(*corev1.PersistentVolume)
	denied         string // a part of the message, empty if it is allowed
}

// volumeWrites returns what the account tries on a volume.
func volumeWrites() map[string]volumeWrite {
	const nothingElse = "nothing else of it"
	retain := func(v *corev1.PersistentVolume) {
		v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	}
	of := func(namespace, name string) func(v *corev1.PersistentVolume) {
		return func(v *corev1.PersistentVolume) { v.Spec.ClaimRef.Namespace, v.Spec.ClaimRef.Name = namespace, name }
	}
	affinity := &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{}}
	return map[string]volumeWrite{
		"policy":               {nil, retain, ""},
		"policy of more":       {func(v *corev1.PersistentVolume) { v.Spec.NodeAffinity, v.Spec.MountOptions = affinity, []string{"ro"} }, retain, ""},
		"volume of the store":  {of("tenant", "data-shop-0"), retain, "hashed names"},
		"volume of backups":    {of("tenant", "shop-backup"), retain, "hashed names"},
		"volume of another":    {of("other", hashedName), retain, "own namespace"},
		"volume without claim": {func(v *corev1.PersistentVolume) { v.Spec.ClaimRef = nil }, retain, "own namespace"},
		"another claim":        {nil, of("tenant", "web-bbbbbbbbbbbbbbbbbbbbbbbbbb"), "own namespace"},
		"annotation":           {nil, func(v *corev1.PersistentVolume) { v.Annotations = nil }, "annotations and labels"},
		"label":                {nil, func(v *corev1.PersistentVolume) { v.Labels = map[string]string{"a": "b"} }, "annotations and labels"},
		"owner":                {nil, func(v *corev1.PersistentVolume) { v.OwnerReferences = []metav1.OwnerReference{anchorOwner()} }, "owners and finalizers"},
		"mount option":         {nil, func(v *corev1.PersistentVolume) { v.Spec.MountOptions = []string{"suid"} }, nothingElse},
		"class":                {nil, func(v *corev1.PersistentVolume) { v.Spec.StorageClassName = "other" }, nothingElse},
		"access mode":          {nil, func(v *corev1.PersistentVolume) { v.Spec.AccessModes = nil }, nothingElse},
		"capacity": {nil, func(v *corev1.PersistentVolume) {
			v.Spec.Capacity = corev1.ResourceList{"storage": resource.MustParse("2Gi")}
		}, nothingElse},
		"node affinity":    {nil, func(v *corev1.PersistentVolume) { v.Spec.NodeAffinity = affinity }, nothingElse},
		"attributes class": {nil, func(v *corev1.PersistentVolume) { v.Spec.VolumeAttributesClassName = new("fast") }, nothingElse},
		"driver":           {nil, func(v *corev1.PersistentVolume) { v.Spec.CSI.VolumeHandle = "other" }, "driver of a volume"},
	}
}

// hostVolume returns the volume of a tenant's claim.
func hostVolume() *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name: "pv-1", Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": "csi.example.com"}, Finalizers: []string{"kubernetes.io/pv-protection"},
		},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: "fast", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Capacity:                      corev1.ResourceList{"storage": resource.MustParse("1Gi")},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			ClaimRef:                      &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: "tenant", Name: hashedName, UID: "claim-uid"},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "csi.example.com", VolumeHandle: "disk-1"}},
		},
	}
}

// nodeWrite is a change of a node of the host.
type nodeWrite struct {
	change func(*corev1.Node)
	denied string // a part of the message, empty if it is allowed
}

// nodeWrites returns what the account tries on a node with the settings of syncBack.
func nodeWrites() map[string]nodeWrite {
	const taint, label = "syncBackTaintEffects", "syncBackLabels"
	set := func(key string, effect corev1.TaintEffect) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: effect}) }
	}
	labeled := func(key string) func(*corev1.Node) { return func(n *corev1.Node) { n.Labels[key] = "changed" } }
	return map[string]nodeWrite{
		"taint":               {set("example.com/mine", corev1.TaintEffectNoSchedule), ""},
		"taint without /":     {set("kubernetes.io", corev1.TaintEffectNoSchedule), ""},
		"similar domain":      {set("mykubernetes.io/x", corev1.TaintEffectNoSchedule), ""},
		"effect":              {set("example.com/mine", corev1.TaintEffectNoExecute), taint},
		"protected taint":     {set("node.kubernetes.io/unreachable", corev1.TaintEffectNoSchedule), taint},
		"protected domain":    {set("k8s.io/x", corev1.TaintEffectNoSchedule), taint},
		"our taint":           {set("sublet.dev/x", corev1.TaintEffectNoSchedule), taint},
		"taint leaves":        {func(n *corev1.Node) { n.Spec.Taints = n.Spec.Taints[:1] }, ""},
		"protected leaves":    {func(n *corev1.Node) { n.Spec.Taints = n.Spec.Taints[1:] }, taint},
		"label":               {labeled("example.com/team"), ""},
		"other label":         {labeled("example.com/other"), label},
		"label that selects":  {labeled("example.com/pool"), label},
		"protected label":     {labeled("topology.kubernetes.io/zone"), label},
		"protected label new": {labeled("x.k8s.io/y"), label},
		"our label":           {labeled("sublet.dev/x"), label},
		"ranges of pods":      {func(n *corev1.Node) { n.Spec.PodCIDR, n.Spec.PodCIDRs = "10.0.0.0/24", []string{"10.0.0.0/24"} }, "addresses of the pods"},
		"cordon":              {func(n *corev1.Node) { n.Spec.Unschedulable = true }, "unschedulable"},
	}
}

// hostNode returns a node of the host that the settings of syncBack select.
func hostNode() *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node-1", Labels: map[string]string{"example.com/pool": "x", "topology.kubernetes.io/zone": "a"}},
		Spec: corev1.NodeSpec{Taints: []corev1.Taint{
			{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule},
			{Key: "example.com/host", Effect: corev1.TaintEffectNoSchedule},
		}},
	}
}

// TestFenceRulesOfEvents checks that the account records Events about the anchor, and rewrites those alone.
func TestFenceRulesOfEvents(t *testing.T) {
	t.Parallel()
	policy := object[*admissionregistrationv1.ValidatingAdmissionPolicy](t, mustRender(t, loadChart(t), fenceOn), "shop.tenant.sublet.dev")
	const denied = "the control plane writes its own objects, and copies with hashed names"
	newEvent := func(kind, name string) *corev1.Event {
		return &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: "note"}, InvolvedObject: corev1.ObjectReference{Kind: kind, Name: name}}
	}
	own := newEvent("ConfigMap", "shop-anchor")
	for name, c := range map[string]struct {
		write fencedWrite
		want  string
	}{
		"create":                    {fencedWrite{"events", own, nil}, ""},
		"update":                    {fencedWrite{"events", own, own}, ""},
		"about another":             {fencedWrite{"events", newEvent("ConfigMap", "operators"), nil}, denied},
		"rewritten about another":   {fencedWrite{"events", own, newEvent("Pod", "database-0")}, denied},
		"rewritten about a pod":     {fencedWrite{"events", own, newEvent("Pod", "shop-anchor")}, denied},
		"rewritten about nothing":   {fencedWrite{"events", own, newEvent("", "")}, denied},
		"own turned into another's": {fencedWrite{"events", newEvent("Pod", "database-0"), own}, denied},
	} {
		if got := evaluateFence(t, policy, c.write); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
