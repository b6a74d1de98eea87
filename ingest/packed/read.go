package packed

import (
	"fmt"
	"unsafe"

	"github.com/freshet-ml/freshet/schema"
)

// Read reads the packed click that b begins with into c, all but its user, and returns what follows it. The strings and the
// context share b's memory, which must not change while they are used. It takes any bytes: what is no packed click is an
// ErrCorrupt.
func Read(b []byte, c *schema.Click) (rest []byte, err error) {
	*c = schema.Click{}
	r := reader{b: b, text: unsafe.String(unsafe.SliceData(b), len(b)), size: len(b), shared: true}
	r.click(c, true)
	if r.fault != "" {
		return nil, fmt.Errorf("%w: %s at byte %d of %d", ErrCorrupt, r.fault, r.at, r.size)
	}
	return r.b, nil
}
