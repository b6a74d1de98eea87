package decode

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
)

// RegistryConfig says where the schemas of framed records are: a registry with Confluent's API.
type RegistryConfig struct {
	// URLs are the addresses of the registry. They are tried in turn. None is no registry.
	URLs []string
	// User and Password, or Token alone, are what the registry asks for.
	User, Password, Token string
	// CAFile has the certificates that the registry's is signed with, in PEM; empty means those of the system.
	CAFile string
	// CertFile and KeyFile are what the registry is shown, where it asks for a certificate.
	CertFile, KeyFile string
	// Timeout bounds a look-up, with all that a schema refers to. Default 5s.
	Timeout time.Duration
}

// Unavailable is the error of a record that may be good: the registry did not say what its schema is. It passes: whoever
// has the record waits, and decodes it again.
type Unavailable struct{ Err error }

func (u Unavailable) Error() string { return u.Err.Error() }

func (u Unavailable) Unwrap() error { return u.Err }

// Temporary says that decoding the same bytes later may succeed.
func (u Unavailable) Temporary() bool { return true }

const (
	maxSchemas      = 1024            // that are remembered; a topic has a few
	maxReferences   = 100             // of one schema, all told
	defaultTimeout  = 5 * time.Second // more than a registry takes that is well
	restAfterOutage = time.Second     // how long a registry that failed is not asked again, by whatever number of partitions
	restAfterNone   = time.Minute     // how long a schema that does not exist is not asked for again
	confirmAfter    = 300 * time.Millisecond
	confirmEvery    = 10 * time.Second
)

// schemas are the schemas of a registry, ready to read with.
type schemas struct {
	client  *sr.Client
	where   string
	timeout time.Duration
	root    *node
	only    sr.SchemaType // of the schemas that may be read, if some
	all     bool          // all types may be read
	now     func() time.Time
	sleep   func(time.Duration)

	known atomic.Pointer[map[uint32]*known]

	mu        sync.Mutex // held while the registry is asked; guards what follows and the replacing of known
	restUntil time.Time
	outage    error
	confirmed time.Time // when a schema was last asked for twice and did not exist
}

// known is what has become known of a schema.
type known struct {
	reader   reader        // of Avro and JSON
	messages protoMessages // of Protobuf
	err      error         // it cannot be read with
	until    time.Time     // when to ask again; zero is never
}

func newSchemas(c RegistryConfig, root *node) (*schemas, error) {
	s := &schemas{timeout: c.Timeout, root: root, now: time.Now, sleep: time.Sleep}
	if s.timeout == 0 {
		s.timeout = defaultTimeout
	}
	s.known.Store(&map[uint32]*known{})
	var urls []string
	for _, text := range c.URLs {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, errors.New("schema registry: its address is not a URL: write http://host:8081")
		}
		if u.User != nil && c.User == "" { // not left in the URL, which errors show
			c.User = u.User.Username()
			c.Password, _ = u.User.Password()
		}
		u.User = nil
		urls = append(urls, u.String())
	}
	s.where = strings.Join(urls, ", ")
	secure, err := tlsConfig(c)
	if err != nil {
		return nil, fmt.Errorf("schema registry: %w", err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = secure
	transport.DisableKeepAlives = true // a handful of requests, and then none for days
	options := []sr.ClientOpt{
		sr.URLs(urls...), sr.UserAgent("freshet"),
		sr.HTTPClient(&http.Client{Transport: limited{transport}, Timeout: s.timeout / time.Duration(max(1, len(urls)))}), // so that a silent one leaves time for the next
	}
	switch {
	case c.User != "" && c.Token != "":
		return nil, errors.New("schema registry: both a user and a token are given: keep one")
	case c.User != "":
		options = append(options, sr.BasicAuth(c.User, c.Password))
	case c.Token != "":
		options = append(options, sr.BearerToken(c.Token))
	}
	if s.client, err = sr.NewClient(options...); err != nil {
		return nil, fmt.Errorf("schema registry: %w", err)
	}
	return s, nil
}

func tlsConfig(c RegistryConfig) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM", c.CAFile)
		}
	}
	if c.CertFile != "" || c.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cert_file and key_file: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// limited bounds the answers.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, 2*maxSchemaBytes), resp.Body} // twice: JSON escapes the quotes
	}
	return resp, err
}

// get returns the schema with an id. An error that is not an Unavailable is for good.
func (s *schemas) get(id uint32) (*known, error) {
	k := (*s.known.Load())[id]
	if k == nil || !k.until.IsZero() && s.now().After(k.until) {
		var err error
		if k, err = s.ask(id); err != nil {
			return nil, err
		}
	}
	return k, k.err
}

// ask asks the registry for a schema and remembers it. Only one asks at a time: what the others wait for is nearly always
// the same schema.
func (s *schemas) ask(id uint32) (*known, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := (*s.known.Load())[id]; k != nil && (k.until.IsZero() || !s.now().After(k.until)) {
		return k, nil
	}
	if s.now().Before(s.restUntil) {
		return nil, s.unavailable(id)
	}
	k, err := s.fetch(id)
	if err == nil && !k.until.IsZero() && s.now().Sub(s.confirmed) >= confirmEvery {
		// A registry of several nodes tells a producer the id of a new schema before all of its nodes know it. So it is
		// asked again, but not for every one of many records that only look as if they named a schema.
		s.sleep(confirmAfter)
		if k, err = s.fetch(id); err == nil && !k.until.IsZero() {
			s.confirmed = s.now()
		}
	}
	if err != nil {
		s.outage, s.restUntil = err, s.now().Add(restAfterOutage)
		return nil, s.unavailable(id)
	}
	s.remember(id, k)
	return k, nil
}

