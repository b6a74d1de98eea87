package source

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-ml/freshet/schema"
	"github.com/segmentio/kafka-go"
	"golang.org/x/sync/errgroup"
)

// runSet reads the partitions that the configuration names, or all of them, and those of them that come later. No group is
// joined.
func (k *Kafka) runSet(ctx context.Context, h Handler, partitions int) error {
	set := k.config.Partitions
	if err := set.check(k.config.Topic, partitions); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	var reading []*progress
	begin := func(from, to schema.Partition) {
		var left []schema.Partition
		for p := from; p < to; p++ {
			if !set.Has(p) {
				left = append(left, p)
				continue
			}
			progress := newProgress(p)
			mu.Lock()
			reading = append(reading, progress)
			mu.Unlock()
			g.Go(func() error { return k.runPartition(ctx, h, progress) })
		}
		if len(left) > 0 && from > 0 {
			k.config.Log.Warn("kafka: the topic has grown by partitions that are not assigned to this process: have another read them",
				"topic", k.config.Topic, "assigned", set.String(), "new", setOf(left).String())
		}
	}
	begin(0, schema.Partition(partitions))
	if len(reading) == 0 {
		k.config.Log.Warn("kafka: none of the assigned partitions is there yet", "topic", k.config.Topic, "assigned", set.String(), "partitions", partitions)
	}
	g.Go(func() error { return k.watch(ctx, h, begin) })
	if k.config.Group == "" || k.config.CommitEvery < 0 {
		return g.Wait()
	}
	all := func() []*progress {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(reading)
	}
	c := committer{kafka: k, write: k.commitAlone}
	done := make(chan struct{})
	var committing sync.WaitGroup
	committing.Go(func() { c.until(done, all) })
	err := g.Wait()
	close(done)
	committing.Wait()
	c.commit(all())
	return err
}

// commitAlone commits offsets to a group that has no members.
func (k *Kafka) commitAlone(offsets map[int]int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	client, err := k.broker.connect(ctx)
	if err != nil {
		return err
	}
	var commits []kafka.OffsetCommit
	for p, n := range offsets {
		commits = append(commits, kafka.OffsetCommit{Partition: p, Offset: n})
	}
	r, err := client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: k.config.Group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{k.config.Topic: commits}})
	if err != nil {
		return err
	}
	for _, p := range r.Topics[k.config.Topic] {
		if p.Error != nil {
			return fmt.Errorf("partition %d: %w", p.Partition, p.Error)
		}
	}
	return nil
}

// runGroup reads the partitions that the group gives to this member, generation by generation.
func (k *Kafka) runGroup(ctx context.Context, h Handler) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var watching sync.WaitGroup
	defer watching.Wait()
	watching.Go(func() {
		if err := k.watch(ctx, h, func(_, _ schema.Partition) {}); err != nil {
			fail(err)
		}
	})
	random := rand.New(rand.NewPCG(k.config.Seed, uint64(0)))
	var dealt atomic.Int64
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID:                k.config.Group,
		Brokers:           k.config.Brokers,
		Topics:            []string{k.config.Topic},
		GroupBalancers:    []kafka.GroupBalancer{dealer{kafka.RangeGroupBalancer{}, k.config.Topic, &dealt}, dealer{kafka.RoundRobinGroupBalancer{}, k.config.Topic, &dealt}},
		SessionTimeout:    k.config.SessionTimeout,
		RebalanceTimeout:  k.config.SessionTimeout,
		HeartbeatInterval: min(k.config.SessionTimeout/5, heartbeatMax),
		JoinGroupBackoff:  groupBackoff + backoff(0, random),
		StartOffset:       kafka.FirstOffset,
		Dialer:            &kafka.Dialer{DialFunc: k.config.Security.dial, Timeout: dialTimeout, ClientID: clientID},
	})
	if err != nil {
		fail(nil)
		return fmt.Errorf("kafka: group %q: %w", k.config.Group, err)
	}
	for {
		// Next waits until every goroutine of the generation before has returned, so that a partition is revoked before it
		// is assigned again.
		generation, err := group.Next(ctx)
		if ctx.Err() != nil {
			k.leave(group)
			return context.Cause(ctx)
		}
		if err != nil {
			k.outages.failed(theGroup, fmt.Errorf("join group %q: %w", k.config.Group, err))
			continue // the group itself waits before it tries again
		}
		k.outages.works(theGroup)
		k.stats.rebalances.Add(1)
		k.runGeneration(ctx, generation, h, int(dealt.Swap(0)), fail)
	}
}

