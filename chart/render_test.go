package chart_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// rendering is what Helm makes of the chart and some values.
type rendering struct {
	// text are the rendered templates by their path in the chart.
	text map[string]string
	// objects are the objects in them by "Kind/name".
	objects map[string]client.Object
}

// object finds an object of a type by name.
func object[T client.Object](t *testing.T, r rendering, name string) T {
	t.Helper()
	for _, candidate := range r.objects {
		if found, isT := candidate.(T); isT && found.GetName() == name {
			return found
		}
	}
	t.Fatalf("the chart renders no %T %s, only %v", *new(T), name, slices.Sorted(maps.Keys(r.objects)))
	return *new(T)
}

// loadChart loads the chart from this folder.
func loadChart(t testing.TB) *chart.Chart {
	t.Helper()
	ch, err := loader.LoadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// onlyTemplates leaves all templates out that have none of these ends. It is faster to render.
func onlyTemplates(ch *chart.Chart, ends ...string) *chart.Chart {
	ch.Templates = slices.DeleteFunc(ch.Templates, func(file *common.File) bool {
		return !slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(file.Name, end) })
	})
	return ch
}

// parse reads values as "helm --values" does.
func parse(t testing.TB, text string) map[string]any {
	t.Helper()
	values, err := loader.LoadValues(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// mustRender renders the chart with values in YAML.
func mustRender(t testing.TB, ch *chart.Chart, values string) rendering {
	t.Helper()
	rendered, err := render(ch, parse(t, values))
	if err != nil {
		t.Fatal(err)
	}
	return rendered
}

// render renders the chart as release shop in namespace tenant.
func render(ch *chart.Chart, values map[string]any) (rendering, error) {
	return renderAs(ch, "shop", values)
}

// renderAs renders the chart as a release in namespace tenant.
func renderAs(ch *chart.Chart, name string, values map[string]any) (rendering, error) {
	release := common.ReleaseOptions{Name: name, Namespace: "tenant", Revision: 1, IsInstall: true}
	return renderOn(ch, release, "v1.37.0", values)
}

// renderOn renders the chart for a host of that version.
func renderOn(ch *chart.Chart, release common.ReleaseOptions, version string, values map[string]any) (rendering, error) {
	host, err := common.ParseKubeVersion(version)
	if err != nil {
		return rendering{}, err
	}
	fits, err := fitsSchema(ch, values)
	if err != nil {
		return rendering{}, err
	}
	capabilities := &common.Capabilities{KubeVersion: *host, APIVersions: common.DefaultVersionSet}
	top, err := util.ToRenderValuesWithSchemaValidation(ch, values, release, capabilities, fits)
	if err != nil {
		return rendering{}, err
	}
	text, err := engine.Render(ch, top)
	if err != nil {
		return rendering{}, err
	}
	objects, err := decode(text)
	return rendering{text: text, objects: objects}, err
}

// schema compiles the schema once. Helm compiles it for each rendering, which takes longer than the rendering itself.
var schema = sync.OnceValues(func() (*jsonschema.Schema, error) { return jsonschema.NewCompiler().Compile("values.schema.json") })

// fitsSchema reports if Helm has no problem to find, with the library that Helm uses.
func fitsSchema(ch *chart.Chart, values map[string]any) (bool, error) {
	compiled, err := schema()
	if err != nil {
		return false, err
	}
	all, err := util.CoalesceValues(ch, values)
	return err == nil && compiled.Validate(all.AsMap()) == nil, err
}

// toJSON returns a document of YAML as JSON. A broken one is returned as it is.
func toJSON(document []byte) []byte {
	data, err := utilyaml.ToJSON(document)
	if err != nil {
		return document
	}
	return data
}

// decode decodes all rendered objects with the types of Kubernetes and refuses
// fields that the types do not have.
func decode(text map[string]string) (map[string]client.Object, error) {
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme.Scheme, scheme.Scheme,
		json.SerializerOptions{Yaml: true, Strict: true})
	objects := map[string]client.Object{}
	for _, path := range slices.Sorted(maps.Keys(text)) {
		if !strings.HasSuffix(path, ".yaml") {
			continue
		}
		documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text[path])))
		for {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("cannot read %s: %w", path, err)
			}
			if strings.TrimSpace(string(document)) == "" {
				continue
			}
			decoded, _, err := strict.Decode(document, nil, nil)
			if runtime.IsNotRegisteredError(err) {
				decoded, _, err = unstructured.UnstructuredJSONScheme.Decode(toJSON(document), nil, nil) // of a CRD
			}
			if err != nil {
				return nil, fmt.Errorf("cannot decode %s: %w\n%s", path, err, document)
			}
			found := decoded.(client.Object)
			key := found.GetObjectKind().GroupVersionKind().Kind + "/" + found.GetName()
			if namespace := found.GetNamespace(); strings.HasSuffix(path, "/fromhost.yaml") || strings.HasSuffix(path, "/exports.yaml") {
				key += " in " + namespace // The only objects in further namespaces.
			}
			if _, twice := objects[key]; twice {
				return nil, fmt.Errorf("%s renders %s twice", path, key)
			}
			objects[key] = found
		}
	}
	return objects, nil
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
