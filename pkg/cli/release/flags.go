package release

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sublet-dev/sublet/pkg/cli/fault"
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

// maxName is the length that the chart allows a release.
const maxName = 52

// CheckName returns an error if a new virtual cluster cannot have the name.
func CheckName(name string) error {
	if problems := validation.IsDNS1035Label(name); len(problems) > 0 || len(name) > maxName {
		return fault.New(fault.Usage, fmt.Sprintf("Use at most %d lower case letters, digits and dashes, and start with a letter: shop-1", maxName), "%q is no name of a virtual cluster", name)
	}
	return nil
}

// AddTimeoutFlag adds the flag --timeout, which takes a time above 0.
func AddTimeoutFlag(cmd *cobra.Command, timeout *time.Duration, usage string) {
	AddTimeFlag(cmd, timeout, "timeout", usage)
}

// AddTimeFlag adds a flag that takes a time above 0. Its default is the value of time.
func AddTimeFlag(cmd *cobra.Command, time *time.Duration, name, usage string) {
	cmd.Flags().Var((*positiveDuration)(time), name, usage)
}

// positiveDuration is a time above 0 as a flag.
type positiveDuration time.Duration

// String implements pflag.Value.
func (d *positiveDuration) String() string { return time.Duration(*d).String() }

// Type implements pflag.Value.
func (d *positiveDuration) Type() string { return "duration" }

// Set implements pflag.Value.
func (d *positiveDuration) Set(text string) error {
	value, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	if value <= 0 {
		return errors.New("use a time above 0, such as 5m")
	}
	*d = positiveDuration(value)
	return nil
}

// Progress returns a function that prints each reason with the time since began.
func Progress(out io.Writer, began time.Time) func(string) {
	return func(reason string) {
		fmt.Fprintf(out, "%5.1f s  %s\n", time.Since(began).Seconds(), reason)
	}
}