// dealer is a balancer that notes how many partitions it dealt out. It does so in the member that leads the group.
type dealer struct {
	kafka.GroupBalancer
	topic string
	dealt *atomic.Int64
}

func (d dealer) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	n := 0
	for _, p := range partitions { // members may read other topics as well
		if p.Topic == d.topic {
			n++
		}
	}
	d.dealt.Store(int64(n))
	return d.GroupBalancer.AssignGroups(members, partitions)
}

// leave leaves the group, so that others need not wait for the session timeout. A join that is under way is waited for by
// kafka-go until the group is dealt, which can take longer than a process has for its end: then it is left behind.
func (k *Kafka) leave(group *kafka.ConsumerGroup) {
	left := make(chan struct{})
	go func() {
		defer close(left)
		group.Close() // it returns no error
	}()
	timer := time.NewTimer(leaveWithin)
	defer timer.Stop()
	select {
	case <-left:
	case <-timer.C:
		k.config.Log.Warn("kafka: the group was not left: its other members wait for the session timeout",
			"group", k.config.Group, "session_timeout", k.config.SessionTimeout)
	}
}

// runGeneration starts the partitions of a generation. They end with it. Dealt is how many partitions this member dealt
// out, where it leads the group: when the topic has more, it ends the generation, so that they are dealt out in the next.
// kafka-go's own watch compares with what it sees after it has dealt, and so may miss what came in between.
func (k *Kafka) runGeneration(ctx context.Context, generation *kafka.Generation, h Handler, dealt int, fail func(error)) {
	if dealt > 0 {
		generation.Start(func(ended context.Context) {
			for wait(ended, k.config.WatchEvery) == nil && k.stats.topicPartitions.Load() <= int64(dealt) {
			}
		})
	}
	assigned := generation.Assignments[k.config.Topic]
	k.config.Log.Info("kafka: partitions assigned", "topic", k.config.Topic, "generation", generation.ID, "partitions", len(assigned))
	var reading []*progress
	for _, a := range assigned {
		reading = append(reading, newProgress(schema.Partition(a.ID)))
	}
	var running sync.WaitGroup
	for _, progress := range reading {
		running.Add(1)
		generation.Start(func(ended context.Context) {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(ended, cancel)()
			err := k.reach(ctx, h, int(progress.partition)+1)
			if err == nil {
				err = k.runPartition(ctx, h, progress)
			}
			running.Done()
			if err != nil && ctx.Err() == nil {
				fail(err)
			}
			// A generation whose function returns is over, and kafka-go would join the next one. At the end of Run the
			// member is to leave instead, which closing the group does.
			<-ended.Done()
		})
	}
	if k.config.CommitEvery < 0 || len(assigned) == 0 {
		return
	}
	c := committer{kafka: k, write: func(offsets map[int]int64) error {
		return generation.CommitOffsets(map[string]map[int]int64{k.config.Topic: offsets})
	}}
	generation.Start(func(ended context.Context) {
		c.until(ended.Done(), func() []*progress { return reading })
		running.Wait()
		c.commit(reading)
	})
}

// committer writes offsets to the group, for lag displays. Where to go on is the handler's to know (I2).
type committer struct {
	kafka     *Kafka
	write     func(map[int]int64) error
	committed map[int]int64
}

// until commits now and then until done.
func (c *committer) until(done <-chan struct{}, reading func() []*progress) {
	timer := time.NewTicker(c.kafka.config.CommitEvery)
	defer timer.Stop()
	for {
		select {
		case <-done:
			return
		case <-timer.C:
			c.commit(reading())
		}
	}
}

// commit commits what is new.
func (c *committer) commit(reading []*progress) {
	offsets := make(map[int]int64)
	for _, p := range reading {
		if n := p.next.Load(); n >= 0 && n != c.committed[int(p.partition)] {
			offsets[int(p.partition)] = n
		}
	}
	if len(offsets) == 0 {
		return
	}
	if err := c.write(offsets); err != nil {
		c.kafka.config.Log.Warn("kafka: lag displays are behind: the offsets were not committed", "group", c.kafka.config.Group, "error", err)
		return
	}
	if c.committed == nil {
		c.committed = make(map[int]int64)
	}
	maps.Copy(c.committed, offsets)
}
