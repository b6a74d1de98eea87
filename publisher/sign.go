package publisher

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/schema"
	"github.com/nats-io/nkeys"
)

// ErrSignature marks a manifest or an order that is not signed by a trusted key; the others say how it is not.
var (
	ErrSignature = errors.New("signature refused")
	ErrUnsigned  = fmt.Errorf("%w: there is none, and there are trusted keys: have the publisher sign, or unset serve.trusted_keys", ErrSignature)
	ErrSigner    = fmt.Errorf("%w: its signer is not trusted: if the key is yours, add it to serve.trusted_keys, else find out who may write to NATS", ErrSignature)
	ErrTampered  = fmt.Errorf("%w: it is not what was signed: somebody, or something, has changed it", ErrSignature)
)

// Sign sets m's signer and signature from an nkey seed.
func Sign(m *schema.Manifest, seed []byte) error {
	return sign(seed, "manifest", &m.Signer, &m.Signature, func() ([]byte, error) { return m.SigningBytes() })
}

// Verify returns ErrUnsigned, ErrSigner or ErrTampered unless m is signed by one of the trusted nkey public keys. Without trusted keys every
// manifest passes, signed or not: the NATS server's own permissions are then all that guards the line.
func Verify(m schema.Manifest, trusted []string) error {
	return verify(fmt.Sprintf("version %d", m.Version), m.Signer, m.Signature, m.SigningBytes, trusted)
}

// sign sets the signer and then the signature of what, whose text names its signer.
func sign(seed []byte, what string, signer, signature *string, text func() ([]byte, error)) error {
	key, err := nkeys.FromSeed(seed)
	if err != nil {
		return fmt.Errorf("sign %s: seed: %w", what, err)
	}
	defer key.Wipe()
	if *signer, err = key.PublicKey(); err != nil {
		return fmt.Errorf("sign %s: %w", what, err)
	}
	b, err := text()
	if err != nil {
		return fmt.Errorf("sign %s: %w", what, err)
	}
	signed, err := key.Sign(b)
	if err != nil {
		return fmt.Errorf("sign %s: %w", what, err)
	}
	*signature = base64.StdEncoding.EncodeToString(signed)
	return nil
}

func verify(what, signer, signature string, text func() ([]byte, error), trusted []string) error {
	if len(trusted) == 0 {
		return nil
	}
	if signer == "" || signature == "" {
		return fmt.Errorf("%s is not signed: %w", what, ErrUnsigned)
	}
	if !slices.Contains(trusted, signer) {
		return fmt.Errorf("%s is signed by %s: %w", what, signer, ErrSigner)
	}
	key, err := nkeys.FromPublicKey(signer)
	if err != nil {
		return fmt.Errorf("%s: trusted key %s: %w", what, signer, err)
	}
	signed, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return fmt.Errorf("%s: signature: %w: %w", what, err, ErrTampered)
	}
	b, err := text()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := key.Verify(b, signed); err != nil {
		return fmt.Errorf("%s does not match its signature by %s: %w", what, signer, ErrTampered)
	}
	return nil
}
