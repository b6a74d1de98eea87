package evaluate

import "math/bits"

// pairs counts, for each k of Places and each two arms, the tests in which only the first found a target within k: what McNemar's test needs.
type pairs struct {
	arms  int
	alone []float64 // (places, arms, arms): [k][a][b], a found, b did not though it judged
}

func newPairs(arms int) pairs { return pairs{arms: arms, alone: make([]float64, places*arms*arms)} }

func (p *pairs) add(v []float64) {
	var judged uint32
	var hit [places]uint32
	for arm := range p.arms {
		a := v[armAt(arm):][:perArm]
		if a[0] == 0 {
			continue
		}
		judged |= 1 << arm
		for i := range places {
			if a[atRecall+i] > 0 {
				hit[i] |= 1 << arm
			}
		}
	}
	for i, found := range hit {
		missed := judged &^ found
		for f := found; f != 0; f &= f - 1 {
			row := p.alone[(i*p.arms+bits.TrailingZeros32(f))*p.arms:][:p.arms]
			for m := missed; m != 0; m &= m - 1 {
				row[bits.TrailingZeros32(m)]++
			}
		}
	}
}

// of returns in how many tests only a, and only b, found a target within Places[i].
func (p *pairs) of(i, a, b int) (onlyA, onlyB float64) {
	return p.alone[(i*p.arms+a)*p.arms+b], p.alone[(i*p.arms+b)*p.arms+a]
}
