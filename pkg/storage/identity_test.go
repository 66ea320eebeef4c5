package storage

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"go.etcd.io/etcd/client/v3/kubernetes"
)

// opened is a store that another test part has started.
type opened struct {
	Backend
	client *kubernetes.Client
}

func (o opened) Start(context.Context) (*kubernetes.Client, error) { return o.client, nil }

func TestOwned(t *testing.T) {
	t.Parallel()
	own := Identity{Anchor: "own-uid", Namespace: "team-a", Name: "shop"}
	other := `{"anchor":"other-uid","namespace":"team-b","name":"games"}`
	for name, tc := range map[string]struct {
		reason   string
		data     map[string]string
		proven   bool
		accepted string
		want     string // part of the refusal, empty if the store opens
	}{
		"Empty":    {reason: "a new store gets the identity"},
		"OnlyKine": {reason: "the key that kine makes is no data", data: map[string]string{healthKey: "{}"}},
		"Own":      {reason: "the second start finds what the first wrote", data: map[string]string{IdentityKey: `{"anchor":"own-uid"}`, "/registry/pods/a": "1"}},
		"OfAnother": {
			reason: "two virtual clusters must not share a store",
			data:   map[string]string{IdentityKey: other}, want: "belongs to virtual cluster team-b/games (anchor other-uid), not to team-a/shop (anchor own-uid)",
		},
		"Unknown": {
			reason: "data of something else must not be overwritten",
			data:   map[string]string{"/registry/pods/a": "1"}, want: "data that no virtual cluster has written",
		},
		"Accepted":       {reason: "the operator has decided", data: map[string]string{IdentityKey: other}, accepted: "other-uid"},
		"OtherAccepted":  {reason: "the operator has accepted a third store", data: map[string]string{IdentityKey: other}, accepted: "third-uid", want: "take it over once nobody else uses it: accept other-uid"},
		"EarlierRelease": {reason: "the volume proves whose the store is", data: map[string]string{"/registry/pods/a": "1"}, proven: true},
		"KeptVolume":     {reason: "the operator has accepted the volume", data: map[string]string{IdentityKey: other}, proven: true},
		"Garbage":        {reason: "nobody can tell whose it is", data: map[string]string{IdentityKey: "{}"}, want: "names no anchor"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, client := startEtcd(t, t.TempDir())
			for key, value := range tc.data {
				if _, err := client.Put(t.Context(), key, value); err != nil {
					t.Fatal(err)
				}
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			refused := ""
			owned := &Owned{
				Backend: opened{client: client}, Identity: own, IsProven: tc.proven,
				Accepted: func(context.Context) string { return tc.accepted }, TakeOver: "accept ",
				Waiter: Waiter{Report: func(reason string) { refused = reason; stop() }},
			}
			_, err := owned.Start(ctx)
			if tc.want != "" {
				var foreign *ForeignStoreError
				if err == nil || !strings.Contains(refused, tc.want) || !errors.As(err, &foreign) && name != "Garbage" {
					t.Errorf("%s: got %v and reason %q, want %q", tc.reason, err, refused, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s: %v", tc.reason, err)
			}
			got, revision, err := readIdentity(t.Context(), client)
			if err != nil || revision == 0 || got.Anchor != own.Anchor {
				t.Errorf("%s: the store has identity %+v, %v", tc.reason, got, err)
			}
		})
	}
}

// TestOwnedWaits opens a store as soon as the operator accepts it.
func TestOwnedWaits(t *testing.T) {
	t.Parallel()
	_, client := startEtcd(t, t.TempDir())
	value, err := json.Marshal(Identity{Anchor: "other-uid"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), IdentityKey, string(value)); err != nil {
		t.Fatal(err)
	}
	accepted, reasons := "", []string{}
	owned := &Owned{
		Backend: opened{client: client}, Identity: Identity{Anchor: "own-uid"},
		Accepted: func(context.Context) string { return accepted },
		Waiter:   Waiter{Report: func(reason string) { reasons = append(reasons, reason); accepted = "other-uid" }},
	}
	if _, err := owned.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(reasons) != 2 || reasons[0] == "" || reasons[1] != "" {
		t.Errorf("reported %q, want one reason and its end", reasons)
	}
}
