package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/action"
	helmchart "helm.sh/helm/v4/pkg/chart"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/cli/values"
	"helm.sh/helm/v4/pkg/getter"
	"helm.sh/helm/v4/pkg/kube"
	helmrelease "helm.sh/helm/v4/pkg/release"
	"helm.sh/helm/v4/pkg/release/common"
	"helm.sh/helm/v4/pkg/storage/driver"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/sublet-dev/sublet/chart"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
)

// requestTimeout bounds what Helm waits for single requests and hooks.
const requestTimeout = 5 * time.Minute

// Values are the flags of Helm that set values.
type Values = values.Options

// Parse returns the merged values of the flags.
func Parse(flags *Values) (map[string]any, error) {
	merged, err := flags.MergeValues(getter.Providers{})
	if err != nil {
		code, hint := fault.Classify(err)
		if code == fault.Failed {
			code, hint = fault.Usage, "Settings are in docs/reference/values.md."
		}
		return nil, &fault.Error{Code: code, Message: "cannot read values", Hint: hint, Cause: err}
	}
	return merged, nil
}

// Chart returns the chart that this program has.
func Chart() (*chartv2.Chart, error) {
	var files []*archive.BufferedFile
	err := fs.WalkDir(chart.Files(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(chart.Files(), path)
		files = append(files, &archive.BufferedFile{Name: path, Data: data})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the chart: %w", err)
	}
	loaded, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("cannot load the chart: %w", err)
	}
	return loaded, nil
}

// configure returns what each action of Helm needs.
func configure(h *host.Host) (*action.Configuration, error) {
	config := action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler))
	if err := config.Init(h.Getter, h.Namespace, "secret"); err != nil {
		return nil, fault.Wrap(err, "cannot start Helm")
	}
	return config, nil
}

// Deployed is the status of a release whose last install or upgrade has succeeded.
const Deployed = string(common.StatusDeployed)

// IsPending reports whether an install, an upgrade or a rollback has begun and not ended. Helm then
// refuses all others.
func IsPending(status string) bool { return strings.HasPrefix(status, "pending-") }

// PendingHint returns what to do about a release whose last operation has not ended.
func PendingHint(name, namespace, status string) string {
	end := fmt.Sprintf("go back with: helm rollback %s -n %s", name, namespace)
	if status == string(common.StatusPendingInstall) {
		end = fmt.Sprintf("remove it: sublet delete %s -n %s", name, namespace)
	}
	return "Wait until it is done. If its process is dead, " + end
}

// IsEnding reports whether Helm has begun to uninstall a release, or keeps no more than its history. It then refuses
// upgrades.
func IsEnding(status string) bool {
	return status == string(common.StatusUninstalling) || status == string(common.StatusUninstalled)
}

// EndingHint returns what to do about a release that IsEnding.
func EndingHint(name, namespace string) string {
	return fmt.Sprintf("Delete what is left of it: sublet delete %s -n %s", name, namespace)
}

// Status returns the status of the release of that name in the namespace of the host, as Helm
// names it. It is empty if there is none. A release of another chart is a conflict: nothing of it may be changed.
func Status(ctx context.Context, h *host.Host, name string) (string, error) {
	config, err := configure(h)
	if err != nil {
		return "", err
	}
	found, err := abortable(ctx, func() (helmrelease.Releaser, error) { return action.NewGet(config).Run(name) })
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fault.Wrap(err, "cannot get release %s/%s", h.Namespace, name)
	}
	access, err := helmrelease.NewAccessor(found)
	if err != nil {
		return "", fmt.Errorf("cannot read release %s/%s: %w", h.Namespace, name, err)
	}
	if found := chartName(access.Chart()); found != "" && found != ownChart {
		return "", fault.New(fault.Conflict, "Choose another name, or another namespace with -n.", "Helm release %s/%s is of chart %s, not of %s", h.Namespace, name, found, ownChart)
	}
	return access.Status(), nil
}

// ownChart is the name of the chart that this program has.
const ownChart = "sublet"

// chartName returns the name of the chart of a release, empty if it has none.
func chartName(of helmchart.Charter) string {
	if v2, ok := of.(*chartv2.Chart); ok && (v2 == nil || v2.Metadata == nil) {
		return ""
	}
	access, err := helmchart.NewAccessor(of)
	if err != nil {
		return ""
	}
	return access.Name()
}

// preparation is what an installation and an upgrade need.
type preparation struct {
	config *action.Configuration
	chart  *chartv2.Chart
	output *hookOutput
}

// prepare prepares an installation or an upgrade. It fails if ctx has ended: they do not end
// with it.
func prepare(ctx context.Context, h *host.Host) (preparation, error) {
	config, err := configure(h)
	if err != nil {
		return preparation{}, err
	}
	loaded, err := Chart()
	if err != nil {
		return preparation{}, err
	}
	return preparation{config: config, chart: loaded, output: hookOutputOf(config)}, ctx.Err()
}

// warnOfWait prints at Ctrl-C that Helm runs to its end. The caller calls the result after that.
func warnOfWait(ctx context.Context, out io.Writer) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		fmt.Fprintln(out, "Waiting until Helm has finished. A second Ctrl-C ends at once, and leaves a part of the release.")
	})
}

