package replica_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/publisher"
	"github.com/freshet-ml/freshet/publisher/replica"
	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/trainer/model"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// childEnv holds, in the environment of a process of this test binary, the child that it is to be.
const childEnv = "FRESHET_TEST_REPLICA"

// child is a replica in a process of its own, so that what else a measurement needs is neither on its cores nor in its heap.
type child struct {
	NATS    string
	Procs   int // GOMAXPROCS; 0 = all
	Serving model.Serving
	Users   int // u0, u1, … have histories of Tokens tokens, of items i0 to i(Items-1)
	Tokens  int
	Items   int
}

// asChild is the child that the environment names, until its standard input ends; false where it names none.
func asChild() bool {
	text := os.Getenv(childEnv)
	if text == "" {
		return false
	}
	var c child
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		err = c.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func (c child) run() error {
	nc, js, err := publisher.Connect(c.NATS, "replica")
	if err != nil {
		return err
	}
	defer nc.Close()
	cfg := config("child")
	cfg.Serving, cfg.MaxHistory = c.Serving, 100
	cfg.MaxWait = time.Minute // what is too much shows as latency
	cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	cfg.Metrics = processMetrics{
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsGC)),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}
	var histories replica.Histories
	if c.Users > 0 {
		histories = manyHistories(c.Users, c.Tokens, c.Items)
	}
	r, err := replica.New(cfg, histories)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go r.Run(ctx, js)
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, l) }()
	fmt.Println(l.Addr())
	io.Copy(io.Discard, os.Stdin)
	cancel()
	return <-served
}

// processMetrics are what a child says of its process.
type processMetrics []prometheus.Collector

func (p processMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, c := range p {
		c.Describe(to)
	}
}

func (p processMetrics) Collect(to chan<- prometheus.Metric) {
	for _, c := range p {
		c.Collect(to)
	}
}

// gauge reads one metric of a child.
func gauge(tb testing.TB, address, name string) float64 {
	tb.Helper()
	res, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	return valueOf(tb, res.Body, name)
}

// spawn starts a child and returns the address of its API. It ends with the test.
func spawn(tb testing.TB, c child) (address string) {
	tb.Helper()
	command, env := []string{os.Args[0]}, []string{}
	if taskset, err := exec.LookPath("taskset"); err == nil && c.Procs == 1 && runtime.NumCPU() > 1 { // on a core that nothing else of the measurement is on
		command = append([]string{taskset, "-c", strconv.Itoa(runtime.NumCPU() - 1)}, command...)
	}
	if c.Procs > 0 {
		env = append(env, fmt.Sprintf("GOMAXPROCS=%d", c.Procs))
	}
	_, out := process(tb, "replica", childEnv, c, command, env...)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		tb.Fatalf("the replica's process does not start: %v", err)
	}
	return strings.TrimSpace(line)
}

// process starts a process that does what the variable called key says, in JSON, until its standard input ends, which it does with the test.
func process(tb testing.TB, name, key string, what any, command []string, env ...string) (in io.Writer, out io.Reader) {
	tb.Helper()
	text, err := json.Marshal(what)
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env, cmd.Stderr = append(append(os.Environ(), key+"="+string(text)), env...), os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		stdin.Close()
		io.Copy(io.Discard, stdout)
		if err := cmd.Wait(); err != nil {
			tb.Errorf("the %s's process ends with %v", name, err)
		}
	})
	return stdin, stdout
}

// many are the histories of many users.
type many map[string][]schema.Part

func (m many) Recent(user string, n int) ([]schema.Part, error) {
	parts := m[user]
	return parts[max(0, len(parts)-n):], nil
}

// clusters is how many kinds of items there are: i0, i200, i400, … are alike.
const clusters = 200

// manyHistories gives each of some users as many tokens of sessions, five clicks each, an hour apart, the last an hour ago. What a user likes changes every ten sessions.
func manyHistories(users, tokens, items int) many {
	const clicks = 5 // a session has one token more
	sessions := tokens / (clicks + 1)
	all := many{}
	for u := range users {
		name := fmt.Sprintf("u%d", u)
		for s := range sessions {
			at := schema.EventTime(now.Add(-time.Duration(sessions-s) * time.Hour).UnixMilli())
			p := schema.Part{UserID: name, SessionStart: at, Final: true}
			for i := range clicks {
				kind, one := (u+s/10)*2_654_435_761%clusters, (u*7919+s*clicks+i)*2_654_435_761%(items/clusters)
				item := kind + clusters*one
				p.Clicks = append(p.Clicks, schema.Click{UserID: name, ItemID: fmt.Sprintf("i%d", item), Action: schema.ActionClick, EventTime: at + schema.EventTime(i*1000)})
			}
			all[name] = append(all[name], p)
		}
	}
	return all
}
