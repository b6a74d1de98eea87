package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
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
	"github.com/freshet-ml/freshet/schema"
)

// TestRotation is the exactly-once test of Kafka Streams (streams_eos_test.py) for freshet: real processes, killed, stopped,
// frozen and started in rotation while the stream flows, and a verifier that counts afterwards. As long as one likes:
//
//	go test ./cmd/freshet -run TestRotation -duration 30m -timeout 1h -v
var (
	rotationFor  = flag.Duration("duration", 12*time.Second, "how long TestRotation goes on")
	rotationRate = flag.Int("rotation.rate", 3000, "records a second in TestRotation")
	rotationOwn  = flag.String("rotation.own", ownAll, "which partitions a node of TestRotation reads: "+ownAll+", or what its "+ownGroup+" gives it")
)

// How the nodes of TestRotation share the topic.
const (
	ownAll   = "all"   // each reads all of it into a log of its own
	ownGroup = "group" // one consumer group: partitions move from node to node
)

// rotationSpeed is how many seconds of the shop pass in one.
const rotationSpeed = 10

// asBroker makes the test binary a broker of its own: port, data directory, topic and partitions are its arguments.
const asBroker = "broker"

// runBroker is a broker until it is interrupted or killed.
func runBroker(args []string) int {
	port, _ := strconv.Atoi(args[0])
	partitions, _ := strconv.Atoi(args[3])
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	kafka, err := embed.StartKafka(embed.KafkaConfig{Port: port, DataDir: args[1], Topic: args[2], Partitions: partitions})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(kafka.Address())
	<-stop
	kafka.Close()
	return 0
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
	random  *rand.Rand
	config  config.Config
	env     []string
	broker  *actor
	nodes   []*actor
	source  *actor
	port    string
	dirs    []string
	hits    map[string]int
	address string
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

// revive brings a back. What it goes on with needs the broker, which comes first.
func (r *rotation) revive(a *actor) {
	if a != r.broker {
		r.revive(r.broker)
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

func (r *rotation) actors() []*actor { return append([]*actor{r.broker, r.source}, r.nodes...) }

// reviveAll brings everything back, the broker first.
func (r *rotation) reviveAll() {
	for _, a := range r.actors() {
		r.revive(a)
	}
}

// rotate hits one process after another, and lets them come back, for d. Several may be away at a time.
func (r *rotation) rotate(d time.Duration) {
	const longest = 2 * time.Second // that the broker is away: who starts meanwhile gives up after ten
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
		if steps%25 == 0 { // nobody may be kept from ever getting on
			r.reviveAll()
			r.progress()
		}
	}
	r.reviveAll()
}

// check fails the test where a process has ended that should not have.
func (r *rotation) check() {
	r.t.Helper()
	for _, a := range r.actors() {
		if a.state == isUp && !a.c.running() {
			r.t.Fatalf("%s has ended by itself with exit code %d", a.name, a.c.cmd.ProcessState.ExitCode())
		}
	}
}

// progress waits until every node has read something that it had not when it was called, or in a group, one of them.
func (r *rotation) progress() {
	r.t.Helper()
	from := map[*actor]int64{}
	if *rotationOwn == ownGroup {
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
	r.check()
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
		var since time.Time // the nodes have said nothing else
		eventually(r.t, "all is read", func() error {
			lag, assigned := int64(0), 0
			for _, n := range r.nodes {
				assigned += r.assigned(n)
				s, err := r.status(n)
				if err != nil {
					return err
				}
				if *rotationOwn == ownAll && s.Clicks != records {
					return fmt.Errorf("%s has read %d of %d records", n.name, s.Clicks, records)
				}
				lag += s.KafkaLag
			}
			switch {
			case lag > 0:
				since = time.Time{}
				return fmt.Errorf("%d records are not read yet", lag)
			case *rotationOwn == ownAll:
				return nil
			case assigned != r.config.Kafka.Partitions:
				since = time.Time{}
				return fmt.Errorf("%d partitions are assigned", assigned)
			case since.IsZero():
				since = time.Now()
			}
			if time.Since(since) < 2*time.Second {
				return errors.New("not for long")
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

// stores opens the stores of the nodes, which have stopped, and closes them again where they do not reach the ends: a node that
// has not fetched yet does not know how far it is behind.
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

func newRotation(t *testing.T, seed uint64) *rotation {
	t.Helper()
	env := []string{
		// Sessions of seconds at ten times the pace of the clock, so that all sorts of them begin and end between two kills,
		// and users come back soon enough for late records.
		fmt.Sprintf("FRESHET_SIM_RATE=%d", *rotationRate/rotationSpeed), fmt.Sprintf("FRESHET_SIM_SEED=%d", seed), "FRESHET_SIM_THINK=2s", "FRESHET_SIM_USERS=500",
		"FRESHET_SIM_LATE=0.01", "FRESHET_SIM_DUPLICATE=0.01", "FRESHET_SIM_UNDECODABLE=0.002", "FRESHET_SIM_INVALID=0.002",
		"FRESHET_WINDOW_GAP=5s", "FRESHET_WINDOW_LATENESS=1s", "FRESHET_WINDOW_PART_AGE=2s", "FRESHET_WINDOW_PART_CLICKS=4",
		"FRESHET_WINDOW_MAX_SESSION_AGE=20s", "FRESHET_WINDOW_MAX_SESSION_CLICKS=15",
		// Without a clock two nodes that read the same records have the same log.
		"FRESHET_WINDOW_IDLE_AFTER=0s",
	}
	loaded, err := config.Load(config.Places{Environ: env})
	if err != nil {
		t.Fatal(err)
	}
	r := &rotation{t: t, random: rand.New(rand.NewPCG(seed, 0)), config: loaded.Config, env: env, port: "0", hits: map[string]int{}}
	topic, partitions := r.config.Kafka.Topic, strconv.Itoa(r.config.Kafka.Partitions)
	kafkaDir := t.TempDir()
	r.broker = &actor{name: "broker", state: isGone, start: func() *child {
		c := spawn{name: "broker", env: []string{asProgram + "=" + asBroker}, args: []string{r.port, kafkaDir, topic, partitions}}.start(t)
		eventually(t, "the broker listens", func() error {
			if !c.running() {
				t.Fatal("the broker has ended")
			}
			r.address = strings.TrimSpace(c.stdout.String())
			if r.address == "" {
				return errors.New("not yet")
			}
			return nil
		})
		if _, r.port, err = net.SplitHostPort(r.address); err != nil {
			t.Fatal(err)
		}
		return c
	}}
	r.source = &actor{name: "shop", state: isGone, start: func() *child {
		return spawn{name: "shop", env: env, args: []string{"simulate", "--brokers", r.address, "--speed", fmt.Sprintf("%dx", rotationSpeed)}}.start(t)
	}}
	for n := range 2 {
		dir := t.TempDir()
		r.dirs = append(r.dirs, dir)
		name, life := fmt.Sprintf("node-%d", n+1), 0
		r.nodes = append(r.nodes, &actor{name: name, state: isGone, start: func() *child {
			group := "rotation"
			if life++; *rotationOwn == ownAll {
				// A group of its own in each life, so that nothing waits until the group has found out that the last one is over.
				group = fmt.Sprintf("%s-%d", name, life)
			}
			return spawn{name: name, env: env, args: []string{"ingest", "--brokers", r.address, "--data-dir", dir, "--listen", "127.0.0.1:0", "--group", group}}.start(t)
		}})
	}
	return r
}

func TestRotation(t *testing.T) {
	t.Parallel()
	seed := fromEnvironment(t, seedVariable, uint64(time.Now().UnixNano()))
	t.Logf("%s=%d", seedVariable, seed)
	r := newRotation(t, seed)
	began := time.Now()
	r.reviveAll()
	r.rotate(*rotationFor)
	records := r.finish()
	total := int64(records + r.config.Kafka.Partitions)
	stores := r.quiesce()
	took := time.Since(began)
	a := verify(t, r.address, r.config, stores)
	if a.records != total || len(a.indices) != records {
		t.Errorf("the topic has %d records, %d of them of the shop, and not %d and %d", a.records, len(a.indices), total, records)
	}
	if a.records != a.logged+a.duplicates+a.pending+sum(a.aside) || a.pending != int64(r.config.Kafka.Partitions) {
		t.Errorf("%d records, but %d in the logs + %d again + %d pending + %v aside", a.records, a.logged, a.duplicates, a.pending, a.aside)
	}
	c := r.config
	c.Source.Clicks = records
	counts := countsOf(t, c)
	for reason, n := range map[schema.Reason]int64{schema.ReasonLate: counts.Late, schema.ReasonUndecodable: counts.Undecodable(), schema.ReasonInvalid: counts.Invalid()} {
		if a.aside[reason] != n {
			t.Errorf("the shop has sent %d records that are %s, aside are %d", n, reason, a.aside[reason])
		}
	}
	if a.duplicates != counts.Duplicates {
		t.Errorf("the shop has sent %d records again, %d were found", counts.Duplicates, a.duplicates)
	}
	kinds := make([]string, 0, len(r.hits))
	hits := 0
	for kind, n := range r.hits {
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, n))
		hits += n
	}
	slices.Sort(kinds)
	t.Logf("%v: %d processes hit: %s", took.Round(time.Second), hits, strings.Join(kinds, ", "))
	t.Logf("%d records (%.0f a second) of %d users: %d in %d parts, %d again, aside %v; %d entries on two nodes are alike",
		a.records, float64(a.records)/took.Seconds(), len(a.inTopic), a.logged, a.parts, a.duplicates, a.aside, a.shared)
}

func sum(counts map[schema.Reason]int64) (n int64) {
	for _, c := range counts {
		n += c
	}
	return n
}
