package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/flight"
	"github.com/freshet-ml/freshet/schema"
)

// TestRotation is the exactly-once test of Kafka Streams (streams_eos_test.py) for freshet: real processes, killed, stopped,
// frozen and started in rotation while the stream flows, and a verifier that counts afterwards. As long as one likes:
//
//	go test ./cmd/freshet -run TestRotation -rotation.own moves -duration 30m -timeout 1h -v
var (
	rotationFor  = flag.Duration("duration", 0, "how long TestRotation goes on, each way; by default some seconds")
	rotationRate = flag.Int("rotation.rate", 3000, "records a second in TestRotation")
	rotationOwn  = flag.String("rotation.own", "", "how the nodes of TestRotation share the topic: static, idle, moves or again; by default the first three")
	rotationOf   = flag.Int("rotation.nodes", 0, "how many nodes share the topic in TestRotation, 2 or 3; by default idle has two, the others three")
)

// sharing says how the nodes of a rotation share the topic.
type sharing struct {
	name  string
	nodes []string      // the partitions that each of them reads; "" for what the group gives it
	other []string      // the same for the other number of nodes
	logs  int           // how many nodes have each record in their log; 0 where that changes
	idle  time.Duration // after which time alone moves a watermark; 0 is never
	nats  bool          // state moves through it
	takes time.Duration // by default; 0 is only where it is asked for
}

var sharings = []sharing{
	// Every partition is read by two nodes, into two logs. Without a clock they must be the same.
	{name: "static", nodes: []string{"0-1", "2-3", "0-3"}, other: []string{"0-3", "0-3"}, logs: 2, takes: 4 * time.Second},
	// Each partition has one owner, who ticks when the producer or the broker is away.
	{name: "idle", nodes: []string{"0-1", "2-3"}, other: []string{"0-1", "2", "3"}, logs: 1, idle: 300 * time.Millisecond, takes: 5 * time.Second},
	// One consumer group: partitions and their state move from node to node. It takes the session timeout to find out that a
	// member is dead.
	{name: "moves", nodes: []string{"", "", ""}, other: []string{"", ""}, idle: 300 * time.Millisecond, nats: true, takes: 10 * time.Second},
	// The same without anybody to leave state with: who is given a partition reads it again from its beginning.
	{name: "again", nodes: []string{"", "", ""}, other: []string{"", ""}},
}

// rotationSpeed is how many seconds of the shop pass in one.
const rotationSpeed = 10

// rotation is a run of TestRotation.
type rotation struct {
	t       *testing.T
	sharing sharing
	random  *rand.Rand
	config  config.Config
	env     []string
	broker  *actor
	nats    *actor // nil where there is none
	mirror  *flight.Mirror
	copied  *buffer.Store // what the mirror has copied; nil where there is none
	flights []string
	nodes   []*actor
	source  *actor
	dirs    []string
	hits    map[string]int
	address string // of the broker
}

func newRotation(t *testing.T, how sharing, seed uint64) *rotation {
	t.Helper()
	env := []string{
		// Sessions of seconds at ten times the pace of the clock, so that all sorts of them begin and end between two kills,
		// and users come back soon enough for late records.
		fmt.Sprintf("FRESHET_SIM_RATE=%d", *rotationRate/rotationSpeed), fmt.Sprintf("FRESHET_SIM_SEED=%d", seed), "FRESHET_SIM_THINK=2s", "FRESHET_SIM_USERS=500",
		"FRESHET_SIM_LATE=0.01", "FRESHET_SIM_DUPLICATE=0.01", "FRESHET_SIM_UNDECODABLE=0.002", "FRESHET_SIM_INVALID=0.002",
		"FRESHET_WINDOW_GAP=5s", "FRESHET_WINDOW_LATENESS=1s", "FRESHET_WINDOW_PART_AGE=2s", "FRESHET_WINDOW_PART_CLICKS=4",
		"FRESHET_WINDOW_MAX_SESSION_AGE=20s", "FRESHET_WINDOW_MAX_SESSION_CLICKS=15",
		"FRESHET_WINDOW_IDLE_AFTER=" + how.idle.String(),
		// The whole log is to be there afterwards: the closing clicks are months behind the shop's.
		"FRESHET_INGEST_KEEP=0s", "FRESHET_INGEST_SNAPSHOT_EVERY=1s",
	}
	loaded, err := config.Load(config.Places{Environ: env})
	if err != nil {
		t.Fatal(err)
	}
	r := &rotation{t: t, sharing: how, random: rand.New(rand.NewPCG(seed, 0)), config: loaded.Config, env: env, hits: map[string]int{}}
	r.broker = serverActor(t, "kafka", t.TempDir(), &r.address, r.config.Kafka.Topic, strconv.Itoa(r.config.Kafka.Partitions))
	var nats string
	if how.nats {
		r.nats = serverActor(t, "nats", t.TempDir(), &nats)
	}
	r.source = &actor{name: "shop", state: isGone, start: func() *child {
		return spawn{name: "shop", env: env, args: []string{"simulate", "--brokers", r.address, "--speed", fmt.Sprintf("%dx", rotationSpeed)}}.start(t)
	}}
	for n, partitions := range how.nodes {
		dir := t.TempDir()
		r.dirs = append(r.dirs, dir)
		args := []string{"--data-dir", dir, "--listen", "127.0.0.1:0"}
		if partitions != "" {
			args = append(args, "--partitions", partitions)
		} else {
			args = append(args, "--group", "rotation")
		}
		name := fmt.Sprintf("node-%d", n+1)
		r.nodes = append(r.nodes, &actor{name: name, state: isGone, start: func() *child {
			args := append([]string{"ingest", "--brokers", r.address}, args...)
			if how.nats {
				args = append(args, "--nats", nats)
			}
			at := "127.0.0.1:0"
			if r.flights != nil {
				at = strings.TrimPrefix(r.flights[n], "grpc://") // where the mirror looks for it
			}
			args = append(args, "--flight-listen", at)
			return spawn{name: name, env: env, args: args}.start(t)
		}})
	}
	return r
}

