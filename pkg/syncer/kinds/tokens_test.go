package kinds

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// mint is a [TokenMinter] that keeps count.
type mint struct {
	now   time.Time
	made  []string
	fails error
	// extend makes tokens live longer than asked for, as an API server may.
	extend time.Duration
	// pod is bound into the tokens instead of the one asked for, if set.
	pod types.UID
	// key and issuer are those of the tokens.
	key, issuer string
}

func (m *mint) Mint(_ context.Context, namespace, name string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	if m.fails != nil {
		return nil, m.fails
	}
	pod := request.Spec.BoundObjectRef.UID
	if m.pod != "" {
		pod = m.pod
	}
	life := time.Duration(*request.Spec.ExpirationSeconds)*time.Second + m.extend
	audience := strings.Join(request.Spec.Audiences, ",")
	m.made = append(m.made, namespace+"/"+name+" for "+audience+" "+life.String())
	made := request.DeepCopy()
	made.Status.Token = signedToken(m.key, m.issuer, m.now, life, pod, audience)
	return made, nil
}

// tokenText returns a token as an API server issues it, without a valid signature.
func tokenText(issued time.Time, life time.Duration, pod types.UID) string {
	return signedToken("", "", issued, life, pod, "")
}

// signedToken returns a token that names a key and an issuer.
func signedToken(key, issuer string, issued time.Time, life time.Duration, pod types.UID, audience string) string {
	claims, header := map[string]any{
		"aud": []string{audience}, "iat": issued.Unix(), "exp": issued.Add(life).Unix(),
		"kubernetes.io": map[string]any{"pod": map[string]any{"uid": pod}},
	}, map[string]any{"alg": "none"}
	if key != "" {
		claims["iss"], header["kid"] = issuer, key
	}
	encode := func(part any) string {
		text, err := json.Marshal(part)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	return encode(header) + "." + encode(claims) + "." + base64.RawURLEncoding.EncodeToString([]byte("signature"))
}

// tokenPod asks for one token for the API server and one for vault.
func tokenPod() *corev1.Pod {
	newProjection := func(audience string, seconds int64) corev1.VolumeProjection {
		return corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: audience, ExpirationSeconds: &seconds, Path: "token" + audience}}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "uid-of-web"},
		Spec: corev1.PodSpec{
			ServiceAccountName: "web",
			Volumes: []corev1.Volume{{Name: "t", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: []corev1.VolumeProjection{newProjection("", 3600), newProjection("vault", 600)},
			}}}},
		},
	}
}

// clockScope returns a scope at a moment of the test.
func clockScope(t *testing.T, now time.Time) syncer.Scope {
	t.Helper()
	return syncer.Scope{Context: t.Context(), Cluster: testCluster(), Now: now}
}

// keys returns the keys in the token Secret, that of the API server first.
func keys(pod *corev1.Pod) (api, vault string) {
	for _, request := range translate.TokenRequests(pod) {
		if request.Audience == "" {
			api = request.Key
		} else {
			vault = request.Key
		}
	}
	return api, vault
}

func TestTokensAreMadeOncePerNeed(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	minter := &mint{now: start}
	resource := Tokens(Options{Tokens: minter})
	pod := tokenPod()
	down := func(after time.Duration, host *corev1.Secret) *corev1.Secret {
		t.Helper()
		if err := resource.Down(clockScope(t, start.Add(after)), pod, host); err != nil {
			t.Fatal(err)
		}
		return host
	}
	first := down(0, &corev1.Secret{})
	if len(minter.made) != 2 {
		t.Fatalf("tokens made for a new pod: %v, want 2", minter.made)
	}
	// The Secret could not be created, or the cache does not show it yet.
	for range 5 {
		if again := down(time.Second, &corev1.Secret{}); cmp.Diff(first.Data, again.Data) != "" {
			t.Errorf("another attempt has other tokens")
		}
	}
	down(time.Minute, first.DeepCopy())
	if len(minter.made) != 2 {
		t.Errorf("tokens made after six attempts: %v, want 2", minter.made)
	}

	// At 80 % of the ten minutes that vault's token lives, that one is renewed.
	minter.now = start.Add(8 * time.Minute)
	if before := down(8*time.Minute-time.Second, first.DeepCopy()); cmp.Diff(first.Data, before.Data) != "" {
		t.Errorf("renewed too early")
	}
	renewed := down(8*time.Minute, first.DeepCopy())
	api, vault := keys(pod)
	if string(renewed.Data[api]) != string(first.Data[api]) || string(renewed.Data[vault]) == string(first.Data[vault]) {
		t.Errorf("renewed is not vault's token alone")
	}
	if len(minter.made) != 3 {
		t.Errorf("tokens made after the renewal: %v, want 3", minter.made)
	}
	want := []string{"shop/web for  1h0m0s", "shop/web for vault 10m0s"}
	for _, made := range want {
		if !strings.Contains(strings.Join(minter.made, "\n"), made) {
			t.Errorf("made %v, want %q among them", minter.made, made)
		}
	}
}

