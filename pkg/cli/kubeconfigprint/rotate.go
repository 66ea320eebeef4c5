package kubeconfigprint

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/wait"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/sublet-dev/sublet/pkg/cli/connection"
	"github.com/sublet-dev/sublet/pkg/cli/fault"
	"github.com/sublet-dev/sublet/pkg/cli/host"
	"github.com/sublet-dev/sublet/pkg/cli/kubeconfig"
	"github.com/sublet-dev/sublet/pkg/cli/release"
)

// rotateInterval is the time between two looks at the Secret.
const rotateInterval = 200 * time.Millisecond

// rotateCommand returns the command that replaces the kubeconfig.
func rotateCommand(env *host.Env) *cobra.Command {
	timeout := time.Minute
	cmd := &cobra.Command{
		Use:   "rotate NAME",
		Short: "Replace the exported kubeconfig by one with a new key",
		Long: `Delete the Secret with the exported kubeconfig, and wait until the control plane has written one with a new
key, or with a new token. Contexts of "sublet connect" in your kubeconfig get it too.

The old client certificate or token stays valid until its end, at most 30 days. To end it at once, rotate the
certificate authority, or delete the service account: the command prints how.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return rotate(cmd.Context(), env, args[0], timeout)
		},
	}
	release.AddTimeoutFlag(cmd, &timeout, "How long the control plane may take")
	return cmd
}

// rotate replaces the kubeconfig on the host, and in the contexts of the user.
func rotate(ctx context.Context, env *host.Env, name string, timeout time.Duration) error {
	h, _, err := release.FindHost(ctx, env, name)
	if err != nil {
		return err
	}
	target := connection.New(env, h, name, connection.Options{})
	_, before, err := target.Exported(ctx)
	if err != nil {
		return err
	}
	if err := deleteSecret(ctx, target); err != nil {
		return err
	}
	after, err := awaitOther(ctx, target, before, timeout)
	if err != nil {
		return err
	}
	changed, err := replaceUsers(ctx, env, target, before, after)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Err, "Secret %s/%s has a new key, valid until %s. Contexts of your kubeconfig that have it too: %d.\n",
		h.Namespace, target.Release.Kubeconfig(), expiry(after), changed)
	fmt.Fprintf(env.Err, "The old one is valid until %s. To end it at once, %s\n", expiry(before), howToEnd(before, target))
	return nil
}

// deleteSecret deletes the Secret with the kubeconfig. The control plane writes it again.
func deleteSecret(ctx context.Context, target *connection.Target) error {
	secrets, name := target.Host.Client.CoreV1().Secrets(target.Release.Namespace), target.Release.Kubeconfig()
	err := secrets.Delete(ctx, name, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fault.Wrap(err, "cannot delete Secret %s/%s", target.Release.Namespace, name)
}

// awaitOther waits until the control plane has written a kubeconfig with another certificate or token.
func awaitOther(ctx context.Context, target *connection.Target, old *clientcmdapi.AuthInfo, timeout time.Duration) (*clientcmdapi.AuthInfo, error) {
	var user *clientcmdapi.AuthInfo
	err := wait.PollUntilContextTimeout(ctx, rotateInterval, timeout, true, func(ctx context.Context) (bool, error) {
		_, current, err := target.Exported(ctx)
		if err == nil {
			user = current
			return !hasSameKey(current, old), nil
		}
		if code, _ := fault.Classify(err); code == fault.NotReady {
			return false, nil
		}
		return false, err
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return nil, fault.New(fault.NotReady, fmt.Sprintf("See why with: sublet describe %s -n %s", target.Release.Name, target.Release.Namespace),
			"the control plane has not written Secret %s/%s again in %s", target.Release.Namespace, target.Release.Kubeconfig(), timeout)
	}
	return user, err
}

// replaceUsers gives the new certificate or token to the contexts of the virtual cluster that have the old one. Contexts
// of the same host with a still older certificate get it too: an interrupted rotation leaves such. It returns their number.
func replaceUsers(ctx context.Context, env *host.Env, target *connection.Target, before, after *clientcmdapi.AuthInfo) (changed int, err error) {
	err = env.Files().Update(ctx, func(current *clientcmdapi.Config) (kubeconfig.Change, error) {
		change := kubeconfig.Change{Users: map[string]*clientcmdapi.AuthInfo{}}
		for _, entry := range current.Contexts {
			known, ok := kubeconfig.ConnectionOf(entry)
			user := current.AuthInfos[entry.AuthInfo]
			if !ok || known.Name != target.Release.Name || known.Namespace != target.Release.Namespace || user == nil {
				continue
			}
			older := len(user.ClientCertificateData) > 0 && len(before.ClientCertificateData) > 0 && known.HostContext == target.Host.Context
			if older || hasSameKey(user, before) {
				change.Users[entry.AuthInfo] = after
			}
		}
		changed = len(change.Users)
		return change, nil
	})
	return changed, err
}

// hasSameKey reports whether two users have the same certificate and token.
func hasSameKey(a, b *clientcmdapi.AuthInfo) bool {
	return bytes.Equal(a.ClientCertificateData, b.ClientCertificateData) && a.Token == b.Token
}

// howToEnd returns how an operator ends a certificate or a token before its time.
func howToEnd(user *clientcmdapi.AuthInfo, target *connection.Target) string {
	if claims, ok := claimsOf(user.Token); ok {
		// Whoever has taken over the control plane signs the token, and an operator may paste the names into a shell.
		if parts := strings.Split(claims.Subject, ":"); len(parts) == 4 &&
			len(validation.IsDNS1123Label(parts[2]))+len(validation.IsDNS1123Subdomain(parts[3])) == 0 {
			return fmt.Sprintf("delete the service account of the virtual cluster. The control plane creates it again:\n"+
				"  sublet connect %s -n %s -- kubectl -n %s delete serviceaccount %s", target.Release.Name, target.Release.Namespace, parts[2], parts[3])
		}
	}
	return fmt.Sprintf("rotate the certificate authority:\n  kubectl -n %s exec %s -- /sublet-server certs rotate-ca",
		target.Release.Namespace, target.Release.Pod(0))
}

// expiry returns the end of a certificate or a token, as far as it can be read.
func expiry(user *clientcmdapi.AuthInfo) string {
	if claims, ok := claimsOf(user.Token); ok {
		return time.Unix(claims.Expires, 0).UTC().Format(time.RFC3339)
	}
	if block, _ := pem.Decode(user.ClientCertificateData); block != nil {
		if parsed, err := x509.ParseCertificate(block.Bytes); err == nil {
			return parsed.NotAfter.UTC().Format(time.RFC3339)
		}
	}
	return "an unknown time"
}

// claims are the parts of a token that people want to know.
type claims struct {
	Subject string `json:"sub"`
	Expires int64  `json:"exp"`
}

// claimsOf returns the claims of a token. It checks no signature.
func claimsOf(token string) (claims, bool) {
	var found claims
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return found, false
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(data, &found) != nil {
		return found, false
	}
	return found, true
}
