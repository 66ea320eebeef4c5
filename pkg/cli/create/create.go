// Package create is the command "sublet create".
package create

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/cli/connection"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/release"

	apirelease "github.com/sublet-dev/sublet/api/release"
)

// options has the flags.
type options struct {
	values          release.Values
	wait            bool
	timeout         time.Duration
	connect         bool
	upgrade         bool
	ignoreOwner     bool
	createNamespace bool
}

// Command returns the command.
func Command(env *host.Env) *cobra.Command {
	o := options{timeout: 5 * time.Minute}
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Create a virtual cluster",
		Long: `Create a virtual cluster on the host of the current context, and wait until it is ready.

It is installed with Helm, so that "helm list" shows it and "helm upgrade" works. Without
--namespace, and without a namespace in the context, it gets the namespace tenant-NAME. Keep one
tenant in a namespace.`,
		Example: `  # A virtual cluster in the namespace tenant-shop, and on a terminal a context for it
  sublet create shop

  # With settings, and as often as you like
  sublet create shop -f values.yaml --set controlPlane.statefulSet.persistence.volumeClaim.enabled=true --upgrade`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("connect") {
				o.connect = env.IsTerminal && o.wait
			}
			return o.run(cmd.Context(), env, args[0])
		},
	}
	release.AddValueFlags(cmd, &o.values)
	cmd.Flags().BoolVar(&o.wait, "wait", true, "Wait until the virtual cluster is ready")
	release.AddTimeoutFlag(cmd, &o.timeout, "Longest wait")
	cmd.Flags().BoolVar(&o.connect, "connect", false, "Write a context into the kubeconfig and use it (default: on a terminal)")
	cmd.Flags().BoolVar(&o.upgrade, "upgrade", false, "Upgrade the virtual cluster if it exists")
	release.AddOwnerFlag(cmd, &o.ignoreOwner)
	cmd.Flags().BoolVar(&o.createNamespace, "create-namespace", true, "Create the namespace if it does not exist")
	return cmd
}

// run creates the virtual cluster.
func (o *options) run(ctx context.Context, env *host.Env, name string) error {
	if err := o.check(name); err != nil {
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
	if !h.HasNamespace {
		h = h.WithNamespace(release.TenantNamespace(name))
	}
	began := time.Now()
	if err := o.apply(ctx, env, h, name, values); err != nil {
		return err
	}
	if !o.wait {
		fmt.Fprintf(env.Err, "Virtual cluster %s starts in namespace %s. Connect with: sublet connect %s -n %s\n", name, h.Namespace, name, h.Namespace)
		return nil
	}
	target := apirelease.Release{Name: name, Namespace: h.Namespace}
	err = release.Wait(ctx, h.Client, target, o.timeout, release.Progress(env.Err, began))
	if ctx.Err() != nil {
		fmt.Fprintf(env.Err, "Virtual cluster %s is installed in namespace %s and still starts. Remove it with: sublet delete %s -n %s\n",
			name, h.Namespace, name, h.Namespace)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Err, "Virtual cluster %s is ready in namespace %s after %.1f s.\n", name, h.Namespace, time.Since(began).Seconds())
	if !o.connect {
		fmt.Fprintf(env.Err, "Connect with: sublet connect %s -n %s\n", name, h.Namespace)
		return nil
	}
	context, _, err := connection.New(env, h, name, connection.Options{}).Connect(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Err, "kubectl uses context %s now. Go back with: sublet disconnect\n", context)
	return nil
}

// check fails for a wrong name, and for flags that exclude each other.
func (o *options) check(name string) error {
	if err := release.CheckName(name); err != nil {
		return err
	}
	if o.connect && !o.wait {
		return fault.New(fault.Usage, "Leave out --wait=false, or connect later with: sublet connect "+name, "--connect needs --wait")
	}
	return nil
}

// apply installs the release, or upgrades it.
func (o *options) apply(ctx context.Context, env *host.Env, h *host.Host, name string, values map[string]any) error {
	status, err := release.Status(ctx, h, name)
	if err != nil {
		return err
	}
	if err := o.checkStatus(h, name, status); err != nil {
		return err
	}
	if status != "" {
		return o.change(ctx, env, h, name, values)
	}
	// Wrong settings leave no empty namespace behind.
	if _, err := release.Render(ctx, h, name, values); err != nil {
		return err
	}
	if _, err := release.Patches(values); err != nil {
		return err
	}
	if err := o.ensureNamespace(ctx, h); err != nil {
		return err
	}
	warnOfNeighbours(ctx, env.Err, h)
	return release.Install(ctx, env.Err, h, name, values)
}

// checkStatus fails if a release exists that this command must not or cannot change. status is that of Helm, empty for none.
func (o *options) checkStatus(h *host.Host, name, status string) error {
	exists := status != ""
	if release.IsPending(status) {
		return fault.New(fault.Conflict, release.PendingHint(name, h.Namespace, status),
			"another create or upgrade of %s/%s has begun and not ended: Helm has it as %s", h.Namespace, name, status)
	}
	if release.IsEnding(status) {
		return fault.New(fault.Conflict, release.EndingHint(name, h.Namespace),
			"an uninstall of %s/%s has begun: Helm has it as %s", h.Namespace, name, status)
	}
	if exists && status != release.Deployed && !o.upgrade {
		return fault.New(fault.Conflict, fmt.Sprintf("Finish it with --upgrade, or remove it: sublet delete %s -n %s", name, h.Namespace),
			"an earlier create or upgrade of %s/%s did not finish: Helm has it as %s", h.Namespace, name, status)
	}
	if exists && !o.upgrade {
		return fault.New(fault.Conflict, fmt.Sprintf("Connect to it with: sublet connect %s -n %s. Change it with --upgrade.", name, h.Namespace),
			"virtual cluster %s/%s exists", h.Namespace, name)
	}
	return nil
}

// change upgrades a release that exists.
func (o *options) change(ctx context.Context, env *host.Env, h *host.Host, name string, values map[string]any) error {
	if !o.ignoreOwner {
		if err := release.CheckOwnerOf(ctx, h, name); err != nil {
			return err
		}
	}
	return release.Upgrade(ctx, env.Err, h, name, release.UpgradeOptions{Values: values})
}

// ensureNamespace creates the namespace unless it exists, if the flags allow that. Whoever may not create namespaces
// can use one that exists.
func (o *options) ensureNamespace(ctx context.Context, h *host.Host) error {
	_, err := h.Client.CoreV1().Namespaces().Get(ctx, h.Namespace, metav1.GetOptions{})
	if err == nil || apierrors.IsForbidden(err) {
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fault.Wrap(err, "cannot get namespace %s", h.Namespace)
	}
	if !o.createNamespace {
		return fault.New(fault.NotFound, "Create it with: kubectl create namespace "+h.Namespace+", or leave out --create-namespace=false.",
			"namespace %s does not exist", h.Namespace)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: h.Namespace}}
	_, err = h.Client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return fault.Wrap(err, "cannot create namespace %s", h.Namespace)
}

// warnOfNeighbours warns if the namespace has a virtual cluster already. That is allowed.
func warnOfNeighbours(ctx context.Context, out io.Writer, h *host.Host) {
	others, err := release.List(ctx, h.Client, h.Namespace)
	if err != nil || len(others) == 0 {
		return
	}
	fmt.Fprintf(out, "Warning: namespace %s has the virtual cluster %s already. Its control plane can read all Secrets of the namespace; give each tenant a namespace.\n",
		h.Namespace, others[0].Name)
}
