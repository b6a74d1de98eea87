package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/embed"
)

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
