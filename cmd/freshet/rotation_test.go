package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	"github.com/freshet-ml/freshet/cmd/freshet/view"
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

// asServer makes the test binary a Kafka or a NATS server. Its arguments are which, the port, the data directory, and of Kafka
// the topic and its partitions.
const asServer = "server"

// runServer is a server until it is interrupted or killed. It prints its address.
func runServer(args []string) int {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	port, _ := strconv.Atoi(args[1])
	var server io.Closer
	var address string
	var err error
	if args[0] == "nats" {
		var nats *embed.NATS
		if nats, err = embed.StartNATS(embed.NATSConfig{Port: port, StoreDir: args[2]}); err == nil {
			server, address = nats, nats.URL()
		}
	} else {
		partitions, _ := strconv.Atoi(args[4])
		var kafka *embed.Kafka
		if kafka, err = embed.StartKafka(embed.KafkaConfig{Port: port, DataDir: args[2], Topic: args[3], Partitions: partitions}); err == nil {
			server, address = kafka, kafka.Address()
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(address)
	<-stop
	server.Close()
	return 0
}

// serverActor returns the server of that name. It comes back on the port that it had first.
func serverActor(t *testing.T, name, dir string, address *string, more ...string) *actor {
	port := "0"
	return &actor{name: name, state: isGone, start: func() *child {
		c := spawn{name: name, env: []string{asProgram + "=" + asServer}, args: append([]string{name, port, dir}, more...)}.start(t)
		eventually(t, name+" listens", func() error {
			if !c.running() {
				t.Fatalf("%s has ended", name)
			}
			if *address = strings.TrimSpace(c.stdout.String()); *address == "" {
				return errors.New("not yet")
			}
			return nil
		})
		port = (*address)[strings.LastIndexByte(*address, ':')+1:]
		return c
	}}
}

// An actor is a process that is started again and again.
type actor struct {
	name  string
	start func() *child
	c     *child
	state state
	since time.Time // it is away
}

// state says what was done to an actor.
type state int

const (
	isUp       state = iota
	isHeld           // by SIGSTOP
	isStopping       // after SIGTERM; it may have ended
	isGone           // after SIGKILL, or never started
)

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

// hit kills, stops or holds a.
func (r *rotation) hit(a *actor) {
	var how string
	switch n := r.random.IntN(10); {
	case n < 3:
		how, a.state = "hold", isHeld
		a.c.cmd.Process.Signal(syscall.SIGSTOP)
	case n < 5:
		how, a.state = "stop", isStopping
		a.c.cmd.Process.Signal(syscall.SIGTERM)
	default:
		how, a.state = "kill", isGone
		a.c.kill()
	}
	r.hits[how+" "+strings.TrimRight(a.name, "-0123456789")]++
	a.since = time.Now()
}

// revive brings a back. What it goes on with needs the servers, which come first.
func (r *rotation) revive(a *actor) {
	if a != r.broker && a != r.nats {
		r.revive(r.broker)
		if r.nats != nil {
			r.revive(r.nats)
		}
	}
	switch a.state {
	case isUp:
		return
	case isHeld:
		a.c.cmd.Process.Signal(syscall.SIGCONT)
		a.state = isUp
		return
	case isStopping:
		// Once it was up, an interrupt is no error. Before that it says that it has not come to its end.
		if code := a.c.wait(r.t); code != 0 && strings.Contains(a.c.log.String(), "freshet is up") {
			r.t.Fatalf("%s: a stop in order ends with exit code %d", a.name, code)
		}
	}
	a.c, a.state = a.start(), isUp
}

func (r *rotation) actors() []*actor {
	all := append([]*actor{r.broker, r.source}, r.nodes...)
	if r.nats != nil {
		all = append(all, r.nats)
	}
	return all
}

// reviveAll brings everything back, the broker first.
func (r *rotation) reviveAll() {
	for _, a := range r.actors() {
		r.revive(a)
	}
}

// rotate hits one process after another, and lets them come back, for d. Several may be away at a time.
func (r *rotation) rotate(d time.Duration) {
	const longest = 2 * time.Second // that the broker is away: who starts meanwhile gives up after ten
	every := min(d/2, 45*time.Second)
	loud := time.Now() // since when there has been a producer
	for began, steps := time.Now(), 1; time.Since(began) < d; steps++ {
		a := r.actors()[r.random.IntN(len(r.actors()))]
		if a == r.broker && r.random.IntN(2) == 0 {
			continue // without it nobody gets on
		}
		if a.state == isUp {
			r.hit(a)
		} else {
			r.revive(a)
		}
		r.check()
		time.Sleep(time.Duration(r.random.Int64N(int64(300 * time.Millisecond))))
		if r.broker.state != isUp && time.Since(r.broker.since) > longest {
			r.revive(r.broker)
		}
		if r.sharing.idle > 0 && time.Since(loud) > every {
			r.silence(d >= longRotation)
			loud = time.Now()
		}
		if steps%25 == 0 { // nobody may be kept from ever getting on
			r.reviveAll()
			r.forgetMembers()
			r.progress()
		}
	}
	r.reviveAll()
	r.forgetMembers()
}

// longRotation is how long a rotation takes at least that waits for the ticks of a partition that has moved: its new owner
// makes none before it can be sure that the one before is gone.
const longRotation = 30 * time.Second

// silence has no producer for so long that the nodes tick, and what comes after it is late. A long one has a partition tick,
// move, and tick again.
func (r *rotation) silence(long bool) {
	r.t.Helper()
	r.reviveAll()
	r.source.c.kill()
	r.source.state = isGone
	if !long || !r.sharing.nats {
		time.Sleep(r.sharing.idle + 2500*time.Millisecond)
		return
	}
	r.forgetMembers()
	r.awaitTicks()
	time.Sleep(time.Second) // others tick too
	for _, n := range r.nodes[1:] {
		if n.state == isUp {
			r.hit(n)
		}
	}
	time.Sleep(r.sharing.idle + 2500*time.Millisecond)
	for _, n := range r.nodes[1:] {
		r.revive(n)
	}
	r.forgetMembers()
	r.awaitTicks()
}

var ticksIn = regexp.MustCompile(`(?m)^freshet_ticks_total (\d+)$`)

// awaitTicks waits until a node has ticked that had not when it was called.
func (r *rotation) awaitTicks() {
	r.t.Helper()
	from := map[*actor]int{}
	eventually(r.t, "somebody ticks", func() error {
		for _, n := range r.nodes {
			if _, err := r.status(n); err != nil {
				return err
			}
			_, _, body, err := fetch(n.c.api()+"/metrics", "")
			found := ticksIn.FindStringSubmatch(body)
			if err != nil || found == nil {
				return fmt.Errorf("the metrics of %s: %w", n.name, err)
			}
			ticks, _ := strconv.Atoi(found[1])
			if before, ok := from[n]; ok && ticks > before {
				return nil
			}
			from[n] = ticks
		}
		return errors.New("nobody does")
	})
}

// check fails the test where a process has ended that should not have. One that finds no broker at its start ends, and whoever
// runs it starts it again; later it waits.
func (r *rotation) check() {
	r.t.Helper()
	for _, a := range r.actors() {
		if a.state != isUp || a.c.running() {
			continue
		}
		if log := a.c.log.String(); a != r.broker && a != r.nats && !strings.Contains(log, "freshet is up") && strings.Contains(log, "freshet: kafka: ") {
			a.state = isGone
			r.hits["without a broker "+strings.TrimRight(a.name, "-0123456789")]++
			continue
		}
		r.t.Fatalf("%s has ended by itself with exit code %d", a.name, a.c.cmd.ProcessState.ExitCode())
	}
}

// A member of a group whose connection breaks while it is answered stays in the group of the embedded broker for ever, with
// the partitions that it is given; a broker of Kafka gives it the session timeout. One that starts again has no members.
func (r *rotation) forgetMembers() {
	if r.sharing.logs == 0 {
		r.broker.c.kill()
		r.broker.state = isGone
		r.revive(r.broker)
	}
}

// progress waits until every node has read something that it had not when it was called, or of a group, one of them.
func (r *rotation) progress() {
	r.t.Helper()
	from := map[*actor]int64{}
	if r.sharing.logs == 0 {
		eventually(r.t, "the group reads on", func() error {
			for _, n := range r.nodes {
				s, err := r.status(n)
				if err != nil {
					return err
				}
				if before, ok := from[n]; ok && s.Clicks > before {
					return nil
				}
				from[n] = s.Clicks
			}
			return errors.New("nobody does")
		})
		return
	}
	for _, n := range r.nodes {
		eventually(r.t, n.name+" reads on", func() error {
			s, err := r.status(n)
			if err != nil {
				return err
			}
			if _, ok := from[n]; !ok {
				from[n] = s.Clicks
			}
			if s.Clicks == from[n] {
				return fmt.Errorf("%d records, as before", s.Clicks)
			}
			return nil
		})
	}
}

// status asks a node how it is.
func (r *rotation) status(n *actor) (view.Status, error) {
	r.t.Helper()
	if r.check(); n.state == isGone {
		r.revive(n)
	}
	if n.c.api() == "" {
		return view.Status{}, fmt.Errorf("%s does not say its address yet", n.name)
	}
	return statusOf(n.c.api())
}

// finish ends the stream, and returns how many records of the shop the topic has.
func (r *rotation) finish() (records int) {
	r.t.Helper()
	// The shop that was killed last may be ahead in one partition and behind in another: it goes on up to the record that is
	// furthest, and ends.
	r.source.c.kill()
	r.source.state = isGone
	a := &audit{indices: map[uint64]bool{}}
	_, id, err := openStream(r.config, "")
	if err != nil {
		r.t.Fatal(err)
	}
	a.stream = id
	for p := range int32(r.config.Kafka.Partitions) {
		readTopic(r.t, r.address, r.config.Kafka.Topic, p, func(rec *kgo.Record) { a.index(r.t, rec) })
	}
	for i := range a.indices {
		records = max(records, int(i)+1)
	}
	if records == 0 {
		r.t.Fatal("the topic has no record of the shop")
	}
	last := spawn{name: "the last shop", env: r.env, args: []string{"simulate", "--brokers", r.address, "--speed", "max", "--clicks", strconv.Itoa(records)}}.start(r.t)
	if code := last.wait(r.t); code != 0 {
		r.t.Fatalf("%s: exit code %d", last.name, code)
	}
	r.close()
	return records
}

// close sends a click of now to each partition, so that every session before it closes. It waits in its own.
func (r *rotation) close() {
	r.t.Helper()
	partition := kgo.StickyKeyPartitioner(nil).ForTopic(r.config.Kafka.Topic)
	var lines strings.Builder
	for p, user := 0, 0; p < r.config.Kafka.Partitions; user++ {
		key := fmt.Sprintf("closing-%d", user)
		if partition.Partition(&kgo.Record{Key: []byte(key)}, r.config.Kafka.Partitions) != p {
			continue
		}
		fmt.Fprintf(&lines, "{\"user_id\":%q,\"item_id\":\"closing\",\"timestamp\":%d}\n", key, time.Now().UnixMilli())
		p++
	}
	file := filepath.Join(r.t.TempDir(), "closing.jsonl")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		r.t.Fatal(err)
	}
	c := spawn{name: "closing", env: r.env, args: []string{"produce", file, "--brokers", r.address}}.start(r.t)
	if code := c.wait(r.t); code != 0 {
		r.t.Fatalf("%s: exit code %d", c.name, code)
	}
}

// quiesce waits until the nodes have read everything, and stops them in order. It returns their stores.
func (r *rotation) quiesce() (stores []*buffer.Store) {
	r.t.Helper()
	ends := map[schema.Partition]schema.Offset{}
	records := int64(0)
	for p := range schema.Partition(r.config.Kafka.Partitions) {
		readTopic(r.t, r.address, r.config.Kafka.Topic, int32(p), func(rec *kgo.Record) { ends[p] = schema.Offset(rec.Offset) + 1 })
		records += int64(ends[p])
	}
	for deadline := time.Now().Add(patience); ; r.reviveAll() {
		var since time.Time // when nothing was left to be read
		eventually(r.t, "all is read", func() error {
			lag, read, assigned := int64(0), int64(0), 0
			for _, n := range r.nodes {
				s, err := r.status(n)
				if err != nil {
					return err
				}
				lag, read, assigned = lag+s.KafkaLag, read+s.Clicks, assigned+r.assigned(n)
			}
			for p, end := range ends {
				if r.copied != nil && r.copied.Partition(p).NextOffset < end {
					return fmt.Errorf("partition %d is copied up to offset %d of %d: %w", p, r.copied.Partition(p).NextOffset, end, r.mirror.Health())
				}
			}
			switch {
			case r.sharing.logs > 0 && read == records*int64(r.sharing.logs):
				return nil
			case r.sharing.logs > 0 || lag > 0 || assigned != r.config.Kafka.Partitions:
				since = time.Time{}
				return fmt.Errorf("%d records are read, %d are not, %d partitions are assigned", read, lag, assigned)
			case since.IsZero():
				since = time.Now()
			}
			if time.Since(since) < 2*time.Second {
				return errors.New("a node that has not fetched yet does not know how far it is behind")
			}
			return nil
		})
		for _, n := range r.nodes {
			n.state = isStopping
			n.c.cmd.Process.Signal(syscall.SIGTERM)
		}
		for _, n := range r.nodes {
			if code := n.c.wait(r.t); code != 0 || !strings.Contains(n.c.log.String(), "stopped in order") {
				r.t.Fatalf("%s ends with exit code %d", n.name, code)
			}
		}
		if stores = r.stores(ends); stores != nil {
			return stores
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("all is read: not within %v", patience)
		}
	}
}

var assignedIn = regexp.MustCompile(`partitions assigned.* partitions=(\d+)`)

// assigned returns how many partitions the group has given n last.
func (r *rotation) assigned(n *actor) int {
	found := assignedIn.FindAllStringSubmatch(n.c.log.String(), -1)
	if len(found) == 0 {
		return 0
	}
	partitions, _ := strconv.Atoi(found[len(found)-1][1])
	return partitions
}

// stores opens the stores of the nodes, which have stopped, and closes them again where they do not reach the ends.
func (r *rotation) stores(ends map[schema.Partition]schema.Offset) (stores []*buffer.Store) {
	r.t.Helper()
	reached := map[schema.Partition]schema.Offset{}
	for _, dir := range r.dirs {
		s := openBuffer(r.t, dir)
		stores = append(stores, s)
		for p := range ends {
			reached[p] = max(reached[p], s.Partition(p).NextOffset)
		}
	}
	if maps.Equal(reached, ends) {
		r.t.Cleanup(func() {
			for _, s := range stores {
				s.Close()
			}
		})
		return stores
	}
	for _, s := range stores {
		s.Close()
	}
	return nil
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
	if a.records != a.logged+a.duplicates+a.pending+sum(a.aside) || a.pending != int64(r.config.Kafka.Partitions) {
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
