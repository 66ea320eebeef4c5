package snapshot

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/sublet-dev/sublet/pkg/storage"
)

const (
	// dumpFormat and dumpVersion begin each dump.
	dumpFormat  = "sublet-store-dump"
	dumpVersion = 1

	// maxField bounds a key or a value of a dump, in bytes. Stores refuse less.
	maxField = 64 << 20
	// dumpPage is the number of keys that are restored together.
	dumpPage = 1000
)

// Header is the beginning of a dump.
type Header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	// Identity is the virtual cluster of the store.
	Identity storage.Identity `json:"identity,omitzero"`
	// Revision is the one that was read.
	Revision int64 `json:"revision"`
	// Time is when the dump was made.
	Time time.Time `json:"time"`
}

// A dump is compressed by gzip. It has the header as a line of JSON. Each key follows
// as key, value and remaining lifetime in seconds, with lengths as varints. After an
// empty key come the digest as a line of JSON and the SHA-256 of all before it.

// Dump writes the content of a store at one revision to w.
func Dump(ctx context.Context, client *clientv3.Client, w io.Writer, now time.Time) (Header, Digest, error) {
	found, err := readState(ctx, client)
	if err != nil {
		return Header{}, Digest{}, err
	}
	if found.record != nil && found.record.Phase != PhaseDone {
		return Header{}, Digest{}, fmt.Errorf("cannot dump a store that is half a copy: the move from %s is not finished", found.record.From)
	}
	header := Header{
		Format: dumpFormat, Version: dumpVersion, Identity: found.owner, Revision: found.revision, Time: now.UTC().Truncate(time.Second),
	}
	out := newDumpWriter(w)
	out.line(header)
	leases, sum := newLeaseReader(client), newSummer()
	err = (&content{client, found.revision}).each(ctx, func(page []*mvccpb.KeyValue) error {
		for _, kv := range page {
			sum.add(kv.Key, kv.Value, kv.Lease != 0)
			out.entry(kv, leases.ttl(ctx, kv.Lease))
		}
		return out.err
	})
	if err != nil {
		return Header{}, Digest{}, err
	}
	if err := out.finish(sum.digest()); err != nil {
		return Header{}, Digest{}, fmt.Errorf("cannot write the dump: %w", err)
	}
	return header, sum.digest(), nil
}

// dumpWriter writes the parts of a dump. After an error it writes nothing more.
type dumpWriter struct {
	gzip *gzip.Writer
	sum  hash.Hash
	err  error
}

func newDumpWriter(w io.Writer) *dumpWriter {
	return &dumpWriter{gzip: gzip.NewWriter(w), sum: sha256.New()}
}

func (d *dumpWriter) write(part []byte) {
	if d.err == nil {
		_, d.err = d.gzip.Write(part)
		_, _ = d.sum.Write(part)
	}
}

func (d *dumpWriter) line(v any) { d.write([]byte(encode(v) + "\n")) }

func (d *dumpWriter) entry(kv *mvccpb.KeyValue, ttl int64) {
	for _, field := range [][]byte{kv.Key, kv.Value} {
		d.write(binary.AppendUvarint(nil, uint64(len(field))))
		d.write(field)
	}
	d.write(binary.AppendVarint(nil, ttl))
}

// finish writes the end of the dump.
func (d *dumpWriter) finish(digest Digest) error {
	d.write([]byte{0})
	d.line(digest)
	d.write(d.sum.Sum(nil))
	return errors.Join(d.err, d.gzip.Close())
}

// errDamaged is the error of a dump that is not as it was written.
var errDamaged = errors.New("the dump is damaged or incomplete")

// DumpFile is a dump that can be read more than once.
type DumpFile struct {
	// Header and Digest are known once the dump is verified.
	Header Header
	Digest Digest

	file io.ReadSeeker
}

// ReadHeader reads the header of a dump.
func ReadHeader(file io.ReadSeeker) (Header, error) {
	d := &DumpFile{file: file}
	_, err := d.start()
	return d.Header, err
}

