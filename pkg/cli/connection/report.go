package connection

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/api/syncz"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
)

// maxReport bounds the answer of /syncz.
const maxReport = 4 << 20

// Report returns the health of each part, from the operator's port of the control plane.
func (t *Target) Report(ctx context.Context) (*syncz.Report, error) {
	name := t.Release.Operator()
	secret, err := t.Host.Client.CoreV1().Secrets(t.Release.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, fault.Wrap(err, "cannot get Secret %s/%s", t.Release.Namespace, name)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(secret.Data[release.OperatorCAKey]) {
		return nil, fmt.Errorf("cannot read the certificate authority in Secret %s/%s", t.Release.Namespace, name)
	}
	tunnel := t.Forwarder(release.OperatorPort)
	defer tunnel.Close()
	if _, err := tunnel.Pod(ctx); err != nil {
		return nil, t.unreachable("cannot get /syncz", err)
	}
	transport := &http.Transport{
		DialContext:     tunnel.DialContext,
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("https://localhost:%d/syncz?format=json", release.OperatorPort), nil)
	if err != nil {
		return nil, fmt.Errorf("cannot ask for /syncz: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+string(secret.Data[release.OperatorTokenKey]))
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, t.unreachable("cannot get /syncz", tunnel.Explain(err))
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxReport))
	err = errors.Join(err, response.Body.Close())
	if err != nil {
		return nil, fmt.Errorf("cannot read /syncz: %w", err)
	}
	report := &syncz.Report{}
	if err := json.Unmarshal(body, report); err != nil {
		return nil, fmt.Errorf("cannot read /syncz: status %s: %w", response.Status, err)
	}
	return report, nil
}

// Reach asks the virtual API whether it is ready, from here. It returns the way: the address that answers, or a tunnel.
func (t *Target) Reach(ctx context.Context) (way string, err error) {
	cluster, user, err := t.Exported(ctx)
	if err != nil {
		return "", err
	}
	if direct := t.DirectServer(ctx, cluster.Server); direct != "" {
		cluster.Server = direct
		_, err = t.credentials(ctx, cluster, user, nil)
		return direct, err
	}
	tunnel := t.Forwarder(release.APIPort)
	defer tunnel.Close()
	if _, err := tunnel.Pod(ctx); err != nil {
		return "", t.unreachable("cannot reach the virtual API", err)
	}
	_, err = t.credentials(ctx, proxied(cluster), user, tunnel)
	return "a tunnel through the host", err
}

// unreachable returns the error for a port of the control plane that does not answer.
func (t *Target) unreachable(message string, cause error) error {
	return &fault.Error{
		Code: fault.Unreachable, Message: message, Cause: cause,
		Hint: fmt.Sprintf("Look at the pods of the control plane: kubectl -n %s get pods", t.Release.Namespace),
	}
}
