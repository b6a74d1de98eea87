package replica

import "weak"

// StableIsFreed returns a function that says whether the model that answers in the stable lane now has been freed.
func (r *Replica) StableIsFreed() func() bool {
	w := weak.Make(r.lanes().stable.served)
	return func() bool { return w.Value() == nil }
}
