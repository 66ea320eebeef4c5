package syncer

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
)

func TestHostWordsBecomeVirtualOnes(t *testing.T) {
	t.Parallel()
	host := types.NamespacedName{Namespace: "prod", Name: "cart-mz3k"}
	tests := map[string]struct {
		reason, message, want string
	}{
		"Name":      {"The host's name means nothing to a tenant.", `pods "cart-mz3k" is forbidden`, `pods "cart" is forbidden`},
		"Namespace": {"Nor does its namespace.", `in namespace "prod"`, `in namespace "web"`},
		"Word":      {"A namespace may be called like a word.", `no product in "prod" for prod`, `no product in "web" for prod`},
		"Key":       {"Both together stand for the object.", `cannot create prod/cart-mz3k`, `cannot create web/cart`},
		"Long":      {"The API server takes messages of a certain length.", strings.Repeat("x", 2000), strings.Repeat("x", maxMessageLength-3) + "..."},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := hostNames{"prod"}.toVirtualNames(tc.message, theKey(), host)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%s\n-want +got\n%s", tc.reason, diff)
			}
		})
	}
}
