package encryption

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// keySize is the size of a key in bytes.
const keySize = 32

// Key is a key with the name that stored values have.
type Key struct {
	// Name is part of each value that the key has encrypted.
	Name   string
	secret [keySize]byte
}

// keyRef identifies a key without giving it away.
type keyRef struct {
	Name string `json:"name"`
	// Check is a keyed hash. Two keys of one name differ in it.
	Check string `json:"check"`
}

// ref returns what the record has of the key.
func (k Key) ref() keyRef {
	mac := hmac.New(sha256.New, k.secret[:])
	mac.Write([]byte("sublet.dev/encryption-key"))
	return keyRef{Name: k.Name, Check: hex.EncodeToString(mac.Sum(nil)[:8])}
}

func (k Key) equals(other Key) bool { return k == other }

// NewKeys returns the text of one random key.
func NewKeys() []byte {
	var secret [keySize]byte
	_, _ = rand.Read(secret[:]) // it never fails
	return []byte("key1:" + base64.StdEncoding.EncodeToString(secret[:]) + "\n")
}

// ParseKeys returns the keys in a text with one NAME:BASE64 a line. Empty lines and those
// that begin with # are skipped.
func ParseKeys(text []byte) ([]Key, error) {
	var keys []Key
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := parseKey(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		for _, other := range keys {
			if other.Name == key.Name {
				return nil, fmt.Errorf("line %d: the name %s is used twice; give every key a name of its own", number, key.Name)
			}
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is none; add a line NAME:KEY, with 32 random bytes in base64")
	}
	return keys, nil
}

// parseKey parses one line. Errors never quote the key.
func parseKey(line string) (Key, error) {
	name, encoded, found := strings.Cut(line, ":")
	if matched, err := regexp.MatchString(`^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`, name); !found || err != nil || !matched {
		return Key{}, errors.New("must be NAME:KEY, with a name of at most 40 lower case letters, digits and -")
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil || len(secret) != keySize {
		return Key{}, fmt.Errorf("key %s must be %d random bytes in base64", name, keySize)
	}
	return Key{Name: name, secret: [keySize]byte(secret)}, nil
}
