package aside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"strconv"

	"github.com/freshet-ml/freshet/schema"
)

// Prefix begins every path of the API.
const Prefix = "/v1/aside"

// NextHeader names the place to go on after.
const NextHeader = "X-Freshet-Next"

const (
	defaultPage  = 100
	maxBodyBytes = 64 << 10 // a place has at most 30 bytes
	// readers is how many requests read the store at a time: each may read all that is aside. The others wait.
	readers = 2
)

// server answers for one book.
type server struct {
	book  Book
	check func(http.Header) error // nil asks for no token
	turns chan struct{}
	log   *slog.Logger
}

// Handler serves book as doc.go describes, to callers whose header check accepts; nil accepts all.
func Handler(book Book, check func(http.Header) error, log *slog.Logger) http.Handler {
	s := &server{book: book, check: check, turns: make(chan struct{}, readers), log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Prefix, s.guarded(s.page))
	mux.HandleFunc("GET "+Prefix+"/summary", s.guarded(s.summary))
	mux.HandleFunc("GET "+Prefix+"/{partition}/{offset}", s.guarded(s.record))
	mux.HandleFunc("POST "+Prefix+"/redriven", s.guarded(s.redriven))
	return mux
}

// Fault is an error that the API answered with.
type Fault struct {
	Status  int    `json:"-"` // HTTP status
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"` // the parameter that is at fault
}

func (f *Fault) Error() string {
	if f.Field != "" {
		return fmt.Sprintf("freshet answers %d %s: %s (%s)", f.Status, f.Code, f.Message, f.Field)
	}
	return fmt.Sprintf("freshet answers %d %s: %s", f.Status, f.Code, f.Message)
}

func badRequest(field string, err error) *Fault {
	return &Fault{http.StatusBadRequest, "invalid_request", err.Error(), field}
}

// guarded wraps an endpoint: token and errors.
func (s *server) guarded(answer func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := s.admit(r)
		if err == nil {
			err = answer(w, r)
		}
		if err == nil || r.Context().Err() != nil {
			return
		}
		var f *Fault
		switch {
		case errors.As(err, &f):
		case errors.Is(err, ErrNone):
			f = &Fault{http.StatusNotFound, "not_found", err.Error(), ""}
		default:
			s.log.Error("the records aside cannot be read", "error", err)
			f = &Fault{http.StatusInternalServerError, "internal", "the records aside cannot be read; the log says why", ""}
		}
		if f.Status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		w.Header().Del(NextHeader)
		s.json(w, f.Status, map[string]*Fault{"error": f})
	}
}

// admit checks the token.
func (s *server) admit(r *http.Request) error {
	if s.check == nil {
		return nil
	}
	if err := s.check(r.Header); err != nil {
		return &Fault{http.StatusUnauthorized, "unauthorized", err.Error(), ""}
	}
	return nil
}

// turn calls f when fewer than readers others read.
func (s *server) turn(ctx context.Context, f func() error) error {
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
		return f()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *server) json(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic("aside: answer: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(text, '\n')) // an error here means that the caller has gone
}

func (s *server) page(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f, err := parseFilter(q, "limit", "after")
	if err != nil {
		return err
	}
	limit := defaultPage
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > MaxPage {
			return badRequest("limit", fmt.Errorf("%q: must be a number from 1 to %d", text, MaxPage))
		}
	}
	after := Start
	if text := q.Get("after"); text != "" {
		if after, err = ParsePlace(text); err != nil {
			return badRequest("after", err)
		}
	}
	var page Page
	if err := s.turn(r.Context(), func() (err error) {
		page, err = s.book.Page(r.Context(), f, after, limit)
		return err
	}); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/jsonl")
	if page.More {
		w.Header().Set(NextHeader, page.Next.String())
	}
	var line []byte
	for i := range page.Records {
		line = AppendLine(line[:0], &page.Records[i])
		if _, err := w.Write(line); err != nil {
			panic(http.ErrAbortHandler) // the caller is gone
		}
	}
	return nil
}

func (s *server) summary(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilter(r.URL.Query())
	if err != nil {
		return err
	}
	var sum Summary
	if err := s.turn(r.Context(), func() (err error) {
		sum, err = s.book.Summary(r.Context(), f)
		return err
	}); err != nil {
		return err
	}
	s.json(w, http.StatusOK, sum)
	return nil
}

func (s *server) record(w http.ResponseWriter, r *http.Request) error {
	at, err := ParsePlace(r.PathValue("partition") + ":" + r.PathValue("offset"))
	if err != nil {
		return badRequest("", err)
	}
	record, err := s.book.Record(r.Context(), at)
	if err != nil {
		return err
	}
	s.json(w, http.StatusOK, RecordOf(&record))
	return nil
}

// redriven removes. It insists on a JSON content type: a page of another site can make a browser send anything else here.
func (s *server) redriven(w http.ResponseWriter, r *http.Request) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &Fault{http.StatusUnsupportedMediaType, "unsupported_media_type", "send the header Content-Type: application/json", ""}
	}
	var body redriven
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	in.DisallowUnknownFields()
	if err := in.Decode(&body); err != nil {
		return badRequest("", fmt.Errorf("%w: send {\"records\":[\"PARTITION:OFFSET\",…]}", err))
	}
	if _, err := in.Token(); err != io.EOF {
		return badRequest("", errors.New("there is something behind the object"))
	}
	if len(body.Records) == 0 || len(body.Records) > MaxPage {
		return badRequest("records", fmt.Errorf("%d records: send from 1 to %d", len(body.Records), MaxPage))
	}
	n, err := s.book.Remove(r.Context(), body.Records)
	if err != nil {
		return err
	}
	s.json(w, http.StatusOK, removed{n})
	return nil
}

type redriven struct {
	Records []Place `json:"records"`
}

type removed struct {
	Removed int `json:"removed"`
}

// parseFilter reads the filter of a query, which may have the parameters of others beside it and no more.
func parseFilter(q url.Values, others ...string) (f Filter, err error) {
	for name, values := range q {
		for _, text := range values {
			if err := f.set(name, text, others); err != nil {
				return Filter{}, badRequest(name, err)
			}
		}
	}
	if err := f.Validate(); err != nil {
		return Filter{}, badRequest("", err)
	}
	return f, nil
}

func (f *Filter) set(name, text string, others []string) error {
	var n int64
	var err error
	switch name {
	case "reason":
		f.Reasons = append(f.Reasons, schema.Reason(text))
	case "partition":
		n, err = strconv.ParseInt(text, 10, 32)
		f.Partitions = append(f.Partitions, schema.Partition(n))
	case "since":
		n, err = strconv.ParseInt(text, 10, 64)
		f.Since = schema.ArrivalTime(n)
	case "until":
		n, err = strconv.ParseInt(text, 10, 64)
		f.Until = schema.ArrivalTime(n)
	default:
		for _, o := range others {
			if o == name {
				return nil
			}
		}
		return errors.New("there is no such parameter")
	}
	if err != nil {
		return fmt.Errorf("%q is not a number", text)
	}
	return nil
}

// query is parseFilter backwards.
func (f Filter) query() url.Values {
	q := url.Values{}
	for _, r := range f.Reasons {
		q.Add("reason", string(r))
	}
	for _, p := range f.Partitions {
		q.Add("partition", strconv.Itoa(int(p)))
	}
	if f.Since != 0 {
		q.Set("since", strconv.FormatInt(int64(f.Since), 10))
	}
	if f.Until != 0 {
		q.Set("until", strconv.FormatInt(int64(f.Until), 10))
	}
	return q
}
