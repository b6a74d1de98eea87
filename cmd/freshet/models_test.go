package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
)

// fleet is a line of versions of a small model, and two replicas that follow it and trust its key.
type fleet struct {
	env      []string // of the verbs
	key      string   // file of the publisher's seed
	publish  func() schema.Version
	store    *publisher.Store
	replicas []*replica.Replica
}

// newKeyFile writes an nkey seed into a file.
func newKeyFile(t *testing.T) (name, public string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := pair.Seed()
	public, _ = pair.PublicKey()
	name = filepath.Join(t.TempDir(), "operator.nk")
	if err := os.WriteFile(name, append(seed, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	return name, public
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	server, err := embed.StartNATS(embed.NATSConfig{StoreDir: t.TempDir(), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	nc, js, err := publisher.Connect(server.URL(), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	store, err := publisher.CreateStore(t.Context(), js, 1)
	if err != nil {
		t.Fatal(err)
	}
	f := &fleet{store: store}
	var public string
	f.key, public = newKeyFile(t)
	seed, _ := os.ReadFile(f.key)
	quiet := slog.New(slog.DiscardHandler)
	c := model.DefaultConfig()
	c.Dim, c.Blocks, c.Heads, c.MaxSessions, c.MaxTokens, c.Scenes = 8, 1, 2, 4, 32, 4
	m, err := model.New(c)
	if err != nil {
		t.Fatal(err)
	}
	p, err := publisher.New(t.Context(), js, publisher.Config{Model: "shop", ID: "trainer-1", Seed: bytes.TrimSpace(seed), BaseEvery: 2, Keep: 8, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	f.publish = func() schema.Version {
		t.Helper()
		m.Admit(fmt.Sprintf("i%d", m.Items()), schema.ItemInfo{}, 0)
		kind := p.NextKind()
		u := publisher.Update{Kind: kind, Items: m.Items(), ConfigDigest: c.Digest(), Metrics: map[string]float64{guarded: 0.25}}
		for _, o := range m.Snapshot(kind == schema.KindBase, func(model.Row) float32 { return 0 }).Objects() {
			u.Objects = append(u.Objects, publisher.Object{Name: o.Name, Table: o.Table})
		}
		v, err := p.Publish(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		return v.Version
	}
	for _, id := range []string{"r1", "r2"} {
		r, err := replica.New(replica.Config{ID: id, Model: "shop", Dir: t.TempDir(), TrustedKeys: []string{public}, MaxJitter: -1, PollEvery: 200 * time.Millisecond, Log: quiet}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx, js) }()
		t.Cleanup(func() {
			cancel()
			<-done
		})
		f.replicas = append(f.replicas, r)
	}
	f.env = []string{"FRESHET_NATS_URL=" + server.URL(), "FRESHET_PUBLISH_MODEL=shop", "FRESHET_SERVE_TRUSTED_KEYS=" + public, "FRESHET_LOG_LEVEL=error"}
	return f
}

// serve waits until all replicas serve version v and have said so, which is all that the verbs know of them.
func (f *fleet) serve(t *testing.T, v schema.Version) {
	t.Helper()
	eventually(t, fmt.Sprintf("version %d is reported", v), func() error {
		reports, err := f.store.Reports(t.Context(), "shop")
		if err != nil {
			return err
		}
		if n := len(reports); n != len(f.replicas) {
			return fmt.Errorf("%d replicas have reported", n)
		}
		for _, r := range reports {
			if r.Version != v {
				return fmt.Errorf("%s serves version %d", r.ID, r.Version)
			}
		}
		return nil
	})
	for _, r := range f.replicas {
		eventually(t, fmt.Sprintf("version %d is served", v), func() error {
			if m, _ := r.Current(); m.Version != v {
				return fmt.Errorf("version %d is", m.Version)
			}
			return nil
		})
	}
}

// models runs freshet models.
func (f *fleet) models(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return freshet(t, f.env, append([]string{"models"}, args...)...)
}

// works runs freshet models, which must succeed, and reads what it prints as JSON into to.
func (f *fleet) works(t *testing.T, to any, args ...string) {
	t.Helper()
	stdout, stderr, code := f.models(t, append(args, "--json")...)
	if code != 0 {
		t.Fatalf("%v: exit code %d: %s", args, code, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), to); err != nil {
		t.Fatalf("%v: %v: %s", args, err, stdout)
	}
}

func TestModelsVerbsMoveReplicas(t *testing.T) {
	f := newFleet(t)
	for range 5 { // bases 1 and 4
		f.publish()
	}
	f.serve(t, 5)
	sign := []string{"--key", f.key}
	var given givenOrder
	give := func(serial uint64, serves schema.Version, args ...string) {
		t.Helper()
		given = givenOrder{}
		f.works(t, &given, append(args, sign...)...)
		if given.Order.Serial != serial || len(given.Replicas) != 2 {
			t.Fatalf("%v: %+v", args, given)
		}
		for _, r := range given.Replicas {
			if r.Version != serves || r.Order != serial || r.Pinned != (given.Order.Version != 0) {
				t.Errorf("%v: %+v", args, r)
			}
		}
		f.serve(t, serves)
	}
	give(1, 4, "rollback", "--why", "recall fell")
	give(2, 3, "rollback") // over the base
	give(3, 1, "rollback", "--to", "1")
	f.publish()
	give(4, 2, "pin", "2")
	give(5, 2, "candidate", "head", "--share", "0.25")
	if c := given.Order.Candidate; c == nil || *c != (publisher.Candidate{Share: 0.25}) || given.Replicas[0].Candidate != 6 {
		t.Errorf("%+v", given)
	}

	var l listedModel
	f.works(t, &l, "list")
	if len(l.Versions) != 6 || l.Order == nil || l.Order.Serial != 5 || len(l.Replicas) != 2 {
		t.Fatalf("%+v", l)
	}
	if v := l.Versions[0]; v.Version != 6 || !slices.Equal(v.Places, []string{"head"}) || len(v.ServedBy) != 2 || v.Bytes == 0 {
		t.Errorf("%+v", v)
	}
	if v := l.Versions[4]; v.Version != 2 || !slices.Equal(v.Places, []string{"pinned"}) || !slices.Equal(v.ServedBy, []string{"r1", "r2"}) {
		t.Errorf("%+v", v)
	}
	f.works(t, &l, "list", "--limit", "1") // what is served is listed all the same
	if n := len(l.Versions); n != 2 {
		t.Errorf("%d versions with --limit 1", n)
	}
	stdout, _, code := f.models(t, "list")
	for _, want := range []string{"0.250", "r1 r2", "head", "Order 5: replicas are pinned to version 2; 25 % of the users are answered from head"} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("no %q in:\n%s", want, stdout)
		}
	}

	var removed collectedJSON
	f.works(t, &removed, "gc", "--keep", "1", "--dry-run")
	if len(removed.Versions) != 0 { // base 1 is that of the pinned version, base 4 that of the head
		t.Errorf("gc would remove %v", removed.Versions)
	}
	give(6, 6, "unpin")
	f.publish() // base 7
	f.serve(t, 7)
	f.works(t, &removed, "gc", "--keep", "1", "--dry-run")
	if !slices.Contains(removed.Versions, 1) {
		t.Errorf("gc would remove %v", removed.Versions)
	}
	f.works(t, &l, "list")
	if len(l.Versions) != 7 {
		t.Errorf("%d versions after a dry run", len(l.Versions))
	}
	f.works(t, &removed, "gc", "--keep", "1")
	f.works(t, &l, "list")
	if n := 7 - len(removed.Versions); len(removed.Versions) == 0 || len(l.Versions) != n {
		t.Errorf("%d versions are left, %v were removed", len(l.Versions), removed.Versions)
	}
}

func TestModelsVerbsRefuse(t *testing.T) {
	f := newFleet(t)
	f.publish()
	f.publish()
	f.serve(t, 2)
	foreign, _ := newKeyFile(t)
	open := filepath.Join(t.TempDir(), "open.nk")
	seed, _ := os.ReadFile(f.key)
	if err := os.WriteFile(open, seed, 0o644); err != nil {
		t.Fatal(err)
	}
	untrusting := slices.DeleteFunc(slices.Clone(f.env), func(s string) bool { return strings.HasPrefix(s, "FRESHET_SERVE_TRUSTED_KEYS") })
	for _, c := range []struct {
		want string
		env  []string
		args []string
	}{
		{"give --key FILE", f.env, []string{"pin", "1"}},
		{"serve.trusted_keys does not list", f.env, []string{"pin", "1", "--key", foreign}},
		{"readable by others", f.env, []string{"pin", "1", "--key", open}},
		{"no such file", f.env, []string{"pin", "1", "--key", f.key + "x"}},
		{"it was never published", f.env, []string{"pin", "77", "--key", f.key}},
		{"is not a version", f.env, []string{"pin", "one", "--key", f.key}},
		{"not pinned", f.env, []string{"pin", "head", "--key", f.key}},
		{"above 0 and below 1", f.env, []string{"candidate", "1", "--share", "1", "--key", f.key}},
		{"everybody is answered from head already", f.env, []string{"candidate", "head", "--share", "0.1", "--key", f.key}},
		{"does not go back", f.env, []string{"rollback", "--to", "2", "--key", f.key}},
		{"it was never published", f.env, []string{"show", "77"}},
		{"no NATS to ask", nil, []string{"list"}},
		{"no published version", append(slices.Clone(f.env), "FRESHET_PUBLISH_MODEL=other"), []string{"list"}},
		// The order is given, and the replicas, which trust, do not obey it.
		{"r1 serves version 2 by order 0 (order: ", untrusting, []string{"pin", "1", "--wait", "1s"}},
	} {
		_, stderr, code := freshet(t, c.env, append([]string{"models"}, c.args...)...)
		if code != 1 || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: exit code %d, no %q in: %s", c.args, code, c.want, stderr)
		}
	}
	f.serve(t, 2)
}

func TestConfirmTakesYesAlone(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, " YES \n": true, "yes": true, "n\n": false, "\n": false, "": false, "yesterday\n": false} {
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(answer)
		out.Close()
		var asked bytes.Buffer
		err = (&app{stdin: in, stderr: &asked}).confirm("Go on?")
		in.Close()
		if (err == nil) != want || asked.String() != "Go on? [y/N] " {
			t.Errorf("%q: %v, asked %q", answer, err, asked.String())
		}
	}
}

func TestModelsPullAndVerify(t *testing.T) {
	f := newFleet(t)
	for range 3 {
		f.publish()
	}
	dir := filepath.Join(t.TempDir(), "pulled")
	var pulled, again, verified checkedVersion
	f.works(t, &pulled, "pull", "3", "--out", dir)
	if pulled.Fetched != pulled.Bytes || pulled.Bytes == 0 || !slices.Equal(pulled.Chain, []schema.Version{1, 2, 3}) || !pulled.Signed {
		t.Errorf("%+v", pulled)
	}
	// What a cut off pull left is not fetched again, and what is damaged is.
	objects, err := os.ReadDir(filepath.Join(dir, "objects"))
	if err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(dir, "objects", objects[0].Name())
	whole, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "last.json")), os.WriteFile(damaged, whole[:len(whole)/2], 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := f.models(t, "verify", "--dir", dir); code == 0 || !strings.Contains(stderr, "holds no version") {
		t.Errorf("a cut off pull: exit code %d: %s", code, stderr)
	}
	f.works(t, &again, "pull", "--out", dir) // the head
	if again.Fetched != int64(len(whole)) || again.Version != 3 {
		t.Errorf("%+v, want %d bytes fetched", again, len(whole))
	}
	for _, args := range [][]string{{"verify"}, {"verify", "2"}, {"verify", "--dir", dir}} {
		f.works(t, &verified, args...)
		if verified.Items == 0 || !verified.Signed {
			t.Errorf("%v: %+v", args, verified)
		}
	}
	if _, stderr, code := f.models(t, "pull", "2", "--out", dir); code == 0 || !strings.Contains(stderr, "holds version 3") {
		t.Errorf("over another version: exit code %d: %s", code, stderr)
	}
	f.works(t, &pulled, "pull", "2", "--out", dir, "--force")
	if pulled.Fetched != 0 {
		t.Errorf("%+v: all of it was there", pulled)
	}
	// A replica starts from it without NATS.
	r, err := replica.New(replica.Config{ID: "r9", Model: "shop", Dir: dir, Log: slog.New(slog.DiscardHandler)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	nc, js, err := publisher.Connect("nats://127.0.0.1:1", "test")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, js) }()
	eventually(t, "it serves", func() error {
		if m, _ := r.Current(); m.Version != 2 {
			return fmt.Errorf("version %d is served", m.Version)
		}
		return nil
	})
	cancel()
	<-done
	// Damage is found.
	objects, _ = os.ReadDir(filepath.Join(dir, "objects"))
	name := filepath.Join(dir, "objects", objects[0].Name())
	b, _ := os.ReadFile(name)
	b[len(b)/2] ^= 1
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := f.models(t, "verify", "--dir", dir); code == 0 || !strings.Contains(stderr, "does not match its manifest") {
		t.Errorf("a damaged object: exit code %d: %s", code, stderr)
	}
	stdout, _, code := f.models(t, "show", "2")
	for _, want := range []string{"delta", "signature", "good, by U", guarded} {
		if code != 0 || !strings.Contains(stdout, want) {
			t.Errorf("no %q in:\n%s", want, stdout)
		}
	}
	var m schema.Manifest
	f.works(t, &m, "show", "1")
	if m.Version != 1 || m.Kind != schema.KindBase {
		t.Errorf("%+v", m)
	}
}
