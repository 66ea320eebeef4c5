package v1alpha1

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/robfig/cron/v3"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
)

// Format is a form that a string must have.
type Format struct {
	// Name is the name of the format in tags.
	Name string
	// Pattern is the format in the JSON schema: a regular expression that accepts
	// all valid values, and few others.
	Pattern string
	// Want describes a valid value, with an example. Messages put "must be "
	// before it.
	Want string
	// MaxLength is the most characters of a value, and MaxPart of each part of it between
	// slashes. 0 means no limit.
	MaxLength, MaxPart int

	// isValid refuses what the pattern cannot. nil refuses nothing.
	isValid func(string) bool
}

// Parts of patterns.
const (
	dnsLabel    = `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
	serviceName = `[a-z]([-a-z0-9]{0,61}[a-z0-9])?`
	namespace   = `[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?`
	dnsName     = dnsLabel + `(\.` + dnsLabel + `)*`
	labelPart   = `[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?`
	ipv6        = `[0-9a-fA-F]*:[0-9a-fA-F:]*:[0-9a-fA-F.]*`
	port        = `([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])`
	portSuffix  = `(:` + port + `)?`
	octet       = `(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])`
	ipv4        = octet + `(\.` + octet + `){3}`
	// int32Digits are the digits of the numbers from 1 to 2147483647.
	int32Digits = `([1-9][0-9]{0,8}|1[0-9]{9}|20[0-9]{8}|21[0-3][0-9]{7}|214[0-6][0-9]{6}|2147[0-3][0-9]{5}|21474[0-7][0-9]{4}|` +
		`214748[0-2][0-9]{3}|2147483[0-5][0-9]{2}|21474836[0-3][0-9]|214748364[0-7])`
	pathKey     = `[A-Za-z_][-A-Za-z0-9_]*(\[\*\])*`
	imageDigest = `(@sha256:[0-9a-f]{64})?`
)

// maxName is the longest name of an object or of DNS.
const maxName = 253

// Formats returns all formats.
func Formats() []Format {
	return slices.Concat(customFormats(), serviceFormats(), imageFormats(), []Format{
		{Name: "dns-domain", MaxLength: maxName, Pattern: `^` + dnsName + `$`,
			Want: "a DNS domain in lower case without a dot at its end, such as cluster.local", isValid: isDomain},
		{Name: "dns-name-or-ip", MaxLength: maxName, Pattern: `^((\*\.)?` + dnsName + `|` + ipv6 + `)$`,
			Want:    "a DNS name such as shop.example.com or *.example.com, or an IP such as 192.0.2.10",
			isValid: isNameOrIP},
		hostPattern(),
		{Name: "https-url", Pattern: `^https://(` + dnsName + `|\[` + ipv6 + `\])` + portSuffix + `(/[-A-Za-z0-9._~/]*)?$`,
			Want: "an https URL such as https://shop.example.com:443", isValid: isURL},
		{Name: "etcd-endpoints", Pattern: endpointsPattern("https") + "|" + endpointsPattern("http"),
			Want:    "URLs with ports and commas between them, all with https:// or all with http://, such as https://etcd-0:2379,https://etcd-1:2379",
			isValid: areEndpoints},
		{Name: "key-prefix", Pattern: `^(/[-A-Za-z0-9._~]+)+/$`,
			Want: "a prefix that starts and ends with /, such as /shop/"},
		{Name: "base64", Pattern: `^[A-Za-z0-9+/]+={0,2}$`,
			Want: "a file in base64 on one line, as base64 -w0 FILE prints it"},
		{Name: "feature-gate", Pattern: `^(` + strings.Join(FeatureGates(), "|") + `)$`,
			Want: "a feature gate that a virtual cluster can set: " + OneOf(FeatureGates())},
		{Name: "file-name", Pattern: `^[-A-Za-z0-9_./]+$`,
			Want: "a key of a Secret or an absolute path, such as ca.crt or /certs/ca.crt"},
		{Name: "cidr", Pattern: `^([0-9]{1,3}(\.[0-9]{1,3}){3}|` + ipv6 + `)/[0-9]{1,3}$`,
			Want: "an IP range that begins at its first address, such as 10.96.0.0/12", isValid: isCIDR},
		{Name: "ip", Pattern: `^(` + ipv4 + `|` + ipv6 + `)$`,
			Want: "an IP such as 192.0.2.10", isValid: isIP},
		{Name: "nameserver", Pattern: `^(` + ipv4 + portSuffix + `|` + ipv6 + `|\[` + ipv6 + `\]:` + port + `)$`,
			Want: "an IP, or an IP with a port, such as 192.0.2.53 or 192.0.2.53:5353", isValid: isNameserver},
		{Name: "context-name", Pattern: `^[^\s"'\\]+$`,
			Want: "a name without spaces and quotes, such as shop"},
		{Name: "object-name", MaxLength: maxName, Pattern: `^` + dnsName + `$`,
			Want:    "the name of an object of the host: lower case letters, digits, - and ., such as fast-ssd",
			isValid: isObjectName},
		{Name: "host-objects", MaxPart: maxName, Pattern: `^(` + namespace + `/(\*|` + dnsName + `)|/` + dnsName + `)$`,
			Want:    "named as shared/ca, shared/* or /ca are: objects of the host",
			isValid: isObjectPath},
		{Name: "virtual-objects", MaxPart: maxName, Pattern: `^` + namespace + `/(\*|` + dnsName + `)$`,
			Want:    "a namespace and a name in the virtual cluster, such as shop/ca or shop/*",
			isValid: isObjectPath},
		{Name: "label-key", MaxPart: maxName, Pattern: `^(` + dnsName + `/)?` + labelPart + `$`,
			Want: "named as app or example.com/app are", isValid: isLabelKey},
		{Name: "key-pattern", Pattern: `^(` + dnsName + `/)?(` + labelPart + `|[-A-Za-z0-9_.]*\*)$`,
			Want: "a key such as example.com/app, or its beginning with * at the end, such as example.com/*"},
		{Name: "port-range", Pattern: `^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$`,
			Want: "a port or a range of ports, such as 8080 or 30000-30100", isValid: isPortRange},
		{Name: "regexp", Pattern: `^\S+$`,
			Want: "a regular expression of Go without spaces, such as internal|internet-facing", isValid: isRegexp},
		{Name: "backup-file", Pattern: `^(latest|store-[0-9]{8}T[0-9]{6}Z\.backup)$`,
			Want: "latest, or the name of a backup, such as store-20260102T030000Z.backup"},
		{Name: "cron", Pattern: `^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|\S+( +\S+){4})$`,
			Want: `a schedule in the format of cron, such as "0 3 * * *" or @daily`, isValid: isCron},
		{Name: "toleration", Pattern: `^(` + dnsName + `/)?` + labelPart + `(=` + labelPart + `)?(:(NoSchedule|PreferNoSchedule|NoExecute))?$`,
			Want: "a taint such as team, team=shop or team=shop:NoSchedule", isValid: isToleration},
		{Name: "priority", Pattern: `^(-?` + int32Digits + `|-2147483648|0)$`,
			Want: "named after a priority of pods, such as 1000", isValid: isPriority},
		{Name: "label-value", Pattern: `^` + labelPart + `$`,
			Want: "at most 63 letters, digits, -, _ and ., with a letter or digit at both ends, such as team-a", isValid: isLabelValue},
	})
}

