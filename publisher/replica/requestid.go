package replica

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// HeaderRequestID names a request in the answer, in errors and in the log, so that one can be found by the other.
const HeaderRequestID = "X-Request-Id"

// maxRequestID bounds what is taken over from a caller.
const maxRequestID = 128

// requestID returns the caller's id of a request where it is 1 to 128 visible ASCII characters, else a new one. Anything else could forge lines of the log.
func requestID(given string) string {
	if given == "" || len(given) > maxRequestID {
		return newRequestID()
	}
	for i := range len(given) {
		if given[i] <= ' ' || given[i] > '~' {
			return newRequestID()
		}
	}
	return given
}

// newRequestID returns 32 hexadecimal digits. They tell requests apart and keep no secret.
func newRequestID() string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64())
	return hex.EncodeToString(b[:])
}
