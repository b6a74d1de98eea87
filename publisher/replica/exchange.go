package replica

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/go-faster/jx"
)

// exchange is one request and its answer. Its memory is used again.
type exchange struct {
	w     http.ResponseWriter
	req   *http.Request
	ctx   context.Context // the request's, with its span where it is traced
	lanes lanes           // that answer it, and no others (I8); without a version while none serves
	id    string          // the request's

	body []byte // as read
	in   jx.Decoder
	held int // bytes taken of the budget

	out         jx.Writer // the answer's body
	status      int
	contentType string
	written     bool // the endpoint has sent its answer itself
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// newExchange returns an exchange in which nothing has happened.
func newExchange(w http.ResponseWriter, req *http.Request) *exchange {
	x := exchanges.Get().(*exchange)
	*x = exchange{body: x.body, out: x.out, status: http.StatusOK, contentType: "application/json"}
	x.w, x.req, x.id = w, req, requestID(req.Header.Get(HeaderRequestID))
	return x
}

// maxKept is the most memory of an exchange that is kept for the next one.
const maxKept = 64 << 10

// release gives x back, without what it must not keep alive.
func (x *exchange) release() {
	*x = exchange{body: x.body[:0], out: jx.Writer{Buf: x.out.Buf[:0]}}
	if cap(x.body) > maxKept {
		x.body = nil
	}
	if cap(x.out.Buf) > maxKept {
		x.out.Buf = nil
	}
	exchanges.Put(x)
}

// from names the version of the answer in its head.
func (x *exchange) from(v *version) {
	x.w.Header().Set(HeaderVersion, strconv.FormatUint(uint64(v.number()), 10))
}

func (x *exchange) text(s string) error {
	x.contentType = "text/plain; charset=utf-8"
	x.out.Buf = append(x.out.Buf, s...)
	return nil
}

// fail makes the answer the fault.
func (x *exchange) fail(f *fault) {
	x.status, x.contentType = statusOf[f.code], "application/json"
	if f.retry > 0 || x.status == http.StatusTooManyRequests {
		x.w.Header().Set("Retry-After", f.retryAfter())
	}
	x.out.Reset()
	x.out.RawStr(`{"error":`)
	f.encode(&x.out, x.id)
	x.out.ObjEnd()
}

// hold accounts for what x holds, and for more that it is about to.
func (r *Replica) hold(x *exchange, more int) error {
	n := max(0, len(x.out.Buf)-freeBytes) + max(0, cap(x.body)+more-freeBytes)
	if n <= x.held {
		return nil
	}
	if !r.api.budget.take(n - x.held) {
		return r.shed(shedMemory, 0)
	}
	x.held = n
	return nil
}

// readBody reads the body of a POST, which must say that it is JSON.
func (r *Replica) readBody(x *exchange) error {
	if err := checkMediaType(x.req.Header); err != nil {
		return err
	}
	if x.req.ContentLength > maxBodyBytes {
		return tooLarge(x)
	}
	for {
		if len(x.body) == cap(x.body) {
			more := max(cap(x.body), 1<<10)
			if err := r.hold(x, more); err != nil {
				x.w.Header().Set("Connection", "close") // the rest of the body is not waited for
				return err
			}
			x.body = append(make([]byte, 0, cap(x.body)+more), x.body...)
		}
		n, err := x.req.Body.Read(x.body[len(x.body):cap(x.body)])
		x.body = x.body[:len(x.body)+n]
		switch {
		case len(x.body) > maxBodyBytes:
			return tooLarge(x)
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return &fault{code: codeSlow, message: fmt.Sprintf("the body took longer than %v to arrive", readTimeout)}
		case err != nil:
			return &fault{code: codeUnreadable, message: "the body could not be read to its end"}
		}
	}
}

func tooLarge(x *exchange) error {
	x.w.Header().Set("Connection", "close")
	return &fault{code: codeTooLarge, message: fmt.Sprintf("the body has more than %d bytes", maxBodyBytes)}
}

// checkMediaType refuses what says that it is something else than plain JSON. That a form or a script of another site cannot say it keeps their requests out, too.
func checkMediaType(h http.Header) error {
	if e := h.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return &fault{code: codeMediaType, message: fmt.Sprintf("the body is encoded as %.40q: send it plain", e)}
	}
	given := h.Get("Content-Type")
	if given == "application/json" {
		return nil
	}
	kind, params, err := mime.ParseMediaType(given)
	if err != nil || kind != "application/json" {
		return &fault{code: codeMediaType, message: fmt.Sprintf("the body is said to be %.80q: send the header Content-Type: application/json", given)}
	}
	if c := params["charset"]; c != "" && !strings.EqualFold(c, "utf-8") {
		return &fault{code: codeMediaType, message: fmt.Sprintf("the body is said to be in %.40q: JSON is UTF-8", c)}
	}
	return nil
}
