package custom

import (
	"slices"
	"strings"
	"unicode"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// fromShape returns the node of a value whose schema has the form of a reference or selector,
// nil for all others. A reference of an unknown form gets ruleUnknown.
func fromShape(at location, schema *apiextensionsv1.JSONSchemaProps) *node {
	switch {
	case isPodSpec(schema):
		return unknownNode("it is a template of pods, and pods of a controller of the host pass no policy")
	case isOpaque(schema):
		return unknownNode("its schema allows anything")
	case isLabelSelector(schema):
		return &node{rule: ruleSelector}
	case schema.Type == "string":
		return fromText(at)
	case schema.Type != "object":
		return nil // The items of a list are checked by the same key.
	case len(schema.Properties) > 0:
		return fromObject(at, schema)
	case looksLikeSelector(at.key):
		return unknownNode("it looks like a selector")
	}
	return nil
}

// fromObject returns the node of an object with known fields.
func fromObject(at location, schema *apiextensionsv1.JSONSchemaProps) *node {
	_, hasKind := schema.Properties["kind"]
	_, hasName := schema.Properties["name"]
	resource := resourceOf(at.key)
	switch {
	case hasKind && hasName:
		return unknownNode("it refers to an object of any kind")
	case !hasName:
		if looksLikeSelector(at.key) {
			return unknownNode("it looks like a selector")
		}
		return nil
	case resource == "" && isKeySelector(schema):
		resource = resourceOfKey(schema)
	}
	// Without descriptions, a definition does not tell a key of a Secret from one of a ConfigMap.
	if resource == "" && (looksLikeReference(at.key) || isKeySelector(schema)) {
		return unknownNode("it looks like a reference to another object")
	}
	if resource == "" {
		return nil
	}
	return nameNode(schema, resource)
}

// nameNode returns the node of an object whose field name names a resource. Its namespace, if
// it has one, is that of the object itself.
func nameNode(schema *apiextensionsv1.JSONSchemaProps, resource string) *node {
	n := &node{}
	n.add("name", &node{rule: ruleNames, target: target{resource: resource}})
	if _, ok := schema.Properties["namespace"]; ok {
		n.add("namespace", &node{rule: ruleNamespaces})
	}
	if _, ok := schema.Properties["selector"]; ok {
		n.add("selector", unknownNode("it looks like a selector"))
	}
	return n
}

// fromText returns the node of a string, or of the items of a list of strings.
func fromText(at location) *node {
	words := wordsOf(at.key)
	last := lastOf(words)
	switch {
	case looksLikeSelector(at.key):
		return unknownNode("it looks like a selector")
	case last == "namespace" || last == "namespaces":
		return &node{rule: ruleNamespaces}
	case hasNamespace(words):
		return unknownNode("it looks like the name of a namespace")
	case (last == "name" || last == "names") && resourceOf(at.key) != "":
		return &node{rule: ruleNames, target: target{resource: resourceOf(at.key)}}
	case looksLikeReference(at.key) || resourceOf(at.key) != "" && !isAttribute(last):
		return unknownNode("it looks like a reference to another object")
	}
	return nil
}

// lastOf returns the last word, empty if there is none.
func lastOf(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1]
}

// hasNamespace reports whether a word is that of namespaces.
func hasNamespace(words []string) bool {
	return slices.Contains(words, "namespace") || slices.Contains(words, "namespaces")
}

// isAttribute reports whether the last word of a key is that of something else than a name.
func isAttribute(word string) bool {
	return slices.Contains([]string{"key", "keys", "type", "path", "paths", "version", "port", "label", "annotation", "class"}, word)
}

// unknownNode returns the node of a value that must be left out, with the reason.
func unknownNode(why string) *node { return &node{rule: ruleUnknown, why: why} }

