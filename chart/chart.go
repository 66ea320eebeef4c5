// Package chart has the files of the Helm chart, so that the command line installs it
// without a download.
package chart

import (
	"embed"
	"io/fs"
)

//go:embed Chart.yaml values.yaml values.schema.json presets all:templates
var files embed.FS

// Files returns the chart, with Chart.yaml at its root.
func Files() fs.FS { return files }
