package custom

import (
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// widgetSchema has a field of each shape.
const widgetSchema = `
type: object
required: [spec]
properties:
  apiVersion: {type: string}
  kind: {type: string}
  metadata: {type: object}
  status: {type: object, x-kubernetes-preserve-unknown-fields: true}
  spec:
    type: object
    required: [selector]
    properties:
      size: {type: integer}
      color: {type: string}
      secretName: {type: string}
      configMapNames: {type: array, items: {type: string}}
      secretKey: {type: string}
      tlsSecretRef: {type: object, properties: {name: {type: string}, key: {type: string}, namespace: {type: string}}}
      username: {type: object, properties: {name: {type: string}, optional: {type: boolean}, key: {type: string, description: "The key of the secret to select from."}}}
      configMapKeyRef: {type: object, properties: {name: {type: string}, key: {type: string}}}
      serviceAccountName: {type: string}
      backendService: {type: object, properties: {name: {type: string}, port: {type: integer}}}
      database: {type: object, properties: {service: {type: object, properties: {name: {type: string}, peerRef: {type: object, properties: {name: {type: string}}}, podNamespace: {type: string}, tls: {type: object, properties: {secretName: {type: string}}}}}}}
      claimName: {type: string}
      issuerRef: {type: object, properties: {name: {type: string}, kind: {type: string}}}
      ownerRef: {type: object, properties: {name: {type: string}}}
      namespace: {type: string}
      targetNamespaces: {type: array, items: {type: string}}
      watchNamespaceOf: {type: string}
      selector: {type: object, properties: {matchLabels: {type: object, additionalProperties: {type: string}}, matchExpressions: {type: array, items: {type: object, properties: {key: {type: string}, operator: {type: string}, values: {type: array, items: {type: string}}}}}}}
      nodeSelector: {type: object, additionalProperties: {type: string}}
      textSelector: {type: string}
      namespaceSelector: {type: object, properties: {any: {type: boolean}, matchNames: {type: array, items: {type: string}}}}
      template: {type: object, properties: {spec: {type: object, properties: {containers: {type: array, items: {type: object, properties: {name: {type: string}}}}}}}}
      anything: {type: object, x-kubernetes-preserve-unknown-fields: true}
      free: {type: object, additionalProperties: true}
      tls: {type: array, items: {type: object, properties: {hosts: {type: array, items: {type: string}}, secretName: {type: string}}}}
      byName: {type: object, additionalProperties: {type: object, properties: {secretName: {type: string}}}}
      gateways: {type: array, items: {type: string}}
      secrets: {type: object, additionalProperties: {type: object, properties: {mode: {type: integer}}}}
      peerRefs: {type: object, additionalProperties: {type: string}}
      envSecretRefs: {type: object, additionalProperties: {type: object, properties: {name: {type: string}, key: {type: string}}}}
      memory: {x-kubernetes-int-or-string: true}
      limits: {type: object, additionalProperties: {x-kubernetes-int-or-string: true}}
      steps: {type: array, items: {type: object, properties: {cpu: {x-kubernetes-int-or-string: true}, note: {type: string}}}}
      secretPorts: {type: object, additionalProperties: {type: integer}}
`

func schemaOf(t testing.TB, text string) *apiextensionsv1.JSONSchemaProps {
	t.Helper()
	schema := &apiextensionsv1.JSONSchemaProps{}
	if err := yaml.UnmarshalStrict([]byte(text), schema); err != nil {
		t.Fatal(err)
	}
	return schema
}

func objectOf(t testing.TB, text string) map[string]any {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	object := map[string]any{}
	if err := utiljson.Unmarshal(data, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// compile returns the plan of widgets. The references that are not optional have a selector in
// each object of the tests.
func compile(t testing.TB, trusted bool, references ...v1alpha1.Reference) *Plan {
	t.Helper()
	plan, err := Compile(schemaOf(t, widgetSchema), Options{
		Setting: "sync.toHost.customResources[widgets.example.com]", Trusted: trusted, References: references,
		Synced: func(resource string) bool { return resource == "issuers.example.com" },
	})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func cluster() translate.Cluster {
	return translate.Cluster{UID: "uid", Name: "shop", Namespace: "tenant"}
}
