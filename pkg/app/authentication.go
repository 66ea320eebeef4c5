package app

import (
	"os"

	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/pkg/config"
	"github.com/sublet-dev/sublet/pkg/controlplane/audit"
	"github.com/sublet-dev/sublet/pkg/controlplane/authentication"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// auditKubeconfig is where the chart mounts the kubeconfig of the audit webhook.
const auditKubeconfig = "/etc/sublet-audit/kubeconfig"

// newIssuers returns the issuers of tokens, and the watched file that they are loaded from.
func (a *connectedApp) newIssuers() (*authentication.Issuers, *authentication.File) {
	issuers := authentication.New(authentication.Options{
		Own: tokens(a.values).Issuers(a.values.Networking.Advanced.ClusterDomain), ServerID: a.options.identity().Pod,
	})
	a.health.add(issuers.Checks)
	return issuers, &authentication.File{
		Path: a.options.ConfigFile, Issuers: issuers, Clock: clock.RealClock{},
		Load: func() (v1alpha1.Authentication, error) {
			values, err := config.Load(a.options.ConfigFile, kinds.Settings()...)
			if err != nil {
				return v1alpha1.Authentication{}, err
			}
			return values.ControlPlane.Advanced.Authentication, nil
		},
	}
}

// auditOptions returns the options of the audit log.
func (a *configuration) auditOptions() audit.Options {
	options := audit.Options{Settings: a.values.ControlPlane.Advanced.Audit, Out: os.Stdout}
	if options.Settings.Webhook.Secret != "" {
		options.Kubeconfig = auditKubeconfig
	}
	return options
}