func (s *schemas) unavailable(id uint32) error {
	return Unavailable{fmt.Errorf("schema %d: %w", id, s.outage)}
}

// remember adds k to what is known. When that is full, schemas that do not exist are forgotten, and if that is not enough,
// all: they are asked for again.
func (s *schemas) remember(id uint32, k *known) {
	old := *s.known.Load()
	all := make(map[uint32]*known, len(old)+1)
	for id, k := range old {
		if len(old) < maxSchemas || k.until.IsZero() {
			all[id] = k
		}
	}
	if len(all) >= maxSchemas {
		clear(all)
	}
	all[id] = k
	s.known.Store(&all)
}

// fetch asks the registry for a schema and all that it refers to, and compiles it. The error says that the registry gave
// no answer; what is wrong with the schema is in what is returned.
func (s *schemas) fetch(id uint32) (*known, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	top, err := s.client.SchemaByID(ctx, int(id))
	if none(err) {
		return &known{
			err:   fmt.Errorf("the schema registry at %s has no schema %d: is it the registry of this topic's producer?", s.where, id),
			until: s.now().Add(restAfterNone),
		}, nil
	}
	if err != nil {
		return nil, s.noAnswer(err)
	}
	if !s.all && top.Type != s.only {
		return &known{err: fmt.Errorf("schema %d is of type %s, and source.format says %s", id, top.Type, strings.ToLower(s.only.String()))}, nil
	}
	references, err := s.references(ctx, top)
	if none(err) {
		return &known{err: fmt.Errorf("schema %d: the registry lacks what it refers to: %w", id, err), until: s.now().Add(restAfterNone)}, nil
	}
	if errors.Is(err, errReferences) {
		return &known{err: fmt.Errorf("schema %d: %w", id, err)}, nil
	}
	if err != nil {
		return nil, s.noAnswer(err)
	}
	k, err := compile(top, references, s.root)
	if err != nil {
		return &known{err: fmt.Errorf("schema %d: %w", id, err)}, nil
	}
	return k, nil
}

// reference is a schema that another one refers to.
type reference struct{ name, text string }

var errReferences = fmt.Errorf("it refers to more than %d schemas", maxReferences)

// references returns all that s refers to, those that are referred to before those that refer to them.
func (s *schemas) references(ctx context.Context, top sr.Schema) (all []reference, err error) {
	type version struct {
		subject string
		version int
	}
	asked := map[version]bool{}
	var visit func(of sr.Schema) error
	visit = func(of sr.Schema) error {
		for _, r := range of.References {
			v := version{r.Subject, r.Version}
			if asked[v] {
				continue
			}
			if asked[v] = true; len(asked) > maxReferences {
				return errReferences
			}
			found, err := s.client.SchemaByVersion(sr.WithParams(ctx, sr.ShowDeleted), r.Subject, r.Version)
			if err != nil {
				return fmt.Errorf("%s version %d: %w", r.Subject, r.Version, err)
			}
			if err := visit(found.Schema); err != nil {
				return err
			}
			all = append(all, reference{r.Name, found.Schema.Schema})
		}
		return nil
	}
	err = visit(top)
	return all, err
}

func compile(top sr.Schema, references []reference, root *node) (*known, error) {
	switch top.Type {
	case sr.TypeAvro:
		texts := make([]string, len(references))
		for i, r := range references {
			texts[i] = r.text
		}
		r, err := compileAvro(top.Schema, texts, root)
		return &known{reader: r}, err
	case sr.TypeJSON:
		return &known{reader: &jsonReader{root}}, nil
	case sr.TypeProtobuf:
		const name = "schema.proto" // no other file has to import it, so any name will do
		files := map[string]string{name: top.Schema}
		for _, r := range references {
			files[r.name] = r.text
		}
		file, err := compileProto(name, func(name string) (string, error) {
			text, ok := files[name]
			if !ok {
				return "", os.ErrNotExist
			}
			return text, nil
		})
		if err != nil {
			return nil, err
		}
		return &known{messages: newProtoMessages(file, root)}, nil
	}
	return nil, fmt.Errorf("its type %s is not known", top.Type)
}

// none says that the registry has answered that there is no such schema. A page that is not found, but not by a registry,
// is an address that is wrong.
func none(err error) bool {
	var answer *sr.ResponseError
	if !errors.As(err, &answer) {
		return false
	}
	return answer.ErrorCode == sr.ErrSchemaNotFound.Code || answer.ErrorCode == sr.ErrSubjectNotFound.Code || answer.ErrorCode == sr.ErrVersionNotFound.Code
}

// noAnswer says why the registry has not told.
func (s *schemas) noAnswer(err error) error {
	var answer *sr.ResponseError
	var request *url.Error
	switch {
	case errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		return fmt.Errorf("the schema registry at %s refuses (%d): check source.schema_registry.user and password, or token", s.where, answer.StatusCode)
	case errors.As(err, &answer):
		return fmt.Errorf("the schema registry at %s answers %d: %.200s: check that source.schema_registry.url is its address", s.where, answer.StatusCode, answer.Error())
	case errors.As(err, &request):
		err = request.Err
	}
	return fmt.Errorf("the schema registry at %s does not answer: %w: check source.schema_registry.url, and that it runs", s.where, err)
}

// check asks the registry for a schema that it does not have, as ids begin with 1.
func (s *schemas) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if _, err := s.client.SchemaByID(ctx, 0); err != nil && !none(err) {
		return s.noAnswer(err)
	}
	return nil
}
