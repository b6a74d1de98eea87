package publisher_test

import (
	"fmt"
	"time"

	"github.com/freshet-ml/freshet/publisher"
)

func ExampleBackoff() {
	b := publisher.Backoff{First: 100 * time.Millisecond, Most: time.Second, Rand: func() float64 { return 0.5 }}
	for failed := 1; failed <= 6; failed++ {
		fmt.Println(b.Delay(failed))
	}
	// Output:
	// 75ms
	// 150ms
	// 300ms
	// 600ms
	// 750ms
	// 750ms
}
