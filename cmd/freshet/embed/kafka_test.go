package embed_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/freshet-ml/freshet/cmd/freshet/embed"
	kafka "github.com/segmentio/kafka-go"
	"go.uber.org/goleak"
)

// The child half of TestKafkaSurvivesAKill runs in this same binary.
const childDir = "EMBED_TEST_KAFKA_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		produceUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

func config(dir string) embed.KafkaConfig {
	return embed.KafkaConfig{DataDir: dir, Topic: "clicks", Partitions: 2}
}

func produce(address string, partition int, values ...string) error {
	w := &kafka.Writer{
		Addr: kafka.TCP(address), Topic: "clicks", RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond,
		Balancer:  kafka.BalancerFunc(func(kafka.Message, ...int) int { return partition }),
		Transport: &kafka.Transport{},
	}
	defer w.Transport.(*kafka.Transport).CloseIdleConnections()
	messages := make([]kafka.Message, len(values))
	for i, v := range values {
		messages[i] = kafka.Message{Value: []byte(v)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := w.WriteMessages(ctx, messages...); err != nil {
		return err
	}
	return w.Close()
}

// readAll reads partition from its beginning to the end that the broker has now.
func readAll(t *testing.T, address string, partition int) (values []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := kafka.DialLeader(ctx, "tcp", address, "clicks", partition)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	first, last, err := conn.ReadOffsets()
	if err != nil {
		t.Fatal(err)
	}
	for offset := first; offset < last; {
		conn.Seek(offset, kafka.SeekAbsolute)
		conn.SetDeadline(time.Now().Add(30 * time.Second))
		batch := conn.ReadBatch(1, 10<<20)
		for {
			m, err := batch.ReadMessage()
			if err != nil {
				break
			}
			if m.Offset >= offset {
				values = append(values, string(m.Value))
				offset = m.Offset + 1
			}
		}
		batch.Close()
	}
	return values
}

func start(t *testing.T, c embed.KafkaConfig) *embed.Kafka {
	t.Helper()
	k, err := embed.StartKafka(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Close() })
	return k
}

func TestKafkaGoesOnAfterClose(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for run := range 3 {
		k := start(t, config(dir))
		value := fmt.Sprintf("run %d", run)
		if err := produce(k.Address(), 1, value); err != nil {
			t.Fatal(err)
		}
		want = append(want, value)
		if got := readAll(t, k.Address(), 1); strings.Join(got, ",") != strings.Join(want, ",") {
			t.Fatalf("run %d: read %q, want %q", run, got, want)
		}
		if got := readAll(t, k.Address(), 0); len(got) != 0 {
			t.Fatalf("run %d: partition 0 has %q", run, got)
		}
		k.Close()
	}
}

func TestKafkaMakesATopicThatTheDirectoryLacks(t *testing.T) {
	dir := t.TempDir()
	start(t, embed.KafkaConfig{DataDir: dir, Topic: "other", Partitions: 1}).Close()
	k := start(t, config(dir))
	if err := produce(k.Address(), 1, "a"); err != nil {
		t.Fatal(err)
	}
}

func TestKafkaRefuses(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	port := busy.Addr().(*net.TCPAddr).Port

	dir := t.TempDir()
	start(t, config(dir)).Close()
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		c    embed.KafkaConfig
		want []string
	}{
		"port in use":     {embed.KafkaConfig{Port: port, Topic: "clicks", Partitions: 1}, []string{strconv.Itoa(port), "in use", "kafka.port"}},
		"partitions":      {embed.KafkaConfig{DataDir: dir, Topic: "clicks", Partitions: 3}, []string{"2 partitions", "set kafka.partitions to 2"}},
		"directory":       {embed.KafkaConfig{DataDir: file, Topic: "clicks", Partitions: 1}, []string{"not a directory", "--data-dir"}},
		"two faults":      {embed.KafkaConfig{Partitions: -1}, []string{"topic is missing", "partitions -1"}},
		"negative bounds": {embed.KafkaConfig{Topic: "clicks", Partitions: 1, RetentionBytes: -1}, []string{"retention is negative"}},
	} {
		k, err := embed.StartKafka(tc.c)
		if err == nil {
			k.Close()
			t.Errorf("%s: it started", name)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", name, err, want)
			}
		}
	}
	// A refusal damages nothing: the directory still opens with what it had.
	start(t, config(dir))
}

// produceUntilKilled acknowledges each record on standard output after the broker did, and never returns.
func produceUntilKilled(dir string) {
	k, err := embed.StartKafka(config(dir))
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		values := make([]string, 1+i%7)
		for j := range values {
			values[j] = fmt.Sprintf("%d.%d %s", i, j, strings.Repeat("x", i%900))
		}
		if err := produce(k.Address(), 0, values...); err != nil {
			fmt.Println("failed", err)
			os.Exit(1)
		}
		for _, v := range values {
			fmt.Println("ok", strings.Fields(v)[0])
		}
	}
}

// A broker that is killed while it takes records has, when opened again, every record that it acknowledged, in order and
// once each; what was under way may be there or not.
func TestKafkaSurvivesAKill(t *testing.T) {
	dir := t.TempDir()
	var acked []string
	for round := range 3 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		stop := 20 + 15*round
		for n := 0; lines.Scan(); n++ {
			id, ok := strings.CutPrefix(lines.Text(), "ok ")
			if !ok {
				cmd.Process.Kill()
				t.Fatalf("child: %s", lines.Text())
			}
			acked = append(acked, fmt.Sprintf("%d/%s", round, id))
			if n == stop {
				cmd.Process.Kill() // the child goes on producing until this lands
			}
		}
		cmd.Wait()

		k := start(t, config(dir))
		got := readAll(t, k.Address(), 0)
		k.Close()
		// The rounds follow one another; each begins again at 0.0.
		var seen []string
		r := -1
		for _, v := range got {
			id := strings.Fields(v)[0]
			if id == "0.0" {
				r++
			}
			seen = append(seen, fmt.Sprintf("%d/%s", r, id))
		}
		next := 0
		unique := map[string]bool{}
		for _, id := range seen {
			if unique[id] {
				t.Fatalf("round %d: %s is there twice", round, id)
			}
			unique[id] = true
			if next < len(acked) && acked[next] == id {
				next++
			}
		}
		if next != len(acked) {
			t.Fatalf("round %d: acknowledged %q is missing or out of order (%d of %d found, %d in the log)",
				round, acked[next], next, len(acked), len(seen))
		}
	}
	if len(acked) < 60 {
		t.Fatalf("only %d records were acknowledged: the test saw no load", len(acked))
	}
}
