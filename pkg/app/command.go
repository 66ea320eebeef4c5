package app

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
	componentversion "k8s.io/component-base/version"

	"github.com/sublet-dev/sublet/api/release"
)

// version is the version of Sublet, set by the linker.
var version = "v0.0.0"

// Command returns the command line of the server.
func Command() *cobra.Command {
	options := &Options{processUID: rand.Text()}
	cmd := &cobra.Command{
		Use:           "sublet-server",
		Short:         "A virtual cluster on a Kubernetes host, in one process",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return Run(cmd.Context(), *options) },
	}
	flags := cmd.Flags()
	flags.StringVar(&options.ConfigFile, "config", "/etc/sublet/config.yaml", "file with the values of the release")
	flags.StringVar(&options.Name, "name", "", "name of the release")
	flags.StringVar(&options.Namespace, "namespace", os.Getenv("POD_NAMESPACE"), "host namespace of the release")
	flags.StringVar(&options.HostKubeconfig, "host-kubeconfig", "", "kubeconfig of the host; empty means that of the pod's service account")
	flags.StringVar(&options.DataDir, "data-dir", "/data", "directory of the store")
	flags.StringVar(&options.BindAddress, "bind-address", "", "IP address of both ports; empty means all")
	flags.IntVar(&options.Port, "port", release.APIPort, "port of the virtual API; 0 takes a free one")
	flags.IntVar(&options.DNSPort, "dns-port", release.DNSPort, "port of the DNS of the virtual cluster; -1 switches it off")
	flags.IntVar(&options.OperatorPort, "operator-port", -1, "port of probes, metrics and /syncz for operators of the host; -1 switches it off")
	flags.StringVar(&options.PodName, "pod-name", os.Getenv("POD_NAME"), "pod of this process; empty means that it runs outside of a pod")
	flags.StringVar(&options.PodUID, "pod-uid", os.Getenv("POD_UID"), "UID of the pod of this process")
	flags.StringSliceVar(&options.Parts, "parts", allParts(), "what this process runs: api, or controllers,syncer,scheduler, or all of them")
	flags.StringVar(&options.AdvertiseAddress, "advertise-address", os.Getenv("POD_IP"), "IP address at which pods reach this process")
	flags.StringToStringVar(&options.PeerAddresses, "peer-addresses", nil,
		"addresses of the members of the store, as pod=host:port; they replace the names of the pods outside of a host cluster")
	flags.StringVar(&options.PeerBindAddress, "peer-bind-address", "",
		"address that listens for other members of the store, as host:port; empty means the address of this pod in --peer-addresses")
	cmd.AddCommand(healthzCommand(), checkConfigCommand(), isolatedCommand(), versionCommand(), certsCommand(), storeCommand(), dnsCommand())
	return cmd
}

// versionCommand returns the command that prints the versions. A flag --version is not possible,
// because the libraries of Kubernetes define one.
func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of Sublet and of the Kubernetes in it",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintf(cmd.OutOrStdout(), "Sublet %s, Kubernetes %s\n", version, componentversion.Get().GitVersion)
		},
	}
}

// healthzCommand returns the command that queries a health endpoint. `helm test` uses it, as do
// people, because the image has no other program.
func healthzCommand() *cobra.Command {
	var url string
	cmd := &cobra.Command{
		Use:   "healthz",
		Short: "Ask a health endpoint, and exit with 0 if it answers 200",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return healthz(cmd.Context(), url, cmd.OutOrStdout()) },
	}
	cmd.Flags().StringVar(&url, "url", "https://localhost:8443/readyz", "endpoint to ask")
	return cmd
}

// healthz queries a health endpoint and prints the response. It does not verify the certificate,
// because it sends no secret and only reads the status.
func healthz(ctx context.Context, url string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("--url: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // It sends no secret and learns one word.
	}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", url, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("cannot read the answer of %s: %w", url, err)
	}
	fmt.Fprintln(out, string(body))
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}
