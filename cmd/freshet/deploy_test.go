package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"go.yaml.in/yaml/v3"
)

// The deployment is text that no compiler reads: a verb, a flag or a setting that was renamed must fail here and not at
// somebody's first start.
func TestDeploymentUsesVerbsAndSettingsThatExist(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Image       string
			Command     []string
			Environment map[string]string
			Volumes     []string
			DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
		}
		Volumes map[string]any
	}
	if err := yaml.Unmarshal(text, &compose); err != nil {
		t.Fatal(err)
	}
	ours := 0
	for name, s := range compose.Services {
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(from, "./") {
				if _, err := os.Stat(filepath.Join("..", "..", from)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if _, ok := compose.Volumes[from]; !ok {
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

	dockerfile, err := os.ReadFile(filepath.Join("..", "..", "deploy", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
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
