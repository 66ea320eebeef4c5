package custom

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// machineSchema is of a kind whose controller makes pods.
const machineSchema = `
type: object
properties:
  spec:
    type: object
    properties:
      size: {type: integer}
      color: {type: string}
      secretName: {type: string}
      selector: {type: object, properties: {matchLabels: {type: object, additionalProperties: {type: string}}, matchExpressions: {type: array, items: {type: object, properties: {key: {type: string}}}}}}
      requests: {type: object, additionalProperties: {x-kubernetes-int-or-string: true}}
      byName: {type: object, additionalProperties: {type: object, properties: {secretName: {type: string}, color: {type: string}}}}
      disks: {type: array, items: {type: object, properties: {name: {type: string}, image: {type: string}, imagePullPolicy: {type: string}, hostPath: {type: string}}}}
      kernel: {type: object, properties: {image: {type: string}}}
      images: {type: object, additionalProperties: {type: string}}
      grace: {type: integer}
      template: {type: object, properties: {metadata: {type: object, x-kubernetes-preserve-unknown-fields: true}, priority: {type: string}}}
      jobs: {type: array, items: {type: object, properties: {template: {type: object, properties: {metadata: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}}}
`

// TestAllowedFields denies each field that is not listed, with its value and the setting.
func TestAllowedFields(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason  string
		allowed []string
		trusted bool
		object  string
		want    []Problem // without their settings
	}{
		{reason: "a listed field", allowed: []string{"spec.size"}, object: `{size: 1}`},
		{reason: "others", allowed: []string{"spec.size"}, object: `{size: 1, color: red, kernel: {}, grace: 2}`, want: []Problem{
			{Path: "spec.color", Value: "red"}, {Path: "spec.grace", Value: "2"}, {Path: "spec.kernel"},
		}},
		{reason: "null is no value", allowed: []string{"spec.size"}, object: `{requests: null, disks: null}`},
		{reason: "empty texts and lists are values", allowed: []string{"spec.requests.cpu"}, object: `{requests: {example.com/gpu: ""}, disks: []}`, want: []Problem{
			{Path: "spec.disks"}, {Path: "spec.requests.example.com/gpu"},
		}},
		{reason: "a trusted kind has a list too", allowed: []string{"spec.size"}, trusted: true, object: `{color: red}`, want: []Problem{{Path: "spec.color", Value: "red"}}},
		{reason: "a field that the schema lacks", allowed: []string{"spec.size"}, object: `{later: true}`, want: []Problem{{Path: "spec.later", Value: "true"}}},
		{reason: "a field at the top", allowed: []string{"spec.size"}, object: `{}, data: {a: b}`, want: []Problem{{Path: "data"}}},
		{reason: "a listed object with all of its fields", allowed: []string{"spec.disks"}, object: `{disks: [{name: a, hostPath: /}]}`},
		{reason: "fields of the items of a list", allowed: []string{"spec.disks[*].name"}, object: `{disks: [{name: a}, {name: b, hostPath: /}]}`, want: []Problem{{Path: "spec.disks[1].hostPath", Value: "/"}}},
		{reason: "keys of a map", allowed: []string{"spec.requests.cpu"}, object: `{requests: {cpu: 1, example.com/gpu: 1}}`, want: []Problem{{Path: "spec.requests.example.com/gpu", Value: "1"}}},
		{reason: "fields of the values of a map", allowed: []string{"spec.byName[*].color"}, object: `{byName: {a: {color: red, secretName: b}}}`, want: []Problem{{Path: "spec.byName[a].secretName", Value: "b"}}},
		{reason: "another form", allowed: []string{"spec.disks[*].name", "spec.kernel.image"}, object: `{disks: a, kernel: [{image: a}]}`, want: []Problem{
			{Path: "spec.disks", Value: "a"}, {Path: "spec.kernel[0]"},
		}},
		{reason: "what the schema shows counts for listed fields", allowed: []string{"spec.selector"}, object: `{}`, want: []Problem{{Path: "spec.selector"}}},
		{reason: "nobody misses a selector that is not listed", allowed: []string{"spec.size"}, object: `{size: 1}`},
	} {
		plan, err := Compile(schemaOf(t, machineSchema), Options{Setting: "kind", Trusted: c.trusted, AllowedFields: c.allowed})
		if err != nil {
			t.Errorf("%s: %v", c.reason, err)
			continue
		}
		var got []Problem
		for _, p := range plan.Check(objectOf(t, "spec: "+strings.Replace(c.object, "}, data", "}\ndata", 1)), "web") {
			if p.Detail == "is not one of the fields that pass; leave it out" && p.Setting != "kind.allowedFields" {
				t.Errorf("%s: the setting of %s is %q", c.reason, p.Path, p.Setting)
			}
			got = append(got, Problem{Path: p.Path, Value: p.Value})
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}

// TestManyProblems bounds the problems of an object, whichever check finds them.
func TestManyProblems(t *testing.T) {
	t.Parallel()
	const count = 100_000
	requests, quantities, disks := map[string]any{}, map[string]any{}, []any{}
	for i := range count {
		requests["key-"+strconv.Itoa(i)] = "1"
		quantities["key-"+strconv.Itoa(i)] = "1e99999999"
		disks = append(disks, map[string]any{"hostPath": "/", "image": "x"})
	}
	for _, c := range []struct {
		reason  string
		options Options
		spec    map[string]any
	}{
		{"fields that are not allowed", Options{AllowedFields: []string{"spec.requests.cpu"}}, map[string]any{"requests": requests, "disks": disks}},
		{"rules", Options{References: []v1alpha1.Reference{{Path: "spec.disks[*].image", To: v1alpha1.ToImage}}, Images: testImages()}, map[string]any{"disks": disks}},
		{"quantities", Options{}, map[string]any{"requests": quantities}},
	} {
		c.options.Trusted = true
		plan, err := Compile(schemaOf(t, machineSchema), c.options)
		if err != nil {
			t.Errorf("%s: %v", c.reason, err)
			continue
		}
		if got := len(plan.Check(map[string]any{"spec": c.spec}, "web")); got != maxProblems {
			t.Errorf("%s: got %d problems, want %d", c.reason, got, maxProblems)
		}
	}
}

// TestAllowedReferences renames what listed fields name, also below a key of a map.
func TestAllowedReferences(t *testing.T) {
	t.Parallel()
	plan, err := Compile(schemaOf(t, machineSchema), Options{AllowedFields: []string{"spec.secretName", "spec.byName.a.secretName"}})
	if err != nil {
		t.Fatal(err)
	}
	object := objectOf(t, `spec: {secretName: x, byName: {a: {secretName: z}}}`)
	if problems := plan.Check(object, "web"); len(problems) > 0 {
		t.Fatalf("denied: %v", problems)
	}
	plan.ToHost(object, "web", cluster(), widgets)
	want := map[string]any{"spec": map[string]any{
		"secretName": host(secrets, "x"), "byName": map[string]any{"a": map[string]any{"secretName": host(secrets, "z")}},
	}}
	if diff := cmp.Diff(want, object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPodMetadata puts the label of the release on all pods, and nothing by which the engine knows its
// copies.
func TestPodMetadata(t *testing.T) {
	t.Parallel()
	plan, err := Compile(schemaOf(t, machineSchema), Options{References: []v1alpha1.Reference{
		{Path: "spec.jobs[*].template.metadata", To: v1alpha1.ToPodMetadata}, {Path: "spec.template.metadata", To: v1alpha1.ToPodMetadata},
		{Path: "spec.selector", To: v1alpha1.ToLabelSelector, Optional: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	release := map[string]any{"labels": map[string]any{labels.Release: "shop"}}
	renamed := map[string]any{"labels": map[string]any{
		labels.Release: "shop", translate.TenantLabel(labels.Release): "a", translate.TenantLabel(labels.Cluster): "uid",
	}}
	for _, c := range []struct {
		reason, object string
		want           map[string]any // metadata of the template, nil for a denied object
	}{
		{"none", `{template: {}}`, release},
		{"null", `{template: {metadata: null}}`, release},
		{"what Go writes", `{template: {metadata: {creationTimestamp: null}}}`, release},
		{"labels of ours", `{template: {metadata: {labels: {sublet.dev/release: a, sublet.dev/cluster: uid}}}}`, renamed},
		{"no template", `{}`, nil},
		{"no template in an item", `{template: {}, jobs: [{}]}`, nil},
		{"text", `{template: {metadata: a}}`, nil},
		{"a list", `{template: {metadata: []}}`, nil},
		{"labels as text", `{template: {metadata: {labels: a}}}`, nil},
		{"a value that is no text", `{template: {metadata: {labels: {a: true}}}}`, nil},
		{"a value that no label has", `{template: {metadata: {labels: {a: /}}}}`, nil},
		{"annotations", `{template: {metadata: {annotations: {sublet.dev/virtual-name: a}}}}`, nil},
		{"a name", `{template: {metadata: {name: a}}}`, nil},
		{"finalizers", `{template: {metadata: {finalizers: [a/b]}}}`, nil},
	} {
		object := objectOf(t, "spec: "+c.object)
		if problems := plan.Check(object, "web"); len(problems) > 0 != (c.want == nil) {
			t.Errorf("%s: the problems are %v", c.reason, problems)
		}
		if c.want == nil {
			continue
		}
		plan.ToHost(object, "web", cluster(), widgets)
		if diff := cmp.Diff(map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": c.want}}}, object); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.reason, diff)
		}
	}
}

// TestImagesAndGracePeriods bounds what pods of a controller run, and how long they take to end.
func TestImagesAndGracePeriods(t *testing.T) {
	t.Parallel()
	references := []v1alpha1.Reference{
		{Path: "spec.disks[*].image", To: v1alpha1.ToImage}, {Path: "spec.grace", To: v1alpha1.ToGracePeriod},
		{Path: "spec.selector", To: v1alpha1.ToLabelSelector, Optional: true}, {Path: "spec.template", To: v1alpha1.ToNone}, {Path: "spec.jobs", To: v1alpha1.ToNone},
	}
	plan, err := Compile(schemaOf(t, machineSchema), Options{References: references, Images: testImages(), MaxGracePeriodSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string][]Problem{
		`{grace: 60, disks: [{name: a}]}`: nil,
		`{grace: 61}`:                     {{Path: "spec.grace", Value: "61", Detail: "must be a number of seconds, at most 60", Setting: "policies.pods.maxGracePeriodSeconds"}},
		`{grace: -1}`:                     {{Path: "spec.grace", Value: "-1", Detail: "must be a number of seconds, at most 60", Setting: "policies.pods.maxGracePeriodSeconds"}},
		`{disks: [{image: nginx}]}`:       {{Path: "spec.disks[0].image", Value: "nginx", Detail: "not allowed", Setting: "policies.images.allowed"}},
	} {
		if diff := cmp.Diff(want, plan.Check(objectOf(t, "spec: "+text), "web")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	object := objectOf(t, `spec: {disks: [{image: registry.example.com/a, imagePullPolicy: Never}, {name: b}]}`)
	plan.ToHost(object, "web", cluster(), widgets)
	want := objectOf(t, `spec: {disks: [{image: mirror.example.com/a, imagePullPolicy: Always}, {name: b}]}`)
	if diff := cmp.Diff(want, object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestBadAllowedFields refuses settings that mean nothing.
func TestBadAllowedFields(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{AllowedFields: []string{"spec.sise"}}, "kind.allowedFields: spec.sise is no field of the schema"},
		{Options{AllowedFields: []string{"spec.disks.name"}}, "spec.disks.name is no field of the schema"},
		{Options{AllowedFields: []string{"spec.size[*]"}}, "spec.size[*] is no field of the schema"},
		{Options{AllowedFields: []string{"spec.template.metadata.labels"}}, "spec.template.metadata.labels is no field of the schema"},
		{Options{Images: Images{AlwaysPull: true}, References: []v1alpha1.Reference{{Path: "spec.kernel.image", To: v1alpha1.ToImage}}}, "spec.kernel.image has no field imagePullPolicy next to it"},
		{Options{Images: Images{AlwaysPull: true}, References: []v1alpha1.Reference{{Path: "spec.images[*]", To: v1alpha1.ToImage}}}, "spec.images[*] has no field imagePullPolicy next to it"},
	} {
		c.o.Setting = "kind"
		if _, err := Compile(schemaOf(t, machineSchema), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
