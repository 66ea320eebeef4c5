package tenant

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"

	"helm.sh/helm/v4/pkg/chart/common"
	chartutil "helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	yamlreader "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Render renders the chart as `helm install` would, its values checked against
// its schema, and returns its objects in the order of their files.
func Render(o Options) ([]*unstructured.Unstructured, error) {
	o = o.withDefaults()
	chart, err := loader.Load(o.Chart)
	if err != nil {
		return nil, fmt.Errorf("cannot load chart %s: %w", o.Chart, err)
	}
	release := common.ReleaseOptions{Name: o.Release, Namespace: o.Namespace, Revision: 1, IsInstall: true}
	values, err := chartutil.ToRenderValues(chart, o.Values, release, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot take the values of chart %s: %w", o.Chart, err)
	}
	files, err := engine.Render(chart, values)
	if err != nil {
		return nil, fmt.Errorf("cannot render chart %s: %w", o.Chart, err)
	}
	var objects []*unstructured.Unstructured
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if extension := path.Ext(name); extension != ".yaml" && extension != ".yml" {
			continue
		}
		found, err := decode([]byte(files[name]))
		if err != nil {
			return nil, fmt.Errorf("cannot read what %s renders to: %w", name, err)
		}
		objects = append(objects, found...)
	}
	return objects, nil
}

// decode reads the objects of a file of YAML documents. Empty documents, which
// a disabled setting leaves behind, are skipped.
func decode(file []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	documents := yamlreader.NewYAMLReader(bufio.NewReader(bytes.NewReader(file)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			return nil, err
		}
		if string(content) == "null" {
			continue
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(content); err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
}

func decodeBase64(s string) ([]byte, error) {
	content, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("cannot decode: %w", err)
	}
	return content, nil
}