func TestTokenThatIsRememberedOnlyUntilItIsWritten(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	kind := &tokens{minter: &mint{now: start}, unwritten: map[unwrittenKey]unwrittenToken{}}
	secret := &corev1.Secret{}
	if err := kind.fillSecret(clockScope(t, start), tokenPod(), secret); err != nil {
		t.Fatal(err)
	}
	if len(kind.unwritten) != 2 {
		t.Errorf("%d tokens remembered, want 2", len(kind.unwritten))
	}
	if err := kind.fillSecret(clockScope(t, start), tokenPod(), secret); err != nil {
		t.Fatal(err)
	}
	if len(kind.unwritten) != 0 {
		t.Errorf("%d tokens remembered after they were written, want none", len(kind.unwritten))
	}
	// The pod is gone before its Secret was ever written.
	if err := kind.fillSecret(clockScope(t, start), tokenPod(), &corev1.Secret{}); err != nil {
		t.Fatal(err)
	}
	other := tokenPod()
	other.UID = "uid-of-another"
	kind.minter = &mint{now: start.Add(time.Hour)}
	if err := kind.fillSecret(clockScope(t, start.Add(time.Hour)), other, &corev1.Secret{}); err != nil {
		t.Fatal(err)
	}
	for key := range kind.unwritten {
		if key.pod != other.UID {
			t.Errorf("the tokens of a pod that is gone are remembered for ever")
		}
	}
}

func TestTokenRenewal(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	hour := translate.TokenRequest{ExpirationSeconds: 3600}
	month := translate.TokenRequest{ExpirationSeconds: 30 * 24 * 3600}
	tests := map[string]struct {
		reason  string
		token   string
		request translate.TokenRequest
		want    time.Time
	}{
		"Hour":     {reason: "80 % of its life", token: tokenText(start, time.Hour, "uid-of-web"), request: hour, want: start.Add(48 * time.Minute)},
		"Extended": {reason: "the pod asked for an hour and is to see a new one in time", token: tokenText(start, 365*24*time.Hour, "uid-of-web"), request: hour, want: start.Add(48 * time.Minute)},
		"Shorter":  {reason: "the API server gives less than was asked for", token: tokenText(start, 10*time.Minute, "uid-of-web"), request: hour, want: start.Add(8 * time.Minute)},
		"Long":     {reason: "a day at most, as a kubelet does it", token: tokenText(start, 30*24*time.Hour, "uid-of-web"), request: month, want: start.Add(24 * time.Hour)},
		"Lag":      {reason: "another clock may be a little ahead", token: tokenText(start.Add(time.Minute), time.Hour, "uid-of-web"), request: hour, want: start.Add(49 * time.Minute)},
		"Ahead":    {reason: "it was issued while the clock was wrong, and is not valid yet", token: tokenText(start.Add(time.Hour), time.Hour, "uid-of-web"), request: hour},
		"Former":   {reason: "it is of a pod that had this name before", token: tokenText(start, time.Hour, "uid-of-former"), request: hour},
		"None":     {reason: "there is none", request: hour},
		"Broken":   {reason: "somebody edited it", token: "a.%%%.c", request: hour},
		"NotJSON":  {reason: "somebody edited it", token: "a." + base64.RawURLEncoding.EncodeToString([]byte("{")) + ".c", request: hour},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := (&tokens{}).renewalTime(tt.token, tokenPod(), tt.request, start); !got.Equal(tt.want) {
				t.Errorf("%s: got %s, want %s", tt.reason, got, tt.want)
			}
		})
	}
}

func TestTokenOlderThanTheNode(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	withNode := func(issued time.Time) string {
		payload := fmt.Sprintf(`{"iat":%d,"exp":%d,"kubernetes.io":{"pod":{"uid":"uid-of-web"},"node":{"name":"n1"}}}`,
			issued.Unix(), issued.Add(time.Hour).Unix())
		return "a." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c"
	}
	normal, early := start.Add(48*time.Minute), start.Add(time.Minute)
	tests := map[string]struct {
		reason string
		token  string
		bound  time.Time
		want   time.Time
	}{
		"NoNode":     {reason: "the pod has none yet", token: tokenText(start, time.Hour, "uid-of-web"), want: normal},
		"BoundLater": {reason: "the next one names the node", token: tokenText(start, time.Hour, "uid-of-web"), bound: start.Add(2 * time.Second), want: early},
		"SameSecond": {reason: "times have whole seconds", token: tokenText(start, time.Hour, "uid-of-web"), bound: start, want: early},
		"Named":      {reason: "it names the node already", token: withNode(start), bound: start.Add(2 * time.Second), want: normal},
		"BoundEarlier": {
			reason: "another token would name no node either", token: tokenText(start, time.Hour, "uid-of-web"),
			bound: start.Add(-time.Second), want: normal,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := tokenPod()
			if !tt.bound.IsZero() {
				pod.Spec.NodeName = "n1"
				pod.Status.Conditions = []corev1.PodCondition{{
					Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(tt.bound),
				}}
			}
			if got := (&tokens{}).renewalTime(tt.token, pod, translate.TokenRequest{ExpirationSeconds: 3600}, start); !got.Equal(tt.want) {
				t.Errorf("%s: got %s, want %s", tt.reason, got, tt.want)
			}
		})
	}
}

