package replay

import (
	"maps"
	"slices"
)

// presets are named settings of an arm, written as one writes them after its name. A key that is given beside preset=NAME takes the place of the preset's.
var presets = map[string]string{
	"hstu":       sequential + ",blocks=2,heads=1,distance=true",
	"hstu-large": sequential + ",blocks=8,heads=2,distance=true",
	"sasrec":     sequential + ",blocks=2,heads=1,attention=softmax,time_bias=false,ffn=50",
}

// sequential is what the public experiments of arXiv 2402.17152 have in common on MovieLens-1M: every item asks for the next, 128 uniform
// negatives, cosine with temperature .05, Adam for everything.
const sequential = "dim=50,length=200,batch=128,epochs=101," +
	"tokens=item,rotary=none,absolute=true,init=plain,side_rows=1,scenes=1," +
	"loss=sampled,negatives_uniform=128,negatives_recent=0,negatives_in_batch=false,logq=false,item_bias=false,cosine=true,temperature=0.05," +
	"dropout=0.2,dense_rate=0.001,row_optimizer=adam,row_rate=0.001,beta2=0.98,clip=0"

func presetNames() []string { return slices.Sorted(maps.Keys(presets)) }
