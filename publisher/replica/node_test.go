package replica_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

const nodeSubscriber = "../../deploy/examples/node-subscriber"

// needNode skips the test where the subscriber cannot run; in CI it fails.
func needNode(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(filepath.Join(nodeSubscriber, "node_modules", "nats"))
	}
	if err == nil {
		return
	}
	const next = "install Node.js 20, then run: npm ci --prefix deploy/examples/node-subscriber"
	if os.Getenv("CI") == "true" {
		t.Fatalf("%v: %s", err, next)
	}
	t.Skipf("NOT RUN, a subscriber in another language: %v: %s", err, next)
}

// adopted is a line of the subscriber.
type adopted struct {
	Version schema.Version
	Items   int
	Digest  string
	Item    string
	Vector  []float32
}

// rows is the items of a model as an update's tables say, by their rows.
type rows map[int32]struct {
	id     string
	vector []float32
}

// apply puts the lines of an update's items on top of those of the version before.
func (r rows) apply(t *testing.T, u publisher.Update) rows {
	t.Helper()
	next := maps.Clone(r)
	if u.Kind == schema.KindBase {
		next = rows{}
	}
	for _, o := range u.Objects {
		if o.Name != "items" {
			continue
		}
		ids, err := schema.Col[[]string](o.Table, "item_id")
		if err != nil {
			t.Fatal(err)
		}
		numbers, err := schema.Col[[]int32](o.Table, "row")
		if err != nil {
			t.Fatal(err)
		}
		vectors := vectorsOf(t, o.Table)
		for i, id := range ids {
			row := next[numbers[i]]
			row.id, row.vector = id, vectors.Values[i*vectors.Dim:][:vectors.Dim]
			next[numbers[i]] = row
		}
	}
	return next
}

// vectorsOf returns the vectors of items, in either form in which they travel.
func vectorsOf(t *testing.T, items schema.Table) schema.Vectors {
	t.Helper()
	if v, err := schema.Col[schema.Vectors](items, "vector"); err == nil {
		return v
	}
	codes, err := schema.Col[schema.Codes](items, "vector_int8")
	if err != nil {
		t.Fatal(err)
	}
	scales, err := schema.Col[[]float32](items, "scale")
	if err != nil {
		t.Fatal(err)
	}
	v := schema.Vectors{Dim: codes.Dim}
	for i, code := range codes.Values {
		v.Values = append(v.Values, scales[i/codes.Dim]*float32(code))
	}
	return v
}

// digest is what the subscriber prints of these rows.
func (r rows) digest() string {
	var b []byte
	for _, row := range slices.Sorted(maps.Keys(r)) {
		b = binary.LittleEndian.AppendUint32(b, uint32(row))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(r[row].id)))
		b = append(b, r[row].id...)
		for _, x := range r[row].vector {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// output is a stream of a child that is read while it is written.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// A subscriber in another language, written from the specification alone and with the rights of a replica, has what a replica
// has after every version, and refuses what it refuses.
func TestNodeSubscriber(t *testing.T) {
	needNode(t)
	for _, as := range []model.Precision{model.Float32, model.Int8} {
		t.Run(string(as), func(t *testing.T) { followInNode(t, as) })
	}
}

func followInNode(t *testing.T, as model.Precision) {
	s := startSecure(t)
	seed, key := newSeed(t)
	foreign, _ := newSeed(t)
	trainer := s.connect(t, "trainer")
	trainee := newTrainee(t, 20)
	trainee.m.Publishes(model.Publishing{Rows: as})
	p := newPublisher(t, trainer.js, func(c *publisher.Config) { c.Model, c.Seed, c.BaseEvery = "default", seed, 3 })
	items := rows{}
	publish := func() schema.Manifest {
		t.Helper()
		u := trainee.update(t, p.NextKind())
		m, err := p.Publish(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		items = items.apply(t, u)
		return m
	}
	for range 3 { // a base and two deltas before anybody listens
		publish()
		trainee.admit(2)
	}
	cfg := config("replica-1")
	cfg.Model, cfg.TrustedKeys = "default", []string{key}
	r, _ := start(t, cfg, s.connect(t, "replica-1").js, nil)

	node := exec.CommandContext(t.Context(), "node", "subscriber.js")
	node.Dir = nodeSubscriber
	node.Env = append(os.Environ(), "FRESHET_NATS_URL="+s.server.ClientURL(), "FRESHET_NATS_NKEY_SEED_FILE="+s.seeds["replica-2"],
		"FRESHET_NATS_TLS_CA_FILE="+s.ca.file("ca.pem"), "FRESHET_NATS_API_PREFIX=freshet.api", "FRESHET_SERVE_TRUSTED_KEYS="+key)
	said := &output{}
	node.Stderr = said
	out, err := node.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan adopted, 100)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(out); scan.Scan(); {
			var a adopted
			if json.Unmarshal(scan.Bytes(), &a) == nil {
				lines <- a
			}
		}
		io.Copy(io.Discard, out)
	}()
	t.Cleanup(func() {
		node.Process.Kill()
		node.Wait()
		if t.Failed() {
			t.Logf("the subscriber said: %s", said)
		}
	})
	adopts := func(m schema.Manifest) {
		t.Helper()
		serves(t, r, m.Version)
		select {
		case a, ok := <-lines:
			if !ok || a.Version != m.Version || a.Items != m.Items || a.Digest != items.digest() || a.Item != items[0].id || !slices.Equal(a.Vector, items[0].vector) {
				t.Fatalf("version %d with %d items, digest %s, has become %+v", m.Version, m.Items, items.digest(), a)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("the subscriber does not adopt version %d", m.Version)
		}
	}
	adopts(p.Last())
	for range 6 { // deltas and bases, one by one
		trainee.admit(1)
		adopts(publish())
	}

	// What a replica refuses, it refuses as well, and goes on from what it has.
	forge, held := forger{t, trainer.js}, p.Last()
	put := func(m schema.Manifest) { forge.put(publisher.HeadsBucket, "default", encoded(t, m)) }
	refuses := func(reason replica.Reason, says string) {
		t.Helper()
		eventually(t, "the replica refuses as "+string(reason), func() bool { return rejected(t, r, reason) > 0 })
		eventually(t, "the subscriber says "+says, func() bool { return strings.Contains(said.String(), says) })
	}
	other := held
	other.Version, other.Parent, other.Base, other.Kind = held.Version+1, held.Version, held.Version+1, schema.KindBase
	other.Signature, other.Signer = "", ""
	put(other)
	refuses(replica.ReasonUnsigned, "is not signed")
	if err := publisher.Sign(&other, foreign); err != nil {
		t.Fatal(err)
	}
	put(other)
	refuses(replica.ReasonSigner, "which is not trusted")
	if err := publisher.Sign(&other, seed); err != nil {
		t.Fatal(err)
	}
	other.Step++
	put(other)
	refuses(replica.ReasonTampered, "was changed after it was signed")
	put(held)
	p = newPublisher(t, trainer.js, func(c *publisher.Config) { c.Model, c.Seed = "default", seed })
	adopts(publish())
}
