package kinds

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// Tokens keeps a host Secret beside each host pod that needs service account
// tokens: one key for each token that the pod asks for. The tokens are those of
// the virtual cluster, live as long as the pod asks for, are bound to the virtual
// pod and end with it. They are nowhere but in that Secret.
func Tokens(o Options) syncer.Resource[*corev1.Pod, *corev1.Secret] {
	t := &tokens{minter: o.Tokens, unwritten: map[unwrittenKey]unwrittenToken{}}
	return syncer.Resource[*corev1.Pod, *corev1.Secret]{
		Owner: syncer.Virtual,
		Names: translate.Derived(translate.TokenRole),
		Want:  wantToken,
		Down:  t.down,
		// A pod that has ended keeps its tokens until it is gone.
		StatusBlind: true,
	}
}

// renewAfter is the part of its life after which a token is replaced, and
// maxTokenAge the age at which it is at the latest: both as a kubelet does it.
const (
	renewAfter  = 0.8
	maxTokenAge = 24 * time.Hour
)

// unwrittenLife is how long a token that was made is kept for a Secret that could
// not be written.
const unwrittenLife = 10 * time.Minute

// tokens is the kind with its settings. What it remembers saves work only: a token
// that was made for a Secret that could not be written yet is not made again.
type tokens struct {
	minter TokenMinter

	mu        sync.Mutex
	unwritten map[unwrittenKey]unwrittenToken
}

// unwrittenKey is a token that one pod asked for.
type unwrittenKey struct {
	pod types.UID
	key string
}

type unwrittenToken struct {
	text string
	made time.Time
}

// wantToken says whether a pod needs a token Secret. Once it is there it stays
// until its pod is gone, as the containers need it to the end.
func wantToken(_ syncer.Scope, virtual *corev1.Pod, host *corev1.Secret) (bool, error) {
	if len(translate.TokenRequests(virtual)) == 0 {
		return false, nil
	}
	if host != nil {
		return true, nil
	}
	return translate.ShouldCopyPod(virtual, false) && virtual.DeletionTimestamp == nil, nil
}

// down fills in the token Secret. Tokens that live long enough stay as they are.
func (t *tokens) down(s syncer.Scope, virtual *corev1.Pod, host *corev1.Secret) error {
	requests := translate.TokenRequests(virtual)
	data := make(map[string][]byte, len(requests))
	for _, request := range requests {
		text, err := t.token(s, virtual, request, string(host.Data[request.Key]))
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

// token is the token for a request: the present one while it lives long enough,
// or a new one. It asks to be called again when the token must be renewed.
func (t *tokens) token(s syncer.Scope, virtual *corev1.Pod, request translate.TokenRequest, present string) (string, error) {
	key := unwrittenKey{virtual.UID, request.Key}
	if due := renewal(present, virtual, request); s.Now.Before(due) || present != "" && translate.IsFinished(virtual) {
		t.forget(key)
		t.again(s, virtual, due)
		return present, nil
	}
	text := t.remembered(key)
	if due := renewal(text, virtual, request); s.Now.Before(due) {
		t.again(s, virtual, due)
		return text, nil
	}
	text, err := t.mint(s, virtual, request)
	if err != nil {
		return "", err
	}
	due := renewal(text, virtual, request)
	if !s.Now.Before(due) {
		return "", fmt.Errorf("the token made for service account %s/%s is not one that pod %s can use: it is not bound to the pod, or has lived most of its life",
			virtual.Namespace, virtual.Spec.ServiceAccountName, virtual.Name)
	}
	t.remember(key, text, s.Now)
	t.again(s, virtual, due)
	return text, nil
}

// again asks for the next look at the time of the renewal.
func (t *tokens) again(s syncer.Scope, virtual *corev1.Pod, renewal time.Time) {
	if wait := renewal.Sub(s.Now); wait > 0 && !translate.IsFinished(virtual) {
		s.Again(wait)
	}
}

// mint makes a token bound to the virtual pod.
func (t *tokens) mint(s syncer.Scope, virtual *corev1.Pod, request translate.TokenRequest) (string, error) {
	account := virtual.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	wish := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: new(request.ExpirationSeconds),
		BoundObjectRef: &authenticationv1.BoundObjectReference{
			APIVersion: "v1", Kind: "Pod", Name: virtual.Name, UID: virtual.UID,
		},
	}}
	if request.Audience != "" {
		wish.Spec.Audiences = []string{request.Audience}
	}
	made, err := t.minter.Mint(s.Context, virtual.Namespace, account, wish)
	if err != nil {
		return "", fmt.Errorf("cannot make a token of service account %s/%s for pod %s: %w", virtual.Namespace, account, virtual.Name, err)
	}
	return made.Status.Token, nil
}

func (t *tokens) remembered(key unwrittenKey) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.unwritten[key].text
}

// remember keeps a token until it is seen in the Secret, and drops those that were
// never seen there.
func (t *tokens) remember(key unwrittenKey, text string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for other, token := range t.unwritten {
		if now.Sub(token.made) > unwrittenLife {
			delete(t.unwritten, other)
		}
	}
	t.unwritten[key] = unwrittenToken{text, now}
}

func (t *tokens) forget(key unwrittenKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.unwritten, key)
}

// claims is the part of a service account token that says when it is to be
// renewed and whose it is.
type claims struct {
	Expires    int64 `json:"exp"`
	Issued     int64 `json:"iat"`
	Kubernetes struct {
		Pod struct {
			UID types.UID `json:"uid"`
		} `json:"pod"`
	} `json:"kubernetes.io"`
}

// renewal is when a token is to be renewed, and the zero time if it is not one
// that this pod can use. The token itself says it, so nothing needs to be noted
// elsewhere. A token may be issued for longer than the pod asked for; it is
// renewed all the same when the pod expects it.
func renewal(token string, virtual *corev1.Pod, request translate.TokenRequest) time.Time {
	parsed, ok := parse(token)
	if !ok || parsed.Kubernetes.Pod.UID != virtual.UID {
		return time.Time{}
	}
	life := min(parsed.Expires-parsed.Issued, request.ExpirationSeconds)
	age := min(time.Duration(float64(life)*renewAfter)*time.Second, maxTokenAge)
	return time.Unix(parsed.Issued, 0).Add(age)
}

// parse reads the claims of a token. It does not verify the signature: the token
// is one that we asked for ourselves, or lies in a Secret of ours.
func parse(token string) (claims, bool) {
	var parsed claims
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return parsed, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return parsed, false
	}
	err = json.Unmarshal(payload, &parsed)
	return parsed, err == nil
}
