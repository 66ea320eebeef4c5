//go:build e2e

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/api/release"
)

// granted collects what the Roles of all releases of a run permit. [checkRoles] compares it
// with the audit log of the host.
var granted = grants{releases: map[string]release.Release{}, ended: map[string]time.Time{}, rules: map[string]bool{}, lives: map[string][]life{}}

// auditLogs matches the files that the API server of a local host writes next to its
// kubeconfig. A file that gets too large is closed with its time in its name.
const auditLogs = "audit*.log"

// bindingDelay is how long the host may take to learn of a new binding.
const bindingDelay = time.Minute

// auditEvent is what is read of a line of the log.
type auditEvent struct {
	Verb string `json:"verb"`
	User struct {
		Username string `json:"username"`
	} `json:"user"`
	// ObjectRef is empty for requests that are about no resource.
	ObjectRef struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
	} `json:"objectRef"`
	Annotations map[string]string `json:"annotations"`
	UserAgent   string            `json:"userAgent"`
	// ResponseStatus has the code of the answer.
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
	// RequestReceivedTimestamp is when the request came.
	RequestReceivedTimestamp time.Time `json:"requestReceivedTimestamp"`
	// StageTimestamp is when the request was answered.
	StageTimestamp time.Time `json:"stageTimestamp"`
}

// The scopes of permissions. A use in the namespace of a release does not prove a permission for the whole host.
const (
	scopeOwn     = "namespace"
	scopeExports = "exports" // the namespaces that the release exports Secrets to
	scopeCluster = "host"
)

// grants has the permissions of releases as texts like "namespace: get pods/log" or "host: watch nodes".
type grants struct {
	mu       sync.Mutex
	releases map[string]release.Release // user name -> release
	ended    map[string]time.Time       // user name -> when its permissions were about to go
	rules    map[string]bool
	lives    map[string][]life // user name -> its releases, one after the other
}

// life is the time from the first look at a release until its end begins.
type life struct{ begin, end time.Time }

// existedAt reports whether the release existed at a time. One without an end does still.
func (l life) existedAt(at time.Time) bool {
	return l.begin.Before(at) && (l.end.IsZero() || at.Before(l.end))
}

// end records that a release is about to be uninstalled. Its Role goes before its process,
// which tries to put back what is deleted. Only the first call counts: a test that uninstalls
// its release calls it before its cleanup does.
func (g *grants) end(r release.Release) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if user := userOf(r); g.ended[user].IsZero() {
		g.ended[user] = time.Now()
		if lives := g.lives[user]; len(lives) > 0 {
			lives[len(lives)-1].end = g.ended[user]
		}
	}
}

// userOf returns the user name of the account of a release.
func userOf(r release.Release) string {
	return "system:serviceaccount:" + r.Namespace + ":" + r.ServiceAccount()
}

// isForRareState reports whether a permission is for states that no test can cause in time. The caller
// holds the lock.
//
// What is watched may also be read. A kind reads an object live before a delete if its cache may be
// late. A watch lists on hosts that have no lists by watch. Any other get or list must be used, and each
// of Secrets.
func (g *grants) isForRareState(text string) bool {
	scope, request, _ := strings.Cut(text, ": ")
	switch request {
	case "patch events": // An Event on the anchor is patched only if it repeats in one process.
		return true
	case "get pods/attach", "get pods/exec", "get pods/portforward": // Only clients with WebSockets send it.
		return true
	case "get nodes/metrics", "get nodes/stats": // Kubelets ask the host for it, in reviews of their own.
		return true
	}
	verb, what, _ := strings.Cut(request, " ")
	return (verb == "get" || verb == "list") && what != "secrets" && g.rules[scope+": watch "+what]
}

