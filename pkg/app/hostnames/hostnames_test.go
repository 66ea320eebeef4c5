package hostnames_test

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sublet-dev/sublet/api/labels"
	"github.com/sublet-dev/sublet/pkg/app/hostnames"
)

// pages is a host that returns one Ingress per page.
type pages []networkingv1.Ingress

func (p pages) List(_ context.Context, options metav1.ListOptions) (*networkingv1.IngressList, error) {
	n := 0
	if options.Continue != "" {
		n, _ = strconv.Atoi(options.Continue)
	}
	list := &networkingv1.IngressList{}
	if n < len(p) {
		list.Items = p[n : n+1]
	}
	if n+1 < len(p) {
		list.Continue = strconv.Itoa(n + 1)
	}
	return list, nil
}

// ingress returns one of a virtual cluster, "" for none, created so many seconds after others.
func ingress(cluster, uid string, age int, hosts ...string) networkingv1.Ingress {
	made := networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{
		UID: types.UID(uid), Annotations: map[string]string{},
		CreationTimestamp: metav1.NewTime(time.Unix(1000+int64(age), 0)),
	}}
	if cluster != "" {
		made.Labels = map[string]string{labels.Cluster: cluster}
	}
	for _, host := range hosts {
		made.Spec.Rules = append(made.Spec.Rules, networkingv1.IngressRule{Host: host})
	}
	return made
}

// lookedUp returns an Ingress that has claimed host names, with commas between them.
func lookedUp(i networkingv1.Ingress, hosts string) networkingv1.Ingress {
	i.Annotations = map[string]string{labels.ClaimedHosts: hosts}
	return i
}

func TestTaken(t *testing.T) {
	t.Parallel()
	own := ingress("mine", "m", 5, "a.example.com")
	claimed := lookedUp(own, "a.example.com")
	for _, c := range []struct {
		reason string
		host   pages
		own    *networkingv1.Ingress
		hosts  []string
		want   []string
	}{
		{"an empty host", nil, nil, []string{"a.example.com"}, nil},
		{"other names", pages{ingress("", "x", 0, "b.example.com")}, nil, []string{"a.example.com"}, nil},
		{"the operator has it", pages{ingress("", "x", 0, "a.example.com")}, nil, []string{"a.example.com"}, []string{"a.example.com"}},
		{"another tenant has it, on the last page", pages{ingress("", "x", 0), ingress("", "y", 0), ingress("other", "z", 9, "b.example.com", "a.example.com")},
			nil, []string{"a.example.com", "b.example.com", "c.example.com"}, []string{"a.example.com", "b.example.com"}},
		{"the same virtual cluster has it", pages{ingress("mine", "x", 0, "a.example.com")}, nil, []string{"a.example.com"}, nil},
		{"all names", pages{ingress("other", "x", 0, "")}, nil, []string{""}, []string{""}},
		{"both created it, the other one before", pages{ingress("other", "x", 4, "a.example.com")}, &own, []string{"a.example.com"}, []string{"a.example.com"}},
		{"both created it, the other one after", pages{ingress("other", "x", 6, "a.example.com")}, &own, []string{"a.example.com"}, nil},
		{"in the same second, the smaller UID", pages{ingress("other", "a", 5, "a.example.com")}, &own, []string{"a.example.com"}, []string{"a.example.com"}},
		{"in the same second, the larger UID", pages{ingress("other", "z", 5, "a.example.com")}, &own, []string{"a.example.com"}, nil},
		{"the other one was looked up first", pages{lookedUp(ingress("other", "z", 6, "a.example.com"), "a.example.com")}, &own, []string{"a.example.com"}, []string{"a.example.com"}},
		{"the other one was looked up with another name first", pages{lookedUp(ingress("other", "z", 6, "a.example.com", "b.example.com"), "b.example.com")},
			&own, []string{"a.example.com"}, nil},
		{"this one was looked up first, and gets a name more", pages{ingress("other", "a", 4, "a.example.com", "b.example.com")},
			&claimed, []string{"a.example.com", "b.example.com"}, []string{"b.example.com"}},
		{"the operator knows nothing of lookups", pages{ingress("", "z", 6, "a.example.com")}, &own, []string{"a.example.com"}, []string{"a.example.com"}},
	} {
		got, err := hostnames.New(c.host, "mine").Taken(t.Context(), c.hosts, c.own)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, %v, want %q", c.reason, got, err, c.want)
		}
	}
}

// TestOneWins checks that of two Ingresses with one name each side finds the same winner.
func TestOneWins(t *testing.T) {
	t.Parallel()
	for _, ages := range [][2]int{{1, 2}, {2, 1}, {3, 3}} {
		a, b := ingress("a", "a", ages[0], "x"), ingress("b", "b", ages[1], "x")
		lost := 0
		for _, side := range []struct{ own, other *networkingv1.Ingress }{{&a, &b}, {&b, &a}} {
			taken, err := hostnames.New(pages{a, b}, side.own.Labels[labels.Cluster]).Taken(t.Context(), []string{"x"}, side.own)
			if err != nil {
				t.Fatal(err)
			}
			lost += len(taken)
		}
		if lost != 1 {
			t.Errorf("created at %v: %d lose the name", ages, lost)
		}
	}
}