// Install installs the chart in the namespace of the host. It does not wait until the virtual
// cluster is ready. It does not end with ctx, as half a release would be left.
func Install(ctx context.Context, out io.Writer, h *host.Host, name string, values map[string]any) error {
	p, err := prepare(ctx, h)
	if err != nil {
		return err
	}
	defer warnOfWait(ctx, out)()
	install := action.NewInstall(p.config)
	install.ReleaseName, install.Namespace, install.Timeout = name, h.Namespace, requestTimeout
	install.WaitStrategy = kube.HookOnlyStrategy
	_, err = install.RunWithContext(context.WithoutCancel(ctx), p.chart, values)
	return wrapHelm(p.output.explain(err), "cannot install virtual cluster %s/%s", h.Namespace, name)
}

// UpgradeOptions are what an upgrade changes.
type UpgradeOptions struct {
	// Values are set in the release.
	Values map[string]any
	// Reset forgets the values of earlier calls. Default: they stay.
	Reset bool
}

// Upgrade upgrades a release to the chart of this program. Like Install, it does not end with ctx.
func Upgrade(ctx context.Context, out io.Writer, h *host.Host, name string, o UpgradeOptions) error {
	if _, err := Status(ctx, h, name); err != nil {
		return err
	}
	p, err := prepare(ctx, h)
	if err != nil {
		return err
	}
	defer warnOfWait(ctx, out)()
	upgrade := action.NewUpgrade(p.config)
	upgrade.Namespace, upgrade.Timeout, upgrade.MaxHistory = h.Namespace, requestTimeout, 10
	upgrade.WaitStrategy, upgrade.ServerSideApply = kube.HookOnlyStrategy, "auto"
	if upgrade.ForceConflicts, err = ownFields(p.config, name); err != nil {
		return wrapHelm(err, "cannot upgrade virtual cluster %s/%s", h.Namespace, name)
	}
	upgrade.ResetValues, upgrade.ResetThenReuseValues = o.Reset, !o.Reset
	_, err = upgrade.RunWithContext(context.WithoutCancel(ctx), name, p.chart, o.Values)
	if errors.Is(err, driver.ErrNoDeployedReleases) {
		if status, _ := Status(context.WithoutCancel(ctx), h, name); IsEnding(status) {
			return &fault.Error{
				Code: fault.Conflict, Message: fmt.Sprintf("cannot upgrade virtual cluster %s/%s, which Helm has as %s", h.Namespace, name, status),
				Hint: EndingHint(name, h.Namespace), Cause: err,
			}
		}
	}
	return wrapHelm(p.output.explain(err), "cannot upgrade virtual cluster %s/%s", h.Namespace, name)
}

// Uninstall uninstalls a release. It fails if ctx has ended, and does not end with it.
func Uninstall(ctx context.Context, out io.Writer, h *host.Host, name string) error {
	if _, err := Status(ctx, h, name); err != nil {
		return err
	}
	config, err := configure(h)
	if err = errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	defer warnOfWait(ctx, out)()
	uninstall := action.NewUninstall(config)
	uninstall.Timeout, uninstall.WaitStrategy = requestTimeout, kube.HookOnlyStrategy
	_, err = uninstall.Run(name)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return fault.New(fault.NotFound, "Helm has not installed it. Delete it with the program that has, such as Argo CD or kubectl delete.",
			"Helm has no release %s in namespace %s", name, h.Namespace)
	}
	if apierrors.IsNotFound(err) {
		return nil // Another process has uninstalled it meanwhile.
	}
	return wrapHelm(err, "cannot uninstall virtual cluster %s/%s", h.Namespace, name)
}

// wrapHelm wraps an error of Helm. Values that the chart does not take are the user's mistake.
func wrapHelm(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	switch {
	case errors.As(err, new(settingsError)), strings.Contains(text, "don't meet the specifications of the schema"), strings.Contains(text, "execution error at"):
		return &fault.Error{Code: fault.Usage, Message: fmt.Sprintf(format, args...), Hint: "Settings are in docs/reference/values.md.", Cause: err}
	case apierrors.IsForbidden(err) && PermissionHint(text) != "":
		return &fault.Error{Code: fault.Denied, Message: fmt.Sprintf(format, args...), Hint: PermissionHint(text), Cause: err}
	case errors.Is(err, driver.ErrReleaseExists), strings.Contains(text, "cannot reuse a name"):
		return &fault.Error{
			Code: fault.Conflict, Message: fmt.Sprintf(format, args...), Cause: err,
			Hint: "Another process has created it meanwhile. Look at it with: sublet list -A",
		}
	case errors.Is(err, driver.ErrReleaseNotFound), errors.Is(err, driver.ErrNoDeployedReleases), strings.Contains(text, "has no deployed releases"):
		return &fault.Error{
			Code: fault.Conflict, Message: fmt.Sprintf(format, args...), Cause: err,
			Hint: "Helm has not installed it. Change it with the program that has, such as Argo CD or kubectl apply, or delete it there.",
		}
	case strings.Contains(text, "another operation"):
		return &fault.Error{
			Code: fault.Conflict, Message: fmt.Sprintf(format, args...), Cause: err,
			Hint: "Wait until it is done. If its process is dead, remove the Secret of the last revision: kubectl get secret -l owner=helm",
		}
	}
	return fault.Wrap(err, format, args...)
}
