// Package check is the command "sublet check": a doctor of the host and of a virtual cluster.
package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/sublet-dev/sublet/pkg/cli/connection"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/output"
	"github.com/sublet-dev/sublet/pkg/cli/release"

	apirelease "github.com/sublet-dev/sublet/api/release"
)

// defaultName is the name of the virtual cluster that is looked at if the user gives none.
const defaultName = "check"

// options has the flags.
type options struct {
	output.Flags
	values      release.Values
	pull        bool
	pullTimeout time.Duration
}

// target is what the checks look at.
type target struct {
	apirelease.Release
	// client and objects are clients of the host.
	client  kubernetes.Interface
	objects dynamic.Interface
	// rendered are the objects of the chart. A release that exists has them already.
	rendered []unstructured.Unstructured
	// hooks are the objects that Helm creates for a moment. A release that exists has none here.
	hooks []unstructured.Unstructured
	// hasNamespace is true if the namespace exists.
	hasNamespace bool
	// installed is the virtual cluster, nil before "sublet create".
	installed *release.Cluster
	// pullTimeout is how long a pull of the image may take. 0 means that no pod is started.
	pullTimeout time.Duration
}

// Command returns the command.
func Command(env *host.Env) *cobra.Command {
	o := options{pullTimeout: 2 * time.Minute}
	cmd := &cobra.Command{
		Use:   "check [NAME]",
		Short: "Find what keeps a host or a virtual cluster from working, with the fix",
		Long: `Look at the host before "sublet create", with the same name and settings, or at a virtual cluster that exists.

Before a create, it sends the objects of the chart to the host as a dry run. Permissions, quotas, pod
security levels and webhooks of the host decide. Nothing is changed, unless --pull starts a pod for a moment.
The exit code is 0 if no check failed, and 1 if one did.`,
		Example: `  sublet check shop -f values.yaml

  # Pull the image of the control plane too
  sublet check shop --pull`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := defaultName
			if len(args) > 0 {
				name = args[0]
			}
			return o.run(cmd.Context(), env, name, len(args) > 0)
		},
	}
	o.AddFlags(cmd)
	release.AddValueFlags(cmd, &o.values)
	cmd.Flags().BoolVar(&o.pull, "pull", false, "Start a pod with the image of the control plane for a moment. The namespace must exist")
	release.AddTimeFlag(cmd, &o.pullTimeout, "pull-timeout", "How long that pod may take")
	return cmd
}

// run checks everything and prints it.
func (o *options) run(ctx context.Context, env *host.Env, name string, named bool) error {
	if err := o.Check(env.Colours); err != nil {
		return err
	}
	if err := release.CheckName(name); err != nil {
		return err
	}
	values, err := release.Parse(&o.values)
	if err != nil {
		return err
	}
	h, err := env.Host()
	if err != nil {
		return err
	}
	results, err := o.checkAll(ctx, env, h, name, values, named)
	if err = errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	if err := o.printResults(env, name, results); err != nil {
		return err
	}
	return exitError(results)
}

// checkAll returns the results of all checks. Those that need an answer of the host are left out
// if there is none.
func (o *options) checkAll(ctx context.Context, env *host.Env, h *host.Host, name string, values map[string]any, named bool) ([]result, error) {
	t := &target{client: h.Client}
	if o.pull {
		t.pullTimeout = o.pullTimeout
	}
	reached := t.checkReach(ctx, h)
	patches, hasPatches := checkPatches(values)
	if reached.Status == failed {
		if hasPatches {
			return []result{reached, patches}, nil
		}
		return []result{reached}, nil
	}
	var err error
	if named {
		if other, found, findErr := release.FindHost(ctx, env, name); findErr == nil {
			h, t.installed = other, found
		}
	}
	if !h.HasNamespace {
		h = h.WithNamespace(release.TenantNamespace(name))
	}
	t.Release = apirelease.Release{Name: name, Namespace: h.Namespace}
	if t.objects, err = dynamic.NewForConfig(h.Config); err != nil {
		return nil, fault.Wrap(err, "cannot use context %q", h.Context)
	}
	results := []result{reached, checkClock(ctx, h.Config, time.Now), t.checkVersion(ctx), t.checkNamespace(ctx)}
	rendered, settings := t.render(ctx, h, values)
	t.rendered, t.hooks = rendered.Objects, rendered.Hooks
	results = append(results, settings)
	if hasPatches {
		results = append(results, patches)
	}
	results = append(results, t.checkAPIs(ctx), t.checkPermissions(ctx), t.checkInstall(ctx), t.checkPods(ctx), t.checkPodSecurity(ctx))
	results = append(results, t.checkQuota(ctx), t.checkStorage(ctx), t.checkDNS(ctx), t.checkImage(ctx))
	if t.installed != nil {
		virtual := connection.New(env, h, name, connection.Options{})
		results = append(results, t.checkReplicas(ctx), checkParts(ctx, virtual), checkVirtualAPI(ctx, virtual))
	}
	return results, nil
}

// printResults prints the results.
func (o *options) printResults(env *host.Env, name string, results []result) error {
	if !o.IsTable() {
		checks := make([]any, 0, len(results))
		for _, r := range results {
			checks = append(checks, map[string]any{"name": r.Name, "status": r.Status, "message": r.Message, "fix": r.Fix})
		}
		return o.Object(env.Out, map[string]any{
			"apiVersion": "cli.sublet.dev/v1alpha1", "kind": "CheckReport", "metadata": map[string]any{"name": name}, "checks": checks,
		})
	}
	rows := make([][]string, 0, len(results))
	for _, r := range results {
		rows = append(rows, []string{r.Name, r.Status, r.Message})
	}
	if err := o.Table(env.Out, []output.Column{{Name: "CHECK"}, {Name: "STATUS", Status: true}, {Name: "MESSAGE"}}, rows); err != nil {
		return err
	}
	for _, r := range results {
		if r.Fix != "" {
			fmt.Fprintf(env.Out, "\n%s (%s):\n  %s\n", r.Name, r.Status, r.Fix)
		}
	}
	return nil
}
