package host

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

// argoCDLabel is the label that marks the Secret of a cluster for Argo CD.
const argoCDLabel = "argocd.argoproj.io/secret-type"

// ArgoCDSecret is the Secret by which Argo CD connects to the virtual cluster. Its token is
// renewed when a third of its life is left.
type ArgoCDSecret struct {
	// Name is the name of the Secret. Labels are added to its own label.
	Name   string
	Labels map[string]string
	// Bundle has the certificate authority.
	Bundle *pki.Bundle
	// Server is the URL, and Cluster is the name that Argo CD displays.
	Server, Cluster string
	// Token issues the token.
	Token *AccountToken
}

// argoCDConfig is the part of the Secret that Argo CD reads as JSON.
type argoCDConfig struct {
	BearerToken string    `json:"bearerToken"`
	TLS         argoCDTLS `json:"tlsClientConfig"`
}

// argoCDTLS is the TLS config by which Argo CD verifies the server.
type argoCDTLS struct {
	Insecure bool   `json:"insecure"`
	CAData   []byte `json:"caData"`
}

// Want implements [WantSecret].
func (a *ArgoCDSecret) Want(ctx context.Context, current *corev1.Secret) (*corev1.Secret, time.Duration, error) {
	left, err := a.remaining(ctx, current)
	if err != nil || left > 0 {
		return nil, left, err
	}
	token, err := a.Token.issue(ctx)
	if err != nil {
		return nil, 0, err
	}
	config, err := json.Marshal(argoCDConfig{BearerToken: token, TLS: argoCDTLS{CAData: a.Bundle.CA()}}) //nolint:gosec // Argo CD reads the token from this Secret.
	if err != nil {
		return nil, 0, fmt.Errorf("cannot encode the Secret of Argo CD: %w", err)
	}
	wanted := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: a.Name, Labels: a.labels()},
		Data:       map[string][]byte{"name": []byte(a.Cluster), "server": []byte(a.Server), "config": config},
	}
	left, err = a.remaining(ctx, wanted)
	return wanted, max(left, tokenRetry), err
}

// labels returns the labels of the Secret.
func (a *ArgoCDSecret) labels() map[string]string {
	labels := map[string]string{}
	maps.Copy(labels, a.Labels)
	labels[argoCDLabel] = "cluster"
	return labels
}

// remaining returns how long the Secret is up to date, 0 if it must be written again now.
func (a *ArgoCDSecret) remaining(ctx context.Context, secret *corev1.Secret) (time.Duration, error) {
	if secret == nil || string(secret.Data["name"]) != a.Cluster || string(secret.Data["server"]) != a.Server {
		return 0, nil
	}
	for key, value := range a.labels() {
		if secret.Labels[key] != value {
			return 0, nil
		}
	}
	var config argoCDConfig
	if err := json.Unmarshal(secret.Data["config"], &config); err != nil ||
		config.TLS.Insecure || string(config.TLS.CAData) != string(a.Bundle.CA()) {
		return 0, nil //nolint:nilerr // It is written again.
	}
	return a.Token.remaining(ctx, config.BearerToken)
}
