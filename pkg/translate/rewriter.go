package translate

import (
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Rewriter rewrites texts of the host for the tenant. It replaces the names of host copies by
// those of the virtual objects, and removes what only the operator may know. Without added
// objects, it only replaces the host namespace.
type Rewriter struct {
	// Cluster is the virtual cluster that reads the text.
	Cluster Cluster

	// pairs are names to replace, each followed by its replacement. Longer spellings of an
	// object come before shorter ones.
	pairs     []string
	namespace string // replaces the host namespace
	replacer  *strings.Replacer
}

// AddObject adds the names of a virtual object and its host copy.
func (r *Rewriter) AddObject(host, virtual types.NamespacedName) {
	r.namespace = virtual.Namespace
	if host.Namespace != "" {
		r.pairs = append(r.pairs,
			host.Name+"_"+host.Namespace, virtual.Name+"_"+virtual.Namespace,
			host.Namespace+"/"+host.Name, virtual.Namespace+"/"+virtual.Name)
	}
	if host.Name != "" && host.Name != virtual.Name {
		r.pairs = append(r.pairs, host.Name, virtual.Name)
	}
	r.replacer = nil
}

// AddPod adds the names of a virtual pod and its host pod, their UIDs, and the names of
// everything that the pod refers to. hostUID may be empty.
func (r *Rewriter) AddPod(virtual *corev1.Pod, hostUID types.UID) {
	own := keyOf(virtual.Namespace, virtual.Name)
	r.AddObject(Hashed(r.Cluster, own), own)
	if hostUID != "" {
		r.pairs = append(r.pairs, string(hostUID), string(virtual.UID))
	}
	for _, role := range []string{TokenRole, TrustRole, CertificateRole} {
		r.AddObject(Derived(role)(r.Cluster, own), keyOf(virtual.Namespace, virtual.Name+"-"+role))
	}
	r.AddObject(LinksKey(r.Cluster, virtual.Namespace), keyOf(virtual.Namespace, "service-"+LinksRole))
	configMaps, secrets, claims := References(virtual)
	resourceClaims, _ := ResourceClaims(virtual)
	for _, names := range [][]string{configMaps, secrets, claims, resourceClaims} {
		for _, name := range names {
			referred := keyOf(virtual.Namespace, name)
			r.AddObject(Hashed(r.Cluster, referred), referred)
		}
	}
}

// Rewrite returns a text with virtual names. It removes the accounts of the host, and the names of
// its quotas, webhooks and policies. It keeps IP addresses, because the message of a probe
// contains that of the tenant's own pod.
func (r *Rewriter) Rewrite(text string) string {
	if text == "" {
		return ""
	}
	return r.replace(r.replaceHostOnly(text, hostOnly()))
}

// replaceHostOnly returns a text in which the parts and the host namespace are replaced.
func (r *Rewriter) replaceHostOnly(text string, parts []hostOnlyText) string {
	for _, hidden := range parts {
		text = hidden.pattern.ReplaceAllString(text, hidden.replacement)
	}
	if r.namespace != "" {
		text = hostNamespace.ReplaceAllLiteralString(text, `in the namespace "`+r.namespace+`"`)
	}
	return text
}

// replace returns a text with virtual names.
func (r *Rewriter) replace(text string) string {
	if r.replacer == nil {
		pairs := r.pairs
		if r.Cluster.Namespace != "" {
			// The namespace may be an ordinary word, so it is only replaced where it must be a name.
			pairs = slices.Clip(pairs)
			for _, before := range []string{"namespace ", "namespace: "} {
				for _, after := range []string{" ", ",", ".", ":", ";", ")", "\n"} {
					pairs = append(pairs, before+r.Cluster.Namespace+after, before+r.namespace+after)
				}
			}
			pairs = append(pairs,
				`"`+r.Cluster.Namespace+`"`, `"`+r.namespace+`"`,
				r.Cluster.Namespace+"/", r.namespace+"/")
		}
		r.replacer = strings.NewReplacer(pairs...)
	}
	text = r.replacer.Replace(text)
	if before, ok := strings.CutSuffix(text, "namespace "+r.Cluster.Namespace); ok && r.Cluster.Namespace != "" {
		return before + "namespace " + r.namespace
	}
	return text
}

// RewriteError returns the message of a host error with virtual names, as Rewrite does. It also
// removes addresses, which in errors are those of the host's API server and webhooks.
func (r *Rewriter) RewriteError(message string) string {
	return r.replace(r.replaceHostOnly(message, append(hostOnly(), hostAddresses()...)))
}

// hostOnlyText is a part of a text that a tenant must not read.
type hostOnlyText struct {
	pattern     *regexp.Regexp
	replacement string
}

// hostAddresses returns the parts that only RewriteError replaces.
func hostAddresses() []hostOnlyText {
	return []hostOnlyText{
		{hostURL, "the host"},
		{hostLookup, "the host"},
		{hostAddress, "the host"},
		{hostNames, "certificate is for other names"},
	}
}

// hostOnly returns the parts that are replaced in every text.
func hostOnly() []hostOnlyText {
	return []hostOnlyText{
		{hostAccount, "the account of the virtual cluster"},
		{exceededHostQuota, "exceeded quota of the host: $1. Delete some, or ask the operator of the host to raise policies.resourceQuota.quota"},
		{failedHostQuota, "failed quota of the host: "},
		{hostWebhook, "an admission webhook of the host$1"},
		{hostWebhookCall, "failed calling a webhook of the host"},
		{hostPolicy, "a policy of the host$1"},
	}
}

// Patterns of messages of the Kubernetes API server and of client-go.
var (
	hostAccount = regexp.MustCompile(`User "[^"]*"|(?:User )?"?system:(?:serviceaccount|node):[^\s"]+"?`)
	hostLookup  = regexp.MustCompile(`(?:dial (?:tcp|udp): )?lookup [^\s:]+(?: on [^\s:]+:\d+)?`)
	hostNames   = regexp.MustCompile(`certificate is (?:not )?valid for .*`)
	hostURL     = regexp.MustCompile(`"?https?://[^\s"]+"?`)
	hostAddress = regexp.MustCompile(`\b(?:(?:dial|read|write) (?:tcp|udp) )?(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F]*:[0-9a-fA-F:]+\])(?::\d+)?(?:->[^\s:]+:\d+)?`)

	exceededHostQuota = regexp.MustCompile(`\bexceeded quota: [^\s,:]+[,:] ?(.*)`)
	failedHostQuota   = regexp.MustCompile(`\bfailed quota: [^\s,:]+[,:] ?`)

	hostWebhook     = regexp.MustCompile(`admission webhook "[^"]+"( denied)`)
	hostWebhookCall = regexp.MustCompile(`failed calling webhook "[^"]+"`)
	hostNamespace   = regexp.MustCompile(`in the namespace "[^"]+"`)
	hostPolicy      = regexp.MustCompile(`ValidatingAdmissionPolicy '[^']+' with binding '[^']+'( denied)`)
)
