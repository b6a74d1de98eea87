//go:build linux && (amd64 || arm64) && !static

package nn

import (
	"bytes"
	"os"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/gonum"
	"gorgonia.org/tensor"
)

// openBLASNames are tried in order. The first is the name that distributions install for use at run time.
var openBLASNames = []string{"libopenblas.so.0", "libopenblas.so"}

// openBLASEngine calls OpenBLAS for the four products the network uses and leaves the rest of BLAS to gonum. It uses the Fortran
// names (sgemm_, ...), which take every argument by pointer: a foreign call with integer arguments only, which needs no
// reflection and costs some 0.2 µs.
type openBLASEngine struct {
	gonum.Implementation
	sgemm, dgemm, sgemv, dgemv uintptr
}

// frame holds the arguments of one call. It lives on the heap, and so does everything its pointers point to: the
// addresses stay what they are while C runs.
type frame struct {
	transA, transB              byte
	m, n, k, lda, ldb, ldc, one int32
	alpha32, beta32             float32
	alpha64, beta64             float64
	a, b, c                     unsafe.Pointer
	args                        [13]uintptr
}

var frames = sync.Pool{New: func() any { return &frame{one: 1} }}

// openBLAS loads the library, if the machine has it.
func openBLAS() (tensor.BLAS, string, bool) {
	chooseKernel()
	for _, name := range openBLASNames {
		lib, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err != nil {
			continue
		}
		var e openBLASEngine
		var threads, config, core uintptr
		for symbol, at := range map[string]*uintptr{
			"sgemm_": &e.sgemm, "dgemm_": &e.dgemm, "sgemv_": &e.sgemv, "dgemv_": &e.dgemv,
			"openblas_set_num_threads": &threads, "openblas_get_config": &config, "openblas_get_corename": &core,
		} {
			if *at, err = purego.Dlsym(lib, symbol); err != nil {
				break
			}
		}
		if err != nil {
			continue // another BLAS under this name
		}
		purego.SyscallN(threads, 1) // one thread: one order of summation, whatever else runs on the machine
		words := strings.Fields(cString(config))
		if len(words) > 2 {
			words = words[:2] // "OpenBLAS 0.3.21"; the build options follow
		}
		return &e, strings.Join(words, " ") + " (" + cString(core) + "), 1 thread", true
	}
	return nil, "", false
}

// chooseKernel asks for the AVX-512 kernels where the processor has them. OpenBLAS picks by processor name, and takes those it does
// not know yet for Haswell: half the speed. What the environment says already is left alone.
func chooseKernel() {
	if runtime.GOARCH != "amd64" || os.Getenv("OPENBLAS_CORETYPE") != "" {
		return
	}
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return
	}
	_, info, _ = bytes.Cut(info, []byte("\nflags"))
	flags, _, _ := bytes.Cut(info, []byte("\n"))
	for _, f := range []string{" avx512f", " avx512dq", " avx512bw", " avx512vl", " avx512cd"} {
		if !bytes.Contains(append(flags, ' '), []byte(f+" ")) {
			return
		}
	}
	setenv, err := purego.Dlsym(purego.RTLD_DEFAULT, "setenv") // the C library's own copy of the environment is what OpenBLAS reads
	if err != nil {
		return
	}
	key, value := []byte("OPENBLAS_CORETYPE\x00"), []byte("SkylakeX\x00")
	purego.SyscallN(setenv, uintptr(unsafe.Pointer(&key[0])), uintptr(unsafe.Pointer(&value[0])), 1)
	runtime.KeepAlive(key)
	runtime.KeepAlive(value)
}

// cString calls a C function without arguments that returns a string.
func cString(function uintptr) string {
	var f func() string
	purego.RegisterFunc(&f, function)
	return f()
}

func (f *frame) shape(tA, tB blas.Transpose, m, n, k, lda, ldb, ldc int) {
	f.transA, f.transB = byte(tA), byte(tB)
	f.m, f.n, f.k, f.lda, f.ldb, f.ldc = int32(m), int32(n), int32(k), int32(lda), int32(ldb), int32(ldc)
}

