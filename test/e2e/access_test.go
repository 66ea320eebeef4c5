//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// TestExports exports kubeconfigs to another namespace: one with the token of a service account, and the
// Secret of Argo CD. The control plane may write these two Secrets there, and no other.
func TestExports(t *testing.T) {
	const other = "tenant-access-ci"
	namespaces := hostClient.CoreV1().Namespaces()
	eventually(t, "namespace "+other, func(ctx context.Context) error {
		_, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: other}}, metav1.CreateOptions{})
		return err
	})
	t.Cleanup(func() { _ = namespaces.Delete(context.WithoutCancel(t.Context()), other, metav1.DeleteOptions{}) })
	tn := install(t, "access", "tenant-access",
		"controlPlane.statefulSet.persistence.volumeClaim.enabled=false",
		"exportKubeConfig.additionalSecrets[0].name=ci",
		"exportKubeConfig.additionalSecrets[0].namespace="+other,
		"exportKubeConfig.additionalSecrets[0].context=shop",
		"exportKubeConfig.additionalSecrets[0].serviceAccount.name=deployer",
		"exportKubeConfig.additionalSecrets[0].serviceAccount.clusterRole=cluster-admin",
		"integrations.argoCD.enabled=true", "integrations.argoCD.namespace="+other,
		"experimental.deploy.vcluster.manifests=apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: initial",
	)
	eventually(t, "the manifests of the settings", func(ctx context.Context) error {
		_, err := tn.virtual.CoreV1().ConfigMaps(metav1.NamespaceDefault).Get(ctx, "initial", metav1.GetOptions{})
		return err
	})
	tn.awaitExport(other, "ci", readKubeconfig)
	argo := "sublet.tenant-access.access"
	tn.awaitExport(other, argo, readArgoCD)

	// What somebody changed is put right.
	secret, err := hostClient.CoreV1().Secrets(other).Get(t.Context(), argo, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if secret.Labels["argocd.argoproj.io/secret-type"] != "cluster" {
		t.Errorf("the labels of the Secret of Argo CD are %v", secret.Labels)
	}
	secret.Data = nil
	if _, err := hostClient.CoreV1().Secrets(other).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	tn.awaitExport(other, argo, readArgoCD)

	tn.endRoles()
	mustRun(t, helm("uninstall", tn.release, "-n", tn.namespace))
	eventually(t, "the Secrets are gone", func(ctx context.Context) error {
		list, err := hostClient.CoreV1().Secrets(other).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(list.Items) != 0 {
			return fmt.Errorf("there are %d", len(list.Items))
		}
		return nil
	})
}

// awaitExport waits until the virtual cluster accepts the token of a Secret, and gives it the
// permissions of cluster-admin.
func (tn *tenant) awaitExport(namespace, name string, read func(*corev1.Secret) (string, error)) {
	tn.t.Helper()
	eventually(tn.t, "Secret "+namespace+"/"+name, func(ctx context.Context) error {
		secret, err := hostClient.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		token, err := read(secret)
		if err != nil {
			return err
		}
		config := rest.AnonymousClientConfig(tn.virtualConfig)
		config.BearerToken = token
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		_, err = client.CoreV1().Secrets("kube-system").List(ctx, metav1.ListOptions{})
		return err
	})
}

// readKubeconfig returns the token of a kubeconfig in a Secret.
func readKubeconfig(secret *corev1.Secret) (string, error) {
	config, err := clientcmd.Load(secret.Data["config"])
	if err != nil {
		return "", err
	}
	user, cluster := config.AuthInfos["shop"], config.Clusters["shop"]
	if config.CurrentContext != "shop" || user == nil || cluster == nil || len(cluster.CertificateAuthorityData) == 0 {
		return "", errors.New("the kubeconfig is not complete")
	}
	return user.Token, nil
}

// readArgoCD returns the token of a Secret of Argo CD.
func readArgoCD(secret *corev1.Secret) (string, error) {
	var config struct {
		BearerToken string `json:"bearerToken"`
	}
	if err := json.Unmarshal(secret.Data["config"], &config); err != nil {
		return "", err
	}
	if server := string(secret.Data["server"]); server != "https://access.tenant-access.svc" {
		return "", fmt.Errorf("the server is %q", server)
	}
	return config.BearerToken, nil
}
