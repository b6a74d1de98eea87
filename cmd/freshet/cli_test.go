package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/freshet-ml/freshet/cmd/freshet/config"
)

// The test binary is the program itself when this is set; a variable with the program's own prefix would be a fault.
const asProgram = "TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "slow":
		ctx, _, _ := interruptible(os.Stderr)
		fmt.Println("running")
		<-ctx.Done()
		fmt.Println("stopping")
		select {} // an end that takes for ever
	case asServer:
		os.Exit(runServer(os.Args[1:]))
	case "1":
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// freshet runs the program and returns what it printed and its exit code.
func freshet(t *testing.T, env []string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if exit, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	} else if ok {
		code = exit.ExitCode()
	}
	return out.String(), errs.String(), code
}

func TestEveryFlagSetsASettingThatExists(t *testing.T) {
	known := map[string]bool{}
	for _, k := range config.Keys() {
		known[k.Path] = !k.Section
	}
	parser, err := kong.New(&cli{})
	if err != nil {
		t.Fatal(err)
	}
	flags := 0
	for _, verb := range parser.Model.Children {
		if verb.Help == "" {
			t.Errorf("%s has no help", verb.Name)
		}
		values := verb.Positional
		for _, f := range verb.Flags {
			values = append(values, f.Value)
		}
		for _, v := range values {
			if v.Help == "" {
				t.Errorf("%s: %s has no help", verb.Name, v.Name)
			}
			for _, s := range settings(v.Name, v) {
				if s.Key == "" {
					continue
				}
				if flags++; !known[s.Key] {
					t.Errorf("%s: %s sets %q, which is no setting", verb.Name, v.Name, s.Key)
				}
			}
		}
	}
	if flags < 20 {
		t.Errorf("only %d flags set a setting: the test does not see them", flags)
	}
}

func TestConfigVerb(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(file, []byte("window: {gap: 1m, lateness: 2s}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, code := freshet(t, []string{"FRESHET_WINDOW_LATENESS=3s", "FRESHET_CONFIG=" + file, "FRESHET_SERVE_TOKEN=s3cret"},
		"config", "--listen", "127.0.0.1:0", "--brokers=a:1,b:2")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	for _, want := range []string{"gap: 1m\n", "lateness: 3s\n", "(here from FRESHET_WINDOW_LATENESS)", "listen: 127.0.0.1:0\n", "(here from --listen)", "brokers: ['a:1', 'b:2']\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not print %q:\n%s", want, out)
		}
	}
	if strings.Contains(out+errs, "s3cret") {
		t.Error("it prints the token")
	}
	if strings.Contains(out, "(here from --data-dir)") {
		t.Error("a flag that was not given counts as given")
	}
}

func TestFaultsEndWithOneClearMessage(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.yaml")
	for name, tc := range map[string]struct {
		env, args []string
		want      []string
	}{
		"three faults": {[]string{"FRESHET_WINDOW_GAP=20", "FRESHET_WINDW_GAP=1m"}, []string{"up", "--clicks", "many"},
			[]string{"freshet: the configuration has 3 faults:\n", "\n  source.clicks (--clicks): \"many\" is not a whole number",
				"\n  window.gap (FRESHET_WINDOW_GAP): \"20\" is not a duration", "FRESHET_WINDW_GAP: no setting has this variable: did you mean FRESHET_WINDOW_GAP?"}},
		"unknown format": {nil, []string{"up", "--source", "x.bin", "--format", "xml"}, []string{"freshet: configuration: source.format (--format): \"xml\" is not known: write one of auto, json, avro, protobuf, csv, jsonl, "}},
		"no file":        {nil, []string{"config", "--config", missing}, []string{missing, "no such file or directory", "--config"}},
		"unknown flag":   {nil, []string{"up", "--wibble"}, []string{"freshet: unknown flag --wibble", "--help"}},
		"unknown verb":   {nil, []string{"upp"}, []string{"freshet: unexpected argument upp", "--help"}},
		"an argument":    {nil, []string{"produce"}, []string{"<file>", "--help"}},
		"kafka, where":   {nil, []string{"up", "--source", "kafka"}, []string{"no broker is given: give --brokers"}},
	} {
		out, errs, code := freshet(t, tc.env, tc.args...)
		if code != 1 || out != "" {
			t.Errorf("%s: exit %d, standard output %q", name, code, out)
		}
		for _, want := range tc.want {
			if !strings.Contains(errs, want) {
				t.Errorf("%s: it does not say %q:\n%s", name, want, errs)
			}
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"up", "--help"}, {}} {
		out, errs, code := freshet(t, nil, args...)
		if code != 0 || !strings.Contains(out, "Usage: freshet") {
			t.Errorf("%q: exit %d\n%s%s", args, code, out, errs)
		}
	}
	// The version answers whatever state the configuration is in.
	out, _, code := freshet(t, []string{"FRESHET_NONSENSE=1"}, "version")
	if code != 0 || !strings.HasPrefix(out, "freshet ") || !strings.Contains(out, "go1.") {
		t.Errorf("exit %d: %q", code, out)
	}
}

func TestFirstInterruptStopsSecondLeaves(t *testing.T) {
	for _, first := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), asProgram+"=slow")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for _, step := range []struct {
			says string
			then os.Signal
		}{{"running", first}, {"stopping", os.Interrupt}} {
			if !lines.Scan() || lines.Text() != step.says {
				cmd.Process.Kill()
				t.Fatalf("it says %q, want %q: %s", lines.Text(), step.says, errs.String())
			}
			cmd.Process.Signal(step.then)
		}
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(errs.String(), "left at once") {
			t.Errorf("exit %d: %s", code, errs.String())
		}
	}
}

func TestHealth(t *testing.T) {
	var ready atomic.Bool
	ready.Store(true)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !ready.Load() {
			http.Error(w, "no model yet", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	if out, errs, code := freshet(t, nil, "health", server.URL); code != 0 || !strings.HasPrefix(out, "healthy") {
		t.Errorf("ready: exit %d, %q %q", code, out, errs)
	}
	ready.Store(false)
	if _, errs, code := freshet(t, nil, "health", server.URL); code != 1 || !strings.Contains(errs, "503") || !strings.Contains(errs, "no model yet") {
		t.Errorf("not ready: exit %d, %q", code, errs)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	if _, errs, code := freshet(t, nil, "health", "http://"+address); code != 1 || !strings.Contains(errs, "nothing listens at "+address) {
		t.Errorf("nobody there: exit %d, %q", code, errs)
	}
}
