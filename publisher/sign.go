package publisher

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/schema"
	"github.com/nats-io/nkeys"
)

// ErrSignature marks a manifest or an order that is not signed by a trusted key.
var ErrSignature = errors.New("signature refused")

// Sign sets m's signer and signature from an nkey seed.
func Sign(m *schema.Manifest, seed []byte) error {
	return sign(seed, "manifest", &m.Signer, &m.Signature, func() ([]byte, error) { return m.SigningBytes() })
}

// Verify returns an ErrSignature unless m is signed by one of the trusted nkey public keys. Without trusted keys every
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
		return fmt.Errorf("%w: %s is not signed", ErrSignature, what)
	}
	if !slices.Contains(trusted, signer) {
		return fmt.Errorf("%w: %s is signed by %s, which is not a trusted key", ErrSignature, what, signer)
	}
	key, err := nkeys.FromPublicKey(signer)
	if err != nil {
		return fmt.Errorf("%w: signer %s: %w", ErrSignature, signer, err)
	}
	signed, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrSignature, what, err)
	}
	b, err := text()
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrSignature, what, err)
	}
	if err := key.Verify(b, signed); err != nil {
		return fmt.Errorf("%w: %s does not match its signature by %s", ErrSignature, what, signer)
	}
	return nil
}
