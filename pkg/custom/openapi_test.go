package custom

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// gaugeDocument returns an OpenAPI v3 document with the kind Gauge, in the form that Go types
// have. spec and status are its fields, others are more schemas.
func gaugeDocument(t *testing.T, spec, status, others string) []byte {
	t.Helper()
	document, err := yaml.YAMLToJSON([]byte(`
openapi: 3.0.0
components:
  schemas:
    io.k8s.ObjectMeta: {type: object, properties: {name: {type: string}, managedFields: {type: array, items: {$ref: "#/components/schemas/io.k8s.FieldsV1"}}}}
    io.k8s.FieldsV1: {type: object}
    io.k8s.Quantity: {description: A number., oneOf: [{type: string}, {type: number}]}
    io.k8s.IntOrString: {format: int-or-string, oneOf: [{type: integer}, {type: string}]}
    io.k8s.Time: {type: string, format: date-time}
    com.example.Gauge:
      type: object
      description: Gauge measures.
      required: [spec, status]
      x-kubernetes-group-version-kind: [{group: example.com, version: v1, kind: Gauge}]
      properties:
        apiVersion: {type: string, description: The version.}
        kind: {type: string}
        metadata: {default: {}, description: Standard., allOf: [{$ref: "#/components/schemas/io.k8s.ObjectMeta"}]}
        spec: ` + spec + `
        status: ` + status + `
` + others))
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func gaugeKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Gauge"}
}

