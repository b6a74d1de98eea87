package publisher

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	"github.com/freshet-ml/freshet/schema"
	"github.com/nats-io/nkeys"
)

// ErrSignature marks a manifest that is not signed by a trusted key.
var ErrSignature = errors.New("signature refused")

// Sign sets m's signer and signature from an nkey seed.
func Sign(m *schema.Manifest, seed []byte) error {
	key, err := nkeys.FromSeed(seed)
	if err != nil {
		return fmt.Errorf("sign manifest: seed: %w", err)
	}
	defer key.Wipe()
	if m.Signer, err = key.PublicKey(); err != nil {
		return fmt.Errorf("sign manifest: %w", err)
	}
	text, err := m.SigningBytes()
	if err != nil {
		return fmt.Errorf("sign manifest: %w", err)
	}
	signature, err := key.Sign(text)
	if err != nil {
		return fmt.Errorf("sign manifest: %w", err)
	}
	m.Signature = base64.StdEncoding.EncodeToString(signature)
	return nil
}

// Verify returns an ErrSignature unless m is signed by one of the trusted nkey public keys. Without trusted keys every
// manifest passes, signed or not: the NATS server's own permissions are then all that guards the line.
func Verify(m schema.Manifest, trusted []string) error {
	if len(trusted) == 0 {
		return nil
	}
	if m.Signer == "" || m.Signature == "" {
		return fmt.Errorf("%w: version %d is not signed", ErrSignature, m.Version)
	}
	if !slices.Contains(trusted, m.Signer) {
		return fmt.Errorf("%w: version %d is signed by %s, which is not a trusted key", ErrSignature, m.Version, m.Signer)
	}
	key, err := nkeys.FromPublicKey(m.Signer)
	if err != nil {
		return fmt.Errorf("%w: signer %s: %w", ErrSignature, m.Signer, err)
	}
	signature, err := base64.StdEncoding.DecodeString(m.Signature)
	if err != nil {
		return fmt.Errorf("%w: version %d: %w", ErrSignature, m.Version, err)
	}
	text, err := m.SigningBytes()
	if err != nil {
		return fmt.Errorf("%w: version %d: %w", ErrSignature, m.Version, err)
	}
	if err := key.Verify(text, signature); err != nil {
		return fmt.Errorf("%w: version %d does not match its signature by %s", ErrSignature, m.Version, m.Signer)
	}
	return nil
}
