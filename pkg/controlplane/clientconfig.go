package controlplane

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/rest"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// ClientConfig returns the configuration of a client that calls the API server
// in memory as the given user, without a limit on its rate. It may be asked for
// and used before Run: requests wait until the API server runs. They fail once
// it has stopped.
//
// Exec, attach and port-forward take over a connection, which there is none of
// in memory: they need the TLS port.
func (c *ControlPlane) ClientConfig(name string, groups ...string) *rest.Config {
	return c.clientConfig(loopback.Caller{User: &user.DefaultInfo{
		Name: name, Groups: append(append([]string{}, groups...), user.AllAuthenticated),
	}})
}

// SyncerConfig returns the configuration of a client as [ControlPlane.ClientConfig] does, for
// who keeps the copies of host objects. Policies, webhooks and quotas of a tenant do not apply
// to what it writes of them.
func (c *ControlPlane) SyncerConfig(name string) *rest.Config {
	return c.clientConfig(loopback.Caller{
		User:        &user.DefaultInfo{Name: name, Groups: []string{pki.GroupAdmins, user.AllAuthenticated}},
		KeepsCopies: true,
	})
}

// KeeperConfig returns the configuration of a client as [ControlPlane.ClientConfig] does. It is
// for what the control plane needs to stay whole, such as the election of its leader. Policies,
// webhooks and quotas of a tenant do not apply to it. A webhook whose pods are gone could
// otherwise end each term of a leader, and nobody would create its pods again.
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
		// Managed fields of what this client writes would have the manager "unknown".
		UserAgent: rest.DefaultKubernetesUserAgent(),
	}
}
