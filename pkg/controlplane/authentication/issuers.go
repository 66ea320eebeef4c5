// Package authentication accepts tokens of issuers outside of the virtual cluster, by
// OpenID Connect. The verification is that of the kube-apiserver.
//
// It differs in two points. No token becomes a user or a group whose name begins with
// system: or sublet:, whatever the claims and their mappings are. And a change takes effect
// at once: an issuer that is gone is no longer accepted, even if a new one does not answer.
// The kube-apiserver would keep all the old ones until then.
package authentication

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/syncz"
)

// Options are what issuers need.
type Options struct {
	// Own are the issuers of the virtual cluster itself, which no other may claim to be.
	Own []string
	// ServerID names the API server in metrics.
	ServerID string
}

// Issuers accepts the tokens of the issuers that are set. Its methods may be called at the
// same time.
type Issuers struct {
	options Options
	mu      sync.Mutex // guards changes
	active  atomic.Pointer[[]*issuer]
	problem atomic.Pointer[string]
}

// issuer verifies the tokens of one issuer.
type issuer struct {
	settings apiserver.JWTAuthenticator
	verifier oidc.AuthenticatorTokenWithHealthCheck
	stop     context.CancelFunc
}

// New returns issuers without any.
func New(options Options) *Issuers {
	i := &Issuers{options: options}
	i.active.Store(&[]*issuer{})
	return i
}

// Set replaces the issuers. It keeps those whose settings are the same, with the keys that
// they have. If one setting is wrong, nothing changes, and it returns all problems
// as one error. ctx ends what the new issuers run.
func (i *Issuers) Set(ctx context.Context, settings v1alpha1.Authentication) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	wanted, problems := parse(settings, i.options.Own)
	if len(problems) > 0 {
		return problems.ToAggregate()
	}
	old := *i.active.Load()
	next := make([]*issuer, 0, len(wanted))
	for _, settings := range wanted {
		if at := slices.IndexFunc(old, func(o *issuer) bool { return reflect.DeepEqual(o.settings, settings) }); at >= 0 {
			next = append(next, old[at])
			continue
		}
		added, err := i.newIssuer(ctx, settings)
		if err != nil {
			stopOthers(next, old)
			return fmt.Errorf("cannot use the issuer %s: %w", settings.Issuer.URL, err)
		}
		next = append(next, added)
	}
	i.active.Store(&next)
	stopOthers(old, next)
	return nil
}

// stopOthers stops the issuers that are not among those to keep.
func stopOthers(all, keep []*issuer) {
	for _, one := range all {
		if !slices.Contains(keep, one) {
			one.stop()
		}
	}
}

func (i *Issuers) newIssuer(ctx context.Context, settings apiserver.JWTAuthenticator) (*issuer, error) {
	options := oidc.Options{
		JWTAuthenticator: settings, SupportedSigningAlgs: oidc.AllValidSigningAlgorithms(),
		DisallowedIssuers: i.options.Own, APIServerID: i.options.ServerID,
	}
	if authority := settings.Issuer.CertificateAuthority; authority != "" {
		content, err := dynamiccertificates.NewStaticCAContent("issuer", []byte(authority))
		if err != nil {
			return nil, err
		}
		options.CAContentProvider = content
	}
	ctx, stop := context.WithCancel(ctx)
	verifier, err := oidc.New(ctx, options)
	if err != nil {
		stop()
		return nil, err
	}
	return &issuer{settings: settings, verifier: verifier, stop: stop}, nil
}

// RecordProblem records why the latest settings are not in use. An empty text means that they are.
func (i *Issuers) RecordProblem(problem string) { i.problem.Store(&problem) }

// Checks returns the health of the issuers, nothing if there are none.
func (i *Issuers) Checks() []syncz.Check {
	active := *i.active.Load()
	check := syncz.Check{Name: "authentication", Healthy: true, Message: "All issuers of tokens have answered."}
	if problem := i.problem.Load(); problem != nil && *problem != "" {
		check.Healthy, check.Message = false, "The latest settings of issuers are wrong. Those before stay in use."
		check.Details = append(check.Details, *problem)
	} else if len(active) == 0 {
		return nil
	}
	for _, one := range active {
		if err := one.verifier.HealthCheck(); err != nil {
			if check.Healthy {
				check.Healthy, check.Message = false, "An issuer of tokens has not answered yet."
			}
			check.Details = append(check.Details, fmt.Sprintf("%s: %v", one.settings.Issuer.URL, err))
		}
	}
	return []syncz.Check{check}
}

// Wrap returns an authenticator that asks network first, and then the issuers about a token
// that network does not know. audiences are those of the API server.
func (i *Issuers) Wrap(network authenticator.Request, audiences authenticator.Audiences) authenticator.Request {
	token := authenticator.WrapAudienceAgnosticToken(audiences, authenticator.TokenFunc(i.authenticate))
	issued := group.NewAuthenticatedGroupAdder(union.New(bearertoken.New(token), websocket.NewProtocolAuthenticator(token)))
	return authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		response, ok, err := network.AuthenticateRequest(req)
		if ok || err == nil || len(*i.active.Load()) == 0 {
			return response, ok, err // Without a token there is no error.
		}
		response, ok, issuedErr := issued.AuthenticateRequest(req)
		if ok {
			return response, true, nil
		}
		return nil, false, errors.Join(err, issuedErr)
	})
}

// authenticate asks the issuers about a token, and refuses reserved names.
func (i *Issuers) authenticate(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	active := *i.active.Load()
	tokens := make([]authenticator.Token, 0, len(active))
	for _, one := range active {
		tokens = append(tokens, one.verifier)
	}
	response, ok, err := tokenunion.NewFailOnError(tokens...).AuthenticateToken(ctx, token)
	if !ok || err != nil {
		return nil, false, err
	}
	if err := checkUser(response.User); err != nil {
		return nil, false, err
	}
	return response, true, nil
}

// checkUser returns an error for a user that claims to be a part of the virtual cluster.
func checkUser(who user.Info) error {
	if isReserved(who.GetName()) {
		return fmt.Errorf("the user name %q of a token is reserved", who.GetName())
	}
	for _, name := range who.GetGroups() {
		if isReserved(name) {
			return fmt.Errorf("the group %q of a token is reserved", name)
		}
	}
	return nil
}
