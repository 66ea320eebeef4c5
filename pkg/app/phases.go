package app

import (
	"net"
	"sync"

	"github.com/sublet-dev/sublet/api/config/v1alpha1"
	"github.com/sublet-dev/sublet/api/release"
	"github.com/sublet-dev/sublet/pkg/app/autoscale"
	"github.com/sublet-dev/sublet/pkg/app/customresources"
	"github.com/sublet-dev/sublet/pkg/app/host"
	"github.com/sublet-dev/sublet/pkg/app/patches"
	"github.com/sublet-dev/sublet/pkg/backup"
	"github.com/sublet-dev/sublet/pkg/controlplane"
	"github.com/sublet-dev/sublet/pkg/controlplane/authentication"
	"github.com/sublet-dev/sublet/pkg/controlplane/pki"
	"github.com/sublet-dev/sublet/pkg/egress"
	"github.com/sublet-dev/sublet/pkg/nodeproxy"
	"github.com/sublet-dev/sublet/pkg/syncer"
)

// The server starts in phases: app, connectedApp, openApp, builtApp. Each has a type, so that a method uses
// only what exists in its phase. A method belongs to the earliest type that has all that it uses. A value of
// a phase is made at once, never filled in by steps. Parts that need what a later phase builds get it by
// [virtualAPI], [health] or [hostFirst].

// configuration is what flags and settings specify.
type configuration struct {
	options Options
	values  *v1alpha1.Config
	names   release.Release
}

// process is what the server has from its start to its end.
type process struct {
	patches   patches.Patches
	health    *health
	hostFirst *hostFirst
	// informers observes the informers that the control plane and the syncer share.
	informers *syncer.InformerMonitor
	// memoryLimit is the memory limit of the container at startup, in bytes. 0 means none.
	memoryLimit int64
}

// app is the server before it has connected to the host.
type app struct {
	*configuration
	*process
}

// appWithFacts has the facts of the host. They are enough to open the stores of the virtual
// cluster, so the store commands need nothing else.
type appWithFacts struct {
	*configuration

	facts   *host.Facts
	factsMu sync.Mutex // guards writes to facts
	// reportStore receives why the store is not open, and an empty reason once it is. It is nil in
	// the store commands.
	reportStore func(reason string)
}

// connectedApp is the server once this replica is the holder.
type connectedApp struct {
	*appWithFacts
	*process
	*hostClients

	done   <-chan struct{} // closed when the virtual cluster must stop
	holder *host.Holder
	bundle *pki.Bundle
	events *host.Events
}

// openApp is the server with all that its control plane is built from.
type openApp struct {
	*connectedApp

	api            *virtualAPI
	others         *otherReplicas // nil if no other replica can lead
	proxy          *nodeproxy.Proxy
	listener       net.Listener
	store          *virtualStore
	dialer         *egress.Dialer
	destinations   *egress.Objects
	issuers        *authentication.Issuers
	issuersFile    *authentication.File
	encryptionKeys *host.EncryptionKeys
	address        *host.Address       // nil if the settings fix the address
	reporter       *autoscale.Reporter // nil if requests are not counted
}

// builtApp is the server with all its parts, as [openApp.build] has built them.
type builtApp struct {
	*openApp

	controlPlane *controlplane.ControlPlane
	definitions  *customresources.Definitions // nil if no custom resource is synced
	dns          *dnsServer                   // nil if this replica serves no DNS
	secrets      *releaseSecrets
	backups      *backup.Keeper    // nil if backups are off
	scaler       *autoscale.Scaler // nil if the request rate does not scale the control plane
}
