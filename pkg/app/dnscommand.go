package app

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/app/nameserver"
)

// dnsCommand returns the command that serves DNS in a pod of its own.
func dnsCommand() *cobra.Command {
	var options nameserver.Options
	var networking, logging string
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "Serve the DNS of the virtual cluster, also while its control plane is away",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDNS(cmd.Context(), options, networking, logging)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&options.Server, "server", "", "URL of the virtual API")
	flags.StringVar(&options.CredentialDir, "credential-dir", "/etc/sublet-dns", "directory with the certificate for the virtual API")
	flags.StringVar(&options.Address, "address", net.JoinHostPort("", strconv.Itoa(release.DNSPort)), "address of DNS")
	flags.StringVar(&options.HealthAddress, "health-address", net.JoinHostPort("", strconv.Itoa(release.DNSHealthPort)), "address of the probes")
	flags.StringVar(&networking, "networking", "{}", "values below networking, as JSON")
	flags.StringVar(&logging, "logging", "{}", "values below logging, as JSON")
	return cmd
}

// runDNS serves DNS until ctx ends.
func runDNS(ctx context.Context, options nameserver.Options, networking, logging string) error {
	values := v1alpha1.Default()
	if err := yaml.UnmarshalStrict([]byte(networking), &values.Networking); err != nil {
		return fmt.Errorf("--networking: %w", err)
	}
	if err := yaml.UnmarshalStrict([]byte(logging), &values.Logging); err != nil {
		return fmt.Errorf("--logging: %w", err)
	}
	if _, err := prepareProcess(values.Logging); err != nil {
		return err
	}
	options.Networking = values.Networking
	server, err := nameserver.New(ctx, options)
	if err != nil {
		return err
	}
	return server.Run(ctx)
}
