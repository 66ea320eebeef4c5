// Package patchtest is the command "sublet patch", which shows what patches do.
package patchtest

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/release"
	"github.com/sublet-dev/sublet/pkg/patch"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Command returns the command.
func Command(env *host.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "patch",
		Short: "Try the patches of settings",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(testCommand(env))
	return cmd
}

// hint is what to do about a patch that fails.
const hint = "See docs/how-to/patches.md."

// options has the flags.
type options struct {
	values   release.Values
	fromHost bool
	cluster  translate.Cluster
}

// testCommand returns the command that patches a sample object.
func testCommand(env *host.Env) *cobra.Command {
	o := options{}
	cmd := &cobra.Command{
		Use:   "test FILE",
		Short: "Print what the patches of settings make of an object in a file",
		Long: `Print both sides of a sample object: the copy that expressions change, and the object whose status the
reverse ones change. No cluster is asked. What Sublet itself changes is left out. The file "-" is the
standard input.`,
		Example: `  sublet patch test pod.yaml -f values.yaml`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			values, err := release.Parse(&o.values)
			if err != nil {
				return err
			}
			return o.run(env.In, env.Out, values, args[0])
		},
	}
	release.AddValueFlags(cmd, &o.values)
	cmd.Flags().BoolVar(&o.fromHost, "from-host", false, "The object is one of the host, as with sync.fromHost")
	cmd.Flags().StringVar(&o.cluster.Name, "release", "sample", "Name of the release, as in cluster.name")
	cmd.Flags().StringVar(&o.cluster.Namespace, "release-namespace", "sample", "Namespace of the release, as in cluster.namespace")
	cmd.Flags().StringVar(&o.cluster.UID, "release-uid", "sample", "UID of the release, as in cluster.uid")
	return cmd
}

// run patches the object of a file and prints both sides.
func (o *options) run(in io.Reader, out io.Writer, values map[string]any, file string) error {
	data, err := read(in, file)
	if err != nil {
		return fault.Wrap(err, "cannot read the object")
	}
	object := &unstructured.Unstructured{}
	asJSON, err := yaml.YAMLToJSON(data)
	if err == nil {
		err = object.UnmarshalJSON(asJSON)
	}
	if err != nil {
		return &fault.Error{Code: fault.Usage, Message: "cannot decode the object in " + file, Hint: "It needs apiVersion and kind.", Cause: err}
	}
	sync, err := release.Patches(values)
	if err != nil {
		return err
	}
	setting, found := o.settingOf(sync, object)
	if !found {
		return fault.New(fault.Usage, "See the keys below sync in docs/reference/values.md.", "the settings have no patches for %s", object.GetKind())
	}
	sets, _ := patch.CompileAll(sync)
	return o.print(out, sets[setting], object)
}

// read returns the content of a file, or of the input if its name is "-".
func read(in io.Reader, file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(in)
	}
	return os.ReadFile(file)
}

// settingOf returns the path of the settings of the kind of an object.
func (o *options) settingOf(sync *v1alpha1.Sync, object *unstructured.Unstructured) (string, bool) {
	plural, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	definition := plural.Resource + "." + plural.Group
	for _, kind := range sync.Patched() {
		if kind.FromHost != o.fromHost {
			continue
		}
		if kind.Custom {
			_, key, _ := strings.Cut(strings.TrimSuffix(kind.Setting, "]"), "[")
			if name, _ := v1alpha1.SplitCustomResource(key); name == definition {
				return kind.Setting, true
			}
			continue
		}
		if typed, _ := patch.BuiltinObject(kind.Setting); typed != nil && reflect.TypeOf(typed).Elem().Name() == object.GetKind() {
			return kind.Setting, true
		}
	}
	return "", false
}

// print prints both sides.
func (o *options) print(out io.Writer, set *patch.Set, object *unstructured.Unstructured) error {
	key := types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetName()}
	copied := key
	if !o.fromHost {
		copied = translate.Hashed(o.cluster, key)
	}
	change := func() patch.Change {
		return patch.Change{Cluster: o.cluster, Virtual: key, CopyKey: copied, Original: object.Object, Copy: runtime.DeepCopyJSON(object.Object)}
	}
	down, up := change(), change()
	if _, err := set.Down(down); err != nil {
		return &fault.Error{Code: fault.Usage, Message: "cannot patch the copy", Hint: hint, Cause: err}
	}
	if err := set.Up(up); err != nil {
		return &fault.Error{Code: fault.Usage, Message: "cannot patch the status", Hint: hint, Cause: err}
	}
	for _, side := range []struct {
		title  string
		object map[string]any
	}{{"# The copy, as the expressions change it.", down.Copy}, {"---\n# What the tenant sees, as the reverse expressions change it.", up.Copy}} {
		if o.fromHost && side.title[0] == '-' {
			return nil
		}
		text, err := yaml.Marshal(side.object)
		if err != nil {
			return fmt.Errorf("cannot encode the object: %w", err)
		}
		fmt.Fprintf(out, "%s\n%s", side.title, text)
	}
	return nil
}
