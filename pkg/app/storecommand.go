package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"

	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/app/storesocket"
	"github.com/sublet-dev/sublet/pkg/config"
	"github.com/sublet-dev/sublet/pkg/snapshot"
	"github.com/sublet-dev/sublet/pkg/storage"
	"github.com/sublet-dev/sublet/pkg/syncer/kinds"
)

// openTimeout bounds how long a command waits until a store is open.
const openTimeout = 30 * time.Second

// storeCommands implements the commands below "sublet-server store".
type storeCommands struct {
	options Options
	// from and to are the values of the flags --from and --to: names of settings below
	// controlPlane.backingStore.
	from, to string
	out      io.Writer
}

// storeCommand returns the command "store" with its subcommands.
func storeCommand() *cobra.Command {
	c := &storeCommands{}
	store := &cobra.Command{
		Use:   "store",
		Short: "Dump, verify, restore or move the store of the virtual cluster",
		Args:  cobra.NoArgs,
	}
	flags := store.PersistentFlags()
	namespace, _ := os.ReadFile(namespaceFile) // The file does not exist outside of a pod.
	flags.StringVar(&c.options.ConfigFile, "config", "/etc/sublet/config.yaml", "file with the values of the release")
	flags.StringVar(&c.options.DataDir, "data-dir", "/data", "directory of the store")
	flags.StringVar(&c.options.Name, "name", releaseOf(os.Getenv("POD_NAME")), "name of the release")
	flags.StringVar(&c.options.Namespace, "namespace", cmp.Or(os.Getenv("POD_NAMESPACE"), string(namespace)), "host namespace of the release")
	flags.StringVar(&c.options.HostKubeconfig, "host-kubeconfig", "", "kubeconfig of the host; empty means that of the pod's service account")
	for _, sub := range []struct {
		use, short, long string
		args             cobra.PositionalArgs
		run              func(ctx context.Context, args []string) error
		pair             bool
	}{
		{use: "dump FILE", short: "Write the store at one revision to a file, or to standard output if it is -", args: cobra.ExactArgs(1), run: c.dump},
		{
			use: "verify [FILE]", short: "Compare the store with a dump, or two stores, every key and value by hash", long: verifyHelp,
			args: cobra.MaximumNArgs(1), run: c.verify, pair: true,
		},
		{use: "restore FILE", short: "Fill an empty store from a dump. The control plane must not run", args: cobra.ExactArgs(1), run: c.restore},
		{
			use: "move", short: "Move the virtual cluster to another store. The control plane must not run", long: moveHelp,
			args: cobra.NoArgs, run: c.move, pair: true,
		},
	} {
		command := &cobra.Command{Use: sub.use, Short: sub.short, Long: sub.long, Args: sub.args, RunE: func(cmd *cobra.Command, args []string) error {
			c.out = cmd.ErrOrStderr()
			return sub.run(cmd.Context(), args)
		}}
		if sub.pair {
			c.addPair(command)
		}
		store.AddCommand(command)
	}
	return store
}

const (
	storeNames = `A store has the name of its settings below controlPlane.backingStore: etcd.embedded, etcd.external,
database.embedded or database.external. An address is read from these settings, or from the same ones below moveFrom.`

	verifyHelp = `Verify compares the store that is enabled with a dump, or without one the stores of --from and --to.
It exits with an error that names keys which differ. Keys that expire may be missing in the second.

` + storeNames

	moveHelp = `Move copies the store of --from to the store of --to, and verifies every key and value by hash. The old store is kept,
and marked so that it is not served any more. If the command is interrupted, repeat it, or start the control plane
on the old store.

` + storeNames
)

// addPair adds the flags --from and --to.
func (c *storeCommands) addPair(command *cobra.Command) {
	command.Flags().StringVar(&c.from, "from", "", "store of the virtual cluster; empty means that of controlPlane.backingStore.moveFrom")
	command.Flags().StringVar(&c.to, "to", "", "other store; empty means the one that is enabled")
}

// app returns an app that can open the stores.
func (c *storeCommands) app(ctx context.Context) (*appWithFacts, error) {
	if c.options.Name == "" || c.options.Namespace == "" {
		return nil, errors.New("--name and --namespace must be set outside of the pod of the control plane")
	}
	values, err := config.Load(c.options.ConfigFile, kinds.Settings()...)
	if err != nil {
		return nil, err
	}
	names := c.options.names()
	facts, ok := host.LoadFacts(c.options.DataDir)
	if !ok {
		anchor, err := findAnchor(ctx, c.options.HostKubeconfig, names)
		if err != nil {
			return nil, err
		}
		facts = &host.Facts{Anchor: names.AnchorOwner(anchor.UID)}
	}
	return &appWithFacts{configuration: &configuration{options: c.options, values: values, names: names}, facts: facts}, nil
}

