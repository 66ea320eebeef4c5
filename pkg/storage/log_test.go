package storage

import (
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"k8s.io/klog/v2"
)

//nolint:paralleltest // There is one log in a process.
func TestLogOfEtcd(t *testing.T) {
	var lines []string
	klog.SetLogger(funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{}))
	defer klog.ClearLogger()
	logger := (&Etcd{}).logger().With(zap.String("member", "shop-0"))
	logger.Info("ready to serve client requests")
	logger.Warn("simple token is not cryptographically signed")
	logger.Warn("apply request took too long", zap.String("took", "2s"))
	logger.Error("failed to send")
	want := []string{
		`"level"=0 "msg"="apply request took too long" "component"="etcd" "member"="shop-0" "took"="2s"`,
		`"msg"="failed to send" "error"=null "component"="etcd" "member"="shop-0"`,
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