// isPodSpec reports whether a schema is that of the spec of pods.
func isPodSpec(schema *apiextensionsv1.JSONSchemaProps) bool {
	containers, ok := schema.Properties["containers"]
	return ok && containers.Items != nil && containers.Items.Schema != nil && containers.Items.Schema.Properties["name"].Type == "string"
}

// isOpaque reports whether a schema does not describe its values.
func isOpaque(schema *apiextensionsv1.JSONSchemaProps) bool {
	if schema.XPreserveUnknownFields != nil && *schema.XPreserveUnknownFields || schema.XEmbeddedResource {
		return true
	}
	if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema == nil && schema.AdditionalProperties.Allows {
		return true
	}
	return schema.Type == "" && !schema.XIntOrString
}

// isLabelSelector reports whether a schema is that of a label selector.
func isLabelSelector(schema *apiextensionsv1.JSONSchemaProps) bool {
	_, hasLabels := schema.Properties["matchLabels"]
	_, hasExpressions := schema.Properties["matchExpressions"]
	return hasLabels && hasExpressions && len(schema.Properties) == 2
}

// isKeySelector reports whether a schema is that of a key of a Secret or a ConfigMap.
func isKeySelector(schema *apiextensionsv1.JSONSchemaProps) bool {
	_, hasKey := schema.Properties["key"]
	return hasKey && len(schema.Properties) <= 3
}

// resourceOfKey returns the resource that a selector of a key names, empty if it is neither Secrets nor
// ConfigMaps. The two differ in nothing but the description of the field.
func resourceOfKey(schema *apiextensionsv1.JSONSchemaProps) string {
	text := strings.ToLower(schema.Properties["key"].Description)
	switch {
	case strings.Contains(text, "secret"):
		return secrets
	case strings.Contains(text, "key to select"):
		return configMaps
	}
	return ""
}

// resourceOf returns the resource that the key of a field names, empty if it names none.
func resourceOf(key string) string {
	words := " " + strings.Join(wordsOf(key), " ") + " "
	for _, known := range []struct{ word, resource string }{
		{" secret ", secrets},
		{" secrets ", secrets},
		{" config map ", configMaps},
		{" config maps ", configMaps},
		{" configmap ", configMaps},
		{" service account ", accounts},
		{" serviceaccount ", accounts},
		{" service ", services},
		{" volume claim ", claims},
		{" claim ", claims},
		{" pvc ", claims},
	} {
		if strings.Contains(words, known.word) {
			return known.resource
		}
	}
	return ""
}

// endsWithNoun reports whether a key ends with the word for a resource or for references.
func endsWithNoun(key string) bool {
	last := lastOf(wordsOf(key))
	return looksLikeReference(last) || resourceOf(last) != "" ||
		resourceOf(key) != "" && slices.Contains([]string{"name", "names", "map", "maps", "account", "accounts"}, last)
}

// looksLikeSelector reports whether a key is that of a selector.
func looksLikeSelector(key string) bool {
	words := wordsOf(key)
	return slices.ContainsFunc(words, func(w string) bool { return w == "selector" || w == "selectors" }) ||
		len(words) == 2 && words[0] == "match" && (words[1] == "labels" || words[1] == "expressions")
}

// looksLikeReference reports whether a key is that of a reference.
func looksLikeReference(key string) bool {
	return slices.ContainsFunc(wordsOf(key), func(w string) bool {
		return slices.Contains([]string{"ref", "refs", "reference", "references"}, w)
	})
}

// wordsOf returns the words of a key, such as [secret key ref] of secretKeyRef.
func wordsOf(key string) []string {
	var words []string
	start := 0
	runes := []rune(key)
	cut := func(end int) {
		if end > start {
			words = append(words, strings.ToLower(string(runes[start:end])))
		}
		start = end
	}
	for i, r := range runes {
		switch {
		case r == '-' || r == '_':
			cut(i)
			start = i + 1
		case unicode.IsUpper(r) && i > 0 && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])):
			cut(i)
		}
	}
	cut(len(runes))
	return words
}
