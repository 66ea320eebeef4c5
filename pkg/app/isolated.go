package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// isolatedCommand returns the command that verifies that a pod cannot reach the host's API
// server. `helm test` runs it.
func isolatedCommand() *cobra.Command {
	check := isolationCheck{patience: 20 * time.Second, timeout: 3 * time.Second, pause: time.Second}
	cmd := &cobra.Command{
		Use:   "isolated",
		Short: "Try to reach the API of the host, and exit with 0 if the network keeps it closed",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return check.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	// The kubelet sets both variables in every pod.
	api := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	cmd.Flags().StringVar(&check.address, "address", api, "address that must be closed")
	return cmd
}

// isolationCheck tries to connect to an address until the connection fails.
type isolationCheck struct {
	// address must be closed.
	address string
	// patience is how long the network may take to isolate a new pod. timeout bounds one
	// attempt to connect, and pause is the time between two attempts.
	patience, timeout, pause time.Duration
}

// run returns an error if the address still accepts connections when patience has passed.
func (c isolationCheck) run(ctx context.Context, out io.Writer) error {
	if host, _, err := net.SplitHostPort(c.address); err != nil || host == "" {
		return errors.New("--address: the API of the host is not known; set it to HOST:PORT")
	}
	dialer := net.Dialer{Timeout: c.timeout}
	for end := time.Now().Add(c.patience); ; {
		connection, err := dialer.DialContext(ctx, "tcp", c.address)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			fmt.Fprintf(out, "%s is closed: %v\n", c.address, err)
			return nil
		}
		_ = connection.Close()
		if time.Now().After(end) {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(c.pause):
		}
	}
	return fmt.Errorf("a pod of the tenant reaches %s, the API of the host: nothing here enforces NetworkPolicies. "+
		"Install a network that does, or set policies.networkPolicy.enabled to false", c.address)
}
