package translate

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestServiceLinksAreBounded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		reason       string
		services     int
		cut          bool
		docker, last bool
	}{
		"Few":     {reason: "all variables fit", services: 100, docker: true, last: true},
		"Many":    {reason: "variables of Docker are left out first", services: 1500, cut: true, last: true},
		"TooMany": {reason: "whole Services are left out, so that a process can start", services: 10000, cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var services []corev1.Service
			for i := range test.services {
				services = append(services, service(fmt.Sprintf("s-%05d", i), "10.96.1.1",
					corev1.ServicePort{Name: "a", Port: 80}, corev1.ServicePort{Name: "b", Port: 443}))
			}
			host := &corev1.ConfigMap{}
			ServiceLinks(services, host)
			if got := LacksServiceLinks(host); got != test.cut {
				t.Errorf("%s: left out %t, want %t", test.reason, got, test.cut)
			}
			size := 0
			for name, value := range host.Data {
				size += len(name) + len(value)
			}
			if size > maxLinkBytes {
				t.Errorf("%s: %d bytes", test.reason, size)
			}
			if host.Data["S_00000_SERVICE_HOST"] == "" {
				t.Errorf("%s: the first Service is missing", test.reason)
			}
			if _, ok := host.Data["S_00000_PORT_80_TCP"]; ok != test.docker {
				t.Errorf("%s: variables of Docker: %t, want %t", test.reason, ok, test.docker)
			}
			last := strings.ToUpper(strings.ReplaceAll(services[len(services)-1].Name, "-", "_"))
			if _, ok := host.Data[last+hostSuffix]; ok != test.last {
				t.Errorf("%s: the last Service: %t, want %t", test.reason, ok, test.last)
			}
			if ServiceLinks(nil, host); LacksServiceLinks(host) || len(host.Data) > 0 {
				t.Errorf("%s: without Services, %d variables stay", test.reason, len(host.Data))
			}
		})
	}
}

func TestLackingLinksAreMarked(t *testing.T) {
	t.Parallel()
	in := input()
	in.LacksLinks = true
	if host := created(t, in, webPod()); !LacksServiceLinks(host) {
		t.Error("the host pod does not show that it lacks variables, so no Event tells")
	}
}
