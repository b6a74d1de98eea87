package replay

import (
	"maps"
	"slices"
)

// presets are named settings of an arm, written as one writes them after its name. A key that is given beside preset=NAME takes the place of the preset's.
var presets = map[string]string{
	// The public ML-1M configuration of arXiv 2402.17152, as far as the model has a switch for it.
	"hstu": "dim=50,blocks=2,heads=1,length=200,batch=128,epochs=101,lr=0.001,beta1=0.9,beta2=0.98,weight_decay=0",
}

func presetNames() []string { return slices.Sorted(maps.Keys(presets)) }
