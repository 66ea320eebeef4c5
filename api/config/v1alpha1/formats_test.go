package v1alpha1

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestFormats checks valid and invalid strings of every format. The pattern accepts
// those in beyond; only code refuses them.
func TestFormats(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ good, bad, beyond string }{
		"quantity": {"5Gi 500m 2 .5 1.5 2k 1e3 100M 1e+3", "Gi -1 5GB 5gi 5, 1.2.3 e3", ""},
		"dns-domain": {"cluster.local local a-b.c", "Local .local local. a..b -a a_b " + strings.Repeat("a", 254),
			""},
		"dns-name-or-ip": {"a.example.com *.example.com 192.0.2.10 2001:db8::1 ::1 localhost",
			"https://a.example.com a.example.com:443 *.*.a a_b *", "256.0.0.1 1:2:3:4:5:6:7:8:9"},
		"host-pattern": {"a.example.com *.example.com * localhost",
			"https://a.example.com a.example.com:443 *.*.a a_b *a A.example.com a. **", ""},
		"https-url": {"https://a.example.com https://a.example.com:8443/x/y https://192.0.2.1 https://[::1]:6443",
			"http://a a.example.com https:// https://a:port https://user@a https://a?b https://a#b HTTPS://a https://a:70000", "https://300.1.1.1"},
		"cidr":       {"10.96.0.0/12 192.168.0.0/16 fd00::/108", "10.96.0.0 /12 10.96/12 10.96.0.0/", "10.96.0.1/12 10.96.0.0/33"},
		"ip":         {"192.0.2.10 ::1 fd00::10", "a 192.0.2 192.0.2.1:53 [::1] 300.1.1.1 192.0.2.01 1.2.3.256", ":::"},
		"nameserver": {"192.0.2.53 192.0.2.53:5353 fd00::53 [fd00::53]:53", "a a:53 192.0.2.53: :53 300.1.1.1 192.0.2.53:70000 192.0.2.53:65536 [fd00::53]:65536", "[:::]:53"},
		"etcd-endpoints": {"https://a:2379 http://a.b:2379,http://c:1 https://[::1]:2379", "https://a a:2379 https://a:1, https://a:1,http://b:1 https://u:p@a:1 HTTPS://a:1 https://a:70000",
			""},
		"key-prefix":       {"/shop/ /a/b/ /sublet.dev/1-2/", "shop shop/ /shop / // /a//b/", ""},
		"base64":           {"aGVsbG8= aGVs", "a-b a_b charts/web-1.tgz", ""},
		"feature-gate":     {"HPAScaleToZero StatefulSetRecreateStrategy", "AllAlpha HPAScaleToZero2 hpascaletozero", ""},
		"file-name":        {"ca.crt /certs/ca.crt a-b_c/d", "a:b a*", ""},
		"context-name":     {"shop kubernetes-admin@shop a/b", "a'b a\"b a\\b", ""},
		"object-name":      {"fast-ssd a.b.c a", "Fast fast_ssd -a a- " + strings.Repeat("a", 254), ""},
		"host-objects":     {"shared/ca shared/* /ca shared/a.b", "ca shared/ shared */ca shared/c* a.b/ca Shared/ca /* a/b/c " + strings.Repeat("a", 64) + "/ca /" + strings.Repeat("a", 254), ""},
		"service-path":     {"shop/web shop/db-1", "web shop/ shop/1db shop/a.b a.b/web Shop/web /web a/b/c " + strings.Repeat("a", 64) + "/web", ""},
		"service-name":     {"web db-1", "1db a.b Web web- shop/web " + strings.Repeat("a", 64), ""},
		"virtual-objects":  {"shop/ca shop/* shop/a.b", "ca shop/ shop */ca shop/c* a.b/ca Shop/ca /ca a/b/c " + strings.Repeat("a", 64) + "/ca a/" + strings.Repeat("a", 254), ""},
		"resource":         {"secrets storageclasses issuers.example.com", "pods Secrets labels object issuers.", ""},
		"object-kind":      {"Issuer HTTPRoute", "issuer 1a A-b", ""},
		"custom-resource":  {"widgets.example.com widgets.example.com/v1 a.b/v1beta1", "widgets Widgets.example.com widgets.example.com/ widgets.example.com/beta widgets.example.com/v1/x .a a.", ""},
		"field-path":       {"spec.secretName spec.tls[*].secretName spec.a[*][*].b-c spec", "spec. .spec spec..a spec.tls[0].a spec[] spec.*", ""},
		"patch-path":       {`spec spec.a[*].b-c metadata.labels["a.b/c"] data[*] a[*][*] a["b"]["c"].d`, `.a a. a..b a[0] a[] a[b] a["b] a[""] /a/b`, ""},
		"reference-target": {"secrets services none labels labelSelector namespace issuers.example.com", "Secret pods nodes Issuers.example.com a.", ""},
		"label-key":        {"app example.com/app a_b.c", "a/b/c /a a/ -a Ex.com/a " + strings.Repeat("a", 64) + " " + strings.Repeat("a", 254) + "/a", ""},
		"port-range":       {"80 8080 1-65535 30000-30100", "0 a 1- -1 1-2-3 080", "70000 9-1 2000-100"},
		"image-pattern":    {"docker.io/library/nginx ghcr.io/a/* a:5000/* ghcr.io/a/b:1* ghcr.io/a@sha256:0", "nginx * ghcr.io Ghcr.io/a ghcr.io/*/b", ""},
		"image-prefix":     {"docker.io/library/nginx ghcr.io/a/ a:5000/ ghcr.io/a/b:1", "nginx ghcr.io Ghcr.io/a ghcr.io/* ghcr.io//a", ""},
		"key-pattern":      {"app example.com/app example.com/* example.com/ap* a-* *", "*/app a/b/c /a -a Ex.com/a a*b", ""},
		"priority":         {"0 -10 1000 2147483647 -2147483648 2147479999", "1.5 a 01 --1 +1 2147483648 -2147483649 9999999999", ""},
		"label-value":      {"a A_b.c-d 1", "-a a- a/b ä " + strings.Repeat("a", 64), ""},
		"image-registry":   {"ghcr.io localhost:5000 192.0.2.1:80", "https://ghcr.io ghcr.io/ ghcr.io/a Ghcr.io a:b", ""},
		"image-repository": {"a a/b sublet-dev/sublet a__b/c.d", "A/b a/ /a a:1 a//b a@b", ""},
		"regexp":           {"internal internal|internet-facing 192\\.0\\.2\\.[0-9]+ .*", "", "( [a *"},
		"backup-file":      {"latest store-20260102T030000Z.backup", "../x store-2026.backup store-20260102T030000Z.backup.partial", ""},
		"cron":             {"@daily @hourly", "daily @never 0", ""},
		"toleration":       {"team team=shop example.com/team=shop:NoSchedule team:NoExecute", "* team= =shop team:Evict team:shop=a -a a:NoSchedule:NoSchedule " + strings.Repeat("a", 64), ""},
		"image-tag": {"0.1.0 latest v1_2 a@sha256:" + strings.Repeat("0", 64), "-a .a a/b a:b a@sha256:0 " +
			strings.Repeat("a", 129), ""},
	}
	for _, f := range append(Formats(), QuantityFormat()) {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			c, found := cases[f.Name]
			if !found {
				t.Fatal("no cases")
			}
			for value := range strings.FieldsSeq(c.good) {
				if problem := f.Check(value); problem != "" {
					t.Errorf("%q %s", value, problem)
				}
			}
			for _, value := range append(strings.Fields(c.bad+" "+c.beyond), "", "a b", "a\nb", " a") {
				if problem := f.Check(value); problem != "must be "+f.Want {
					t.Errorf("%q: %q", value, problem)
				}
			}
			pattern := regexp.MustCompile(f.Pattern)
			for _, value := range append(strings.Fields(c.bad), "", "a b", "a\nb", " a") {
				if pattern.MatchString(value) && f.isShort(value) {
					t.Errorf("the pattern takes %q", value)
				}
			}
			for value := range strings.FieldsSeq(c.beyond) {
				if !pattern.MatchString(value) || !f.isShort(value) {
					t.Errorf("the pattern already refuses %q", value)
				}
			}
		})
	}
}

