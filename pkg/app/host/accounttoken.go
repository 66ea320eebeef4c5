package host

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
)

const (
	// tokenCheck is how often a token is verified, because a tenant may delete its service
	// account.
	tokenCheck = 10 * time.Minute
	// tokenRetry is when a new token that the API server does not accept yet is verified again.
	tokenRetry = time.Minute
	// tokenTimeout bounds the requests to the virtual API server, which may not be ready.
	tokenTimeout = 10 * time.Second
)

// AccountToken issues tokens of a service account of the virtual cluster. It creates the
// account, its namespace and its ClusterRoleBinding if they are missing.
type AccountToken struct {
	// Virtual reaches the virtual cluster.
	Virtual kubernetes.Interface
	// Namespace and Name are those of the account.
	Namespace, Name string
	// ClusterRole is bound to the account. Empty binds none.
	ClusterRole string
	// Clock is the time.
	Clock clock.PassiveClock
}

// remaining returns how long a token can stay in use, 0 if it must be replaced now. That is the
// case in the last third of its life, if the API server rejects it, or if it belongs to another
// account.
func (a *AccountToken) remaining(ctx context.Context, token string) (time.Duration, error) {
	left := tokenEnd(token).Sub(a.Clock.Now()) - pki.TenantValidity/3
	if left <= 0 {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	if err := a.ensureAccount(ctx); err != nil {
		return 0, err
	}
	review, err := a.Virtual.AuthenticationV1().TokenReviews().Create(ctx,
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return 0, fmt.Errorf("cannot review the token of virtual ServiceAccount %s/%s: %w", a.Namespace, a.Name, err)
	}
	if !review.Status.Authenticated || review.Status.User.Username != "system:serviceaccount:"+a.Namespace+":"+a.Name {
		return 0, nil
	}
	return min(left, tokenCheck), nil
}

// issue returns a new token.
func (a *AccountToken) issue(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	if err := a.ensureAccount(ctx); err != nil {
		return "", err
	}
	seconds := int64(pki.TenantValidity / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	answer, err := a.Virtual.CoreV1().ServiceAccounts(a.Namespace).CreateToken(ctx, a.Name, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("cannot create a token of virtual ServiceAccount %s/%s: %w", a.Namespace, a.Name, err)
	}
	return answer.Status.Token, nil
}

// ensureAccount creates the service account and its binding if they are missing.
func (a *AccountToken) ensureAccount(ctx context.Context) error {
	accounts := a.Virtual.CoreV1().ServiceAccounts(a.Namespace)
	if _, err := accounts.Get(ctx, a.Name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		if err := a.createAccount(ctx); err != nil {
			return fmt.Errorf("cannot create virtual ServiceAccount %s/%s: %w", a.Namespace, a.Name, err)
		}
	} else if err != nil {
		return fmt.Errorf("cannot get virtual ServiceAccount %s/%s: %w", a.Namespace, a.Name, err)
	}
	if a.ClusterRole == "" {
		return nil
	}
	bindings, wanted := a.Virtual.RbacV1().ClusterRoleBindings(), a.binding()
	if _, err := bindings.Get(ctx, wanted.Name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		if _, err = bindings.Create(ctx, wanted, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("cannot create virtual ClusterRoleBinding %s: %w", wanted.Name, err)
		}
	} else if err != nil {
		return fmt.Errorf("cannot get virtual ClusterRoleBinding %s: %w", wanted.Name, err)
	}
	return nil
}

// createAccount creates the service account, and its namespace if that is missing. Nobody else
// may be able to create it, because the account is needed for the kubeconfig.
func (a *AccountToken) createAccount(ctx context.Context) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: a.Name}}
	_, err := a.Virtual.CoreV1().ServiceAccounts(a.Namespace).Create(ctx, account, metav1.CreateOptions{})
	if apierrors.IsNotFound(err) {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.Namespace}}
		if _, err = a.Virtual.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err == nil || apierrors.IsAlreadyExists(err) {
			_, err = a.Virtual.CoreV1().ServiceAccounts(a.Namespace).Create(ctx, account, metav1.CreateOptions{})
		}
	}
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// binding returns the ClusterRoleBinding of the account. Its name contains the role, because the
// role of a binding is immutable.
func (a *AccountToken) binding() *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: exportPrefix + a.Namespace + ":" + a.Name + ":" + a.ClusterRole},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: a.ClusterRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: a.Namespace, Name: a.Name}},
	}
}

// tokenEnd returns when a JWT expires, without checking its signature. It returns the zero time
// for other text.
func tokenEnd(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expires int64 `json:"exp"`
	}
	if err := json.Unmarshal(data, &claims); err != nil {
		return time.Time{}
	}
	return time.Unix(claims.Expires, 0)
}
