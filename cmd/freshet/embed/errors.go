package embed

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// startError turns the usual reasons for which a server does not start into a sentence with the next step in it.
func startError(server, portKey string, port int, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: port %d on 127.0.0.1 is in use: stop the program that holds it, or set %s to another port (0 picks a free one): %w",
			server, port, portKey, err)
	case errors.Is(err, syscall.EACCES) && port > 0 && port < 1024:
		return fmt.Errorf("%s: port %d needs privileges: set %s to a port above 1023: %w", server, port, portKey, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w: make the data directory writable, or give another --data-dir", server, err)
	}
	return fmt.Errorf("%s: %w", server, err)
}
