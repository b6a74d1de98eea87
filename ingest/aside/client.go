package aside

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/freshet-ml/freshet/schema"
)

// maxAnswerBytes bounds what a Client reads of an answer. A page has 4 MiB of keys and values and one record more, of which
// each byte takes at most eight as JSON.
const maxAnswerBytes = 512 << 20

// Client is the book of a running node. The zero HTTP client is one with a timeout of a minute.
type Client struct {
	BaseURL string // e.g. http://127.0.0.1:8080
	Token   string // bearer token; "" = none
	HTTP    *http.Client
}

var _ Book = Client{}

// do asks for path and hands the body of a good answer to read.
func (c Client) do(ctx context.Context, method, path string, body any, read func(h http.Header, in *json.Decoder) error) error {
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("aside: %w", err)
		}
		send = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(c.BaseURL, "/")+Prefix+path, send)
	if err != nil {
		return fmt.Errorf("aside: %w: give a URL such as http://127.0.0.1:8080", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	client := c.HTTP
	if client == nil {
		client = &http.Client{Timeout: time.Minute}
	}
	res, err := client.Do(req)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("aside: nothing listens at %s: give the address that the running freshet printed, or leave --server out and name its data directory", req.URL.Host)
	}
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		return fmt.Errorf("aside: %w: give the PEM file of who signs the server's certificate with --ca", err)
	}
	if err != nil {
		return fmt.Errorf("aside: %w", err)
	}
	defer res.Body.Close()
	in := json.NewDecoder(io.LimitReader(res.Body, maxAnswerBytes))
	if res.StatusCode != http.StatusOK {
		return c.fault(res, in)
	}
	if err := read(res.Header, in); err != nil {
		return fmt.Errorf("aside: the answer of %s is not that of a freshet with a store: %w", c.BaseURL, err)
	}
	return nil
}

// fault makes an error of an answer that is one.
func (c Client) fault(res *http.Response, in *json.Decoder) error {
	var body struct{ Error Fault }
	if in.Decode(&body) != nil || body.Error.Code == "" {
		body.Error = Fault{Code: "unknown", Message: http.StatusText(res.StatusCode)}
	}
	body.Error.Status = res.StatusCode
	switch res.StatusCode {
	case http.StatusUnauthorized:
		return fmt.Errorf("aside: %w: set FRESHET_SERVE_TOKEN or --token", &body.Error)
	case http.StatusNotFound:
		if strings.HasSuffix(body.Error.Message, ErrNone.Error()) {
			return fmt.Errorf("%s%w", strings.TrimSuffix(body.Error.Message, ErrNone.Error()), ErrNone)
		}
		return fmt.Errorf("aside: %w: %s is a freshet without a store; ask an ingest, train or up", &body.Error, c.BaseURL)
	}
	return fmt.Errorf("aside: %w", &body.Error)
}

// Page implements Book.
func (c Client) Page(ctx context.Context, f Filter, after Place, limit int) (page Page, err error) {
	q := f.query()
	q.Set("limit", strconv.Itoa(min(max(limit, 1), MaxPage)))
	if after != Start {
		q.Set("after", after.String())
	}
	err = c.do(ctx, http.MethodGet, "?"+q.Encode(), nil, func(h http.Header, in *json.Decoder) error {
		for {
			var r Record
			if err := in.Decode(&r); err == io.EOF {
				break
			} else if err != nil {
				return err
			}
			page.Records = append(page.Records, r.Rejected())
		}
		if next := h.Get(NextHeader); next != "" {
			page.More = true
			page.Next, err = ParsePlace(next)
		}
		return err
	})
	if err == nil && page.More && (page.Next.Partition < after.Partition || page.Next.Partition == after.Partition && page.Next.Offset <= after.Offset) {
		err = fmt.Errorf("aside: %s says to go on after %s, and %s was reached already", c.BaseURL, page.Next, after)
	}
	return page, err
}

// Record implements Book.
func (c Client) Record(ctx context.Context, at Place) (schema.Rejected, error) {
	var r Record
	path := "/" + url.PathEscape(strconv.Itoa(int(at.Partition))) + "/" + strconv.FormatInt(int64(at.Offset), 10)
	err := c.do(ctx, http.MethodGet, path, nil, func(_ http.Header, in *json.Decoder) error { return in.Decode(&r) })
	return r.Rejected(), err
}

// Summary implements Book.
func (c Client) Summary(ctx context.Context, f Filter) (s Summary, err error) {
	err = c.do(ctx, http.MethodGet, "/summary?"+f.query().Encode(), nil, func(_ http.Header, in *json.Decoder) error { return in.Decode(&s) })
	return s, err
}

// Remove implements Book.
func (c Client) Remove(ctx context.Context, places []Place) (n int, err error) {
	for len(places) > 0 {
		some := places[:min(len(places), MaxPage)]
		var body removed
		err := c.do(ctx, http.MethodPost, "/redriven", redriven{some}, func(_ http.Header, in *json.Decoder) error { return in.Decode(&body) })
		n += body.Removed
		if err != nil {
			return n, err
		}
		places = places[len(some):]
	}
	return n, nil
}