// serviceFormats returns the formats of names of Services.
func serviceFormats() []Format {
	return []Format{
		{Name: "service-path", Pattern: `^` + namespace + `/` + serviceName + `$`,
			Want: "a namespace and the name of a Service, such as shop/web", isValid: isObjectPath},
		{Name: "service-name", Pattern: `^` + serviceName + `$`,
			Want: "the name of a Service, such as shop-web", isValid: isServiceName},
	}
}

// imageFormats returns the formats of images and their parts.
func imageFormats() []Format {
	return []Format{
		{Name: "image-pattern", Pattern: `^` + dnsName + portSuffix + `/([a-z0-9][a-z0-9._/@:-]*)?\*?$`,
			Want: "the full name of an image, or its beginning with * at the end, such as registry.example.com/shop/*"},
		{Name: "image-prefix", Pattern: `^` + dnsName + portSuffix + `/([a-z0-9][a-z0-9._/@:-]*)?$`,
			Want: "the full name of an image or its beginning, such as registry.example.com/shop/"},
		{Name: "image-registry", Pattern: `^` + dnsName + portSuffix + `$`,
			Want: "the host of a registry without https://, such as ghcr.io or registry.example.com:5000"},
		{Name: "image-repository", Pattern: `^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`,
			Want: "the path of an image without registry and tag, such as sublet-dev/sublet"},
		{Name: "image-tag", Pattern: `^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}` + imageDigest + `$`,
			Want: "the tag of an image, such as 0.1.0; quote it if it looks like a number"},
	}
}