// findAnchor gets the anchor of a release from the host.
func findAnchor(ctx context.Context, kubeconfig string, names release.Release) (*corev1.ConfigMap, error) {
	config, err := hostConfig(kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	anchor, err := client.CoreV1().ConfigMaps(names.Namespace).Get(ctx, names.Anchor(), metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("cannot get host ConfigMap %s/%s: %w", names.Namespace, names.Anchor(), err)
	}
	return anchor, nil
}

// openForReading opens the store and calls do with a client of it. If only the running server
// can open the store, the client uses the server's socket.
func (c *storeCommands) openForReading(ctx context.Context, do func(ctx context.Context, a *appWithFacts, client *clientv3.Client) error) error {
	a, err := c.app(ctx)
	if err != nil {
		return err
	}
	target, err := a.targetStore()
	if err != nil {
		return err
	}
	return c.open(ctx, c.running(ctx, a, target), func(ctx context.Context, client *clientv3.Client) error { return do(ctx, a, client) })
}

// running returns the store. If the running server serves it, Open connects to the server's
// socket.
func (*storeCommands) running(ctx context.Context, a *appWithFacts, store snapshot.Store) snapshot.Store {
	enabled, err := a.targetStore()
	socket := a.storeSocket()
	if err == nil && store.OnVolume && store.Location == enabled.Location && storesocket.Answers(ctx, socket) {
		store.Open = func() (storage.Backend, error) { return storesocket.NewBackend(socket), nil }
	}
	return store
}

// open opens a store and calls do with a client of it.
func (*storeCommands) open(ctx context.Context, store snapshot.Store, do func(ctx context.Context, client *clientv3.Client) error) error {
	backend, err := store.Open()
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", store.Location, err)
	}
	defer backend.Stop()
	opening, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	client, err := backend.Start(opening)
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", store.Location, err)
	}
	return do(ctx, client.Client)
}

// dump writes the store to a file.
func (c *storeCommands) dump(ctx context.Context, args []string) error {
	return c.openForReading(ctx, func(ctx context.Context, _ *appWithFacts, client *clientv3.Client) error {
		header, digest, err := writeDump(args[0], func(w io.Writer) (snapshot.Header, snapshot.Digest, error) {
			return snapshot.Dump(ctx, client, w, clock.RealClock{}.Now())
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(c.out, "Dumped revision %d: %s\n", header.Revision, digest)
		return nil
	})
}

// writeDump writes a dump to a temporary file and renames it once it is complete. "-" means
// standard output.
func writeDump(name string, write func(w io.Writer) (snapshot.Header, snapshot.Digest, error)) (snapshot.Header, snapshot.Digest, error) {
	if name == "-" {
		return write(os.Stdout)
	}
	file, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return snapshot.Header{}, snapshot.Digest{}, fmt.Errorf("cannot write the dump: %w", err)
	}
	defer func() { _ = os.Remove(file.Name()) }()
	header, digest, err := write(file)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		return header, digest, fmt.Errorf("cannot write the dump: %w", err)
	}
	return header, digest, nil
}

// openDump opens a dump and verifies its checksum. The returned function closes the file.
func openDump(ctx context.Context, name string) (*snapshot.DumpFile, func(), error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read the dump: %w", err)
	}
	dump, err := snapshot.OpenDump(ctx, file)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot read the dump %s: %w", name, err), file.Close())
	}
	return dump, func() { _ = file.Close() }, nil
}

// verify compares the store with a dump, or two stores.
func (c *storeCommands) verify(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return c.verifyStores(ctx)
	}
	if c.from != "" || c.to != "" {
		return errors.New("a FILE is compared with the enabled store; leave out --from and --to, or the file")
	}
	dump, closeDump, err := openDump(ctx, args[0])
	if err != nil {
		return err
	}
	defer closeDump()
	return c.openForReading(ctx, func(ctx context.Context, _ *appWithFacts, client *clientv3.Client) error {
		digest, err := snapshot.Verify(ctx, dump, client)
		if err == nil {
			fmt.Fprintf(c.out, "Equal: %s\n", digest)
		}
		return err
	})
}

// restore fills an empty store from a dump.
func (c *storeCommands) restore(ctx context.Context, args []string) error {
	dump, closeDump, err := openDump(ctx, args[0])
	if err != nil {
		return err
	}
	defer closeDump()
	a, err := c.app(ctx)
	if err != nil {
		return err
	}
	if found := dump.Header.Identity.Anchor; found != "" && found != string(a.facts.Anchor.UID) {
		return fmt.Errorf("cannot restore: the dump is of virtual cluster %s/%s with anchor %s, not of %s/%s with anchor %s",
			dump.Header.Identity.Namespace, dump.Header.Identity.Name, found, a.names.Namespace, a.names.Name, a.facts.Anchor.UID)
	}
	target, err := a.targetStore()
	if err != nil {
		return err
	}
	options := snapshot.RestoreOptions{Identity: a.identityValue(), By: "sublet-server store restore"}
	if anchor, err := findAnchor(ctx, c.options.HostKubeconfig, a.names); err == nil {
		options.AtLeast = seenRevision(host.RevisionOf(anchor))
	} else {
		fmt.Fprintf(c.out, "Restoring without the revision that clients have seen last: %v\n", err)
	}
	if err := snapshot.Restore(ctx, target, dump, options); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "Restored revision %d: %s\n", dump.Header.Revision, dump.Digest)
	return nil
}

// identityValue returns the encoded identity of this virtual cluster that is recorded in its
// store.
func (a *appWithFacts) identityValue() string {
	value, err := json.Marshal(a.storeIdentity())
	if err != nil {
		panic(err) // A struct of strings can always be encoded.
	}
	return string(value)
}
