package translate

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
)

// everything returns a pod that refers to something in every way.
func everything() *corev1.Pod {
	local := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	ref := func(name string) *corev1.LocalObjectReference { return &corev1.LocalObjectReference{Name: name} }
	volume := func(name string, source corev1.VolumeSource) corev1.Volume {
		return corev1.Volume{Name: name, VolumeSource: source}
	}
	env := []corev1.EnvVar{
		{Name: "CM", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: local("cm-env"), Key: "k"}}},
		{Name: "SECRET", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local("secret-env"), Key: "k"}}},
	}
	return webPod(func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{"note": "hello"}
		pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{local("pull")}
		pod.Spec.Containers[0].Env = env
		pod.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local("cm-from")}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: local("secret-from")}},
		}
		pod.Spec.InitContainers = []corev1.Container{{Name: "init", EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local("cm-init")}}}}}
		pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: "debug", EnvFrom: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: local("secret-debug")}}},
		}}}
		pod.Spec.Volumes = []corev1.Volume{
			volume("cm", corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: local("cm-volume")}}),
			volume("secret", corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "secret-volume"}}),
			volume("claim", corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}),
			volume("scratch", corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}),
			volume("csi", corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d", NodePublishSecretRef: ref("csi")}}),
			volume("azure", corev1.VolumeSource{AzureFile: &corev1.AzureFileVolumeSource{SecretName: "azure"}}),
			volume("ceph", corev1.VolumeSource{CephFS: &corev1.CephFSVolumeSource{SecretRef: ref("ceph")}}),
			volume("cinder", corev1.VolumeSource{Cinder: &corev1.CinderVolumeSource{SecretRef: ref("cinder")}}),
			volume("flex", corev1.VolumeSource{FlexVolume: &corev1.FlexVolumeSource{SecretRef: ref("flex")}}),
			volume("iscsi", corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{SecretRef: ref("iscsi")}}),
			volume("rbd", corev1.VolumeSource{RBD: &corev1.RBDVolumeSource{SecretRef: ref("rbd")}}),
			volume("scaleio", corev1.VolumeSource{ScaleIO: &corev1.ScaleIOVolumeSource{SecretRef: ref("scaleio")}}),
			volume("storageos", corev1.VolumeSource{StorageOS: &corev1.StorageOSVolumeSource{SecretRef: ref("storageos")}}),
			volume("plain", corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d"}}),
			volume("empty", corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}),
			volume("all", corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: local("kube-root-ca.crt")}},
				{Secret: &corev1.SecretProjection{LocalObjectReference: local("secret-projected")}},
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: new(int64(3607))}},
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "vault", Audience: "vault", ExpirationSeconds: new(int64(600))}},
				{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
					{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}},
					{Path: "note", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['note']"}},
				}}},
			}}}),
		}
	})
}

func TestReferences(t *testing.T) {
	t.Parallel()
	configMaps, secrets, claims := References(everything())
	want := [][]string{
		{"cm-env", "cm-from", "cm-init", "cm-volume", "kube-root-ca.crt"},
		{"azure", "ceph", "cinder", "csi", "flex", "iscsi", "pull", "rbd", "scaleio", "secret-debug", "secret-env", "secret-from", "secret-projected", "secret-volume", "storageos"},
		{"data", "web-0-scratch"},
	}
	if diff := cmp.Diff(want, [][]string{configMaps, secrets, claims}); diff != "" {
		t.Errorf("References (-want +got):\n%s", diff)
	}
}

// TestReferencesAreTheNamesOnTheHost holds the two uses of a reference together:
// what is synced because a pod needs it, and what the host pod asks for.
func TestReferencesAreTheNamesOnTheHost(t *testing.T) {
	t.Parallel()
	virtual := everything()
	host := created(t, input(), virtual)
	hashed := func(names []string) []string {
		var out []string
		for _, name := range names {
			out = append(out, Hashed(shop, keyOf("default", name)).Name)
		}
		slices.Sort(out)
		return out
	}
	token := Derived(TokenRole)(shop, keyOf("default", "web-0")).Name
	configMaps, secrets, claims := References(virtual)
	wantSecrets := append(hashed(secrets), token)
	slices.Sort(wantSecrets)
	wantConfigMaps := append(hashed(configMaps), LinksKey(shop, "default").Name)
	slices.Sort(wantConfigMaps)
	gotConfigMaps, gotSecrets, gotClaims := References(host)
	want := [][]string{wantConfigMaps, wantSecrets, hashed(claims)}
	if diff := cmp.Diff(want, [][]string{gotConfigMaps, gotSecrets, gotClaims}); diff != "" {
		t.Errorf("references of the host pod (-want +got):\n%s", diff)
	}
}

func TestTokenRequests(t *testing.T) {
	t.Parallel()
	token := func(audience string, seconds *int64, path string) corev1.VolumeProjection {
		return corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: audience, ExpirationSeconds: seconds, Path: path}}
	}
	virtual := webPod(func(pod *corev1.Pod) {
		for _, name := range []string{"one", "two"} {
			pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: []corev1.VolumeProjection{token("", new(int64(3607)), "api"), token("vault", new(int64(600)), "vault-short"), token("vault", new(int64(7200)), "vault-long"), token("db", nil, "db")},
			}}})
		}
	})
	var got []TokenRequest
	for _, request := range TokenRequests(virtual) {
		if !strings.HasPrefix(request.Key, "token-") {
			t.Errorf("key %q", request.Key)
		}
		request.Key = ""
		got = append(got, request)
	}
	want := []TokenRequest{{Audience: "", ExpirationSeconds: 3607}, {Audience: "vault", ExpirationSeconds: 600}, {Audience: "vault", ExpirationSeconds: 7200}, {Audience: "db", ExpirationSeconds: 3600}}
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(func(a, b TokenRequest) bool {
		return a.Audience+" "+string(rune(a.ExpirationSeconds)) < b.Audience+" "+string(rune(b.ExpirationSeconds))
	})); diff != "" {
		t.Errorf("TokenRequests, each once (-want +got):\n%s", diff)
	}

	items := map[string]string{}
	for _, source := range created(t, input(), virtual).Spec.Volumes[0].Projected.Sources {
		items[source.Secret.Items[0].Path] = source.Secret.Items[0].Key
	}
	if len(items) != 4 || items["vault-short"] == items["vault-long"] || items["api"] == items["db"] {
		t.Errorf("the tokens of one volume overwrite each other: %v", items)
	}
	virtual.Spec.Volumes[0].Projected.Sources[0].ServiceAccountToken.User = new(int64(1000))
	if item := created(t, input(), virtual).Spec.Volumes[0].Projected.Sources[0].Secret.Items[0]; item.User == nil || *item.User != 1000 {
		t.Errorf("the owner of the token's file is lost: %v", item)
	}
	if TokenRequests(webPod()) == nil || len(TokenRequests(webPod())) != 0 {
		t.Errorf("a pod without token volumes asks for tokens")
	}
}
