package kinds

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Tokens creates a host Secret for each host pod that needs service account tokens, with one key per
// token. The virtual cluster issues the tokens with the lifetime that the pod requests. They are
// bound to the virtual pod, and stored only in that Secret.
func Tokens(o Options) syncer.Resource[*corev1.Pod, *corev1.Secret] {
	t := &tokens{minter: o.Tokens, accepts: o.AcceptsToken, unwritten: map[unwrittenKey]unwrittenToken{}}
	return syncer.Resource[*corev1.Pod, *corev1.Secret]{
		Owner: syncer.Virtual,
		Names: translate.Derived(translate.TokenRole),
		Want:  shouldHaveSecret,
		Down:  t.fillSecret,
		// A finished pod keeps its tokens until it is gone.
		StatusBlind: true,
	}
}

// renewAfter is the fraction of its lifetime after which a token is renewed. maxTokenAge is the age at
// which it is renewed at the latest. A kubelet uses the same values.
const (
	renewAfter  = 0.8
	maxTokenAge = 24 * time.Hour
)

// nodelessAge is the age at which a token is renewed that was issued before its pod had a node. The
// new one names the node. By then the pod has started, so a burst of pods is not slowed down.
const nodelessAge = time.Minute

// tokenLeeway is how far in the future an API server accepts the issue time of a token.
const tokenLeeway = time.Minute

// unwrittenLife is how long a token is kept for a Secret that could not be written.
const unwrittenLife = 10 * time.Minute

// tokens is the kind with its settings. It remembers tokens whose Secret is not written yet, so that
// they are not requested again. Losing them only costs requests.
type tokens struct {
	minter TokenMinter
	// accepts reports whether the API server accepts tokens of a key and an issuer. nil means
	// that it accepts all.
	accepts func(key, issuer string) bool

	mu        sync.Mutex
	unwritten map[unwrittenKey]unwrittenToken
}

// unwrittenKey identifies a token that a pod requests.
type unwrittenKey struct {
	pod types.UID
	key string
}

// unwrittenToken is a token that its Secret does not have yet.
type unwrittenToken struct {
	text   string
	minted time.Time
}

// shouldHaveSecret reports whether a pod needs a token Secret. An existing Secret stays until its pod is
// deleted, because the containers need it until then.
//
// Tokens for other audiences than the API server must name the node, so they are issued once the pod
// has one. If the host's kubelet comes before the Secret, it retries after half a second. If all
// tokens are for the API server, which knows the node anyway, they are issued before. The Secret
// then always exists in time.
func shouldHaveSecret(_ syncer.Scope, virtual *corev1.Pod, host *corev1.Secret) (bool, error) {
	requests := translate.TokenRequests(virtual)
	if len(requests) == 0 {
		return false, nil
	}
	if host != nil {
		return true, nil
	}
	early := virtual.Spec.NodeName == "" && slices.ContainsFunc(requests, func(r translate.TokenRequest) bool { return r.Audience != "" })
	return !early && translate.ShouldCopyPod(virtual) && virtual.DeletionTimestamp == nil, nil
}

// fillSecret fills in the token Secret. It keeps tokens that live long enough.
func (t *tokens) fillSecret(s syncer.Scope, virtual *corev1.Pod, host *corev1.Secret) error {
	requests := translate.TokenRequests(virtual)
	data := make(map[string][]byte, len(requests))
	for _, request := range requests {
		text, err := t.getToken(s, virtual, request, string(host.Data[request.Key]))
		if err != nil {
			return err
		}
		data[request.Key] = []byte(text)
	}
	host.Data = data
	if host.Type == "" {
		host.Type = corev1.SecretTypeOpaque
	}
	return nil
}

// getToken returns the token for a request: the present one until its renewal, then a new one. It
// requests a reconcile for the time of the renewal.
func (t *tokens) getToken(s syncer.Scope, virtual *corev1.Pod, request translate.TokenRequest, present string) (string, error) {
	key := unwrittenKey{virtual.UID, request.Key}
	if due := t.renewalTime(present, virtual, request, s.Now); s.Now.Before(due) || present != "" && translate.IsFinished(virtual) {
		t.forget(key)
		t.requeueAt(s, virtual, due)
		return present, nil
	}
	text := t.lookup(key)
	if due := t.renewalTime(text, virtual, request, s.Now); s.Now.Before(due) {
		t.requeueAt(s, virtual, due)
		return text, nil
	}
	text, err := t.mint(s, virtual, request)
	if err != nil {
		return "", err
	}
	due := t.renewalTime(text, virtual, request, s.Now)
	if !s.Now.Before(due) {
		return "", fmt.Errorf("cannot use the token of service account %s/%s for pod %s: it is not bound to the pod, or must be renewed already",
			virtual.Namespace, virtual.Spec.ServiceAccountName, virtual.Name)
	}
	t.remember(key, text, s.Now)
	t.requeueAt(s, virtual, due)
	return text, nil
}