func TestTokensOfANewPodOfTheSameName(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	minter := &mint{now: start}
	pod := tokenPod()
	api, vault := keys(pod)
	secret := &corev1.Secret{Data: map[string][]byte{
		api: []byte(tokenText(start, time.Hour, "uid-of-former")), vault: []byte("junk"), "stale": []byte("x"),
	}}
	if err := Tokens(Options{Tokens: minter}).Down(clockScope(t, start), pod, secret); err != nil {
		t.Fatal(err)
	}
	if len(minter.made) != 2 || len(secret.Data) != 2 {
		t.Errorf("made %v, Secret has %d keys; want both tokens new and nothing else", minter.made, len(secret.Data))
	}
}

func TestTokenTroubles(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		reason string
		minter *mint
		want   string
	}{
		"Refused":  {reason: "the service account is gone", minter: &mint{now: start, fails: errors.New("not found")}, want: "cannot request a token of service account shop/web for pod web: not found"},
		"OtherPod": {reason: "the token is bound to another pod", minter: &mint{now: start, pod: "uid-of-former"}, want: "not bound to the pod, or must be renewed"},
		"Old":      {reason: "the clocks are far apart", minter: &mint{now: start.Add(-time.Hour)}, want: "not bound to the pod, or must be renewed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			api, _ := keys(tokenPod())
			secret := &corev1.Secret{Data: map[string][]byte{api: []byte("there before")}}
			err := Tokens(Options{Tokens: tt.minter}).Down(clockScope(t, start), tokenPod(), secret)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: error %v, want %q in it", tt.reason, err, tt.want)
			}
			if string(secret.Data[api]) != "there before" {
				t.Errorf("%s: the Secret was changed all the same", tt.reason)
			}
		})
	}
}

func TestTokensOfAPodThatEnds(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	minter := &mint{now: start}
	resource := Tokens(Options{Tokens: minter})
	pod := tokenPod()
	secret := &corev1.Secret{}
	if err := resource.Down(clockScope(t, start), pod, secret); err != nil {
		t.Fatal(err)
	}
	pod.DeletionTimestamp = &metav1.Time{Time: start}
	wanted, err := resource.Want(clockScope(t, start), pod, secret)
	if err != nil || !wanted {
		t.Errorf("the containers lose their token while they shut down: %t, %v", wanted, err)
	}
	pod.Status.Phase = corev1.PodSucceeded
	before := secret.DeepCopy()
	if err := resource.Down(clockScope(t, start.Add(24*time.Hour)), pod, secret); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.Data, secret.Data); diff != "" || len(minter.made) != 2 {
		t.Errorf("tokens of a pod that has ended were renewed: %v", minter.made)
	}
}

// TestTokensOfARevokedKey ends the trust in the key of service accounts, and in an issuer. Tokens from
// before are worthless, so pods that run get new ones at once.
func TestTokensOfARevokedKey(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	for reason, accepts := range map[string]func(key, issuer string) bool{
		"key":    func(key, _ string) bool { return key == "new" },
		"issuer": func(_, issuer string) bool { return issuer == "https://new" },
	} {
		minter := &mint{now: start, key: "old", issuer: "https://old"}
		secret := &corev1.Secret{}
		if err := Tokens(Options{Tokens: minter}).Down(clockScope(t, start), tokenPod(), secret); err != nil {
			t.Fatal(err)
		}
		minter.key, minter.issuer = "new", "https://new"
		resource, before := Tokens(Options{Tokens: minter, AcceptsToken: accepts}), secret.DeepCopy()
		for range 2 {
			if err := resource.Down(clockScope(t, start.Add(time.Second)), tokenPod(), secret); err != nil {
				t.Fatal(err)
			}
		}
		for key := range before.Data {
			if string(before.Data[key]) == string(secret.Data[key]) {
				t.Errorf("revoked %s: a pod keeps a token that nobody accepts", reason)
			}
		}
		if len(minter.made) != 4 {
			t.Errorf("revoked %s: made %v, want each token twice", reason, minter.made)
		}
	}
}
