package release

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// AddValueFlags adds the flags of Helm that set values.
func AddValueFlags(cmd *cobra.Command, values *Values) {
	flags := cmd.Flags()
	flags.StringSliceVarP(&values.ValueFiles, "values", "f", nil, "File with settings in YAML (\"-\" reads standard input; can be repeated)")
	flags.StringArrayVar(&values.Values, "set", nil, "Setting as key=value, as in sync.toHost.ingresses.enabled=true (can be repeated)")
	flags.StringArrayVar(&values.StringValues, "set-string", nil, "The same with a value that is always text")
	flags.StringArrayVar(&values.FileValues, "set-file", nil, "The same with the content of a file as value")
	flags.StringArrayVar(&values.JSONValues, "set-json", nil, "The same with a value in JSON")
}

// Progress returns a function that prints each reason with the time since began.
func Progress(out io.Writer, began time.Time) func(string) {
	return func(reason string) {
		fmt.Fprintf(out, "%5.1f s  %s\n", time.Since(began).Seconds(), reason)
	}
}
