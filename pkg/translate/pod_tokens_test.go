package translate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestTokenMode(t *testing.T) {
	t.Parallel()
	runAs := func(user int64) *corev1.SecurityContext { return &corev1.SecurityContext{RunAsUser: &user} }
	containers := func(contexts ...*corev1.SecurityContext) []corev1.Container {
		list := make([]corev1.Container, 0, len(contexts))
		for _, context := range contexts {
			list = append(list, corev1.Container{SecurityContext: context})
		}
		return list
	}
	for _, test := range []struct {
		name, reason string
		pod          *corev1.PodSecurityContext
		init         []corev1.Container
		containers   []corev1.Container
		asked        *int64
		want         *int32
	}{
		{name: "nobody", reason: "the mode of the volume counts where a kubelet does not know the reader", containers: containers(nil)},
		{name: "pod's user", reason: "user 1000 must read a file that is root's", pod: &corev1.PodSecurityContext{RunAsUser: new(int64(1000))},
			containers: containers(nil, nil), want: new(int32(everyReader))},
		{name: "container's user", reason: "its own user comes before the pod's", pod: &corev1.PodSecurityContext{RunAsUser: new(int64(0))},
			containers: containers(runAs(1000)), want: new(int32(everyReader))},
		{name: "one of two", reason: "the second container is left to its image", containers: containers(runAs(1000), nil)},
		{name: "two users", reason: "the file can have one owner", containers: containers(runAs(1000), runAs(1001))},
		{name: "init container", reason: "it counts as the others do", init: containers(runAs(2)), containers: containers(runAs(1000))},
		{name: "root", reason: "a kubelet keeps it from other users, whatever the volume's mode is", containers: containers(runAs(0)), want: new(int32(ownerOnly))},
		{name: "group", reason: "the kubelet of the host adds the permissions of the group", pod: &corev1.PodSecurityContext{FSGroup: new(int64(2000))},
			containers: containers(nil), want: new(int32(ownerOnly))},
		{name: "group and user", reason: "the user's process is in the group", pod: &corev1.PodSecurityContext{FSGroup: new(int64(2000)), RunAsUser: new(int64(1000))},
			containers: containers(nil), want: new(int32(ownerOnly))},
		{name: "asked", reason: "the source names the owner", containers: containers(nil), asked: new(int64(5)), want: new(int32(everyReader))},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: test.pod, InitContainers: test.init, Containers: test.containers}}
			if diff := cmp.Diff(test.want, tokenMode(pod, test.asked)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.reason, diff)
			}
		})
	}
}
