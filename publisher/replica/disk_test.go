package replica_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/natstest"
	"github.com/freshet-ml/freshet/publisher/replica"
)

func diskFailures(t testing.TB, r *replica.Replica) float64 {
	t.Helper()
	return metric(t, r, `freshet_replica_failures_total{of="disk"}`)
}

// diskFault lets versions go by while the directory cannot be written, and demands that each is served and each failure is
// counted; that the newest is on the disk after the first version that follows on the fault; and that it serves from there.
func diskFault(t *testing.T, dir string, strike, heal func() error) {
	t.Helper()
	server := natstest.Start(t, t.TempDir(), 0)
	js := dial(t, server)
	p := newPublisher(t, js, func(c *publisher.Config) { c.BaseEvery = 100 })
	trainee := newTrainee(t, 300)
	cfg := config("r1")
	cfg.Dir = dir
	r, stop := start(t, cfg, js, nil)
	serves(t, r, trainee.publish(t, p).Version)
	serves(t, r, trainee.publish(t, p).Version)
	eventually(t, "version 2 is on the disk", func() bool { return lastOnDisk(dir) == 2 })
	asked := poll(t, r)
	if err := strike(); err != nil {
		t.Fatal(err)
	}
	for failed := range 3 {
		serves(t, r, trainee.publish(t, p).Version)
		asked.more()
		eventually(t, "the failure is counted", func() bool { return diskFailures(t, r) > float64(failed) })
	}
	if got := lastOnDisk(dir); got > 2 {
		t.Errorf("version %d is on a disk that cannot be written", got)
	}
	if err := heal(); err != nil {
		t.Fatal(err)
	}
	m := trainee.publish(t, p) // a delta on three that never reached the disk
	serves(t, r, m.Version)
	eventually(t, "the newest version is on the disk", func() bool { return lastOnDisk(dir) == m.Version })
	want := ask(t, r.Handler(), body(20, "i1", "i9"))
	asked.end()
	stop()
	natstest.Stop(server)
	again, _ := start(t, cfg, js, nil)
	serves(t, again, m.Version)
	if diff := cmp.Diff(want, ask(t, again.Handler(), body(20, "i1", "i9"))); diff != "" {
		t.Errorf("from the disk (-before +after the start):\n%s", diff)
	}
}

// inTheWay puts a file where the objects are to be, and takes it away.
func inTheWay(dir string) (strike, heal func() error) {
	objects := filepath.Join(dir, "objects")
	return func() error {
			if err := os.Rename(objects, objects+".away"); err != nil {
				return err
			}
			return os.WriteFile(objects, nil, 0o644)
		}, func() error {
			if err := os.Remove(objects); err != nil {
				return err
			}
			return os.Rename(objects+".away", objects)
		}
}

// TestDiskInTheWay: what cannot be written for whatever reason. That the disk is full or read-only is tested where a file system can be mounted.
func TestDiskInTheWay(t *testing.T) {
	dir := t.TempDir()
	strike, heal := inTheWay(dir)
	diskFault(t, dir, strike, heal)
}

