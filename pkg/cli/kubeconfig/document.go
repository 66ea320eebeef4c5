package kubeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
)

// edit is one change of one file.
type edit struct {
	// section is "clusters", "contexts", "users" or "current-context".
	section string
	// name is the name of the entry, or the value of current-context.
	name string
	// content has the entry alone. nil deletes it.
	content *clientcmdapi.Config
}

// document is a kubeconfig file as a tree that keeps comments and order.
type document struct {
	node *yaml.Node
}

// parse returns the document in data. An empty file is an empty kubeconfig.
func parse(data []byte) (*document, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	node := &yaml.Node{}
	err := decoder.Decode(node)
	if errors.Is(err, io.EOF) || err == nil && isNull(node.Content[0]) {
		return parse([]byte("apiVersion: v1\nkind: Config\nclusters: []\ncontexts: []\nusers: []\n"))
	}
	if err != nil {
		return nil, err
	}
	if node.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("the file is no map")
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("the file has several documents")
	}
	return &document{node: node}, nil
}

// encode returns the text of the document.
func (d *document) encode() ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if !d.indentsLists() {
		encoder.CompactSeqIndent()
	}
	if err := encoder.Encode(d.node); err != nil {
		return nil, err
	}
	err := encoder.Close()
	return out.Bytes(), err
}

// indentsLists reports whether the file that was read indents its lists. kubectl does not.
func (d *document) indentsLists() bool {
	root := d.node.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		if value.Kind == yaml.SequenceNode && value.Style&yaml.FlowStyle == 0 && value.Line > key.Line && value.Column > key.Column {
			return true
		}
	}
	return false
}

// apply changes the document.
func (d *document) apply(e edit) error {
	root := d.node.Content[0]
	if e.section == "current-context" {
		set(root, "current-context", scalar(e.name))
		return nil
	}
	section := lookup(root, e.section)
	if section == nil || isNull(section) {
		section = &yaml.Node{Kind: yaml.SequenceNode}
		set(root, e.section, section)
	}
	if section.Kind != yaml.SequenceNode {
		return fmt.Errorf("%s is no list", e.section)
	}
	index := slices.IndexFunc(section.Content, func(entry *yaml.Node) bool {
		name := lookup(entry, "name")
		return name != nil && name.Value == e.name
	})
	if e.content == nil {
		if index >= 0 {
			section.Content = slices.Delete(section.Content, index, index+1)
		}
		return nil
	}
	entry, err := encodeEntry(e)
	if err != nil {
		return err
	}
	if index < 0 {
		if len(section.Content) == 0 {
			section.Style = 0 // "[]" is what kubectl writes for an empty list
		}
		section.Content = append(section.Content, entry)
		return nil
	}
	return merge(section.Content[index], entry, e.section)
}

// encodeEntry returns the entry as kubectl would write it into an empty file.
func encodeEntry(e edit) (*yaml.Node, error) {
	data, err := clientcmd.Write(*e.content)
	if err != nil {
		return nil, err
	}
	written, err := parse(data)
	if err != nil {
		return nil, err
	}
	return lookup(written.node.Content[0], e.section).Content[0], nil
}

// merge writes the fields of wanted into an entry that exists. Fields that no kubeconfig of
// this version has are kept.
func merge(entry, wanted *yaml.Node, section string) error {
	key := strings.TrimSuffix(section, "s")
	body, wantedBody := lookup(entry, key), lookup(wanted, key)
	if body == nil || body.Kind != yaml.MappingNode {
		set(entry, key, wantedBody)
		return nil
	}
	for _, field := range knownFields(section) {
		value := lookup(wantedBody, field)
		switch {
		case value == nil:
			removeKey(body, field)
		case !isEqual(lookup(body, field), value):
			set(body, field, value)
		}
	}
	return nil
}

// isEqual reports whether two nodes have the same value, whatever their comments.
func isEqual(a, b *yaml.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	var first, second any
	return a.Decode(&first) == nil && b.Decode(&second) == nil && reflect.DeepEqual(first, second)
}

// knownFields returns the names of the fields of an entry.
func knownFields(section string) []string {
	kind := map[string]reflect.Type{
		"clusters": reflect.TypeFor[clientcmdv1.Cluster](),
		"contexts": reflect.TypeFor[clientcmdv1.Context](),
		"users":    reflect.TypeFor[clientcmdv1.AuthInfo](),
	}[section]
	fields := []string{}
	for field := range kind.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && name != "-" {
			fields = append(fields, name)
		}
	}
	return fields
}

// lookup returns the value of a key, or nil.
func lookup(node *yaml.Node, key string) *yaml.Node {
	for node != nil && node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return node.Content[i+1]
		}
	}
	return nil
}

// set sets the value of a key. A comment after the old value stays.
func set(node *yaml.Node, key string, value *yaml.Node) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			value.LineComment = node.Content[i+1].LineComment
			node.Content[i+1] = value
			return
		}
	}
	node.Content = append(node.Content, scalar(key), value)
}

// removeKey removes a key.
func removeKey(node *yaml.Node, key string) {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			node.Content = slices.Delete(node.Content, i, i+2)
			return
		}
	}
}

// scalar returns a node for a text. A text that YAML would read as something else is quoted.
func scalar(text string) *yaml.Node {
	node := &yaml.Node{}
	node.SetString(text)
	if text == "" {
		node.Style = yaml.DoubleQuotedStyle
	}
	return node
}

// isNull reports whether a node is null.
func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.Tag == "!!null"
}