// customFormats returns the formats of the settings of custom resources.
func customFormats() []Format {
	return []Format{
		{Name: "custom-resource", Pattern: `^` + dnsLabel + `\.` + dnsName + `(/v[0-9][a-z0-9]*)?$`,
			Want: "the name of a CustomResourceDefinition with or without a version, such as widgets.example.com or widgets.example.com/v1"},
		{Name: "field-path", Pattern: `^` + pathKey + `(\.` + pathKey + `)*$`,
			Want: "the path of a field below the top of the object, such as spec.secretName or spec.tls[*].secretName"},
		{Name: "patch-path", Pattern: `^[A-Za-z_][-A-Za-z0-9_]*(\.[A-Za-z_][-A-Za-z0-9_]*|\[\*\]|\["[^"]+"\])*$`,
			Want: "the path of a field, such as spec.rules[*].host or metadata.annotations[\"example.com/team\"]"},
		{Name: "reference-target",
			Pattern: `^(` + referredResources + `|labelSelector|labels|namespace|object|hostname|image|gracePeriod|podMetadata|empty|none|` + dnsLabel + `\.` + dnsName + `)$`,
			Want:    "labelSelector, labels, namespace, object, hostname, image, gracePeriod, podMetadata, empty, none, or " + referredWant},
		{Name: "resource", Pattern: `^(` + referredResources + `|` + dnsLabel + `\.` + dnsName + `)$`, Want: referredWant},
		{Name: "object-kind", Pattern: `^[A-Z][A-Za-z0-9]*$`, Want: "the kind of an object, such as ClusterIssuer"},
	}
}

// What references of custom resources may name.
const (
	referredResources = `secrets|configmaps|services|persistentvolumeclaims|serviceaccounts|ingressclasses|priorityclasses|runtimeclasses|storageclasses`
	referredWant      = "a resource: secrets, configmaps, services, persistentvolumeclaims, serviceaccounts, ingressclasses, priorityclasses, runtimeclasses, " +
		"storageclasses or the name of a custom resource such as issuers.example.com"
)

// hostPattern returns the format of host names that a tenant may have.
func hostPattern() Format {
	return Format{
		Name: "host-pattern", Pattern: `^(\*|(\*\.)?` + dnsName + `)$`, isValid: isHostPattern,
		Want: "a host name such as shop.example.com, all names below one such as *.shop.example.com, or *",
	}
}

// QuantityFormat returns the format of every [resource.Quantity].
func QuantityFormat() Format {
	return Format{
		Name:    "quantity",
		Pattern: `^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[mkMGTPE]|[eE][+]?[0-9]+)?$`,
		Want:    "a quantity such as 5Gi, 500m or 2",
		isValid: isQuantity,
	}
}

// Check returns what is wrong with a string, as the end of a sentence that begins
// with the value. It returns an empty string for a valid value.
func (f Format) Check(value string) string {
	matched, err := regexp.MatchString(f.Pattern, value)
	if err == nil && matched && f.isShort(value) && (f.isValid == nil || f.isValid(value)) {
		return ""
	}
	return "must be " + f.Want
}

