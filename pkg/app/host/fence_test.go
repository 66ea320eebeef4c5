package host

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// TestFence sends writes and reads from a client of a replica that is not proven.
func TestFence(t *testing.T) {
	t.Parallel()
	reached := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached[r.Method]++
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}`))
	}))
	defer server.Close()
	proven := false
	client, err := kubernetes.NewForConfig(Fence(&rest.Config{Host: server.URL, QPS: -1}, func() error {
		if proven {
			return nil
		}
		return ErrNotProven
	}))
	if err != nil {
		t.Fatal(err)
	}
	maps := client.CoreV1().ConfigMaps("tenant")
	if _, err := maps.Get(t.Context(), "a", metav1.GetOptions{}); err != nil {
		t.Errorf("reads pass: %v", err)
	}
	if _, err := maps.Create(t.Context(), &corev1.ConfigMap{}, metav1.CreateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("a write is a conflict, got %v", err)
	}
	if err := maps.Delete(t.Context(), "a", metav1.DeleteOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("so is a delete, got %v", err)
	}
	proven = true
	if _, err := maps.Create(t.Context(), &corev1.ConfigMap{}, metav1.CreateOptions{}); err != nil {
		t.Errorf("a holder writes: %v", err)
	}
	if reached["GET"] != 1 || reached["POST"] != 1 || reached["DELETE"] != 0 {
		t.Errorf("the host got %v", reached)
	}
}

// fakeLeader is a replica that belongs, and may lead.
type fakeLeader struct{ mayLead error }

func (l *fakeLeader) MayWrite() error { return nil }
func (l *fakeLeader) MayLead() error  { return l.mayLead }
func (l *fakeLeader) Term() string    { return "shop-1/7" }

// TestFenceLeader sends writes of leader parts and host-first writes from a replica that
// does not lead, and then leads.
func TestFenceLeader(t *testing.T) {
	t.Parallel()
	var agents []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agents = append(agents, r.UserAgent())
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}`))
	}))
	defer server.Close()
	leader := &fakeLeader{ErrNotLeading}
	client, err := kubernetes.NewForConfig(FenceLeader(&rest.Config{Host: server.URL, QPS: -1, UserAgent: "sublet/v1"}, leader))
	if err != nil {
		t.Fatal(err)
	}
	create := func(ctx context.Context) error {
		_, err := client.CoreV1().ConfigMaps("tenant").Create(ctx, &corev1.ConfigMap{}, metav1.CreateOptions{})
		return err
	}
	if err := create(t.Context()); !apierrors.IsConflict(err) {
		t.Errorf("a follower writes as the leader: %v", err)
	}
	if err := create(WithHostFirst(t.Context())); err != nil {
		t.Errorf("a follower writes host-first: %v", err)
	}
	leader.mayLead = nil
	if err := create(t.Context()); err != nil {
		t.Errorf("the leader writes: %v", err)
	}
	if diff := cmp.Diff([]string{"sublet/v1", "sublet/v1 leader/shop-1/7"}, agents); diff != "" {
		t.Errorf("the host sees (-want +got):\n%s", diff)
	}
}

// pausedLeader leads for a number of looks, as a process does that is suspended after them.
type pausedLeader struct {
	fakeLeader

	looks atomic.Int32
}

func (l *pausedLeader) MayLead() error {
	if l.looks.Add(-1) < 0 {
		return ErrNotLeading
	}
	return nil
}

// TestFencePausedLeader ends the term between the first check and the last byte of a write.
func TestFencePausedLeader(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		reason  string
		looks   int32
		refused bool
	}{
		{"the term ends before the body is read", 1, true},
		{"the term ends while the host answers", 2, false},
		{"the term lasts", 100, false},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/http2=%v", tt.reason, http2), func(t *testing.T) {
				t.Parallel()
				var complete atomic.Int32
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if _, err := io.ReadAll(r.Body); err != nil {
						return
					}
					complete.Add(1)
					w.Header().Set("Content-Type", "application/json")
					_, _ = w.Write([]byte(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}`))
				}))
				server.EnableHTTP2 = http2
				server.StartTLS()
				defer server.Close()
				leader := &pausedLeader{}
				leader.looks.Store(tt.looks)
				config := &rest.Config{Host: server.URL, QPS: -1, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
				if !http2 {
					config.NextProtos = []string{"http/1.1"}
				}
				client, err := kubernetes.NewForConfig(FenceLeader(config, leader))
				if err != nil {
					t.Fatal(err)
				}
				_, err = client.CoreV1().ConfigMaps("tenant").Create(t.Context(), &corev1.ConfigMap{}, metav1.CreateOptions{})
				if apierrors.IsConflict(err) != tt.refused || complete.Load() == 0 != tt.refused {
					t.Errorf("the host got %d complete writes, and the client %v, want refused %v", complete.Load(), err, tt.refused)
				}
			})
		}
	}
}

// TestStreamsFindTheTLSSettings looks through the fence for the authority of the host,
// as a stream of the node proxy does.
func TestStreamsFindTheTLSSettings(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	config := &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{CAData: authority}}
	transport, err := rest.TransportFor(Fence(config, func() error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	found, err := utilnet.TLSClientConfig(transport)
	if err != nil || found == nil || found.RootCAs == nil {
		t.Errorf("got %v, %v, want a TLS configuration with the authority of the host", found, err)
	}
}
