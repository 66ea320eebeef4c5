// Package kubeconfigprint is the command "sublet kubeconfig".
package kubeconfigprint

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/pkg/cli/connection"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// Command returns the command.
func Command(env *host.Env) *cobra.Command {
	server := ""
	cmd := &cobra.Command{
		Use:   "kubeconfig NAME",
		Short: "Print the kubeconfig of a virtual cluster, for programs",
		Long: `Print the kubeconfig that the control plane exports. Its client certificate is valid for 30 days.

No tunnel is opened: the server in it must be reachable from where it is used. Pods of the host reach
the default. People use "sublet connect".`,
		Example: `  (umask 077; sublet kubeconfig shop --virtual-server https://shop.example.com > shop.kubeconfig)`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(cmd.Context(), env, args[0], server)
		},
	}
	cmd.Flags().StringVar(&server, "virtual-server", "", "URL of the virtual API to write (default: the exported one)")
	cmd.AddCommand(rotateCommand(env))
	return cmd
}

// run prints the kubeconfig.
func run(ctx context.Context, env *host.Env, name, server string) error {
	if err := connection.CheckServer(server); err != nil {
		return err
	}
	h, _, err := release.FindHost(ctx, env, name)
	if err != nil {
		return err
	}
	cluster, user, err := connection.New(env, h, name, connection.Options{}).Exported(ctx)
	if err != nil {
		return err
	}
	if server != "" {
		cluster.Server = server
	}
	text, err := clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{name: cluster},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{name: user},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	})
	if err != nil {
		return fmt.Errorf("cannot encode the kubeconfig: %w", err)
	}
	_, err = env.Out.Write(text)
	return err
}
