package publisher

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Objects are laid down here as NATS' object store specifies (ADR-20), so that every NATS client reads them:
//
//	$O.freshet_models.C.<id>                 the chunks, in order, each a message
//	$O.freshet_models.M.<base64url of name>  JSON of jetstream.ObjectInfo: size, chunks, digest, <id>; one per name
//
// The client's own Put would do, but for two things. It draws <id> at random, so that the chunks of a put that was cut off
// stay for ever, under a name that nobody knows; here <id> follows from the object's name. And in nats.go v1.55.0 a Put that
// ends quickly can leave a goroutine behind, which at a delta every few seconds adds up.

func chunkSubject(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "$O." + ObjectsBucket + ".C." + hex.EncodeToString(sum[:12])
}

func metaSubject(name string) string {
	return "$O." + ObjectsBucket + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
}

// putObject stores b under name, which no one else may be writing. It may be called again after it failed. Each chunk says
// which message it follows, so that a chunk of an earlier attempt that arrives late is refused, or makes this attempt fail.
func (s *Store) putObject(ctx context.Context, name string, b []byte) error {
	if err := s.stream.Purge(ctx, jetstream.WithPurgeSubject(chunkSubject(name))); err != nil {
		return fmt.Errorf("make room: %w", err)
	}
	info := jetstream.ObjectInfo{
		ObjectMeta: jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: ChunkBytes}},
		Bucket:     ObjectsBucket, NUID: chunkSubject(name)[len("$O."+ObjectsBucket+".C."):], Size: uint64(len(b)),
	}
	var before uint64
	for rest := b; len(rest) > 0; {
		n := min(len(rest), ChunkBytes)
		ack, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: chunkSubject(name), Data: rest[:n]}, jetstream.WithExpectLastSequencePerSubject(before))
		if err != nil {
			return fmt.Errorf("chunk %d: %w", info.Chunks, err)
		}
		before, rest = ack.Sequence, rest[n:]
		info.Chunks++
	}
	h := sha256.New()
	h.Write(b)
	info.Digest = jetstream.GetObjectDigestValue(h)
	text, err := json.Marshal(info)
	if err != nil {
		return err
	}
	meta := nats.NewMsg(metaSubject(name))
	meta.Header.Set(jetstream.MsgRollup, jetstream.MsgRollupSubject)
	meta.Data = text
	if _, err := s.js.PublishMsg(ctx, meta); err != nil {
		return fmt.Errorf("entry: %w", err)
	}
	return nil
}

// removeObject removes what putObject laid down, also where it was cut off. It leaves no marker, as the client's Delete
// does: at a delta every few seconds the markers would outgrow the models.
func (s *Store) removeObject(ctx context.Context, name string) error {
	for _, subject := range []string{metaSubject(name), chunkSubject(name)} {
		if err := s.stream.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
	}
	return nil
}