// requeueAt requests a reconcile at the time of the renewal.
func (t *tokens) requeueAt(s syncer.Scope, virtual *corev1.Pod, renewal time.Time) {
	if wait := renewal.Sub(s.Now); wait > 0 && !translate.IsFinished(virtual) {
		s.RequeueAfter(wait)
	}
}

// mint requests a token that is bound to the virtual pod.
func (t *tokens) mint(s syncer.Scope, virtual *corev1.Pod, request translate.TokenRequest) (string, error) {
	account := cmp.Or(virtual.Spec.ServiceAccountName, "default")
	body := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: new(request.ExpirationSeconds),
		BoundObjectRef: &authenticationv1.BoundObjectReference{
			APIVersion: "v1", Kind: "Pod", Name: virtual.Name, UID: virtual.UID,
		},
	}}
	if request.Audience != "" {
		body.Spec.Audiences = []string{request.Audience}
	}
	minted, err := t.minter.Mint(s.Context, virtual.Namespace, account, body)
	if err != nil {
		return "", fmt.Errorf("cannot request a token of service account %s/%s for pod %s: %w", virtual.Namespace, account, virtual.Name, err)
	}
	return minted.Status.Token, nil
}

// lookup returns a token that the Secret does not have yet, empty if there is none.
func (t *tokens) lookup(key unwrittenKey) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.unwritten[key].text
}

// remember keeps a token until the Secret has it, but no longer than unwrittenLife.
func (t *tokens) remember(key unwrittenKey, text string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for other, token := range t.unwritten {
		if now.Sub(token.minted) > unwrittenLife {
			delete(t.unwritten, other)
		}
	}
	t.unwritten[key] = unwrittenToken{text, now}
}

// forget drops a token that the Secret has.
func (t *tokens) forget(key unwrittenKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.unwritten, key)
}

// tokenClaims are the claims of a service account token that determine when it must be renewed.
type tokenClaims struct {
	Issuer     string `json:"iss"`
	Expires    int64  `json:"exp"`
	Issued     int64  `json:"iat"`
	Kubernetes struct {
		Pod struct {
			UID types.UID `json:"uid"`
		} `json:"pod"`
		Node *struct{} `json:"node"`
	} `json:"kubernetes.io"`

	key string // ID of the signing key, from the header of the token
}

// renewalTime returns when a token must be renewed. It returns the zero time for a token that this pod
// cannot use. Such a token belongs to another pod, or was issued in the future. Or the API server no
// longer accepts its key or issuer. A token may live longer than the pod requests. It is then renewed
// at the time that the pod expects.
func (t *tokens) renewalTime(token string, virtual *corev1.Pod, request translate.TokenRequest, now time.Time) time.Time {
	parsed, ok := parseClaims(token)
	issued := time.Unix(parsed.Issued, 0)
	if !ok || parsed.Kubernetes.Pod.UID != virtual.UID || issued.After(now.Add(tokenLeeway)) {
		return time.Time{}
	}
	if t.accepts != nil && !t.accepts(parsed.key, parsed.Issuer) {
		return time.Time{}
	}
	life := min(parsed.Expires-parsed.Issued, request.ExpirationSeconds)
	age := min(time.Duration(float64(life)*renewAfter)*time.Second, maxTokenAge)
	if parsed.Kubernetes.Node == nil && isBoundSince(virtual, issued) {
		age = min(age, nodelessAge)
	}
	return issued.Add(age)
}

// isBoundSince reports whether a pod was bound at since or later. Both times are in whole seconds.
func isBoundSince(virtual *corev1.Pod, since time.Time) bool {
	if virtual.Spec.NodeName == "" {
		return false
	}
	return slices.ContainsFunc(virtual.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue && !c.LastTransitionTime.Time.Before(since)
	})
}

// parseClaims decodes the claims of a token. It does not verify the signature, because the token comes
// from the virtual API server or from our own Secret.
func parseClaims(token string) (tokenClaims, bool) {
	var parsed tokenClaims
	var header struct {
		Key string `json:"kid"`
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 || decodePart(parts[1], &parsed) != nil {
		return parsed, false
	}
	_ = decodePart(parts[0], &header) // If that fails, the key is empty.
	parsed.key = header.Key
	return parsed, true
}

// decodePart decodes a part of a token.
func decodePart(text string, into any) error {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
