package main

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"go.yaml.in/yaml/v3"
)

// The deployment is text that no compiler reads: a verb, a flag or a setting that was renamed must fail here and not at
// somebody's first start.
func TestDeploymentUsesVerbsAndSettingsThatExist(t *testing.T) {
	t.Run("docker-compose.yml", func(t *testing.T) { composeOf(t, "docker-compose.yml").check(t) })
	t.Run("cluster.yml", func(t *testing.T) {
		c := composeOf(t, "docker-compose.yml", "deploy/cluster.yml")
		c.check(t)
		c.checkFeeds(t)
	})
	t.Run("secure.yml", func(t *testing.T) {
		composeOf(t, "docker-compose.yml", "deploy/secure.yml").check(t)
		c := composeOf(t, "docker-compose.yml", "deploy/cluster.yml", "deploy/secure.yml", "deploy/secure-cluster.yml")
		c.check(t)
		c.checkSecrets(t, "deploy/secure.yml", "deploy/secure-cluster.yml")
	})
	t.Run("prometheus.yml", func(t *testing.T) { checkScrapes(t, composeOf(t, "docker-compose.yml", "deploy/cluster.yml")) })
	t.Run("Dockerfile", checkImage)
}

// compose is what the files of a deployment say together.
type compose struct {
	Services map[string]service
	Volumes  map[string]any
}

type service struct {
	Image       string
	Command     []string
	Environment map[string]string
	Volumes     []string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	HealthCheck struct {
		Test    []string
		Disable bool
	}
}

