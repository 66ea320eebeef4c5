package kinds

import (
	"fmt"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sublet-dev/sublet/pkg/syncer"
	"github.com/sublet-dev/sublet/pkg/translate"
)

// lookUp gets an object of one side from the cache and reports whether it exists. The object
// shares its content with the cache and must not be changed.
func lookUp(s syncer.Scope, side syncer.Side, key types.NamespacedName, object client.Object) (bool, error) {
	reader := s.Virtual
	if side == syncer.Host {
		reader = s.Host
	}
	err := reader.Get(s.Context, key, object, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		name := strings.TrimPrefix(key.String(), string(types.Separator))
		return false, fmt.Errorf("cannot get %s %s %s: %w", side, reflect.TypeOf(object).Elem().Name(), name, err)
	}
	return true, nil
}

// keysOf returns the keys of the items of a list that match. A nil match takes all of them.
func keysOf[T any, P interface {
	*T
	client.Object
}](items []T, match func(P) bool) []types.NamespacedName {
	keys := make([]types.NamespacedName, 0, len(items))
	for i := range items {
		if item := P(&items[i]); match == nil || match(item) {
			keys = append(keys, client.ObjectKeyFromObject(item))
		}
	}
	return keys
}

// statusNames returns a rewriter for the messages in the status of a host copy.
func statusNames(s syncer.Scope, host, virtual client.Object) *translate.Rewriter {
	names := &translate.Rewriter{Cluster: s.Cluster}
	names.AddObject(client.ObjectKeyFromObject(host), client.ObjectKeyFromObject(virtual))
	return names
}