// orderFault has a replica obey an order while the directory cannot be written, and demands that each failure is counted, and that the order is on the disk soon after
// there is room: without any news, and without NATS. A start without NATS obeys it.
func orderFault(t *testing.T, dir string, strike, heal func() error) {
	t.Helper()
	server := natstest.Start(t, t.TempDir(), 0)
	js := dial(t, server)
	p := newPublisher(t, js, nil)
	trainee := newTrainee(t, 30)
	cfg := config("r1")
	cfg.Dir, cfg.PollEvery = dir, 20*time.Millisecond
	r, stop := start(t, cfg, js, nil)
	for range 2 {
		serves(t, r, trainee.publish(t, p).Version)
	}
	eventually(t, "version 2 is on the disk", func() bool { return lastOnDisk(dir) == 2 })
	op := newOperator(t, js, nil)
	onDisk := func() uint64 {
		b, err := os.ReadFile(filepath.Join(dir, "order.json"))
		if err != nil {
			return 0
		}
		o, err := publisher.ParseOrder(b)
		if err != nil {
			t.Fatal(err)
		}
		return o.Serial
	}
	op.order(2, nil)
	eventually(t, "the first order is on the disk", func() bool { return onDisk() == 1 })
	if err := strike(); err != nil {
		t.Fatal(err)
	}
	op.order(1, nil)
	serves(t, r, 1)
	before := diskFailures(t, r)
	eventually(t, "it tries again and again", func() bool { return diskFailures(t, r) > before+2 })
	if got := onDisk(); got > 1 {
		t.Errorf("order %d is on a disk that cannot be written", got)
	}
	natstest.Stop(server)
	if err := heal(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second order is on the disk", func() bool { return onDisk() == 2 })
	after := diskFailures(t, r)
	stop()
	if got := diskFailures(t, r); got != after {
		t.Errorf("%v failures became %v once it was written", after, got)
	}
	again, _ := start(t, cfg, js, nil)
	eventually(t, "a start without NATS obeys it", func() bool { return metric(t, again, "freshet_order_serial") == 2 })
}

func TestOrderInTheWay(t *testing.T) {
	dir := t.TempDir()
	strike, heal := inTheWay(dir)
	orderFault(t, dir, strike, heal)
}

// TestDamagedDisk starts a replica on a directory in which one file is cut, has another byte, or is gone. Without NATS it serves
// what is whole or nothing; with NATS it serves the newest version; and once it has, it does so without NATS again.
func TestDamagedDisk(t *testing.T) {
	server := natstest.Start(t, t.TempDir(), 0)
	js := dial(t, server)
	p := newPublisher(t, js, nil)
	trainee := newTrainee(t, 30)
	cfg := config("r1")
	cfg.Dir = t.TempDir()
	r, stop := start(t, cfg, js, nil)
	serves(t, r, trainee.publish(t, p).Version)
	serves(t, r, trainee.publish(t, p).Version)
	eventually(t, "version 2 is on the disk", func() bool { return lastOnDisk(cfg.Dir) == 2 })
	want := ask(t, r.Handler(), body(10, "i1", "i2")).Items
	stop()
	good := os.DirFS(cfg.Dir)
	files, err := fs.Glob(good, "objects/*")
	if err != nil || len(files) != 4 {
		t.Fatalf("%v, %v", files, err)
	}
	link := newProxy(t, server.Addr().String())
	link.cut()
	_, down := dialImpatiently(t, link.url())

	check := func(what string, r *replica.Replica) {
		t.Helper()
		if diff := cmp.Diff(want, ask(t, r.Handler(), body(10, "i1", "i2")).Items); diff != "" {
			t.Errorf("%s (-before +after):\n%s", what, diff)
		}
	}
	const seed = 1
	rng := rand.New(rand.NewPCG(seed, seed))
	for _, name := range append(files, "last.json") {
		whole, err := fs.ReadFile(good, name)
		if err != nil {
			t.Fatal(err)
		}
		damages := map[string][]byte{"gone": nil, "empty": {}, "longer": append(whole[:len(whole):len(whole)], whole...)}
		for range 4 {
			n, at := 1+rng.IntN(len(whole)-1), rng.IntN(len(whole))
			damages[fmt.Sprintf("cut at %d of %d", n, len(whole))] = whole[:n]
			changed := bytes.Clone(whole)
			changed[at] ^= byte(1 + rng.IntN(255))
			damages[fmt.Sprintf("another byte at %d", at)] = changed
		}
		for what, b := range damages {
			what = fmt.Sprintf("seed %d: %s %s", seed, name, what)
			var blind atomic.Int64
			cfg := cfg
			cfg.Dir = t.TempDir()
			cfg.Log = slog.New(seen{slog.DiscardHandler, "cannot see the head", &blind})
			err := os.CopyFS(cfg.Dir, good)
			if err == nil {
				err = os.Remove(filepath.Join(cfg.Dir, name))
			}
			if err == nil && b != nil {
				err = os.WriteFile(filepath.Join(cfg.Dir, name), b, 0o644)
			}
			if err != nil {
				t.Fatal(err)
			}
			alone, stop := start(t, cfg, down, nil)
			eventually(t, what+": the disk was read, then NATS was looked for", func() bool { return blind.Load() > 0 })
			if _, serving := alone.Current(); serving {
				check(what+", without NATS", alone)
			}
			stop()
			joined, stop := start(t, cfg, js, nil)
			serves(t, joined, 2)
			check(what+", with NATS", joined)
			eventually(t, what+": it is repaired", func() bool { return lastOnDisk(cfg.Dir) == 2 })
			stop()
			repaired, stop := start(t, cfg, down, nil)
			serves(t, repaired, 2)
			check(what+", repaired", repaired)
			stop()
		}
	}
}