// OpenDump reads a dump to its end and verifies it.
func OpenDump(ctx context.Context, file io.ReadSeeker) (*DumpFile, error) {
	d := &DumpFile{file: file}
	return d, d.each(ctx, func([]*mvccpb.KeyValue) error { return nil })
}

// each calls do for each key, in pages. The lease of a key is its remaining lifetime.
// It returns an error at the end if the checksum is wrong.
func (d *DumpFile) each(ctx context.Context, do func(page []*mvccpb.KeyValue) error) error {
	in, err := d.start()
	if err != nil {
		return err
	}
	sum := newSummer()
	var page []*mvccpb.KeyValue
	size := 0
	flush := func() error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		err := do(page)
		page, size = nil, 0
		return err
	}
	for {
		kv, err := in.entry()
		if err != nil {
			return err
		}
		if kv == nil {
			break
		}
		sum.add(kv.Key, kv.Value, kv.Lease != 0)
		page, size = append(page, kv), size+len(kv.Value)
		if len(page) >= dumpPage || size >= pageBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if err := in.finish(&d.Digest); err != nil {
		return err
	}
	if sum.digest() != d.Digest {
		return errDamaged
	}
	return nil
}

// start reads the header.
func (d *DumpFile) start() (*dumpReader, error) {
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	unzipped, err := gzip.NewReader(bufio.NewReader(d.file))
	if err != nil {
		return nil, errors.New("the file is not a dump of a store")
	}
	in := &dumpReader{in: bufio.NewReader(unzipped), sum: sha256.New()}
	if err := in.line(&d.Header); err != nil || d.Header.Format != dumpFormat {
		return nil, errors.New("the file is not a dump of a store")
	}
	if d.Header.Version != dumpVersion {
		return nil, fmt.Errorf("the dump has version %d of its format; this server reads version %d", d.Header.Version, dumpVersion)
	}
	return in, nil
}

// dumpReader reads the parts of a dump.
type dumpReader struct {
	in  *bufio.Reader
	sum hash.Hash
}

// ReadByte reads one byte, for numbers.
func (d *dumpReader) ReadByte() (byte, error) {
	b, err := d.in.ReadByte()
	if err == nil {
		_, _ = d.sum.Write([]byte{b})
	}
	return b, err
}

func (d *dumpReader) line(v any) error {
	text, err := d.in.ReadBytes('\n')
	if err != nil {
		return errDamaged
	}
	_, _ = d.sum.Write(text)
	if json.Unmarshal(text, v) != nil {
		return errDamaged
	}
	return nil
}

func (d *dumpReader) field() ([]byte, error) {
	length, err := binary.ReadUvarint(d)
	if err != nil || length > maxField {
		return nil, errDamaged
	}
	var field bytes.Buffer // It grows with what is there, not with what a damaged length promises.
	if _, err := io.CopyN(&field, io.TeeReader(d.in, d.sum), int64(length)); err != nil {
		return nil, errDamaged
	}
	return field.Bytes(), nil
}

// entry reads one key. It returns nil after the last one.
func (d *dumpReader) entry() (*mvccpb.KeyValue, error) {
	key, err := d.field()
	if err != nil || len(key) == 0 {
		return nil, err
	}
	value, err := d.field()
	if err != nil {
		return nil, err
	}
	ttl, err := binary.ReadVarint(d)
	if err != nil || ttl < 0 {
		return nil, errDamaged
	}
	return &mvccpb.KeyValue{Key: key, Value: value, Lease: ttl}, nil
}

// finish reads the digest and compares the checksum.
func (d *dumpReader) finish(digest *Digest) error {
	if err := d.line(digest); err != nil {
		return err
	}
	want := d.sum.Sum(nil)
	got, err := io.ReadAll(io.LimitReader(d.in, sha256.Size+1))
	if err != nil || !bytes.Equal(got, want) {
		return errDamaged
	}
	return nil
}
