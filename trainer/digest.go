package trainer

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
)

// digester is the sha256 of members: of their names and the sha256 of each, one line a member.
type digester struct{ all, one hash.Hash }

func newDigester() *digester { return &digester{sha256.New(), sha256.New()} }

// add takes what write writes as the next member.
func (d *digester) add(name string, write func(io.Writer) error) error {
	d.one.Reset()
	if err := write(d.one); err != nil {
		return err
	}
	io.WriteString(d.all, hex.EncodeToString(d.one.Sum(nil))+"  "+name+"\n")
	return nil
}

func (d *digester) sum() string { return hex.EncodeToString(d.all.Sum(nil)) }

// digestOf is the digest of a state: that of the members of a base of it, but for the link. It depends on nothing else: not on when the checkpoints before
// were made, of which kind they were, nor on crashes (I4). sha256sum of the members of a base gives the same lines.
func digestOf(s saving) (string, error) {
	d := newDigester()
	if err := s.each(true, d.add); err != nil {
		return "", err
	}
	return d.sum(), nil
}
