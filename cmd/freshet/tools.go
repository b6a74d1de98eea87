package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// Run prints the configuration in effect.
func (c *ConfigCmd) Run(a *app) error { return a.cfg.Effective(a.stdout) }

// buildVersion may be set by the linker (-X main.buildVersion=v1.2.3); else the module's version is printed.
var buildVersion string

type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func version() versionInfo {
	v := versionInfo{Version: buildVersion, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if v.Version == "" {
		v.Version = info.Main.Version
	}
	dirty := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if v.Revision != "" && dirty {
		v.Revision += " and uncommitted changes"
	}
	return v
}

// Run prints the version.
func (c *VersionCmd) Run(a *app) error {
	v := version()
	if c.JSON {
		return json.NewEncoder(a.stdout).Encode(v)
	}
	text := "freshet " + v.Version
	if v.Revision != "" {
		text += " (" + v.Revision + ")"
	}
	_, err := fmt.Fprintf(a.stdout, "%s, %s, %s\n", text, v.Go, v.Platform)
	return err
}

// Run asks a running process over HTTP, and fails unless it answers with 2xx. It takes the place of curl in an image that
// has none.
func (c *HealthCmd) Run(ctx context.Context, a *app) error {
	timeout, err := time.ParseDuration(c.Timeout)
	if err != nil || timeout <= 0 {
		return fmt.Errorf("--timeout %q is not a duration: write 3s", c.Timeout)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return fmt.Errorf("health: %w: give a URL such as http://127.0.0.1:8080/readyz", err)
	}
	client, err := c.client()
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("health: nothing listens at %s: start freshet, or give the address that it printed", req.URL.Host)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("health: %s did not answer within %v", c.URL, timeout)
	case err != nil:
		return fmt.Errorf("health: %w", untrusted(err))
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	text := strings.TrimSpace(string(body))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("health: %s answers %s: %s", c.URL, resp.Status, text)
	}
	_, err = fmt.Fprintln(a.stdout, "healthy", text)
	return err
}