// TestFromOpenAPI converts fields as Go types describe them.
func TestFromOpenAPI(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ spec, others, want string }{
		"Scalars": {
			`{type: object, required: [a], properties: {a: {type: string, default: ""}, b: {type: integer, format: int32, default: 3}, c: {type: boolean, default: false}}}`, "",
			`{type: object, nullable: true, required: [a], properties: {a: {type: string}, b: {type: integer, format: int32, default: 3}, c: {type: boolean}}}`,
		},
		"Reference": {
			`{type: object, properties: {a: {default: {}, description: Own., allOf: [{$ref: "#/components/schemas/com.example.A"}]}, b: {$ref: "#/components/schemas/com.example.A"}}}`,
			`    com.example.A: {type: object, description: Of the type., required: [x], properties: {x: {type: string}}}`,
			`{type: object, nullable: true, properties: {a: {type: object, nullable: true, description: Own., required: [x], properties: {x: {type: string}}}, b: {type: object, nullable: true, description: Of the type., required: [x], properties: {x: {type: string}}}}}`,
		},
		"Numbers": {
			`{type: object, properties: {a: {$ref: "#/components/schemas/io.k8s.Quantity"}, b: {$ref: "#/components/schemas/io.k8s.IntOrString"}, c: {$ref: "#/components/schemas/io.k8s.Time"}}}`, "",
			`{type: object, nullable: true, properties: {a: {description: A number., x-kubernetes-int-or-string: true}, b: {x-kubernetes-int-or-string: true}, c: {type: string, format: date-time, nullable: true}}}`,
		},
		"Anything": {
			`{type: object, properties: {a: {description: JSON.}, b: {type: object}, c: {type: array}, d: {type: array, items: {}}, e: {properties: {f: {type: string}}}}}`, "",
			`{type: object, nullable: true, properties: {a: {description: JSON., nullable: true, x-kubernetes-preserve-unknown-fields: true}, b: {type: object, nullable: true, x-kubernetes-preserve-unknown-fields: true}, c: {type: array, nullable: true, items: {x-kubernetes-preserve-unknown-fields: true}}, d: {type: array, nullable: true, items: {nullable: true, x-kubernetes-preserve-unknown-fields: true}}, e: {type: object, nullable: true, properties: {f: {type: string}}}}}`,
		},
		"Recursion": {
			`{$ref: "#/components/schemas/com.example.Tree"}`,
			`    com.example.Tree: {type: object, properties: {name: {type: string}, children: {type: array, items: {default: {}, allOf: [{$ref: "#/components/schemas/com.example.Tree"}]}}}}`,
			`{type: object, nullable: true, properties: {name: {type: string}, children: {type: array, nullable: true, items: {nullable: true, x-kubernetes-preserve-unknown-fields: true}}}}`,
		},
		"Maps": {
			`{type: object, additionalProperties: {default: {}, allOf: [{$ref: "#/components/schemas/com.example.A"}]}}`,
			`    com.example.A: {type: object, properties: {x: {type: string}}}`,
			`{type: object, nullable: true, additionalProperties: {type: object, nullable: true, properties: {x: {type: string}}}}`,
		},
		"Lists": {
			`{type: object, properties: {
				good: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name], items: {type: object, required: [name], properties: {name: {type: string}}}},
				bad: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name], items: {type: object, properties: {name: {type: string}}}},
				set: {type: array, x-kubernetes-list-type: set, uniqueItems: true, items: {type: string}},
				bytes: {type: string, format: byte, x-kubernetes-list-type: atomic},
				of: {type: array, x-kubernetes-list-type: set, items: {type: object, properties: {name: {type: string}}}}}}`, "",
			`{type: object, nullable: true, properties: {
				good: {type: array, nullable: true, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name], items: {type: object, required: [name], properties: {name: {type: string}}}},
				bad: {type: array, nullable: true, items: {type: object, nullable: true, properties: {name: {type: string}}}},
				set: {type: array, nullable: true, x-kubernetes-list-type: set, items: {type: string}},
				bytes: {type: string, format: byte},
				of: {type: array, nullable: true, items: {type: object, nullable: true, properties: {name: {type: string}}}}}}`,
		},
		"Defaults": {
			`{type: object, properties: {a: {type: object, default: {y: 1, x: "<"}, properties: {x: {type: string}, y: {type: integer}}}, b: {type: string, enum: [ "u" ], default: u}}}`, "",
			`{type: object, nullable: true, properties: {a: {type: object, nullable: true, default: {x: "<", y: 1}, properties: {x: {type: string}, y: {type: integer}}}, b: {type: string, enum: [u], default: u}}}`,
		},
		"Rules": {
			`{type: object, properties: {a: {type: string, enum: [x, y], pattern: "^.$", x-kubernetes-validations: [{rule: "true"}]}}}`, "",
			`{type: object, nullable: true, properties: {a: {type: string, enum: [x, y], pattern: "^.$"}}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.spec = strings.ReplaceAll(strings.ReplaceAll(c.spec, "\n", " "), "\t", " ")
			got, err := FromOpenAPI(gaugeDocument(t, c.spec, `{type: object, required: [x], properties: {x: {type: string}}}`, c.others), gaugeKind(), false)
			if err != nil {
				t.Fatal(err)
			}
			want := &apiextensionsv1.JSONSchemaProps{
				Type: "object", Description: "Gauge measures.", Required: []string{"spec"}, Properties: map[string]apiextensionsv1.JSONSchemaProps{
					"apiVersion": {Type: "string", Description: "The version."}, "kind": {Type: "string"}, "metadata": {Type: "object"},
					"spec":   *schemaOf(t, strings.ReplaceAll(c.want, "\t", " ")),
					"status": *schemaOf(t, `{type: object, nullable: true, properties: {x: {type: string}}}`),
				},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestRelaxed requires nothing of objects of the host.
func TestRelaxed(t *testing.T) {
	t.Parallel()
	document := gaugeDocument(t, `{type: object, required: [a], properties: {a: {type: string}}}`, `{type: object}`, "")
	got, err := FromOpenAPI(document, gaugeKind(), true)
	if err != nil || len(got.Required) > 0 || len(got.Properties["spec"].Required) > 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestRefusedDocuments looks at documents without a schema that a definition may have.
func TestRefusedDocuments(t *testing.T) {
	t.Parallel()
	for want, document := range map[string][]byte{
		"cannot read the OpenAPI document":                     []byte("no"),
		"the OpenAPI document has no schema of Gauge":          []byte("{}"),
		"its schema is not that of an object with fields":      []byte(`{"components":{"schemas":{"a":{"type":"object","x-kubernetes-group-version-kind":[{"group":"example.com","version":"v1","kind":"Gauge"}]}}}}`),
		"spec: a: the OpenAPI document has no schema missing":  gaugeDocument(t, `{type: object, properties: {a: {$ref: "#/components/schemas/missing"}}}`, "{}", ""),
		"spec: cannot read the schema com.example.A":           gaugeDocument(t, `{$ref: "#/components/schemas/com.example.A"}`, "{}", `    com.example.A: {type: [string, "null"]}`),
		"its schema is not structural: properties[spec].allOf": gaugeDocument(t, `{type: object, allOf: [{type: object}], properties: {a: {type: string}}}`, "{}", ""),
		"$ref' is not supported":                               gaugeDocument(t, `{type: object, properties: {a: {type: string, not: {$ref: "#/components/schemas/com.example.A"}}}}`, "{}", ""),
	} {
		if _, err := FromOpenAPI(document, gaugeKind(), false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestBoundedSchema ends a document that grows when its references are resolved.
func TestBoundedSchema(t *testing.T) {
	t.Parallel()
	var others strings.Builder
	for level := range strings.SplitSeq("abcdefghijklmnopq", "") {
		next := string(level[0] + 1)
		others.WriteString(`    level-` + level + `: {type: object, properties: {`)
		for field := range strings.SplitSeq("abcdefgh", "") {
			others.WriteString(field + `: {$ref: "#/components/schemas/level-` + next + `"}, `)
		}
		others.WriteString("}}\n")
	}
	others.WriteString("    level-r: {type: string}")
	got, err := FromOpenAPI(gaugeDocument(t, `{$ref: "#/components/schemas/level-a"}`, "{}", others.String()), gaugeKind(), false)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := json.Marshal(got); err != nil || len(text) > maxSchemaSize*3/2 {
		t.Errorf("it has %d bytes: %v", len(text), err)
	}
}
