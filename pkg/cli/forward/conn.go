package forward

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/streaming/pkg/httpstream"
)

// streamConn is a connection that is made of two streams of a session.
type streamConn struct {
	data, failures httpstream.Stream
	session        httpstream.Connection
	closing        sync.Once
	answered       atomic.Bool
	// release is called once, with whether the connection failed.
	release func(failed bool)
}

// watch closes the connection once the kubelet reports a failure, as for a port that nobody
// serves while the control plane restarts.
func (c *streamConn) watch() {
	message, err := io.ReadAll(c.failures)
	if err != nil || len(message) > 0 {
		c.end(endedByFailure)
	}
}

// Read implements net.Conn. An end before the first byte is a failure too, whose message may come
// later. A server of the control plane always answers.
func (c *streamConn) Read(p []byte) (int, error) {
	n, err := c.data.Read(p)
	if n > 0 {
		c.answered.Store(true)
	}
	if err != nil && !c.answered.Load() {
		c.end(endedByFailure)
	}
	return n, err
}

// Write implements net.Conn.
func (c *streamConn) Write(p []byte) (int, error) { return c.data.Write(p) }

// Close implements net.Conn.
func (c *streamConn) Close() error {
	c.end(endedByClient)
	return nil
}

// endReason is why a connection ends.
type endReason string

const (
	endedByFailure endReason = "failure"
	endedByClient  endReason = "client"
)

// end closes the streams and releases the session.
func (c *streamConn) end(how endReason) {
	c.closing.Do(func() {
		_ = c.data.Close()
		_ = c.data.Reset()
		_ = c.failures.Reset()
		c.session.RemoveStreams(c.data, c.failures)
		c.release(how == endedByFailure)
	})
}

// LocalAddr implements net.Conn.
func (c *streamConn) LocalAddr() net.Addr { return address{} }

// RemoteAddr implements net.Conn.
func (c *streamConn) RemoteAddr() net.Addr { return address{} }

// SetDeadline implements net.Conn. Streams have no deadlines; requests have contexts.
func (c *streamConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (c *streamConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (c *streamConn) SetWriteDeadline(time.Time) error { return nil }

// address is the address of both ends of a stream.
type address struct{}

// Network implements net.Addr.
func (address) Network() string { return "port-forward" }

// String implements net.Addr.
func (address) String() string { return "port-forward" }

// findPod returns a pod of the selector: a ready one, or else one that runs.
func findPod(ctx context.Context, client kubernetes.Interface, namespace string, selector map[string]string) (string, error) {
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(selector).String()})
	if err != nil {
		return "", fmt.Errorf("cannot list pods of the control plane: %w", err)
	}
	running := ""
	for i := range pods.Items {
		pod := &pods.Items[i]
		if pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
			continue
		}
		running = pod.Name
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				return pod.Name, nil
			}
		}
	}
	if running == "" {
		return "", fmt.Errorf("no pod of the control plane runs in namespace %s", namespace)
	}
	return running, nil
}
