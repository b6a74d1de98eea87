package replica

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-faster/jx"
)

// code names a kind of fault in the answers of the API. Callers branch on it, so a code keeps its meaning.
type code string

// The codes of faults.
const (
	codeInvalid     code = "invalid_request"
	codeMalformed   code = "malformed_json"
	codeUnreadable  code = "unreadable"
	codeToken       code = "unauthorized"
	codeNotFound    code = "not_found"
	codeMethod      code = "method_not_allowed"
	codeSlow        code = "timeout"
	codeTooLarge    code = "too_large"
	codeMediaType   code = "unsupported_media_type"
	codeRateLimited code = "rate_limited"
	codeOverloaded  code = "overloaded"
	codeInternal    code = "internal"
	codeNotReady    code = "not_ready"
)

// statusOf gives each code its one HTTP status. The OpenAPI document lists the same.
var statusOf = map[code]int{
	codeInvalid: http.StatusBadRequest, codeMalformed: http.StatusBadRequest, codeUnreadable: http.StatusBadRequest,
	codeToken: http.StatusUnauthorized, codeNotFound: http.StatusNotFound, codeMethod: http.StatusMethodNotAllowed,
	codeSlow: http.StatusRequestTimeout, codeTooLarge: http.StatusRequestEntityTooLarge, codeMediaType: http.StatusUnsupportedMediaType,
	codeRateLimited: http.StatusTooManyRequests, codeOverloaded: http.StatusTooManyRequests,
	codeInternal: http.StatusInternalServerError, codeNotReady: http.StatusServiceUnavailable,
}

// fault is why a request is not answered, as its caller is told.
type fault struct {
	code    code
	message string
	field   string        // of the request; "" where none is at fault
	retry   time.Duration // after which a retry may succeed; 0 = it is not said
}

func (f *fault) Error() string { return f.message }

func invalid(field, format string, args ...any) *fault {
	return &fault{code: codeInvalid, message: fmt.Sprintf(format, args...), field: field}
}

// retryAfter is the header's value: whole seconds, at least one, since fewer cannot be said.
func (f *fault) retryAfter() string {
	return strconv.Itoa(max(1, int((f.retry+time.Second-1)/time.Second)))
}

// encode writes {"code","message","field","request_id"}; the field is left out where there is none, the id where it stands elsewhere.
func (f *fault) encode(w *jx.Writer, requestID string) {
	w.RawStr(`{"code":`)
	w.Str(string(f.code))
	w.RawStr(`,"message":`)
	w.Str(f.message)
	if f.field != "" {
		w.RawStr(`,"field":`)
		w.Str(f.field)
	}
	if requestID != "" {
		w.RawStr(`,"request_id":`)
		w.Str(requestID)
	}
	w.ObjEnd()
}
