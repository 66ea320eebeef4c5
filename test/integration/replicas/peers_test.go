package replicas

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sublet-dev/sublet/hostlab/sim/tenant"
	"github.com/sublet-dev/sublet/test/ports"
)

// TestThreeMembers checks a cluster of three replicas with an etcd in each. Without
// longVariable, it only runs the workloads, and not as long.
func TestThreeMembers(t *testing.T) {
	t.Parallel()
	p := newPeers(t, "shop-0", "shop-1", "shop-2")
	w := newWorld(t, setup{replicas: 3, options: p.options(), values: map[string]any{"controlPlane": map[string]any{
		"statefulSet": map[string]any{"highAvailability": map[string]any{"replicas": 3}},
	}}})
	broken := *faultTime / 4
	if isLong() {
		broken = *faultTime
		t.Run("leader's death", w.testLeaderDeath)
		t.Run("paused leader", w.testPausedLeader)
		t.Run("minority", func(t *testing.T) { w.testCutLeader(t, p.networkOf) })
	}
	t.Run("consistency", func(t *testing.T) {
		w.checkConsistency(t, broken, kill(), pause(), cutHost(w), cut("cut from the other members", p.networkOf))
	})
}

// peers are the networks between the members of an embedded etcd. All reach a member at
// the same address. Behind it, the process that connects decides which link is used.
type peers struct {
	pods  []string
	bound map[string]string           // pod -> where its process listens
	front map[string]string           // pod -> where others reach it
	links map[string]map[string]*link // pod that connects -> pod -> link
}

// newPeers returns the networks between pods. They end with the test.
func newPeers(t *testing.T, pods ...string) *peers {
	t.Helper()
	p := &peers{pods: pods, bound: map[string]string{}, front: map[string]string{}, links: map[string]map[string]*link{}}
	for _, pod := range pods {
		p.bound[pod] = ports.Free(t, "127.0.0.1")
		p.links[pod] = map[string]*link{}
	}
	ended := make(chan struct{})
	for _, from := range pods {
		for _, to := range pods {
			p.links[from][to] = newLane(p.bound[to], ended)
		}
	}
	var serving sync.WaitGroup
	var listeners []net.Listener
	for _, pod := range pods {
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p.front[pod] = listener.Addr().String()
		listeners = append(listeners, listener)
	}
	for i, pod := range pods {
		serving.Go(func() { p.serve(&serving, listeners[i], pod) })
	}
	t.Cleanup(func() {
		close(ended)
		for _, listener := range listeners {
			_ = listener.Close()
		}
		serving.Wait()
	})
	return p
}

// options returns the options of a fleet whose members use these networks.
func (p *peers) options() tenant.FleetOptions {
	var addresses []string
	for _, pod := range p.pods {
		addresses = append(addresses, pod+"="+p.front[pod])
	}
	return tenant.FleetOptions{Arguments: func(pod string) []string {
		return []string{"--peer-addresses=" + strings.Join(addresses, ","), "--peer-bind-address=" + p.bound[pod]}
	}}
}

// networkOf returns all links to and from a pod.
func (p *peers) networkOf(pod string) network {
	var all links
	for from, tos := range p.links {
		for to, l := range tos {
			if (from == pod) != (to == pod) {
				all = append(all, l)
			}
		}
	}
	return all
}

// serve passes connections to a pod on, each by the link from the pod that connects.
func (p *peers) serve(serving *sync.WaitGroup, listener net.Listener, to string) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		serving.Go(func() {
			if l := p.links[p.owner(near)][to]; l != nil {
				l.connect(near)
				return
			}
			_ = near.Close()
		})
	}
}

// owner returns the pod whose process has the far end of a connection. It is empty if that
// is gone.
func (p *peers) owner(near net.Conn) string {
	socket := socketOf(near)
	if socket == "" {
		return ""
	}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		content, err := os.ReadFile(file)
		// No other test has this address.
		if err != nil || !bytes.Contains(content, []byte(p.front[p.pods[0]])) {
			continue
		}
		arguments := strings.Split(string(content), "\x00")
		name := slices.Index(arguments, "--pod-name") + 1
		if name > 0 && hasSocket(filepath.Dir(file), socket) {
			return arguments[name]
		}
	}
	return ""
}

// socketOf returns the number of the socket at the far end of a connection of this machine.
func socketOf(near net.Conn) string {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return ""
	}
	local, localOK := near.LocalAddr().(*net.TCPAddr)
	remote, remoteOK := near.RemoteAddr().(*net.TCPAddr)
	if !localOK || !remoteOK {
		return ""
	}
	ends := fmt.Sprintf("0100007F:%04X 0100007F:%04X", remote.Port, local.Port)
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 9 && fields[1]+" "+fields[2] == ends {
			return fields[9]
		}
	}
	return ""
}

// hasSocket reports whether a process has a socket.
func hasSocket(process, socket string) bool {
	files, _ := filepath.Glob(filepath.Join(process, "fd", "*"))
	return slices.ContainsFunc(files, func(file string) bool {
		target, err := os.Readlink(file)
		return err == nil && target == "socket:["+socket+"]"
	})
}
