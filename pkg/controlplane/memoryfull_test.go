package controlplane

import (
	"context"
	"net/http"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/client/v3/kubernetes"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/sublet-dev/sublet/pkg/controlplane/loopback"
)

// keptWrites is a store with one object.
type keptWrites struct {
	countedWrites
	stored []byte
}

func (k *keptWrites) Get(context.Context, string, kubernetes.GetOptions) (kubernetes.GetResponse, error) {
	return kubernetes.GetResponse{KV: &mvccpb.KeyValue{Value: k.stored}}, nil
}

// TestShortMemory writes objects while memory is short.
func TestShortMemory(t *testing.T) {
	t.Parallel()
	controller, bootstrap := loopback.Caller{User: &user.DefaultInfo{}}, loopback.Caller{User: &user.DefaultInfo{}, SkipsTenantAdmission: true}
	for name, tc := range map[string]struct {
		reason   string
		caller   *loopback.Caller // nil for the tenant
		plenty   bool
		size     int
		revision int64
		denied   bool
	}{
		"Create":           {reason: "a new object takes more", size: 10, denied: true},
		"CreateWithPlenty": {reason: "there is memory", plenty: true, size: 10},
		"Grow":             {reason: "a larger object takes more", size: 9000, revision: 7, denied: true},
		"Shrink":           {reason: "a smaller one takes less", size: 2000, revision: 7},
		"Delete":           {reason: "a delete with finalizers writes the object with a time", size: 4100, revision: 7},
		"Controller":       {reason: "controllers create for the tenant", caller: &controller, size: 10, denied: true},
		"Status":           {reason: "and write what is so", caller: &controller, size: 9000, revision: 7},
		"ControlPlane":     {reason: "a start creates what is missing", caller: &bootstrap, size: 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := &keptWrites{stored: make([]byte, 4000)}
			write := func(ctx context.Context) error {
				_, err := memoryLimitedWrites{store, func() bool { return !tc.plenty }}.OptimisticPut(ctx, "key", make([]byte, tc.size), tc.revision, kubernetes.PutOptions{})
				return err
			}
			var err error
			if tc.caller == nil {
				err = write(t.Context())
			} else {
				err = callAs(t, *tc.caller, write)
			}
			if status, ok := err.(apierrors.APIStatus); tc.denied != (err != nil) || err != nil && (!ok || status.Status().Code != http.StatusInsufficientStorage) {
				t.Errorf("%s: got %v", tc.reason, err)
			}
			if passed := store.count > 0; passed == tc.denied {
				t.Errorf("%s: written: %t", tc.reason, passed)
			}
		})
	}
}
