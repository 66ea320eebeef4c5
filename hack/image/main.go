// Command image writes the server's container image as an OCI archive, without
// a container engine.
//
// The image is one layer on nothing: the static binary and the two files that
// name its user. The archive holds it for every platform given, behind one
// image index, and is named for containerd and for tools that read OCI layouts:
//
//	image --binary linux/amd64=bin/sublet-server-amd64 \
//	      --binary linux/arm64=bin/sublet-server-arm64 \
//	      --tag ghcr.io/sublet-dev/sublet:v0.1.0 --out image.tar
//	ctr -n k8s.io images import image.tar
//
// The same input gives the same bytes: all times are those of the environment
// variable SOURCE_DATE_EPOCH, in seconds since 1970, or of 1970 itself.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sublet-dev/sublet/hostlab/oci"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Getenv); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// run builds the images that the arguments request, and prints the size of each platform's.
func run(args []string, out io.Writer, getenv func(string) string) error {
	s, path, err := parseArguments(args, getenv)
	if err != nil {
		return err
	}
	index, sizes, err := s.build()
	if err != nil {
		return err
	}
	if err := oci.WriteArchive(path, s.created, oci.Named{Name: s.tag.String(), Image: index}); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	for _, size := range sizes {
		if _, err := fmt.Fprintf(out, "image %s %.1f MiB\n", size.platform, float64(size.bytes)/(1<<20)); err != nil {
			return err
		}
	}
	return nil
}

// parseArguments turns the command line into what to build and where to write it.
func parseArguments(args []string, getenv func(string) string) (spec, string, error) {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	s := spec{created: time.Unix(0, 0).UTC()}
	flags.Func("binary", "static binary for a platform, as `OS/ARCH=PATH`; repeat for more platforms", s.addBinary)
	flags.Func("label", "label of the image, as `KEY=VALUE`; repeat for more", s.addLabel)
	tag := flags.String("tag", "", "`NAME:TAG` of the image")
	path := flags.String("out", "", "`FILE` to write the archive to")
	compression := flags.String("compression", string(oci.Zstd), "compression of the layers: zstd, or gzip for tools that are older than 2021")
	if err := flags.Parse(args); err != nil {
		return s, "", err
	}
	s.compression = oci.Compression(*compression)
	var problems []error
	if flags.NArg() > 0 {
		problems = append(problems, fmt.Errorf("unexpected arguments: %s", strings.Join(flags.Args(), " ")))
	}
	if len(s.binaries) == 0 {
		problems = append(problems, errors.New("--binary is missing"))
	}
	if *path == "" {
		problems = append(problems, errors.New("--out is missing"))
	}
	if err := s.setTag(*tag); err != nil {
		problems = append(problems, err)
	}
	if err := s.compression.Validate(); err != nil {
		problems = append(problems, fmt.Errorf("--compression: %w", err))
	}
	if epoch := getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			problems = append(problems, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err))
		}
		s.created = time.Unix(seconds, 0).UTC()
	}
	return s, *path, errors.Join(problems...)
}

// addBinary reads the value of --binary.
func (s *spec) addBinary(value string) error {
	name, path, found := strings.Cut(value, "=")
	platform, err := v1.ParsePlatform(name)
	if err != nil || !found || path == "" || platform.OS == "" || platform.Architecture == "" {
		return errors.New("want OS/ARCH=PATH")
	}
	s.binaries = append(s.binaries, binary{platform: *platform, path: path})
	return nil
}

// addLabel reads the value of --label.
func (s *spec) addLabel(value string) error {
	key, text, found := strings.Cut(value, "=")
	if !found || key == "" {
		return errors.New("want KEY=VALUE")
	}
	if s.labels == nil {
		s.labels = map[string]string{}
	}
	s.labels[key] = text
	return nil
}
