package nn

// Workspace lends memory for the activations of one pass: all of it comes back at Reset, so that a steady stream of batches
// allocates nothing.
type Workspace[F Float] struct {
	slab []F
	used int
	need int // what the pass has asked for so far; the next slab is at least that
}

// Reset takes everything back. Slices taken before must not be used any more.
func (w *Workspace[F]) Reset() {
	if w.need > len(w.slab) {
		w.slab = make([]F, w.need+w.need/4)
	}
	w.used, w.need = 0, 0
}

// Take lends n numbers of any value.
func (w *Workspace[F]) Take(n int) []F {
	w.need += n
	if w.used+n > len(w.slab) {
		return make([]F, n)
	}
	w.used += n
	return w.slab[w.used-n : w.used : w.used]
}

// Zeros lends n zeros.
func (w *Workspace[F]) Zeros(n int) []F {
	x := w.Take(n)
	clear(x)
	return x
}
