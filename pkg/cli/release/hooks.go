package release

import (
	"bytes"
	"io"
	"strings"

	"helm.sh/helm/v4/pkg/action"
)

// hookOutput is what pods of failed hooks have printed. The chart has one hook, which checks
// settings that Helm cannot compile.
type hookOutput struct{ text bytes.Buffer }

// hookOutputOf collects the output of the hooks of an action.
func hookOutputOf(config *action.Configuration) *hookOutput {
	output := &hookOutput{}
	config.SetHookOutputFunc(func(_, _, _ string) io.Writer { return &output.text })
	return output
}

// explain replaces the error of a failed hook by what its pod has printed.
func (o *hookOutput) explain(err error) error {
	text := strings.TrimSpace(strings.TrimPrefix(o.text.String(), "sublet-server: "))
	if err == nil || text == "" {
		return err
	}
	return settingsError(text)
}

// settingsError describes what is wrong with the settings of a virtual cluster.
type settingsError string

// Error returns the text.
func (e settingsError) Error() string { return string(e) }
