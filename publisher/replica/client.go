package replica

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// maxAnswerBytes bounds what a Client reads: 1000 items with the longest ids fit several times.
const maxAnswerBytes = 8 << 20

// Client asks a replica. The zero HTTP client is one with a timeout of 10 s.
type Client struct {
	BaseURL string // e.g. http://127.0.0.1:8080
	Token   string // bearer token; "" = none
	HTTP    *http.Client
}

// Error is an error that a replica answered with.
type Error struct {
	Status  int    // HTTP status
	Code    string // e.g. "invalid_request"
	Message string
	Field   string // the field of the request that is at fault; "" where none is
}

func (e *Error) Error() string {
	if e.Field != "" {
		return fmt.Sprintf("replica answers %d %s: %s (field %s)", e.Status, e.Code, e.Message, e.Field)
	}
	return fmt.Sprintf("replica answers %d %s: %s", e.Status, e.Code, e.Message)
}

// Recommend asks for recommendations. An answer with an error is an *Error.
func (c Client) Recommend(ctx context.Context, q Request) (Answer, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return Answer{}, fmt.Errorf("recommend: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(c.BaseURL, "/")+"/v1/recommend", bytes.NewReader(body))
	if err != nil {
		return Answer{}, fmt.Errorf("recommend: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	client := c.HTTP
	if client == nil {
		client = &http.Client{Timeout: 10 * time.Second}
	}
	res, err := client.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("recommend: %w: is a replica running there?", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes))
	if err != nil {
		return Answer{}, fmt.Errorf("recommend: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		var w struct {
			Error struct{ Code, Message, Field string }
		}
		if json.Unmarshal(b, &w) != nil || w.Error.Code == "" {
			return Answer{}, &Error{Status: res.StatusCode, Code: "unknown", Message: http.StatusText(res.StatusCode)}
		}
		return Answer{}, &Error{res.StatusCode, w.Error.Code, w.Error.Message, w.Error.Field}
	}
	var a Answer
	if err := json.Unmarshal(b, &a); err != nil {
		return Answer{}, fmt.Errorf("recommend: the answer is not of a replica: %w", err)
	}
	return a, nil
}
