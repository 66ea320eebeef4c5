package storage

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"go.uber.org/zap"

	"github.com/sublet-dev/sublet/test/certificates"
	"github.com/sublet-dev/sublet/test/ports"
)

// team is the members of one store, in one process and over TLS.
type team struct {
	authority *certificates.Pair

	mu    sync.Mutex
	urls  map[string]string
	dirs  map[string]string
	alive map[string]*Etcd
}

// newTeam returns members that have not started, each with an address and a volume.
func newTeam(t *testing.T, names ...string) *team {
	t.Helper()
	c := &team{authority: certificates.NewAuthority(t, "peers"), urls: map[string]string{}, dirs: map[string]string{}, alive: map[string]*Etcd{}}
	for _, name := range names {
		c.urls[name] = "https://" + ports.Free(t, "127.0.0.1")
		c.dirs[name] = t.TempDir()
	}
	return c
}

// listen listens at an address that another listener may just have left.
func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	var listener net.Listener
	eventually(t, func() string {
		var err error
		if listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", address); err != nil {
			return err.Error()
		}
		return ""
	})
	return listener
}

// tls returns the certificate of a member, signed by the authority of the team.
func (c *team) tls(t *testing.T, name string) *PeerTLS {
	t.Helper()
	pair := certificates.NewLeaf(t, c.authority, name, net.IPv4(127, 0, 0, 1))
	certificate, private := pair.CertPEM(), pair.KeyPEM(t)
	return &PeerTLS{
		Authority:   c.authority.CertPEM(),
		Certificate: func() (cert, key []byte) { return certificate, private },
	}
}

// others returns all members but one.
func (c *team) others(name string) map[string]string {
	others := map[string]string{}
	for other, url := range c.urls {
		if other != name {
			others[other] = url
		}
	}
	return others
}

// fatalOnly logs only why etcd ends the process.
func fatalOnly(t *testing.T) *zap.Logger {
	t.Helper()
	config := zap.NewDevelopmentConfig()
	config.Level = zap.NewAtomicLevelAt(zap.DPanicLevel)
	logger, err := config.Build()
	if err != nil {
		t.Fatal(err)
	}
	return logger
}

// member returns a member that has not started.
func (c *team) member(t *testing.T, name string, known Known) *Etcd {
	t.Helper()
	e := Embedded(c.dirs[name])
	e.NoSync, e.Logger = true, fatalOnly(t)
	e.Member = Member{Name: name, PeerURL: c.urls[name], Token: "2f8b"}
	e.Known = known
	e.PeerTLS = c.tls(t, name)
	e.PeerListener = listen(t, c.urls[name][len("https://"):])
	return e
}

// start starts a member, and stops it at the end of the test.
func (c *team) start(t *testing.T, name string, known Known, options ...func(*Etcd)) (*Etcd, *kubernetes.Client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e := c.member(t, name, known)
	for _, option := range options {
		option(e)
	}
	t.Cleanup(e.Stop)
	client, err := e.Start(ctx)
	if err != nil {
		t.Fatalf("Start of %s: %v", name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alive[name] = e
	return e, client
}

// join starts a member that joins the others, and gives it a vote.
func (c *team) join(t *testing.T, name string, options ...func(*Etcd)) (*Etcd, *kubernetes.Client) {
	t.Helper()
	e, client := c.start(t, name, Known{MustJoin: true, Unlisted: true, Others: c.others(name)}, options...)
	eventually(t, func() string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := e.Promote(ctx); err != nil && e.IsVoter() != nil {
			return err.Error()
		}
		return ""
	})
	c.awaitVote(t, e)
	return e, client
}

// awaitVote waits until each running member knows that the given one has a vote. Before, two of three may never elect
// a leader: the one that does not know the vote cannot win by it. With a longer log, it lets nobody else win.
func (c *team) awaitVote(t *testing.T, voter *Etcd) {
	t.Helper()
	c.mu.Lock()
	members := slices.Collect(maps.Values(c.alive))
	c.mu.Unlock()
	eventually(t, func() string {
		for _, e := range members {
			knows := slices.ContainsFunc(e.members(), func(m MemberStatus) bool {
				return m.id == voter.server.MemberID() && !m.Learner
			})
			if !knows && !isClosed(e.stopped) {
				return e.Member.Name + " does not know the vote of " + voter.Member.Name
			}
		}
		return ""
	})
}

// restart starts a member that is listed.
func (c *team) restart(t *testing.T, name string, options ...func(*Etcd)) (*Etcd, *kubernetes.Client) {
	t.Helper()
	return c.start(t, name, Known{MustJoin: true, Others: c.others(name)}, options...)
}

// throughFirst lets a member join through a-0 alone. So a-0 knows the member before the member sends its
// first message. Otherwise, etcd keeps a second connection to it, and panics if it stops while that is cut.
func throughFirst(e *Etcd) {
	maps.DeleteFunc(e.Known.Others, func(name, _ string) bool { return name != "a-0" })
}

// cutFrom lets no message pass from a member to another one. It returns a function that mends this. That
// function runs at the end of the test in any case: a server with a cut peer waits or panics when it stops.
func cutFrom(t *testing.T, from, to *Etcd) (mend func()) {
	t.Helper()
	server, id := from.server, to.server.MemberID()
	server.CutPeer(id)
	mend = sync.OnceFunc(func() { server.MendPeer(id) })
	t.Cleanup(mend)
	return mend
}

// cut lets no message pass between a member and the others, as cutFrom does.
func cut(t *testing.T, member *Etcd, others ...*Etcd) (mend func()) {
	t.Helper()
	var mends []func()
	for _, other := range others {
		mends = append(mends, cutFrom(t, member, other), cutFrom(t, other, member))
	}
	return func() {
		for _, mend := range mends {
			mend()
		}
	}
}

// kill ends a member as the end of its process would: it passes nothing on.
func (c *team) kill(name string) {
	c.mu.Lock()
	e := c.alive[name]
	delete(c.alive, name)
	c.mu.Unlock()
	e.stopPeers()
	e.server.HardStop()
	e.Stop()
}

// writer writes numbers into a store until it is stopped.
type writer struct {
	stop func()
	done chan struct{}

	mu      sync.Mutex
	written []string
	gap     time.Duration
}

// startWriter writes twenty times a second to whichever client answers.
func startWriter(t *testing.T, clients func() []*kubernetes.Client) *writer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &writer{stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		last := time.Now()
		for i := 0; ctx.Err() == nil; i++ {
			key := fmt.Sprintf("/registry/written/%d", i)
			for _, client := range clients() {
				asking, end := context.WithTimeout(ctx, time.Second)
				_, err := client.Put(asking, key, "x")
				end()
				if err == nil {
					w.record(key, time.Since(last))
					last = time.Now()
					break
				}
			}
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-w.done })
	return w
}

func (w *writer) record(key string, gap time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written = append(w.written, key)
	w.gap = max(w.gap, gap)
}

// check stops the writer and returns how many of its writes are lost.
func (w *writer) check(t *testing.T, client *kubernetes.Client) {
	t.Helper()
	w.stop()
	<-w.done
	got, err := client.KV.Get(t.Context(), "/registry/written/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	kept := map[string]bool{}
	for _, kv := range got.Kvs {
		kept[string(kv.Key)] = true
	}
	lost := 0
	for _, key := range w.written {
		if !kept[key] {
			lost++
		}
	}
	if lost > 0 || len(w.written) == 0 {
		t.Errorf("of %d acknowledged writes, %d are lost", len(w.written), lost)
	}
	t.Logf("%d writes, longest gap %s", len(w.written), w.gap.Round(time.Millisecond))
}