// record records the permissions of a release as they are now.
func (g *grants) record(ctx context.Context, r release.Release) error {
	role, err := hostClient.RbacV1().Roles(r.Namespace).Get(ctx, r.ServiceAccount(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	rules := map[string][]rbacv1.PolicyRule{scopeOwn: role.Rules}
	cluster, err := hostClient.RbacV1().ClusterRoles().Get(ctx, r.ClusterRole(), metav1.GetOptions{})
	if err == nil {
		rules[scopeCluster] = cluster.Rules
	}
	exports, err := hostClient.RbacV1().Roles("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + r.Exports()})
	if err != nil {
		return err
	}
	for _, role := range exports.Items {
		rules[scopeExports] = append(rules[scopeExports], role.Rules...)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	user := userOf(r)
	if lives := g.lives[user]; len(lives) == 0 || !lives[len(lives)-1].end.IsZero() {
		g.lives[user] = append(lives, life{begin: time.Now()})
	}
	g.releases[user] = r
	delete(g.ended, user)
	for scope, ofScope := range rules {
		for _, rule := range ofScope {
			g.add(r, scope, rule)
		}
	}
	return nil
}

// add records one rule. The caller holds the lock.
func (g *grants) add(r release.Release, scope string, rule rbacv1.PolicyRule) {
	names := []string{""}
	if len(rule.ResourceNames) > 0 {
		names = rule.ResourceNames
	}
	for _, resource := range rule.Resources {
		for _, verb := range rule.Verbs {
			for _, name := range names {
				g.rules[scope+": "+permission(r, verb, resource, name)] = true
			}
		}
	}
}

// permission returns the text of a permission, in which names have no release.
func permission(r release.Release, verb, resource, name string) string {
	if name == "" {
		return verb + " " + resource
	}
	if suffix, ok := strings.CutPrefix(name, r.Name); ok {
		name = "RELEASE" + suffix
	}
	return verb + " " + resource + " " + name
}

// permissionFor returns the narrowest permission that allows a request. The caller holds the lock.
func (g *grants) permissionFor(r release.Release, event auditEvent) string {
	resource, name := event.resource(), event.ObjectRef.Name
	named, anyName := permission(r, event.Verb, resource, name), permission(r, event.Verb, resource, "")
	for _, scope := range event.scopes(r) {
		for _, text := range []string{scope + ": " + named, scope + ": " + anyName} {
			if g.rules[text] {
				return text
			}
		}
	}
	return anyName
}

// resource returns the resource of a request, as rules name it.
func (e auditEvent) resource() string {
	return strings.TrimSuffix(e.ObjectRef.Resource+"/"+e.ObjectRef.Subresource, "/")
}

// scopes returns in which scopes a permission for the request may be needed, the narrowest first.
func (e auditEvent) scopes(r release.Release) []string {
	switch {
	case e.ObjectRef.Namespace == "" || e.ObjectRef.Resource == "namespaces": // Requests about a namespace name it here.
		return []string{scopeCluster}
	case e.ObjectRef.Namespace == r.Namespace:
		return []string{scopeOwn}
	}
	return []string{scopeExports, scopeCluster}
}

// checkRoles returns an error with the permissions that no release has used, and the requests
// that the Roles did not permit. Requests before the start are those of earlier runs. It
// returns nil for a host without audit log.
func checkRoles(started time.Time) error {
	files, err := auditFiles()
	if err != nil || len(files) == 0 {
		return err
	}
	granted.mu.Lock()
	defer granted.mu.Unlock()
	used, missing := map[string]bool{}, map[string]time.Time{}
	for _, file := range files {
		if err := granted.read(file, started, used, missing); err != nil {
			return err
		}
	}
	var unused []string
	for text := range granted.rules {
		if !used[text] && !granted.isForRareState(text) {
			unused = append(unused, text)
		}
	}
	slices.Sort(unused)
	if len(unused)+len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("permissions that no release has used:\n  %s\nrequests that were not permitted:\n  %s",
		strings.Join(unused, "\n  "), strings.Join(slices.Sorted(maps.Keys(missing)), "\n  "))
}

// auditFiles returns the audit logs of the host, none if it has no such files.
func auditFiles() ([]string, error) {
	return filepath.Glob(filepath.Join(filepath.Dir(hostKubeconfig), auditLogs))
}

// read adds what one audit log has since the start to the permissions that releases used, and
// to those that they missed. The caller holds the lock.
func (g *grants) read(file string, started time.Time, used map[string]bool, missing map[string]time.Time) error {
	return eachEvent(file, started, func(event auditEvent) {
		r, ok := g.releases[event.User.Username]
		if !ok {
			return
		}
		used[g.permissionFor(r, event)] = true
		// The syncer lists copies of kinds that are off. Without the permission it leaves them.
		end, ended := g.ended[event.User.Username]
		late := ended && event.RequestReceivedTimestamp.After(end)
		request := fmt.Sprintf("%s in namespace %q of %s",
			permission(r, event.Verb, event.resource(), event.ObjectRef.Name), event.ObjectRef.Namespace, event.User.Username)
		at := event.RequestReceivedTimestamp
		denied, isDenied := missing[request]
		switch decision := event.Annotations["authorization.k8s.io/decision"]; {
		case decision == "allow" && isDenied && at.After(denied) && at.Sub(denied) < bindingDelay:
			delete(missing, request) // The host has learned of the binding since.
		case decision == "forbid" && event.Verb != "list" && !late && !isDenied:
			missing[request] = at
		}
	})
}

// eachEvent calls visit with each event since the start in one audit log that is about a
// resource.
func eachEvent(file string, started time.Time, visit func(auditEvent)) error {
	log, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event auditEvent
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil || event.ObjectRef.Resource == "" ||
			event.RequestReceivedTimestamp.Before(started) {
			continue
		}
		visit(event)
	}
	return lines.Err()
}
