package replica

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/propagation"
)

const (
	maxAnswerBytes = 8 << 20          // what a Client reads of an answer: a batch of the most items with long ids fits
	maxErrorBytes  = 64 << 10         // of an error
	callTimeout    = 10 * time.Second // of a call whose context has no deadline
)

// Client asks replicas of one model. Its fields are set before the first call; it may then be used by several goroutines. With BaseURL alone it is ready.
//
// Recommendations change nothing where they are asked for, so a call that fails is tried again, and with several replicas elsewhere; one that is slow is hedged: another
// replica is asked as well, the first good answer counts, and the other is cancelled. Both come out of allowances that grow with the calls, so that a client whose
// replicas are all in trouble adds little to it. A replica that refuses or does not answer is left alone for a while, as long as it says where it says so.
type Client struct {
	BaseURL  string   // e.g. http://127.0.0.1:8080
	Replicas []string // the base URLs of more of them
	Token    string   // bearer token; "" = none
	HTTP     *http.Client

	Retries    int           // of one call, beyond the first attempt; default 2, negative = none
	HedgeAfter time.Duration // 0 = after the time within which 19 of 20 recent answers came; negative = never

	clock clock // of a test; the zero value is the machine's

	mu      sync.Mutex
	servers []*server // one for each replica
	turn    int       // rotates the choice among equals
	recent  latencies
	retries allowance
	hedges  allowance
}

// Error is an error that a replica answered with.
type Error struct {
	Status     int           // HTTP status
	Code       string        // e.g. "invalid_request"
	Message    string        // a sentence for people
	Field      string        // the field of the request that is at fault; "" where none is
	RequestID  string        // names the request in the replica's log
	RetryAfter time.Duration // when the replica asks to come again; 0 where it does not say
}

func (e *Error) Error() string {
	if e.Field != "" {
		return fmt.Sprintf("replica answers %d %s: %s (field %s)", e.Status, e.Code, e.Message, e.Field)
	}
	return fmt.Sprintf("replica answers %d %s: %s", e.Status, e.Code, e.Message)
}

// Recommend asks for recommendations. An answer with an error is an *Error.
func (c *Client) Recommend(ctx context.Context, q Request) (Answer, error) {
	var a Answer
	return a, c.ask(ctx, "/v1/recommend", q, &a)
}

// BatchAnswer is the answer to one request of a batch, or the error in its place.
type BatchAnswer struct {
	Answer
	Err *Error // nil = there is an answer
}

// RecommendBatch asks for the answers to up to 100 requests, which come from one version and in the same order.
func (c *Client) RecommendBatch(ctx context.Context, requests []Request) ([]BatchAnswer, error) {
	var w struct {
		Answers []struct {
			Answer
			Error *wireError `json:"error"`
		} `json:"answers"`
	}
	body := struct {
		Requests []Request `json:"requests"`
	}{requests}
	if err := c.ask(ctx, "/v1/batch", body, &w); err != nil {
		return nil, err
	}
	if len(w.Answers) != len(requests) {
		return nil, fmt.Errorf("recommend: %d answers to %d requests: the answer is not of a replica", len(w.Answers), len(requests))
	}
	out := make([]BatchAnswer, len(w.Answers))
	for i, a := range w.Answers {
		out[i].Answer = a.Answer
		if a.Error != nil {
			out[i].Err = a.Error.as(statusOf[code(a.Error.Code)])
		}
	}
	return out, nil
}

// wireError is an error as it comes.
type wireError struct {
	Code      string `json:"code"`
	Message   string `json:"message"`
	Field     string `json:"field"`
	RequestID string `json:"request_id"`
}

func (w *wireError) as(status int) *Error {
	return &Error{Status: status, Code: w.Code, Message: w.Message, Field: w.Field, RequestID: w.RequestID}
}

// ask posts q to a path of the replicas and reads the answer.
func (c *Client) ask(ctx context.Context, path string, q, answer any) error {
	body, err := json.Marshal(q)
	if err != nil {
		return fmt.Errorf("recommend: %w", err)
	}
	b, err := c.call(ctx, path, body)
	late := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	if refusal := new(Error); !late && errors.As(err, &refusal) {
		return refusal
	}
	if err != nil {
		return fmt.Errorf("recommend: %w", err)
	}
	if err := json.Unmarshal(b, answer); err != nil {
		return fmt.Errorf("recommend: the answer is not of a replica: %w", err)
	}
	return nil
}

// attempt asks one replica once.
func (c *Client) attempt(ctx context.Context, base, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, bytes.NewReader(body))
	if err != nil {
		return nil, &unusable{err}
	}
	req.Header.Set("Content-Type", "application/json")
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	w3c.Inject(ctx, propagation.HeaderCarrier(req.Header))
	client := c.HTTP
	if client == nil {
		client = sharedHTTP()
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: is a replica running there?", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, readError(res)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes+1))
	if err == nil && len(b) > maxAnswerBytes {
		err = &unusable{fmt.Errorf("the answer has more than %d bytes", maxAnswerBytes)}
	}
	return b, err
}

// unusable is an error that another attempt would have as well.
type unusable struct{ error }

func (u *unusable) Unwrap() error { return u.error }

// readError reads the error of an answer, which may be a proxy's.
func readError(res *http.Response) *Error {
	e := &Error{Status: res.StatusCode, Code: "unknown", Message: http.StatusText(res.StatusCode), RequestID: res.Header.Get(HeaderRequestID)}
	var w struct {
		Error wireError `json:"error"`
	}
	if b, err := io.ReadAll(io.LimitReader(res.Body, maxErrorBytes)); err == nil && json.Unmarshal(b, &w) == nil && w.Error.Code != "" {
		e = w.Error.as(res.StatusCode)
	}
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(min(seconds, 3600)) * time.Second
	}
	return e
}

// worthRetrying reports whether another attempt, or another replica, may answer what failed with err: not where the request is wrong.
func worthRetrying(err error) bool {
	if errors.As(err, new(*unusable)) {
		return false
	}
	if e := new(Error); errors.As(err, &e) {
		return e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout || e.Status >= 500
	}
	return true
}

// sharedHTTP is what clients use that are given none: connections are kept for as many calls as a busy caller has open.
var sharedHTTP = sync.OnceValue(func() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 64
	return &http.Client{Transport: t}
})

// bases lists the replicas' base URLs.
func (c *Client) bases() (out []string) {
	for _, base := range append([]string{c.BaseURL}, c.Replicas...) {
		if base = strings.TrimRight(base, "/"); base != "" {
			out = append(out, base)
		}
	}
	return out
}
