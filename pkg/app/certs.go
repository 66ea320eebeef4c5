package app

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apilabels "k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// namespaceFile contains the namespace of a pod with a service account.
const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// rotation implements the command "certs rotate-ca".
type rotation struct {
	release        release.Release
	hostKubeconfig string
	finish, force  bool
	restart        bool
	out            io.Writer
}

// certsCommand returns the command "certs" with its subcommands.
func certsCommand() *cobra.Command {
	certs := &cobra.Command{Use: "certs", Short: "Manage the certificates of the virtual cluster", Args: cobra.NoArgs}
	certs.AddCommand(rotateCommand())
	return certs
}

// rotateCommand returns the command that rotates the certificate authority.
func rotateCommand() *cobra.Command {
	r := &rotation{}
	cmd := &cobra.Command{
		Use:   "rotate-ca",
		Short: "Replace the certificate authority and the key of service accounts",
		Long: "Replace the certificate authority and the key of service accounts.\n\n" +
			"The first call creates new ones. All that the old ones have signed stays valid, and every client stays connected but for\n" +
			"the restart of the control plane. The kubeconfig in the Secret of the release is written again.\n" +
			"After 30 days, a second call with --finish ends the trust in the old ones. With --force it does so at once.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.out = cmd.OutOrStdout()
			return r.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	namespace, _ := os.ReadFile(namespaceFile) // The file does not exist outside of a pod.
	flags.StringVar(&r.release.Name, "name", releaseOf(os.Getenv("POD_NAME")), "name of the release")
	flags.StringVar(&r.release.Namespace, "namespace", cmp.Or(os.Getenv("POD_NAMESPACE"), string(namespace)), "host namespace of the release")
	flags.StringVar(&r.hostKubeconfig, "host-kubeconfig", "", "kubeconfig of the host; empty means that of the pod's service account")
	flags.BoolVar(&r.finish, "finish", false, "end the trust in the old authority and key")
	flags.BoolVar(&r.force, "force", false, "with --finish: do so before the old kubeconfigs have ended")
	flags.BoolVar(&r.restart, "restart", true, "restart the server if it runs in the same container")
	return cmd
}

// releaseOf returns the name of the release to which a control plane pod belongs.
func releaseOf(pod string) string {
	at := strings.LastIndex(pod, "-")
	if at < 0 {
		return ""
	}
	return pod[:at]
}

// run performs one step of the rotation.
func (r *rotation) run(ctx context.Context) error {
	if r.release.Name == "" || r.release.Namespace == "" {
		return fmt.Errorf("--name and --namespace must be set outside of the pod of the control plane")
	}
	config, err := hostConfig(r.hostKubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := r.write(ctx, client, time.Now()); err != nil {
		return err
	}
	if r.finish {
		fmt.Fprintln(r.out, "The old certificate authority and key are not trusted any more, from the next start of the control plane on.")
	} else {
		fmt.Fprintf(r.out, "The new certificate authority and key are used from the next start of the control plane on. Old kubeconfigs and\n"+
			"tokens stay valid. Take the new kubeconfig from Secret %s/%s, and call this again with --finish after %s.\n",
			r.release.Namespace, r.release.Kubeconfig(), time.Now().Add(pki.TenantValidity).Format(time.DateOnly))
	}
	rollout := fmt.Sprintf("kubectl -n %s rollout restart statefulset -l %s", r.release.Namespace, apilabels.FormatLabels(r.release.Labels()))
	if r.restart && isServerContainer() {
		fmt.Fprintln(r.out, "Restarting the control plane. Other replicas, if there are any, restart with: "+rollout)
		return syscall.Kill(1, syscall.SIGTERM)
	}
	fmt.Fprintln(r.out, "Restart the control plane: "+rollout)
	return nil
}

// write updates the certs Secret to the next state of the rotation.
func (r *rotation) write(ctx context.Context, client kubernetes.Interface, now time.Time) error {
	secrets := client.CoreV1().Secrets(r.release.Namespace)
	return retry.RetryOnConflict(retry.DefaultRetry, func() error {
		secret, err := secrets.Get(ctx, r.release.Certs(), metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("cannot get host Secret %s/%s: %w", r.release.Namespace, r.release.Certs(), err)
		}
		next := secret.DeepCopy()
		if next.Data, err = r.nextData(secret, now); err != nil {
			return err
		}
		if _, err := secrets.Update(ctx, next, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("cannot update host Secret %s/%s: %w", r.release.Namespace, r.release.Certs(), err)
		}
		return nil
	})
}

// nextData returns the data of the certs Secret after this step.
func (r *rotation) nextData(secret *corev1.Secret, now time.Time) (map[string][]byte, error) {
	if r.finish {
		return pki.FinishRotation(secret.Data, now, r.force)
	}
	return pki.Rotate(secret.Data, now)
}

// isServerContainer reports whether PID 1 of this container is sublet-server.
func isServerContainer() bool {
	first, err := os.Readlink("/proc/1/exe")
	if err != nil {
		return false
	}
	own, err := os.Readlink("/proc/self/exe")
	return err == nil && first == own && os.Getpid() != 1
}
