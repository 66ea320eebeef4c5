// Package oci builds container images of one layer and writes them as OCI archives,
// without a container engine.
//
// The same input gives the same bytes: files are written in their order, and all times
// are the one of the image. An archive is an OCI layout in a tar file. Its images are
// named for containerd and for tools that read OCI layouts.
package oci
