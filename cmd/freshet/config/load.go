package config

import (
	"regexp"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/v2"
)

// Flag is a flag that was given on the command line and names a setting.
type Flag struct {
	Name  string // "--clicks"
	Key   string // "source.clicks"
	Value string
}

// Places are where a configuration is read from.
type Places struct {
	File    string   // path of the YAML file; empty reads none
	Environ []string // as os.Environ returns it
	Flags   []Flag
}

// Loaded is a configuration, and where each setting came from.
type Loaded struct {
	Config
	origin map[string]string // key → place, for what is not a default
}

// Load reads the configuration from the defaults and from p. The error is a Faults.
func Load(p Places) (Loaded, error) {
	l := loader{k: koanf.New("."), origin: map[string]string{}, bad: map[string]bool{}}
	l.keys, l.paths = settings()
	l.readFile(p.File)
	l.readEnviron(p.Environ)
	for _, f := range p.Flags {
		l.set(f.Key, f.Name, value{text: f.Value})
	}
	out := Loaded{Config: Default(), origin: l.origin}
	if err := l.k.Unmarshal("", &out.Config); err != nil {
		panic("config: a converted value does not fit its setting: " + err.Error())
	}
	// A setting that could not be read keeps its default here, and has its fault already.
	for _, f := range out.Config.faults() {
		if !l.bad[f.Key] {
			f.Where = l.origin[f.Key]
			l.faults = append(l.faults, f)
		}
	}
	if len(l.faults) > 0 {
		return Loaded{}, l.faults.sorted()
	}
	return out, nil
}

type loader struct {
	k      *koanf.Koanf
	keys   map[string]Key
	paths  []string
	origin map[string]string
	bad    map[string]bool
	faults Faults
}

func (l *loader) fault(key, where, problem, next string) {
	l.faults = append(l.faults, Fault{Key: key, Where: where, Problem: problem, Next: next})
	l.bad[key] = true
}

// set takes one value from one place. Places are read weakest first, so a later one replaces an earlier one.
func (l *loader) set(path, where string, v value) {
	k, ok := l.keys[path]
	if !ok {
		l.fault(path, where, "there is no such setting", instead(path, l.paths, asKey, "freshet config lists them all"))
		return
	}
	out, problem, next := convert(k, v)
	if problem != "" {
		l.fault(path, where, problem, next)
		return
	}
	// A map is replaced as a whole, like every other value; merging would keep names that a later place left out.
	l.k.Delete(path)
	if err := l.k.Load(confmap.Provider(map[string]any{path: out}, "."), nil); err != nil {
		panic("config: " + err.Error())
	}
	l.origin[path] = where
}

// injected are the variables that Kubernetes and Docker links make for a service called freshet.
var injected = regexp.MustCompile(`^FRESHET_(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT|PORT_\d+_.*|NAME|ENV_.*)$`)

// Variables that are no settings: ConfigEnv names the file where --config does not, BLASEnv=go leaves OpenBLAS aside
// (trainer/nn reads it before there is a configuration).
const (
	ConfigEnv = EnvPrefix + "CONFIG"
	BLASEnv   = EnvPrefix + "BLAS"
)

func (l *loader) readEnviron(environ []string) {
	byEnv := map[string]string{}
	names := make([]string, 0, len(l.paths))
	for _, path := range l.paths {
		byEnv[l.keys[path].Env] = path
		names = append(names, l.keys[path].Env)
	}
	visit := func(name, text string) (string, any) {
		path, ok := byEnv[name]
		switch {
		case text == "" || name == ConfigEnv || name == BLASEnv || injected.MatchString(name):
		case !ok:
			l.fault("", name, "no setting has this variable", instead(name, names, asEnv, "unset it, or see freshet config for the names"))
		default:
			l.set(path, name, value{text: text})
		}
		return "", nil // set has taken it; the provider keeps nothing
	}
	// A key's variable is its own, so the order of the environment does not matter.
	provider := env.Provider(".", env.Opt{Prefix: EnvPrefix, TransformFunc: visit, EnvironFunc: func() []string { return environ }})
	if _, err := provider.Read(); err != nil {
		l.fault("", "environment", strings.TrimSpace(err.Error()), "")
	}
}
