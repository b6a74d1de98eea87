package nn
import ("testing";"github.com/ebitengine/purego";"os";"bytes")
func TestZZ(t *testing.T){ a,err:=purego.Dlsym(purego.RTLD_DEFAULT,"getenv"); t.Log(a,err); var g func(string) string; purego.RegisterFunc(&g,a); t.Log("core:",g("OPENBLAS_CORETYPE"), "path:",g("PATH"));
	info, _ := os.ReadFile("/proc/cpuinfo")
	_, info, _ = bytes.Cut(info, []byte("\nflags"))
	flags, _, _ := bytes.Cut(info, []byte("\n"))
	t.Log(string(flags[:60]))
	for _, f := range []string{" avx512f", " avx512dq", " avx512bw", " avx512vl", " avx512cd"} { t.Log(f, bytes.Contains(append(flags, ' '), []byte(f+" "))) }
}
