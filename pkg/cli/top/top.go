// Package top is the command "sublet top".
package top

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/fleet"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/output"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// options has the flags.
type options struct {
	output.Flags
	allNamespaces, allContexts bool
	hostTimeout                time.Duration
	sortBy                     string
}

// Command returns the command.
func Command(env *host.Env) *cobra.Command {
	o := options{hostTimeout: fleet.HostTimeout}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show what virtual clusters use, the largest first",
		Long: `Show what the pods of each tenant use, and what the control plane uses itself.

CPU and MEMORY come from metrics-server of the host. Without it, or without the permission to read it, they
are empty, and the order is that of the requests.`,
		Example: `  sublet top -A
  sublet top --all-contexts --sort-by memory`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), env)
		},
	}
	o.AddFlags(cmd)
	cmd.Flags().BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "Virtual clusters of all namespaces")
	cmd.Flags().BoolVar(&o.allContexts, "all-contexts", false, "Virtual clusters of all hosts of the kubeconfig, in all namespaces unless --namespace is set")
	release.AddTimeFlag(cmd, &o.hostTimeout, "host-timeout", "How long a host may take with --all-contexts")
	cmd.Flags().StringVar(&o.sortBy, "sort-by", "cpu", "Order: "+strings.Join(orders(), "|"))
	// The flag exists.
	_ = cmd.RegisterFlagCompletionFunc("sort-by", cobra.FixedCompletions(orders(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// orders returns the values of --sort-by.
func orders() []string { return []string{"cpu", "memory", "pods", "nodes"} }

// run prints the virtual clusters by what they use.
func (o *options) run(ctx context.Context, env *host.Env) error {
	if err := o.Check(env.Colours); err != nil {
		return err
	}
	if !slices.Contains(orders(), o.sortBy) {
		return fault.New(fault.Usage, "Use one of: "+strings.Join(orders(), ", "), "--sort-by is %q", o.sortBy)
	}
	var clusters []release.Cluster
	var err error
	if o.allContexts {
		clusters, err = fleet.Ask(ctx, env, o.hostTimeout, listWithUsage)
	} else {
		clusters, err = o.listHost(ctx, env)
	}
	if err != nil {
		return err
	}
	order(clusters, o.sortBy)
	return o.printClusters(env, clusters)
}

// listHost returns the virtual clusters of the host.
func (o *options) listHost(ctx context.Context, env *host.Env) ([]release.Cluster, error) {
	h, err := env.Host()
	if err != nil {
		return nil, err
	}
	namespace := h.Namespace
	if o.allNamespaces {
		namespace = ""
	}
	clusters, err := listWithUsage(ctx, h, namespace)
	return fleet.Mark(clusters, h.Context), err
}

// listWithUsage returns the virtual clusters of a host with what they use.
func listWithUsage(ctx context.Context, h *host.Host, namespace string) ([]release.Cluster, error) {
	clusters, err := release.List(ctx, h.Client, namespace)
	if err != nil || len(clusters) == 0 {
		return clusters, err
	}
	return clusters, release.AddUsage(ctx, h.Client, namespace, clusters)
}

// order sorts clusters, the largest first. Hosts that failed are last.
func order(clusters []release.Cluster, by string) {
	slices.SortStableFunc(clusters, func(a, b release.Cluster) int {
		return cmp.Or(
			cmp.Compare(b.Name, "")-cmp.Compare(a.Name, ""),
			cmp.Compare(amount(b, by), amount(a, by)),
			strings.Compare(a.Context+"/"+a.Namespace+"/"+a.Name, b.Context+"/"+b.Namespace+"/"+b.Name),
		)
	})
}

// amount returns what a cluster is sorted by. Requests count where no usage is known.
func amount(c release.Cluster, by string) float64 {
	switch by {
	case "pods":
		return float64(c.Pods)
	case "nodes":
		return float64(c.Nodes)
	case "memory":
		if c.HasUsage {
			return c.UsedMemory.AsApproximateFloat64() + c.OwnMemory.AsApproximateFloat64()
		}
		return c.Memory.AsApproximateFloat64()
	}
	if c.HasUsage {
		return c.UsedCPU.AsApproximateFloat64() + c.OwnCPU.AsApproximateFloat64()
	}
	return c.CPU.AsApproximateFloat64()
}

// printClusters prints the clusters.
func (o *options) printClusters(env *host.Env, clusters []release.Cluster) error {
	if o.IsNames() {
		clusters = fleet.Named(env, clusters)
	}
	if !o.IsTable() {
		items := make([]any, 0, len(clusters))
		for _, cluster := range clusters {
			items = append(items, object(cluster))
		}
		return o.Object(env.Out, map[string]any{"apiVersion": "cli.sublet.dev/v1alpha1", "kind": "VirtualClusterUseList", "items": items})
	}
	if len(clusters) == 0 {
		fmt.Fprintln(env.Err, "No virtual clusters. List all namespaces with -A.")
		return nil
	}
	rows := make([][]string, 0, len(clusters))
	for _, c := range clusters {
		row := []string{c.Context, c.Namespace, c.Name, "", "", "", "", "", "", "", "", c.Reason}
		if c.HasRequests {
			row[3], row[4], row[5], row[6] = fmt.Sprint(c.Nodes), fmt.Sprint(c.Pods), c.CPU.String(), c.Memory.String()
		}
		if c.HasUsage {
			row[7], row[8], row[9], row[10] = milli(c.UsedCPU), mebi(c.UsedMemory), milli(c.OwnCPU), mebi(c.OwnMemory)
		}
		rows = append(rows, row)
	}
	return o.Table(env.Out, []output.Column{
		{Name: "HOST", Wide: !o.allContexts},
		{Name: "NAMESPACE"},
		{Name: "NAME"},
		{Name: "NODES"},
		{Name: "PODS"},
		{Name: "CPU-REQUESTS"},
		{Name: "MEMORY-REQUESTS"},
		{Name: "CPU"},
		{Name: "MEMORY"},
		{Name: "OWN-CPU"},
		{Name: "OWN-MEMORY"},
		{Name: "REASON", Wide: !o.allContexts},
	}, rows)
}

// milli returns an amount of CPU as kubectl top prints it.
func milli(q resource.Quantity) string { return fmt.Sprintf("%dm", q.MilliValue()) }

// mebi returns an amount of memory as kubectl top prints it.
func mebi(q resource.Quantity) string { return fmt.Sprintf("%dMi", q.Value()>>20) }

// object returns a cluster in the form of an API object.
func object(c release.Cluster) map[string]any {
	status := map[string]any{}
	if c.Reason != "" {
		status["reason"] = c.Reason
	}
	if c.HasRequests {
		status["pods"], status["nodes"] = int64(c.Pods), int64(c.Nodes)
		status["requests"] = map[string]any{"cpu": c.CPU.String(), "memory": c.Memory.String()}
	}
	if c.HasUsage {
		status["usage"] = map[string]any{"cpu": c.UsedCPU.String(), "memory": c.UsedMemory.String()}
		status["controlPlane"] = map[string]any{"cpu": c.OwnCPU.String(), "memory": c.OwnMemory.String()}
	}
	return map[string]any{
		"apiVersion": "cli.sublet.dev/v1alpha1", "kind": "VirtualClusterUse",
		"metadata": map[string]any{"name": c.Name, "namespace": c.Namespace}, "spec": map[string]any{"host": c.Context}, "status": status,
	}
}
