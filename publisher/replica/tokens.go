package replica

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
)

// maxTokens bounds the lines of a token file: every request is compared with all of them.
const maxTokens = 1000

// Tokens are the bearer tokens that callers may send. The zero value asks for none.
type Tokens struct {
	fixed [][sha256.Size]byte
	file  *reloaded[[][sha256.Size]byte] // nil = none
}

// OpenTokens returns a token and those of a file, one a line; blank lines and those that begin with # do not count. Either may be "". The file is read again when it
// changes, so that a token is replaced by adding the new one, changing the callers, and taking the old one away. failed hears of a file that cannot be read any more;
// the tokens it had go on to count.
func OpenTokens(token, file string, now func() time.Time, failed func(error)) (*Tokens, error) {
	t := new(Tokens)
	if token != "" {
		t.fixed = append(t.fixed, sha256.Sum256([]byte(token)))
	}
	if file == "" {
		return t, nil
	}
	t.file = &reloaded[[][sha256.Size]byte]{files: []string{file}, now: now, failed: failed,
		read: func() ([][sha256.Size]byte, error) { return readTokens(file) }}
	return t, t.file.load()
}

// FirstToken returns the first token of such a file, for a caller that has it at hand.
func FirstToken(file string) (string, error) {
	tokens, err := linesOf(file)
	if err != nil {
		return "", err
	}
	return tokens[0], nil
}

func readTokens(file string) (sums [][sha256.Size]byte, err error) {
	tokens, err := linesOf(file)
	for _, token := range tokens {
		sums = append(sums, sha256.Sum256([]byte(token)))
	}
	return sums, err
}

func linesOf(file string) (tokens []string, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
			tokens = append(tokens, line)
		}
	}
	switch {
	case lines.Err() != nil:
		return nil, fmt.Errorf("read tokens of %s: %w", file, lines.Err())
	case len(tokens) == 0: // an empty file must not open the door
		return nil, fmt.Errorf("read tokens of %s: it has none: write one a line", file)
	case len(tokens) > maxTokens:
		return nil, fmt.Errorf("read tokens of %s: it has %d, at most %d are allowed", file, len(tokens), maxTokens)
	}
	return tokens, nil
}

// Asked reports whether callers have to send a token at all.
func (t *Tokens) Asked() bool { return len(t.fixed) > 0 || t.file != nil }

// errNoToken is of a request without a token that counts.
var errNoToken = errors.New("send the header Authorization: Bearer and the token")

// Check returns who sends a request, as a word that tells tokens apart and does not show them, or an error. It compares digests with all tokens, so that neither their
// content, nor their length, nor their place shows in the time taken.
func (t *Tokens) Check(header http.Header) (caller string, err error) {
	scheme, token, _ := strings.Cut(header.Get("Authorization"), " ")
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	found := 0
	for i := range t.fixed {
		found |= subtle.ConstantTimeCompare(sum[:], t.fixed[i][:])
	}
	if t.file != nil {
		listed := t.file.get()
		for i := range listed {
			found |= subtle.ConstantTimeCompare(sum[:], listed[i][:])
		}
	}
	if found == 0 || !strings.EqualFold(scheme, "bearer") {
		return "", errNoToken
	}
	return hex.EncodeToString(sum[:8]), nil
}
