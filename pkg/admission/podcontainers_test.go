package admission

import (
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/admission"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
)

// containerFaults returns what no container of a pod may have by default.
func containerFaults() map[string]string {
	return map[string]string{
		"privileged":   "securityContext: {privileged: true}",
		"capabilities": "securityContext: {capabilities: {add: [NET_RAW, SYS_ADMIN]}}",
		"seccomp":      "securityContext: {seccompProfile: {type: Unconfined}}",
		"apparmor":     "securityContext: {appArmorProfile: {type: Unconfined}}",
		"selinux":      "securityContext: {seLinuxOptions: {user: system_u}}",
		"procMount":    "securityContext: {procMount: Unmasked}",
		"host process": "securityContext: {windowsOptions: {hostProcess: true}}",
		"host port":    "ports: [{containerPort: 80, hostPort: 10250}]",
		"probe":        "readinessProbe: {tcpSocket: {host: 192.0.2.1, port: 22}}",
		"lifecycle":    "lifecycle: {preStop: {httpGet: {host: 192.0.2.1, port: 80}}}",
		"grace":        "livenessProbe: {tcpSocket: {port: 80}, terminationGracePeriodSeconds: 7200}",
	}
}

// TestContainerDenials checks each fault of a container in each list of containers. What
// denies it must not depend on the list.
func TestContainerDenials(t *testing.T) {
	t.Parallel()
	texts := map[string]string{}
	for fault, fields := range containerFaults() {
		of := map[string]string{}
		for _, list := range []string{"containers", "initContainers", "ephemeralContainers"} {
			spec := list + ": [{name: evil, image: busybox, " + fields + "}]"
			if list != "containers" {
				spec += "\ncontainers: [" + plain + "]"
			}
			text := review(t, v1alpha1.Default().Policies, podRequest{operation: admission.Create, object: readPod(t, spec)})
			if text == "" {
				t.Errorf("%s in %s is allowed", fault, list)
			}
			texts[fault+" in "+list] = text
			of[strings.ReplaceAll(text, "spec."+list, "spec.*")] = list
		}
		if len(of) != 1 {
			t.Errorf("%s is denied in different ways: %v", fault, of)
		}
	}
	checkGolden(t, "containers.txt", texts)
}
