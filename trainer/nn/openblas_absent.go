//go:build !linux || !(amd64 || arm64) || static

package nn

import "gorgonia.org/tensor"

// openBLAS has nothing to load: a static program cannot, and on other systems nobody has tried.
func openBLAS() (tensor.BLAS, string, bool) { return nil, "", false }
