// Package delete is the command "sublet delete".
package delete

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apirelease "github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/cli/connection"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/kubeconfig"
	"github.com/sublet-dev/sublet/pkg/cli/release"

	"github.com/sublet-dev/sublet/api/labels"
)

// pollInterval is the time between two looks at what is left.
const pollInterval = 300 * time.Millisecond

// firstCountTimeout is how long the first look may take, also if the timeout of the flags is shorter.
const firstCountTimeout = time.Minute

// options has the flags.
type options struct {
	yes, wait, deleteNamespace, deleteClaims, ignoreOwner bool
	timeout                                               time.Duration
}

// Command returns the command.
func Command(env *host.Env) *cobra.Command {
	o := options{timeout: 3 * time.Minute}
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Delete a virtual cluster with all that runs in it",
		Long: `Delete a virtual cluster with all that runs in it, and its contexts in your kubeconfig.

The namespace stays, unless --delete-namespace is set. A claim with the store stays if the
setting retentionPolicy is Retain, unless --delete-claims is set. So do backups. A namespace
with such claims is deleted only with both flags.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), env, args[0])
		},
	}
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "Do not ask")
	cmd.Flags().BoolVar(&o.wait, "wait", true, "Wait until the pods and volumes of the tenant are gone")
	release.AddTimeoutFlag(cmd, &o.timeout, "Longest wait")
	release.AddOwnerFlag(cmd, &o.ignoreOwner)
	cmd.Flags().BoolVar(&o.deleteNamespace, "delete-namespace", false, "Delete the namespace too")
	cmd.Flags().BoolVar(&o.deleteClaims, "delete-claims", false, "Delete claims of the store that would stay, and with --delete-namespace all that would")
	return cmd
}

// run deletes the virtual cluster.
func (o *options) run(ctx context.Context, env *host.Env, name string) error {
	h, cluster, err := find(ctx, env, name)
	if err != nil {
		return err
	}
	if !o.ignoreOwner {
		if err := cluster.CheckOwner(); err != nil {
			return err
		}
	}
	uid, err := o.announce(ctx, env.Err, h, cluster.Release)
	if err != nil {
		return err
	}
	if !o.yes {
		if err := env.Confirm(ctx, fmt.Sprintf("Delete virtual cluster %s/%s?", h.Namespace, name)); err != nil {
			return err
		}
	}
	if err := release.Uninstall(ctx, env.Err, h, name); err != nil {
		return err
	}
	// All this comes before the wait, and also after Ctrl-C: later the command finds nothing to repeat it for.
	rest := context.WithoutCancel(ctx)
	if err := errors.Join(o.deleteRest(rest, h, cluster), removeConnections(rest, env, h, name)); err != nil {
		return err
	}
	if o.wait && uid != "" {
		if err := o.awaitGone(ctx, h, uid); err != nil {
			return endWait(ctx, env, h, name, err)
		}
	}
	fmt.Fprintf(env.Err, "Virtual cluster %s/%s is deleted.\n", h.Namespace, name)
	return nil
}

// removeConnections deletes the contexts of the virtual cluster from the kubeconfig.
func removeConnections(ctx context.Context, env *host.Env, h *host.Host, name string) error {
	_, err := connection.Remove(ctx, env.Files(), func(_ string, c kubeconfig.Connection) bool {
		return c.Name == name && c.Namespace == h.Namespace && c.HostContext == h.Context
	})
	return err
}

// endWait returns why the command did not wait until all is gone. After Ctrl-C it prints what the host
// still does.
func endWait(ctx context.Context, env *host.Env, h *host.Host, name string, err error) error {
	if ctx.Err() != nil {
		fmt.Fprintf(env.Err, "Virtual cluster %s/%s is uninstalled. The host still deletes its pods and volumes.\n", h.Namespace, name)
	}
	return err
}

// find returns the virtual cluster, and its host with its namespace. A create that did not finish
// may have left a release without a control plane.
func find(ctx context.Context, env *host.Env, name string) (*host.Host, *release.Cluster, error) {
	h, cluster, notFound := release.FindHost(ctx, env, name)
	if notFound == nil {
		return h, cluster, nil
	}
	if code, _ := fault.Classify(notFound); code != fault.NotFound {
		return nil, nil, notFound
	}
	h, err := env.Host()
	if err != nil {
		return nil, nil, notFound
	}
	if !h.HasNamespace {
		h = h.WithNamespace(release.TenantNamespace(name))
	}
	status, err := release.Status(ctx, h, name)
	if err != nil {
		if code, _ := fault.Classify(err); code == fault.Conflict {
			return nil, nil, err // The name is that of something else.
		}
	}
	if err != nil || status == "" {
		return nil, nil, notFound
	}
	return h, &release.Cluster{Release: apirelease.Release{Name: name, Namespace: h.Namespace}}, nil
}

// announce prints what is deleted and what stays, and returns an error if the flags contradict that. It returns the UID of the virtual cluster, which
// is empty if nobody knows it.
func (o *options) announce(ctx context.Context, out io.Writer, h *host.Host, r apirelease.Release) (uid string, err error) {
	if err := o.checkKept(ctx, h, r); err != nil {
		return "", err
	}
	anchor, err := h.Client.CoreV1().ConfigMaps(h.Namespace).Get(ctx, r.Anchor(), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return "", fault.Wrap(err, "cannot get ConfigMap %s/%s", h.Namespace, r.Anchor())
	}
	uid = string(anchor.GetUID())
	if pods, claims, err := count(ctx, h, uid); err == nil {
		fmt.Fprintf(out, "This deletes the control plane, %d pods and %d volume claims of the tenant, and their objects in the virtual cluster.\n", pods, claims)
	} else {
		fmt.Fprintf(out, "This deletes the control plane, all pods and volume claims of the tenant, and their objects in the virtual cluster. How many is not known: %v.\n", err)
	}
	switch {
	case o.deleteNamespace:
		fmt.Fprintf(out, "Namespace %s goes with all that is in it.\n", h.Namespace)
	default:
		fmt.Fprintf(out, "Namespace %s stays.\n", h.Namespace)
	}
	if !o.deleteNamespace && !o.deleteClaims {
		fmt.Fprintln(out, "A claim with the store stays if its retentionPolicy is Retain, as do backups.")
	}
	return uid, nil
}

// checkKept returns a conflict if the namespace is to be deleted with what would otherwise stay. That are claims with stores or
// backups, of earlier virtual clusters too, and the keys of an encrypted store.
func (o *options) checkKept(ctx context.Context, h *host.Host, r apirelease.Release) error {
	if !o.deleteNamespace || o.deleteClaims {
		return nil
	}
	claims, err := h.Client.CoreV1().PersistentVolumeClaims(h.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "!" + labels.Cluster})
	if err != nil {
		return fault.Wrap(err, "cannot list volume claims of namespace %s", h.Namespace)
	}
	var kept []string
	for i := range claims.Items {
		if len(claims.Items[i].OwnerReferences) == 0 { // The StatefulSet owns those that go with it.
			kept = append(kept, "claim "+claims.Items[i].Name)
		}
	}
	switch _, err := h.Client.CoreV1().Secrets(h.Namespace).Get(ctx, r.Encryption(), metav1.GetOptions{}); {
	case err == nil:
		kept = append(kept, "Secret "+r.Encryption())
	case !apierrors.IsNotFound(err):
		return fault.Wrap(err, "cannot get Secret %s/%s", h.Namespace, r.Encryption())
	}
	if len(kept) == 0 {
		return nil
	}
	return fault.New(fault.Conflict, "Keep the namespace, or delete them too with --delete-claims.",
		"namespace %s has what stays without --delete-namespace: %s", h.Namespace, strings.Join(kept, ", "))
}

// count returns the numbers of the tenant's pods and claims on the host.
func count(ctx context.Context, h *host.Host, uid string) (pods, claims int, err error) {
	if uid == "" {
		return 0, 0, nil
	}
	options := metav1.ListOptions{LabelSelector: labels.Cluster + "=" + uid}
	podList, err := h.Client.CoreV1().Pods(h.Namespace).List(ctx, options)
	if err != nil {
		return 0, 0, fault.Wrap(err, "cannot list pods")
	}
	claimList, err := h.Client.CoreV1().PersistentVolumeClaims(h.Namespace).List(ctx, options)
	if err != nil {
		return 0, 0, fault.Wrap(err, "cannot list volume claims")
	}
	return len(podList.Items), len(claimList.Items), nil
}

// awaitGone returns once the host has deleted the tenant's pods and claims. It does not wait for what
// may not be listed.
func (o *options) awaitGone(ctx context.Context, h *host.Host, uid string) error {
	unlimited := ctx
	long, endLong := context.WithTimeout(ctx, max(o.timeout, firstCountTimeout))
	defer endLong()
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	pods, claims, err := 0, 0, context.DeadlineExceeded
	for isFirst := true; ; isFirst = false {
		counting := ctx
		if isFirst {
			counting = long // It shows what is left, also if that takes longer than the timeout.
		}
		nowPods, nowClaims, nowErr := count(counting, h, uid)
		if counting.Err() == nil {
			pods, claims, err = nowPods, nowClaims, nowErr
		}
		if apierrors.IsForbidden(err) || err == nil && pods+claims == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			if unlimited.Err() != nil {
				return unlimited.Err()
			}
			if err != nil {
				return fault.Wrap(err, "cannot wait for the end of the tenant's pods and volume claims")
			}
			return fault.New(fault.NotReady, fmt.Sprintf("See why with: kubectl -n %s get pods,pvc -l %s=%s", h.Namespace, labels.Cluster, uid),
				"%d pods and %d volume claims are still there after %s", pods, claims, o.timeout)
		case <-ticker.C:
		}
	}
}

// deleteRest deletes what Helm leaves, if the flags request that.
func (o *options) deleteRest(ctx context.Context, h *host.Host, cluster *release.Cluster) error {
	if o.deleteClaims {
		for ordinal := range max(int(cluster.Replicas), apirelease.MaxMembers) {
			name := cluster.Claim(ordinal)
			err := h.Client.CoreV1().PersistentVolumeClaims(h.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				return fault.Wrap(err, "cannot delete claim %s/%s", h.Namespace, name)
			}
		}
	}
	if o.deleteNamespace {
		others, err := release.List(ctx, h.Client, h.Namespace)
		if err != nil {
			return err
		}
		for _, other := range others {
			if other.Name != cluster.Name {
				return fault.New(fault.Conflict, "Delete that one first.", "namespace %s stays: it has the virtual cluster %s", h.Namespace, other.Name)
			}
		}
		err = h.Client.CoreV1().Namespaces().Delete(ctx, h.Namespace, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fault.Wrap(err, "cannot delete namespace %s", h.Namespace)
		}
	}
	return nil
}
