package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/freshet-ml/freshet/cmd/freshet/view"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/schema"
)

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
