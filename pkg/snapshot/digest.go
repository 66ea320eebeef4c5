package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math/bits"
)

// Digest identifies the content of a store, whatever its kind and its order of
// keys. Two stores with the same digest have the same keys with the same values.
type Digest struct {
	// Keys is the number of keys that do not expire, and Hash covers each of them
	// with its value.
	Keys int64  `json:"keys"`
	Hash string `json:"hash"`
	// Expiring is the number of keys with a lease, such as Events. ExpiringHash
	// covers them. They may go at any time.
	Expiring     int64  `json:"expiring,omitempty"`
	ExpiringHash string `json:"expiringHash,omitempty"`
	// Bytes is the size of all keys and values.
	Bytes int64 `json:"bytes"`
}

// String returns the digest in one line.
func (d Digest) String() string {
	return fmt.Sprintf("%d keys with hash %.16s, %d expiring keys", d.Keys, d.Hash, d.Expiring)
}

// isSame reports whether keys that do not expire are the same.
func (d Digest) isSame(other Digest) bool { return d.Keys == other.Keys && d.Hash == other.Hash }

// summer builds a digest. The sum of the hashes of all keys does not depend on their
// order: databases sort text in different ways.
type summer struct {
	hash           hash.Hash
	kept, expiring [4]uint64 // 256-bit sums
	result         Digest
}

func newSummer() *summer { return &summer{hash: sha256.New()} }

// add adds one key.
func (s *summer) add(key, value []byte, isExpiring bool) {
	sum := s.hashOf(key, value)
	s.result.Bytes += int64(len(key) + len(value))
	if isExpiring {
		s.result.Expiring++
		addTo(&s.expiring, sum)
		return
	}
	s.result.Keys++
	addTo(&s.kept, sum)
}

// hashOf returns the hash of one key with its value.
func (s *summer) hashOf(key, value []byte) [sha256.Size]byte {
	s.hash.Reset()
	_, _ = s.hash.Write(binary.AppendUvarint(nil, uint64(len(key))))
	_, _ = s.hash.Write(key)
	_, _ = s.hash.Write(value)
	return [sha256.Size]byte(s.hash.Sum(nil))
}

// addTo adds a hash to a sum, modulo 2^256.
func addTo(total *[4]uint64, sum [sha256.Size]byte) {
	var carry uint64
	for i := range total {
		total[i], carry = bits.Add64(total[i], binary.LittleEndian.Uint64(sum[8*i:]), carry)
	}
}

// digest returns the digest of what was added.
func (s *summer) digest() Digest {
	d := s.result
	d.Hash, d.ExpiringHash = encodeSum(s.kept), ""
	if d.Expiring > 0 {
		d.ExpiringHash = encodeSum(s.expiring)
	}
	return d
}

// encodeSum returns a sum in hexadecimal digits.
func encodeSum(total [4]uint64) string {
	out := make([]byte, 0, sha256.Size)
	for _, part := range total {
		out = binary.LittleEndian.AppendUint64(out, part)
	}
	return hex.EncodeToString(out)
}