// read reads a file of the repository.
func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", path))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// composeOf reads files, each over the ones before it, as docker-compose does: what a file says of a service replaces what was
// said, and maps are joined. Volumes are too, by where they are mounted, which is /data for all of ours.
func composeOf(t *testing.T, files ...string) compose {
	t.Helper()
	all := compose{Services: map[string]service{}, Volumes: map[string]any{}}
	for _, file := range files {
		var c compose
		if err := yaml.Unmarshal(read(t, file), &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		maps.Copy(all.Volumes, c.Volumes)
		for name, over := range c.Services {
			s, ok := all.Services[name]
			if !ok {
				all.Services[name] = over
				continue
			}
			s.Image = cmp.Or(over.Image, s.Image)
			if over.Command != nil {
				s.Command = over.Command
			}
			if over.Volumes != nil {
				s.Volumes = over.Volumes
			}
			s.Environment, s.DependsOn = joined(s.Environment, over.Environment), joined(s.DependsOn, over.DependsOn)
			all.Services[name] = s
		}
	}
	return all
}

// joined is a map with what another says on top.
func joined[V any](a, b map[string]V) map[string]V {
	all := map[string]V{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
}

func (c compose) check(t *testing.T) {
	ours := 0
	for name, s := range c.Services {
		for other, on := range s.DependsOn {
			if o, ok := c.Services[other]; !ok {
				t.Errorf("%s waits for %s, which there is not", name, other)
			} else if on.Condition == "service_healthy" && o.HealthCheck.Test == nil {
				t.Errorf("%s waits for %s to be healthy, which nothing asks", name, other)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(from, "./") {
				if _, err := os.Stat(filepath.Join("..", "..", from)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if _, ok := c.Volumes[from]; !ok {
				t.Errorf("%s: volume %s is not listed", name, from)
			}
		}
		if s.Image != "freshet:local" {
			continue
		}
		ours++
		if len(s.DependsOn) == 0 {
			t.Errorf("%s waits for nothing", name)
		}
		parser, err := kong.New(&cli{}, kong.Exit(func(int) {}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(s.Command); err != nil {
			t.Errorf("%s: %q: %v", name, s.Command, err)
		}
		var environ []string
		for key, value := range s.Environment {
			environ = append(environ, key+"="+interpolated(value))
		}
		if _, err := config.Load(config.Places{Environ: environ}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ours < 3 {
		t.Errorf("only %d services run freshet: the test does not see them", ours)
	}
}

// checkFeeds checks that every address of a feed is one where an ingest node shows its log, and that all of them are read.
func (c compose) checkFeeds(t *testing.T) {
	shown := map[string]bool{}
	for name, s := range c.Services {
		if slices.Contains(s.Command, "ingest") {
			_, port, _ := strings.Cut(s.Command[slices.Index(s.Command, "--flight-listen")+1], ":")
			shown["grpc://"+name+":"+port] = true
		}
	}
	if len(shown) < 2 {
		t.Errorf("ingest is at %v: the test does not see it", shown)
	}
	for _, name := range []string{"trainer", "replica-1", "replica-2"} {
		s := c.Services[name]
		feed := map[string]bool{}
		for _, node := range strings.Split(s.Command[slices.Index(s.Command, "--feed")+1], ",") {
			feed[node] = true
		}
		if !maps.Equal(feed, shown) {
			t.Errorf("%s reads %v, and the logs are at %v", name, feed, shown)
		}
	}
}

// checkSecrets checks that deploy/secrets.sh makes every file that the services are given, and every variable that they and the
// NATS server want, and that everyone who connects to NATS does so by TLS as a user.
func (c compose) checkSecrets(t *testing.T, files ...string) {
	for name, s := range c.Services {
		if s.Environment["FRESHET_NATS_URL"] == "" || slices.Contains(s.Command, "simulate") {
			continue
		}
		if e := s.Environment; e["FRESHET_NATS_URL"] != "tls://nats:4222" || e["FRESHET_NATS_TLS_CA_FILE"] == "" || e["FRESHET_NATS_NKEY_SEED_FILE"] == "" {
			t.Errorf("%s reaches NATS in plain text, or as nobody: %v", name, e)
		}
	}
	dir := filepath.Join(t.TempDir(), "secrets")
	program, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second changes nothing
		cmd := exec.Command("../../deploy/secrets.sh", dir)
		cmd.Env = append(os.Environ(), "FRESHET="+program, asProgram+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("secrets.sh: %v: %s", err, out)
		}
	}
	public, err := os.ReadFile(filepath.Join(dir, "public.env"))
	if err != nil {
		t.Fatal(err)
	}
	wanted := regexp.MustCompile(`\$\{?(FRESHET_(?:NKEY|TRUSTED)_[A-Z0-9_]+)`)
	for _, file := range append(files, "deploy/nats-secure.conf") {
		for _, m := range wanted.FindAllStringSubmatch(string(read(t, file)), -1) {
			if !strings.Contains(string(public), m[1]+"=U") {
				t.Errorf("%s wants %s, which secrets.sh does not make", file, m[1])
			}
		}
		for _, m := range regexp.MustCompile(`file: \./secrets/([^}]+)\}`).FindAllStringSubmatch(string(read(t, file)), -1) {
			if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// checkScrapes checks that Prometheus asks every service that runs freshet and answers HTTP, and nobody else.
func checkScrapes(t *testing.T, c compose) {
	var prometheus struct {
		ScrapeConfigs []struct {
			StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
			DNSConfigs    []struct {
				Names []string
				Port  int
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(read(t, "deploy/prometheus.yml"), &prometheus); err != nil {
		t.Fatal(err)
	}
	scraped := map[string]bool{}
	for _, s := range prometheus.ScrapeConfigs {
		for _, static := range s.StaticConfigs {
			for _, target := range static.Targets {
				scraped[target] = true
			}
		}
		for _, dns := range s.DNSConfigs {
			for _, name := range dns.Names {
				scraped[fmt.Sprintf("%s:%d", name, dns.Port)] = true
			}
		}
	}
	want := map[string]bool{}
	for name, s := range c.Services {
		if s.Image == "freshet:local" && !s.HealthCheck.Disable {
			want[name+":8080"] = true
		}
	}
	if !maps.Equal(scraped, want) {
		t.Errorf("Prometheus asks %v, and freshet answers at %v", scraped, want)
	}
}

func checkImage(t *testing.T) {
	dockerfile := read(t, "deploy/Dockerfile")
	environ := regexp.MustCompile(`FRESHET_[A-Z_]+=\S+`).FindAllString(string(dockerfile), -1)
	if len(environ) == 0 {
		t.Error("the image sets nothing: the test does not see it")
	}
	if _, err := config.Load(config.Places{Environ: environ}); err != nil {
		t.Errorf("Dockerfile: %v", err)
	}
	if !strings.Contains(string(dockerfile), "USER freshet") || !strings.Contains(string(dockerfile), "HEALTHCHECK") {
		t.Error("the image runs as root, or has no health check")
	}
}

// interpolated gives ${NAME:-default} its default, as docker-compose does where NAME is not set.
func interpolated(s string) string {
	return regexp.MustCompile(`\$\{[A-Z_]+:-([^}]*)\}`).ReplaceAllString(s, "$1")
}
