package controlplane

import (
	"context"
	"net/http"

	etcd "go.etcd.io/etcd/client/v3/kubernetes"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
)

// Store returns the client of the store. It is nil before [ControlPlane.Ready].
func (c *ControlPlane) Store() *etcd.Client { return c.store.Load() }

// addStoreCheck adds a health check of the store. If the store is outside of the process, the check does
// not affect /livez, because a restart would not help.
func (a *assembly) addStoreCheck(config *genericapiserver.Config) {
	check := healthz.NamedCheck("etcd", func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), storageTimeout)
		defer cancel()
		return a.store.check(ctx)
	})
	if !a.config.Storage.Capabilities().Remote {
		config.AddHealthChecks(check)
		return
	}
	config.HealthzChecks = append(config.HealthzChecks, check)
	config.ReadyzChecks = append(config.ReadyzChecks, check)
}

// check returns an error if the store does not answer.
func (s sharedStore) check(ctx context.Context) error {
	_, err := s.client.KV.Get(ctx, "/registry/health")
	return err
}
