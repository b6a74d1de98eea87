package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/ingest"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/feed"
	"github.com/freshet-ml/freshet/ingest/source"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer"
)

// What BenchmarkRestart restarts with: each user has a visit of two clicks, and one in ten a part of two more, all within 22 minutes, so that every session is
// open. Items come in turn.
const (
	restartUsers  = 1_000_000
	restartItems  = 1_000_000
	restartAgain  = restartUsers / 10
	restartClicks = 2 * (restartUsers + restartAgain)
	restartBegin  = schema.EventTime(1_700_000_000_000)
	restartMinute = schema.EventTime(60_000)
)

// restartTime is when click number i was. Those behind restartClicks come two minutes later, ten a second, of users who were there before.
func restartTime(i int) schema.EventTime {
	if more := i - restartClicks; more >= 0 {
		return restartBegin + 24*restartMinute + schema.EventTime(more)*100
	}
	return restartBegin + schema.EventTime(i)*20*restartMinute/(2*restartUsers)
}

// restartClick makes the click of a record, which has its number.
func restartClick(r source.Record, c *schema.Click) error {
	i := int(binary.LittleEndian.Uint64(r.Value))
	*c = schema.Click{
		UserID: fmt.Sprintf("user-%07d", i/2*7919%restartUsers), ItemID: fmt.Sprintf("item-%011d", i%restartItems), EventTime: restartTime(i), Action: schema.ActionClick,
		Item: schema.ItemInfo{Category: fmt.Sprint("category-", i%100), Price: float64(1 + i%1000)},
	}
	return nil
}

// restartRecords are those of the clicks from number from on.
func restartRecords(from, n int) source.Batch {
	b := source.Batch{Records: make([]source.Record, n), Next: schema.Offset(from + n), HighWatermark: schema.Offset(from + n)}
	for i := range b.Records {
		b.Records[i] = source.Record{Offset: schema.Offset(from + i), ArrivedAt: schema.ArrivalTime(restartTime(from + i)), Value: binary.LittleEndian.AppendUint64(nil, uint64(from+i))}
	}
	return b
}

// nobody takes versions that nobody reads.
type nobody struct{ last schema.Version }

func (n *nobody) NextKind() schema.Kind {
	if n.last == 0 {
		return schema.KindBase
	}
	return schema.KindDelta
}

func (*nobody) Follows() bool { return false }

func (n *nobody) Publish(context.Context, trainer.Version) (schema.Version, error) {
	n.last++
	return n.last, nil
}

// restarted is a store, a node that takes clicks into it, and a trainer behind it.
type restarted struct {
	store   *buffer.Store
	node    *ingest.Node
	trainer *trainer.Trainer
	feed    *feed.Feed
	next    int // click
	stop    context.CancelFunc
	ended   chan error // of the trainer's Run
}

// openLog opens the log.
func (r *restarted) openLog(b *testing.B, dir string) {
	var err error
	if r.store, err = buffer.Open(filepath.Join(dir, "buffer"), buffer.Options{}); err != nil {
		b.Fatal(err)
	}
	o := ingest.DefaultOptions("clicks")
	o.Window.MaxOpenSessions = 0
	if r.node, err = ingest.New(r.store, restartClick, o); err != nil {
		b.Fatal(err)
	}
}

// openTrainer restores the newest checkpoint, and finds its place in the log.
func (r *restarted) openTrainer(b *testing.B, dir string, publishEvery time.Duration) {
	c := trainer.DefaultConfig()
	c.CheckpointEvery, c.PublishEvery = time.Hour, publishEvery // the checkpoint at the end is enough
	var err error
	if r.trainer, err = trainer.Open(filepath.Join(dir, "checkpoints"), c, trainer.NewFreshness(func(float64, int64) {}), slog.New(slog.DiscardHandler), time.Now); err != nil {
		b.Fatal(err)
	}
	if r.feed, err = feed.New(r.store, r.trainer.Position()); err != nil {
		b.Fatal(err)
	}
}

// train has the trainer run.
func (r *restarted) train(b *testing.B) {
	var ctx context.Context
	ctx, r.stop = context.WithCancel(b.Context())
	r.ended = make(chan error, 1)
	go func() { r.ended <- r.trainer.Run(ctx, inlet{r.feed, r.store}, &nobody{}) }()
}

// openWindows loads them.
func (r *restarted) openWindows(b *testing.B) {
	offset, err := r.node.Assign(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	r.next = int(offset)
}

// take reads clicks up to a number.
func (r *restarted) take(b *testing.B, to int) {
	for r.next < to {
		n := min(1000, to-r.next)
		if err := r.node.Apply(b.Context(), 0, restartRecords(r.next, n)); err != nil {
			b.Fatal(err)
		}
		r.next += n
	}
}

// trained waits until so many clicks are trained on.
func (r *restarted) trained(b *testing.B, clicks int) {
	for r.trainer.Stats().Clicks < int64(clicks) {
		select {
		case err := <-r.ended:
			b.Fatal(err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// close ends it, with a checkpoint.
func (r *restarted) close(b *testing.B) {
	r.stop()
	if err := <-r.ended; !errors.Is(err, context.Canceled) {
		b.Fatal(err)
	}
	if err := r.store.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRestart is a node and its trainer that start again with a million users and a million items, in the order in which freshet does: the log, the checkpoint with its
// digest, the windows while the trainer makes its first version, the first clicks, and when they are trained on. The state is made by the same code from a stream of
// clicks, which takes minutes, and each restart goes on behind the one before.
func BenchmarkRestart(b *testing.B) {
	dir := b.TempDir()
	var r restarted
	r.openLog(b, dir)
	r.openTrainer(b, dir, time.Hour)
	r.train(b)
	r.openWindows(b)
	r.take(b, restartClicks+2) // the last two have time go on, so that all others are out
	r.trained(b, restartClicks)
	r.close(b)

	took := map[string]time.Duration{}
	for b.Loop() {
		steps, next := r.trainer.Stats().Steps, r.next
		r = restarted{}
		runtime.GC()
		began, used := time.Now(), processorTime(b)
		passed := func(name string) {
			took["s-"+name] += time.Since(began)
			took["cpu-s-"+name] += processorTime(b) - used
		}
		r.openLog(b, dir)
		passed("log")
		r.openTrainer(b, dir, trainer.DefaultConfig().PublishEvery)
		passed("checkpoint")
		r.train(b)
		r.openWindows(b)
		passed("windows")
		r.take(b, next+1000)
		passed("taken")
		r.trained(b, next+500)
		passed("trained")
		made, open := r.trainer.Stats(), r.node.Stats().Partitions[0].Sessions
		if made.Items != restartItems || open != restartUsers || made.Steps <= steps {
			b.Fatalf("%d items, %d open sessions, %d steps after %d", made.Items, open, made.Steps, steps)
		}
		r.close(b)
	}
	for name, sum := range took {
		b.ReportMetric(sum.Seconds()/float64(b.N), name)
	}
	b.ReportMetric(megabytes(b, filepath.Join(dir, "buffer")), "MB-log")
	b.ReportMetric(megabytes(b, filepath.Join(dir, "checkpoints")), "MB-checkpoints")
}

// megabytes is how much there is in a directory.
func megabytes(b *testing.B, dir string) float64 {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, f fs.DirEntry, err error) error {
		if err != nil || f.IsDir() {
			return err
		}
		info, err := f.Info()
		if errors.Is(err, os.ErrNotExist) { // compacted away
			return nil
		}
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return float64(sum) / 1e6
}