// TestCron looks at schedules, which have spaces.
func TestCron(t *testing.T) {
	t.Parallel()
	for value, good := range map[string]bool{
		"0 3 * * *": true, "0,30 3 1-5 jan-mar mon": true, "*/5 * * * *": true,
		"0 0 1, * *": false, ",1 0 * * *": false, "1,,2 0 * * *": false, "5-1 * * * *": false, "0 0 * * fri-mon": false, "*/99999999999999999999 * * * *": false,
	} {
		if isCron(value) != good {
			t.Errorf("isCron(%q) = %t", value, !good)
		}
	}
}

func TestRuleOf(t *testing.T) {
	t.Parallel()
	type tagged struct {
		Enum     string            `enum:"a,b"`
		Optional string            `format:"cidr,optional"`
		Number   int32             `min:"1" max:"3"`
		Map      map[string]string `keys:"label-key" values:"label-value,optional"`
		Unknown  string            `format:"no-such"`
		Bound    int32             `min:"low"`
	}
	field := func(name string) reflect.StructField {
		f, _ := reflect.TypeFor[tagged]().FieldByName(name)
		return f
	}
	cases := map[string]struct{ got, want, reason string }{
		"enum":           {RuleOf(field("Enum")).CheckString("c"), "must be a or b", "not in the list"},
		"enum good":      {RuleOf(field("Enum")).CheckString("b"), "", "in the list"},
		"optional":       {RuleOf(field("Optional")).CheckString(""), "", "may be empty"},
		"number":         {RuleOf(field("Number")).CheckNumber(4), "must be a whole number from 1 to 3", "too high"},
		"number good":    {RuleOf(field("Number")).CheckNumber(3), "", "the bound belongs to it"},
		"optional value": {RuleOf(field("Map")).OfValues().CheckString(""), "", "a label may be empty"},
		"key":            {RuleOf(field("Map")).CheckKey("a"), "", "a good key"},
	}
	for name, c := range cases {
		if c.got != c.want {
			t.Errorf("%s: got %q, want %q: %s", name, c.got, c.want, c.reason)
		}
	}
	for _, name := range []string{"Unknown", "Bound"} {
		if !panics(func() { RuleOf(field(name)) }) {
			t.Errorf("the tag of %s means nothing, and nobody says so", name)
		}
	}
}

func panics(f func()) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	f()
	return false
}

func TestOneOf(t *testing.T) {
	t.Parallel()
	for want, values := range map[string][]string{"left out": nil, "a": {"a"}, "a or b": {"a", "b"}, "a, b or c": {"a", "b", "c"}} {
		if got := OneOf(values); got != want {
			t.Errorf("OneOf(%q) = %q, want %q", values, got, want)
		}
	}
}