// isShort reports whether a value and its parts are not too long.
func (f Format) isShort(value string) bool {
	if f.MaxLength > 0 && len(value) > f.MaxLength {
		return false
	}
	return f.MaxPart == 0 || !slices.ContainsFunc(strings.Split(value, "/"), func(part string) bool { return len(part) > f.MaxPart })
}

func isQuantity(value string) bool {
	_, err := resource.ParseQuantity(value)
	return err == nil
}

func isDomain(value string) bool {
	return len(utilvalidation.IsDNS1123Subdomain(value)) == 0
}

func isNameOrIP(value string) bool {
	if strings.Contains(value, ":") || hasOnlyDigitsAndDots(value) {
		_, err := netip.ParseAddr(value)
		return err == nil
	}
	return isDomain(strings.TrimPrefix(value, "*."))
}

func isHostPattern(value string) bool {
	return value == "*" || isDomain(strings.TrimPrefix(value, "*."))
}

func isIP(value string) bool {
	_, err := netip.ParseAddr(value)
	return err == nil
}

func isNameserver(value string) bool {
	_, err := netip.ParseAddrPort(value)
	return err == nil || isIP(value)
}

func isURL(value string) bool {
	parsed, err := url.Parse(value)
	return err == nil && isNameOrIP(parsed.Hostname()) && isPort(parsed.Port())
}

// endpointsPattern returns the pattern of URLs with one scheme.
func endpointsPattern(scheme string) string {
	url := scheme + `://(` + dnsName + `|\[` + ipv6 + `\]):` + port
	return `^` + url + `(,` + url + `)*$`
}

func areEndpoints(value string) bool {
	for endpoint := range strings.SplitSeq(value, ",") {
		if !isURL(endpoint) {
			return false
		}
	}
	return true
}

func isPort(port string) bool {
	return port == "" || len(port) < 5 || len(port) == 5 && port <= "65535"
}

func isPortRange(value string) bool {
	first, last, isRange := strings.Cut(value, "-")
	if !isRange {
		last = first
	}
	return isPort(first) && isPort(last) && (len(first) < len(last) || len(first) == len(last) && first <= last)
}

// ParseCIDRs parses IP ranges.
func ParseCIDRs(texts []string) ([]netip.Prefix, error) {
	prefixes := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		prefixes = append(prefixes, prefix.Masked())
	}
	return prefixes, nil
}

func isCIDR(value string) bool {
	prefix, err := netip.ParsePrefix(value)
	return err == nil && prefix.Masked() == prefix
}

func isObjectName(value string) bool {
	return len(validation.NameIsDNSSubdomain(value, false)) == 0
}

func isRegexp(value string) bool {
	_, err := regexp.Compile(value)
	return err == nil
}

// isCron refuses a comma without a value too, which the parser skips.
func isCron(value string) bool {
	_, err := cron.ParseStandard(value)
	return err == nil && !slices.ContainsFunc(strings.Fields(value), func(field string) bool {
		return slices.Contains(strings.Split(field, ","), "")
	})
}

func isLabelKey(value string) bool {
	return len(utilvalidation.IsQualifiedName(value)) == 0
}

func isToleration(value string) bool {
	toleration := ParseToleration(value)
	return isLabelKey(toleration.Key) && isLabelValue(toleration.Value)
}

func isLabelValue(value string) bool {
	return len(utilvalidation.IsValidLabelValue(value)) == 0
}

func hasOnlyDigitsAndDots(value string) bool {
	return strings.Trim(value, "0123456789.") == ""
}

func isObjectPath(value string) bool {
	namespace, name, _ := strings.Cut(value, "/")
	return (namespace == "" || len(validation.ValidateNamespaceName(namespace, false)) == 0) && (name == "*" || isObjectName(name))
}

func isServiceName(value string) bool { return len(utilvalidation.IsDNS1035Label(value)) == 0 }
