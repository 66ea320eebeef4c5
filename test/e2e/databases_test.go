//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sublet-dev/sublet/test/databases"
)

// database has the path of the settings of databases.
const database = "controlPlane.backingStore.database."

// TestSQLite installs a virtual cluster on SQLite, runs pods, kills its server, and adds a
// second one.
func TestSQLite(t *testing.T) {
	t.Parallel()
	tn := install(t, "sqlite", "sqlite", database+"embedded.enabled=true")
	runOnDatabase(t, tn)
	killServer(t, tn.release)
	tn.awaitReady()
	tn.checkDatabasePods()
	tn.restart()
	tn.checkDatabasePods()
	testSecondReplica(t, tn, refusalOfOwnStore(tn))
	tn.checkDatabasePods()
}

// TestPostgres installs a virtual cluster on a PostgreSQL server outside of the host, whose
// address and CA are in Secrets. It kills the control plane and the server.
func TestPostgres(t *testing.T) {
	t.Parallel()
	server := databases.Postgres(t, databases.Options{TLS: true, Address: machineAddress(t)})
	const namespace = "postgres"
	ctx := t.Context()
	_, _ = hostClient.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	ca, err := os.ReadFile(server.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]map[string][]byte{
		"database":    {"uri": []byte(server.PostgresSource(databases.User, databases.Password, ""))},
		"database-ca": {"ca.crt": ca},
	} {
		secrets := hostClient.CoreV1().Secrets(namespace)
		_ = secrets.Delete(ctx, name, metav1.DeleteOptions{})
		if _, err := secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	_, port, err := net.SplitHostPort(server.Host)
	if err != nil {
		t.Fatal(err)
	}
	tn := install(t, "postgres", namespace,
		database+"external.enabled=true", database+"external.dataSourceSecret.name=database", database+"external.dataSourceSecret.key=uri",
		database+"external.tlsSecret=database-ca", database+"external.port="+port)
	runOnDatabase(t, tn)
	killServer(t, tn.release)
	tn.awaitReady()
	tn.checkDatabasePods()

	server.Kill()
	eventually(t, "the API is not ready without its store", func(ctx context.Context) error {
		if tn.virtual.Discovery().RESTClient().Get().AbsPath("/readyz").Timeout(5*time.Second).Do(ctx).Error() == nil {
			return errors.New("/readyz succeeds")
		}
		return nil
	})
	server.Start()
	back := time.Now()
	tn.awaitReady()
	figure("database_back", time.Since(back).Seconds(), "s")
	tn.checkDatabasePods()
	pod, err := hostClient.CoreV1().Pods(tn.namespace).Get(ctx, tn.controlPlanePod(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// The process was killed once, by us.
	if n := pod.Status.ContainerStatuses[0].RestartCount; n > 1 {
		t.Errorf("the control plane was restarted %d times: a database that is away must not end it", n)
	}
	tn.kubectl("delete", "pods", "-l", "test=kill", "--wait=true")
}

// runOnDatabase creates pods and waits until they run.
func runOnDatabase(t *testing.T, tn *tenant) {
	t.Helper()
	for i := range databasePods {
		tn.createPod(t.Context(), fmt.Sprintf("database-%d", i))
	}
	tn.kubectl("wait", "--for", "condition=Ready", "pod", "-l", "test=kill", "--timeout", patience.String())
}

// databasePods is the number of pods on each database.
const databasePods = 10

// checkDatabasePods checks that each pod is there and was never restarted.
func (tn *tenant) checkDatabasePods() {
	tn.t.Helper()
	pods, err := tn.virtual.CoreV1().Pods("default").List(tn.t.Context(), metav1.ListOptions{LabelSelector: "test=kill"})
	if err != nil {
		tn.t.Fatal(err)
	}
	if len(pods.Items) != databasePods || tn.hostPods() < databasePods {
		tn.t.Errorf("%d virtual and %d host pods, want %d", len(pods.Items), tn.hostPods(), databasePods)
	}
	for i := range pods.Items {
		if status := pods.Items[i].Status; len(status.ContainerStatuses) == 0 || status.ContainerStatuses[0].RestartCount > 0 {
			tn.t.Errorf("pod %s was restarted, or has no status", pods.Items[i].Name)
		}
	}
}

// machineAddress returns an address of this machine that pods of the host reach: the one
// from which it talks to the host.
func machineAddress(t *testing.T) string {
	t.Helper()
	server, err := url.Parse(hostConfig.Host)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "udp", server.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ip, _, err := net.SplitHostPort(conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return ip
}