func address[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

// call passes (transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc). Fortran's matrices are stored by columns, so ours are
// their transposes: cᵀ = bᵀ·aᵀ, a and b change places, and so do m and n.
func (f *frame) gemm(function, alpha, beta uintptr) {
	f.args = [13]uintptr{
		address(&f.transB), address(&f.transA), address(&f.n), address(&f.m), address(&f.k), alpha,
		uintptr(f.b), address(&f.ldb), uintptr(f.a), address(&f.lda), beta, uintptr(f.c), address(&f.ldc),
	}
	purego.SyscallN(function, f.args[:]...)
	f.release()
}

// gemv passes (trans, m, n, alpha, a, lda, x, incx, beta, y, incy) for a row-major a of f.m rows: Fortran sees aᵀ.
func (f *frame) gemv(function, alpha, beta uintptr) {
	if f.transA == byte(blas.NoTrans) {
		f.transA = byte(blas.Trans)
	} else {
		f.transA = byte(blas.NoTrans)
	}
	f.args = [13]uintptr{
		address(&f.transA), address(&f.n), address(&f.m), alpha, uintptr(f.a), address(&f.lda),
		uintptr(f.b), address(&f.ldb), beta, uintptr(f.c), address(&f.ldc),
	}
	purego.SyscallN(function, f.args[:11]...)
	f.release()
}

func (f *frame) release() {
	f.a, f.b, f.c = nil, nil, nil
	frames.Put(f)
}

func (e *openBLASEngine) Sgemm(tA, tB blas.Transpose, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	f := frames.Get().(*frame)
	f.shape(tA, tB, m, n, k, lda, ldb, ldc)
	f.alpha32, f.beta32 = alpha, beta
	f.a, f.b, f.c = unsafe.Pointer(&a[0]), unsafe.Pointer(&b[0]), unsafe.Pointer(&c[0])
	f.gemm(e.sgemm, address(&f.alpha32), address(&f.beta32))
}

func (e *openBLASEngine) Dgemm(tA, tB blas.Transpose, m, n, k int, alpha float64, a []float64, lda int, b []float64, ldb int, beta float64, c []float64, ldc int) {
	f := frames.Get().(*frame)
	f.shape(tA, tB, m, n, k, lda, ldb, ldc)
	f.alpha64, f.beta64 = alpha, beta
	f.a, f.b, f.c = unsafe.Pointer(&a[0]), unsafe.Pointer(&b[0]), unsafe.Pointer(&c[0])
	f.gemm(e.dgemm, address(&f.alpha64), address(&f.beta64))
}

func (e *openBLASEngine) Sgemv(tA blas.Transpose, m, n int, alpha float32, a []float32, lda int, x []float32, incX int, beta float32, y []float32, incY int) {
	f := frames.Get().(*frame)
	f.shape(tA, tA, m, n, 0, lda, incX, incY)
	f.alpha32, f.beta32 = alpha, beta
	f.a, f.b, f.c = unsafe.Pointer(&a[0]), unsafe.Pointer(&x[0]), unsafe.Pointer(&y[0])
	f.gemv(e.sgemv, address(&f.alpha32), address(&f.beta32))
}

func (e *openBLASEngine) Dgemv(tA blas.Transpose, m, n int, alpha float64, a []float64, lda int, x []float64, incX int, beta float64, y []float64, incY int) {
	f := frames.Get().(*frame)
	f.shape(tA, tA, m, n, 0, lda, incX, incY)
	f.alpha64, f.beta64 = alpha, beta
	f.a, f.b, f.c = unsafe.Pointer(&a[0]), unsafe.Pointer(&x[0]), unsafe.Pointer(&y[0])
	f.gemv(e.dgemv, address(&f.alpha64), address(&f.beta64))
}
