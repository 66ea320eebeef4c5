package v1alpha1

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExportedServer(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		reason string
		change func(*Config)
		want   string
		names  []string
	}{
		"nothing":    {"the Service of the host", func(*Config) {}, "", []string{}},
		"an Ingress": {"its host", func(c *Config) { c.ControlPlane.Ingress = Ingress{Enabled: true, Host: "in.example.com"} }, "https://in.example.com", []string{"in.example.com"}},
		"a route":    {"its host", func(c *Config) { c.ControlPlane.TLSRoute = TLSRoute{Enabled: true, Host: "gw.example.com"} }, "https://gw.example.com", []string{"gw.example.com"}},
		"a host":     {"nothing without an Ingress", func(c *Config) { c.ControlPlane.Ingress.Host = "in.example.com" }, "", []string{}},
		"all": {"the URL wins, and each name is in the certificate once", func(c *Config) {
			c.ExportKubeConfig.Server = "https://a.example.com"
			c.ControlPlane.Ingress = Ingress{Enabled: true, Host: "in.example.com"}
			c.ControlPlane.TLSRoute = TLSRoute{Enabled: true, Host: "a.example.com"}
		}, "https://a.example.com", []string{"a.example.com", "in.example.com"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := Default()
			c.change(config)
			if got := config.ExportedServer(); got != c.want {
				t.Errorf("%s: %q, want %q", c.reason, got, c.want)
			}
			if diff := cmp.Diff(c.names, config.ServingNames()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.reason, diff)
			}
		})
	}
}

func TestFollowsAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		reason string
		change func(*Config)
		want   bool
	}{
		{"nobody outside of the host has an address", func(*Config) {}, false},
		{"a load balancer", func(c *Config) { c.ControlPlane.Service.Spec.Type = "LoadBalancer" }, true},
		{"a node", func(c *Config) { c.ControlPlane.Service.Spec.Type = "NodePort" }, true},
		{"the settings name it", func(c *Config) {
			c.ControlPlane.Service.Spec.Type, c.ExportKubeConfig.Server = "LoadBalancer", "https://shop.example.com"
		}, false},
	} {
		config := Default()
		c.change(config)
		if got := config.FollowsAddress(); got != c.want {
			t.Errorf("%s: it is followed: %t", c.reason, got)
		}
	}
}