var flightIn = regexp.MustCompile(`flight=(grpc://\S+)`)

// startMirror copies the logs of the nodes while they are written, as a trainer on another machine does: a node that is given a
// partition back keeps of its log of it only what the new state continues.
func (r *rotation) startMirror() {
	r.t.Helper()
	var at []string
	for _, n := range r.nodes {
		eventually(r.t, n.name+" shows its log", func() error {
			r.check()
			found := flightIn.FindStringSubmatch(n.c.log.String())
			if found == nil {
				return errors.New("not yet")
			}
			at = append(at, found[1])
			return nil
		})
	}
	r.flights = at
	var err error
	if r.copied, err = buffer.Open(r.t.TempDir(), buffer.Options{}); err != nil {
		r.t.Fatal(err)
	}
	r.mirror, err = flight.NewMirror(r.copied, flight.MirrorConfig{Nodes: r.flights, PollEvery: 100 * time.Millisecond, RetryMost: time.Second})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.mirror.Run(ctx) }()
	r.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			r.t.Errorf("the mirror: %v", err)
		}
		r.mirror.Close()
		r.copied.Close()
	})
}

func TestRotation(t *testing.T) {
	t.Parallel()
	seed := fromEnvironment(t, seedVariable, uint64(time.Now().UnixNano()))
	t.Logf("%s=%d", seedVariable, seed)
	ran := false
	for _, how := range sharings {
		if *rotationOf == len(how.other) {
			how.nodes = how.other
		}
		if *rotationOf != 0 && *rotationOf != len(how.nodes) {
			t.Fatalf("-rotation.nodes=%d: it is 2 or 3", *rotationOf)
		}
		if how.name == *rotationOwn || *rotationOwn == "" && how.takes > 0 {
			ran = true
			t.Run(how.name, func(t *testing.T) { newRotation(t, how, seed).run(t, cmp.Or(*rotationFor, how.takes, time.Minute)) })
		}
	}
	if !ran {
		t.Fatalf("-rotation.own=%s: there is no such way", *rotationOwn)
	}
}

// run is a test of its own: rotate, let everything come to rest, and count.
func (r *rotation) run(t *testing.T, d time.Duration) {
	began := time.Now()
	r.reviveAll()
	if r.sharing.nats {
		r.startMirror()
	}
	r.rotate(d)
	records := r.finish()
	total := int64(records + r.config.Kafka.Partitions)
	stores := r.quiesce()
	took := time.Since(began)
	a := verify(t, r.address, r.config, stores, r.copied)
	if a.records != total || len(a.indices) != records {
		t.Errorf("the topic has %d records, %d of them of the shop, and not %d and %d", a.records, len(a.indices), total, records)
	}
	closing := int64(r.config.Kafka.Partitions) // clicks, each of which waits in its partition, unless a tick of an idle one has let it go
	if a.records != a.logged+a.duplicates+a.pending+sum(a.aside) || a.pending > closing || r.sharing.idle == 0 && a.pending != closing {
		t.Errorf("%d records, but %d in the logs + %d again + %d pending + %v aside", a.records, a.logged, a.duplicates, a.pending, a.aside)
	}
	if want := a.entries * int64(r.sharing.logs-1); r.sharing.logs > 0 && a.shared != want {
		t.Errorf("%d entries are on more than one node, not %d", a.shared, want)
	}
	c := r.config
	c.Source.Clicks = records
	counts := countsOf(t, c)
	wrong := map[schema.Reason]int64{schema.ReasonUndecodable: counts.Undecodable(), schema.ReasonInvalid: counts.Invalid()}
	if r.sharing.idle == 0 {
		wrong[schema.ReasonLate] = counts.Late
		if a.duplicates != counts.Duplicates {
			t.Errorf("the shop has sent %d records again, %d were found", counts.Duplicates, a.duplicates)
		}
	}
	for reason, n := range wrong {
		if a.aside[reason] != n {
			t.Errorf("the shop has sent %d records that are %s, aside are %d", n, reason, a.aside[reason])
		}
	}
	if r.sharing.idle > 0 && d >= longRotation && a.ticks == 0 {
		t.Error("no tick is in a log")
	}
	kinds, hits := make([]string, 0, len(r.hits)), 0
	for kind, n := range r.hits {
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, n))
		hits += n
	}
	slices.Sort(kinds)
	t.Logf("%v: %d processes hit: %s", took.Round(time.Second), hits, strings.Join(kinds, ", "))
	t.Logf("%d records (%.0f a second) of %d users: %d in %d parts, %d again, aside %v; %d ticks; %d entries, and %d copies of them elsewhere, alike",
		a.records, float64(a.records)/took.Seconds(), len(a.inTopic), a.logged, a.parts, a.duplicates, a.aside, a.ticks, a.entries, a.shared)
}

func sum(counts map[schema.Reason]int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}
