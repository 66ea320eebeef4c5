// Package list is the command "sublet list".
package list

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/sublet-dev/sublet/pkg/cli/fleet"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/output"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// options has the flags.
type options struct {
	output.Flags
	allNamespaces, allContexts, watch bool
	hostTimeout                       time.Duration
}

// Command returns the command.
func Command(env *host.Env) *cobra.Command {
	o := options{hostTimeout: fleet.HostTimeout}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls", "get"},
		Short:   "List virtual clusters, of one host or of all",
		Long: `List the virtual clusters in a namespace of the host, in all of them, or of all hosts.

With --all-contexts, every distinct cluster of the kubeconfig is asked at the same time. A host that
does not answer in time is a row with the reason. NODES and PODS count what tenants run on the host. CPU and
MEMORY are the sums of their requests.

With --watch, it holds one watch on each host. A terminal shows the table in place. Elsewhere, each
change is a new row, or a new object with -o. Nodes, pods and their requests are listed again every 30
seconds. It follows "kubectl config use-context".`,
		Example: `  sublet list -A
  sublet list --all-contexts -o wide
  sublet list --all-contexts --watch`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), env)
		},
	}
	o.AddFlags(cmd)
	cmd.Flags().BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "Virtual clusters of all namespaces")
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "Print changes until Ctrl-C")
	cmd.Flags().BoolVar(&o.allContexts, "all-contexts", false, "Virtual clusters of all hosts of the kubeconfig, in all namespaces unless --namespace is set")
	release.AddTimeFlag(cmd, &o.hostTimeout, "host-timeout", "How long a host may take with --all-contexts")
	return cmd
}

// run lists the virtual clusters.
func (o *options) run(ctx context.Context, env *host.Env) error {
	if err := o.Check(env.Colours); err != nil {
		return err
	}
	if o.allContexts {
		if o.watch {
			return o.watchHosts(ctx, env)
		}
		clusters, err := fleet.Ask(ctx, env, o.hostTimeout, func(ctx context.Context, h *host.Host, namespace string) ([]release.Cluster, error) {
			return release.List(ctx, h.Client, namespace)
		})
		if err != nil {
			return err
		}
		return o.printClusters(env, clusters, "any host")
	}
	if o.watch {
		return o.watchCurrent(ctx, env)
	}
	h, err := env.Host()
	if err != nil {
		return err
	}
	namespace, where := h.Namespace, "namespace "+h.Namespace+". List all namespaces with -A"
	if o.allNamespaces {
		namespace, where = "", "any namespace"
	}
	clusters, err := release.List(ctx, h.Client, namespace)
	if err != nil {
		return err
	}
	return o.printClusters(env, fleet.Mark(clusters, h.Context), where)
}

// printClusters prints the clusters in the format of the flags.
func (o *options) printClusters(env *host.Env, clusters []release.Cluster, where string) error {
	if o.IsNames() {
		clusters = fleet.Named(env, clusters)
	}
	if !o.IsTable() {
		items := make([]any, 0, len(clusters))
		for _, cluster := range clusters {
			items = append(items, object(cluster))
		}
		return o.Object(env.Out, map[string]any{"apiVersion": apiVersion, "kind": "VirtualClusterList", "items": items})
	}
	if len(clusters) == 0 {
		fmt.Fprintf(env.Err, "No virtual clusters in %s.\n", where)
		return nil
	}
	return o.Table(env.Out, o.columns(), rows(clusters))
}

// rows returns the rows of a table.
func rows(clusters []release.Cluster) [][]string {
	rows := make([][]string, 0, len(clusters))
	for _, cluster := range clusters {
		rows = append(rows, row(cluster, time.Now()))
	}
	return rows
}

// columns returns the columns of the table.
func (o *options) columns() []output.Column {
	return []output.Column{
		{Name: "HOST", Wide: !o.allContexts},
		{Name: "NAMESPACE"},
		{Name: "NAME"},
		{Name: "STATUS", Status: true},
		{Name: "VERSION"},
		{Name: "REPLICAS"},
		{Name: "STORE"},
		{Name: "NODES"},
		{Name: "PODS"},
		{Name: "CPU"},
		{Name: "MEMORY"},
		{Name: "AGE"},
		{Name: "REASON", Wide: !o.allContexts},
	}
}

// apiVersion is that of the printed objects. No server has them.
const apiVersion = "cli.sublet.dev/v1alpha1"

// row returns the cells of a cluster.
func row(c release.Cluster, now time.Time) []string {
	cells := []string{c.Context, c.Namespace, c.Name, c.Status, c.Version, "", c.Store, "", "", "", "", "", c.Reason}
	if c.Name == "" {
		return cells
	}
	cells[5] = fmt.Sprintf("%d/%d", c.Ready, c.Replicas)
	if c.HasRequests {
		cells[7], cells[8], cells[9], cells[10] = fmt.Sprint(c.Nodes), fmt.Sprint(c.Pods), c.CPU.String(), c.Memory.String()
	}
	cells[11] = duration.HumanDuration(now.Sub(c.Created))
	return cells
}

// object returns a cluster in the form of an API object.
func object(c release.Cluster) map[string]any {
	status := map[string]any{"phase": c.Status}
	metadata := map[string]any{"name": c.Name, "namespace": c.Namespace}
	if c.Name != "" {
		metadata["creationTimestamp"] = c.Created.UTC().Format(time.RFC3339)
		status["version"], status["store"] = c.Version, c.Store
		status["replicas"], status["readyReplicas"] = int64(c.Replicas), int64(c.Ready)
	}
	if c.Reason != "" {
		status["reason"] = c.Reason
	}
	if c.HasRequests {
		status["pods"], status["nodes"] = int64(c.Pods), int64(c.Nodes)
		status["requests"] = map[string]any{"cpu": c.CPU.String(), "memory": c.Memory.String()}
	}
	return map[string]any{
		"apiVersion": apiVersion, "kind": "VirtualCluster", "metadata": metadata,
		"spec": map[string]any{"host": c.Context}, "status": status,
	}
}
