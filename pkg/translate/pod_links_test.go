package translate

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestServiceEnvIsBounded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, reason         string
		services, containers int
		complete             bool
		docker, last         bool
	}{
		{name: "few", reason: "all variables fit", services: 40, containers: 2, complete: true, docker: true, last: true},
		{name: "many", reason: "variables of Docker are left out first", services: 500, containers: 1, last: true},
		{name: "too many", reason: "whole Services are left out, so that the pod can exist", services: 5000, containers: 1},
		{name: "many containers", reason: "each of them has the variables", services: 100, containers: 20},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			virtual := webPod(func(pod *corev1.Pod) {
				pod.Spec.EnableServiceLinks = new(true)
				pod.Spec.Containers = nil
				for i := range test.containers {
					pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: fmt.Sprintf("c-%d", i)})
				}
			})
			in := input()
			for i := range test.services {
				service := corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "10.96.1.1", Ports: []corev1.ServicePort{{Name: "a", Port: 80}, {Name: "b", Port: 443}}}}
				service.Name, service.Namespace = fmt.Sprintf("s-%04d", i), virtual.Namespace
				in.Services = append(in.Services, service)
			}
			host := created(t, in, virtual)
			if got := !LacksServiceLinks(host); got != test.complete {
				t.Errorf("%s: complete %t, want %t", test.reason, got, test.complete)
			}
			if size := host.Size(); size > 2*maxLinkBytes {
				t.Errorf("%s: the host pod has %d bytes", test.reason, size)
			}
			all := map[string]string{}
			for _, variable := range host.Spec.Containers[0].Env {
				all[variable.Name] = variable.Value
			}
			if all["KUBERNETES_PORT_443_TCP_ADDR"] == "" || all["S_0000_SERVICE_HOST"] == "" {
				t.Errorf("%s: variables of the API and of the first Service are missing", test.reason)
			}
			if _, ok := all["S_0000_PORT_80_TCP"]; ok != test.docker {
				t.Errorf("%s: variables of Docker: %t, want %t", test.reason, ok, test.docker)
			}
			last := strings.ToUpper(strings.ReplaceAll(in.Services[len(in.Services)-1].Name, "-", "_"))
			if _, ok := all[last+"_SERVICE_HOST"]; ok != test.last {
				t.Errorf("%s: the last Service: %t, want %t", test.reason, ok, test.last)
			}
		})
	}
}
