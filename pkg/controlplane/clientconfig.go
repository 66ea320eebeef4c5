package controlplane

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// ClientConfig returns the configuration of a client that calls the API server in memory as the given
// user, without a rate limit. It may be used before Run: requests wait until the API server runs.
// They fail once it has stopped.
//
// Exec, attach and port-forward do not work in memory, because they take over the connection. They
// need the TLS port.
func (c *ControlPlane) ClientConfig(name string, groups ...string) *rest.Config {
	return c.clientConfig(loopback.Caller{User: &user.DefaultInfo{
		Name: name, Groups: append(append([]string{}, groups...), user.AllAuthenticated),
	}})
}

// SyncerConfig returns a configuration as [ControlPlane.ClientConfig] does, for the syncer. Policies,
// webhooks and quotas of a tenant do not apply when it writes copies of host objects.
func (c *ControlPlane) SyncerConfig(name string) *rest.Config {
	return c.clientConfig(loopback.Caller{
		User:        &user.DefaultInfo{Name: name, Groups: []string{pki.GroupAdmins, user.AllAuthenticated}},
		KeepsCopies: true,
	})
}

// KeeperConfig returns a configuration as [ControlPlane.ClientConfig] does, for essential writes of the
// control plane, such as leader election. Policies, webhooks and quotas of a tenant do not apply to
// them. Otherwise a webhook without pods could prevent that a leader is elected, and so that its
// pods are created again.
func (c *ControlPlane) KeeperConfig(name string) *rest.Config {
	return c.clientConfig(loopback.Caller{
		User:                 &user.DefaultInfo{Name: name, Groups: []string{pki.GroupAdmins, user.AllAuthenticated}},
		SkipsTenantAdmission: true,
	})
}

// ownConfig returns the configuration of the API server's own client. Policies,
// webhooks and quotas of a tenant do not apply to it: none may keep the control plane
// from starting.
func (c *ControlPlane) ownConfig() *rest.Config {
	return c.KeeperConfig("system:apiserver")
}

// clientConfig returns the configuration of a client in the process.
func (c *ControlPlane) clientConfig(caller loopback.Caller) *rest.Config {
	return &rest.Config{
		Host:      "https://" + c.loopbackAddress(),
		Transport: c.loopback.Transport(caller),
		ContentConfig: rest.ContentConfig{
			ContentType:        runtime.ContentTypeProtobuf,
			AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON,
		},
		DisableCompression: true,
		QPS:                -1,
		// Without it, managedFields would have the manager "unknown".
		UserAgent: rest.DefaultKubernetesUserAgent(),
	}
}
