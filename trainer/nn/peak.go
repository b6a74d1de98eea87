package nn

import (
	"sync"
	"time"
)

// peakSize is the side of the matrices that Peak multiplies: large enough that the product, and not the call or the memory, is what takes the time.
const peakSize = 1024

// Peak returns the floating point operations per second that the engine reaches in float32 products of 1024×1024 matrices, on so many threads at
// the same time, each with matrices of its own. It measures for about d, and for at least one product a thread; a product that is not counted goes ahead
// of it, so that memory and caches are warm. What a network reaches is a share of this.
func Peak(threads int, d time.Duration) (flops float64) {
	threads = max(1, threads)
	perSecond := make([]float64, threads)
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	ready.Add(threads)
	for t := range threads {
		done.Go(func() {
			data := make([]float32, 3*peakSize*peakSize)
			for i := range data {
				data[i] = float32(i%7) / 8 // neither zeros nor numbers so small that they are slow
			}
			a, rest := Whole(data[:peakSize*peakSize], peakSize), data[peakSize*peakSize:]
			b, c := Whole(rest[:peakSize*peakSize], peakSize), Whole(rest[peakSize*peakSize:], peakSize)
			Gemm(c, Plain, Plain, 1, a, b, 0)
			ready.Done()
			<-begin
			began, products := time.Now(), 0
			for products == 0 || time.Since(began) < d {
				Gemm(c, Plain, Plain, 1, a, b, 0)
				products++
			}
			perSecond[t] = float64(products) * 2 * peakSize * peakSize * peakSize / time.Since(began).Seconds()
		})
	}
	ready.Wait()
	close(begin)
	done.Wait()
	for _, f := range perSecond {
		flops += f
	}
	return flops
}
