package main

import "strings"

// rangePaths returns the paths of all settings that are IP ranges, or lists of them.
func rangePaths(settings []setting) []string {
	var paths []string
	for _, s := range settings {
		if s.rule.Format != nil && s.rule.Format.Name == "cidr" {
			paths = append(paths, strings.Join(s.path, "."))
		}
		paths = append(paths, rangePaths(s.children)...)
	}
	return paths
}
