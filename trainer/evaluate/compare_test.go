package evaluate

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
)

// alike makes the differences of two arms, test by test, whose mean is shift: noise, and a state that lasts for some fifty tests and favours one of them.
func alike(rng *rand.Rand, shift float64) func() float64 {
	state := 0.0
	return func() float64 {
		state = 0.98*state + 0.02*rng.NormFloat64()
		return shift + state + 0.3*rng.NormFloat64()
	}
}

// runsOf adds them up as the curve would: runs of width, as many as it has for so many tests.
func runsOf(next func() float64, tests, width int) []float64 {
	runs := make([]float64, tests/width)
	for i := range runs {
		for range width {
			runs[i] += next() / float64(width)
		}
	}
	return runs
}

// TestPairedIsCalibrated: where the arms are alike, a twentieth of the p-values is below .05, and 95 % of the intervals hold the truth. A t-test over single tests
// shows why blocks are needed.
func TestPairedIsCalibrated(t *testing.T) {
	const trials, seed = 1000, 11
	for _, tests := range []int{4096, 32768} {
		rng := rand.New(rand.NewPCG(seed, uint64(tests)))
		var below, flips, held, tenth, naive int
		for range trials {
			var sum, squares float64
			next := alike(rng, 0.02)
			width := max(firstWidth, tests/maxPoints)
			c, ok := paired(runsOf(func() float64 { x := next() - 0.02; sum += x; squares += x * x; return x }, tests, width), int64(width))
			if !ok || c.Tests != int64(tests) {
				t.Fatalf("%d tests of %d compared", c.Tests, tests)
			}
			below, tenth, flips, held = below+count(c.P < 0.05), tenth+count(c.P < 0.1), flips+count(c.PFlip < 0.05), held+count(c.Low <= 0 && 0 <= c.High)
			n := float64(tests)
			naive += count(math.Abs(sum/n) > 1.96*math.Sqrt((squares/n-sum*sum/n/n)/n))
		}
		t.Logf("%d tests, seed %d: p < .05 in %.3f of %d, p < .1 in %.3f, flip p < .05 in %.3f, interval holds in %.3f; by single tests .05 would be %.3f", tests, seed,
			float64(below)/trials, trials, float64(tenth)/trials, float64(flips)/trials, float64(held)/trials, float64(naive)/trials)
		// Three deviations of a share of .05 in 1000 trials are .021; shorter blocks are a little alike still.
		for name, share := range map[string]float64{"p": float64(below) / trials, "flip": float64(flips) / trials, "interval": 1 - float64(held)/trials} {
			if share < 0.025 || share > 0.09 {
				t.Errorf("%d tests: %s: %.3f where it should be .05", tests, name, share)
			}
		}
		if naive < 2*below {
			t.Errorf("%d tests: single tests reject %d times, blocks %d: the data are not alike enough to test blocks", tests, naive, below)
		}
	}
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestPairedHasPower: a difference of four of its standard errors is nearly always found.
func TestPairedHasPower(t *testing.T) {
	const trials, tests, seed = 200, 16384, 12
	rng := rand.New(rand.NewPCG(seed, 0))
	// The state's sum has a deviation of .02/(1-.98) = 1 a test, the noise's .3.
	shift := 4 * math.Sqrt(1+0.09) / math.Sqrt(tests)
	found, flips := 0, 0
	for range trials {
		c, _ := paired(runsOf(alike(rng, shift), tests, firstWidth), firstWidth)
		found, flips = found+count(c.P < 0.05 && c.Difference > 0), flips+count(c.PFlip < 0.05)
	}
	t.Logf("seed %d: a difference of %.4f found in %d of %d trials, by flips in %d", seed, shift, found, trials, flips)
	if found < trials*90/100 || flips < trials*90/100 {
		t.Errorf("found in %d and %d of %d trials, want nine of ten", found, flips, trials)
	}
}

func TestPairedByHand(t *testing.T) {
	c, ok := paired([]float64{1, 2, 3, 4, 5, 6}, 256)
	// mean 3.5, deviation 1.8708/sqrt(6) = .76376; t = 4.5826 with 5 degrees of freedom; t(.975, 5) = 2.5706.
	if !ok || c.Blocks != 6 || c.Tests != 6*256 || math.Abs(c.Difference-3.5) > 1e-12 || math.Abs(c.Low-(3.5-2.5706*0.76376)) > 1e-3 || math.Abs(c.P-0.00593) > 2e-5 {
		t.Errorf("%+v", c)
	}
	if c.PFlip != 2./64 { // all one way: only all and none flipped are as far
		t.Errorf("flip: %v, want 2/64", c.PFlip)
	}
	if c, ok := paired(make([]float64, 100), 256); !ok || c.P != 1 || c.PFlip != 1 || c.Blocks != 50 {
		t.Errorf("without any difference: %+v", c)
	}
	if c, ok := paired([]float64{99, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6}, 128); !ok || c.Blocks != 6 || c.Difference != 3.5 {
		t.Errorf("the oldest run, which is left over, counts: %+v", c)
	}
	if _, ok := paired(make([]float64, 23), 64); ok {
		t.Error("five blocks were enough")
	}
	if c, ok := paired(make([]float64, 255), 64); !ok || c.Blocks != 63 || c.Tests != 63*256 {
		t.Errorf("255 runs of 64: %+v, want 63 blocks of 256", c)
	}
}

func TestStudentAndMcNemar(t *testing.T) {
	for _, freedom := range []int{5, 31, 62} {
		s := distuv.StudentsT{Sigma: 1, Nu: float64(freedom)}
		for _, x := range []float64{0, 0.3, 1.96, 5, 40} {
			if got, want := studentTails(x, freedom), 2*s.Survival(x); math.Abs(got-want) > 1e-12 {
				t.Errorf("t %v with %d: %v, want %v", x, freedom, got, want)
			}
		}
		if got, want := studentReach(0.05, freedom), s.Quantile(0.975); math.Abs(got-want) > 1e-9 {
			t.Errorf("reach with %d: %v, want %v", freedom, got, want)
		}
	}
	if mcNemar(0, 0) != 1 || mcNemar(7, 7) != 1 || mcNemar(5000, 5000) != 1 {
		t.Error("as many on both sides is no difference")
	}
	if got := mcNemar(1, 9); math.Abs(got-22./1024) > 1e-12 { // 2 (1 + 10) / 2^10
		t.Errorf("1 and 9: %v, want 22/1024", got)
	}
	if exact, approximate := mcNemar(460, 539), mcNemar(461, 539); math.Abs(exact/approximate-0.93) > 0.05 {
		t.Errorf("at the seam: %v and %v", exact, approximate)
	}
}

// TestCompareArms goes through Add: b finds what a finds and a tenth more.
func TestCompareArms(t *testing.T) {
	e := New(Config{Arms: []string{"a", "b", "late"}})
	rng := rand.New(rand.NewPCG(3, 3))
	onlyB := int64(0)
	for i := range 10_000 {
		a := count(rng.IntN(2) == 0)
		b := a
		if a == 0 && rng.IntN(10) == 0 {
			b = 2
			onlyB++
		}
		test := Test{At: start, Targets: make([]Target, 1), Ranks: [][]int{{a}, {b}, nil}}
		if i >= 5000 {
			test.Ranks[2] = []int{b}
		}
		e.Add(&test)
	}
	c, ok := e.Compare(NextClick, 1, "a", "b", "recall_at_5")
	if !ok || math.Abs(c.Difference+float64(onlyB)/10_000) > 2e-3 || c.P > 1e-6 || c.PFlip > 1e-3 || c.High >= 0 || c.Low > c.Difference {
		t.Errorf("a against b: %+v", c)
	}
	if c, ok := e.Compare(NextClick, 1, "b", "late", "ndcg_at_20"); !ok || c.Difference != 0 || c.P != 1 || c.Tests > 5000 || c.Tests < 4500 {
		t.Errorf("b against an arm that came late: %+v", c)
	}
	if c, ok := e.Compare(NextClick, 0.5, "b", "a", "mrr_at_20"); !ok || c.Difference <= 0 || c.Tests > 5000 || c.Tests < 4500 {
		t.Errorf("the last half: %+v", c)
	}
	if h, ok := e.CompareHits(NextClick, "a", "b", 5); !ok || h.OnlyA != 0 || h.OnlyB != onlyB || h.P > 1e-9 {
		t.Errorf("hits: %+v, want %d of b alone", h, onlyB)
	}
	if h, _ := e.CompareHits(NextClick, "a", "b", 1); h.OnlyB != 0 {
		t.Errorf("hits at 1: %+v", h)
	}
	if _, ok := e.Compare(NextClick, 1, "a", "c", "recall_at_5"); ok {
		t.Error("an arm that is not there was compared")
	}
	if _, ok := e.Compare(NextPart, 1, "a", "b", "recall_at_5"); ok {
		t.Error("no tests were enough")
	}
}
