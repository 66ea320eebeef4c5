package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// addressFormat is a format whose values have IPs, with the paths of all settings that have it.
type addressFormat struct {
	Want  string   `json:"want"`
	Paths []string `json:"paths"`
}

// addressNames returns the names of formats whose values have IPs.
func addressNames() []string {
	return []string{"cidr", "dns-name-or-ip", "etcd-endpoints", "https-url", "ip", "nameserver"}
}

// addressFormats returns all formats whose values have IPs, as JSON. A path leads through lists and maps.
func addressFormats() ([]byte, error) {
	found := map[string][]string{}
	collectAddresses(reflect.TypeFor[v1alpha1.Config](), "", found)
	all := make([]addressFormat, 0, len(found))
	for _, format := range v1alpha1.Formats() {
		if paths := found[format.Name]; len(paths) > 0 {
			all = append(all, addressFormat{Want: format.Want, Paths: paths})
		}
	}
	data, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the formats of addresses: %w", err)
	}
	return data, nil
}

// collectAddresses adds the paths of the fields of a struct that have IPs, by the names of their formats.
func collectAddresses(structure reflect.Type, above string, found map[string][]string) {
	for field := range structure.Fields() {
		key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if key == "-" {
			continue
		}
		path, rule := strings.TrimPrefix(above+"."+key, "."), v1alpha1.RuleOf(field)
		for _, format := range []*v1alpha1.Format{rule.Format, rule.Values} {
			if format != nil && slices.Contains(addressNames(), format.Name) {
				found[format.Name] = append(found[format.Name], path)
			}
		}
		below := field.Type
		if below.Kind() == reflect.Slice {
			below = below.Elem()
		}
		if isOurs(below) {
			collectAddresses(below, path, found)
		}
	}
}
