package replay

// presets are named settings of an arm, written as one writes them after its name. A key that is given beside preset=NAME takes the place of the preset's.
var presets = map[string]string{
	"hstu":       sequential + ",blocks=2,heads=1,distance=true",
	"hstu-large": sequential + ",blocks=8,heads=2,distance=true",
	"sasrec":     sequential + ",blocks=2,heads=1,attention=softmax,time_bias=false,ffn=50",
}

// sequential is what the three have in common: the sizes of the public experiments of arXiv 2402.17152 on MovieLens-1M, every item asking for the next, cosine
// with temperature .05, Adam for everything. The training is ours: the experiments draw 128 negatives for each position; here some 500 tokens share 1,024,
// steps are smaller and fall to nothing, and matrices decay, which comes nearly as far in half the epochs (BENCHMARKS.md).
const sequential = "dim=50,length=200,batch=32,epochs=50,decay=cosine," +
	"tokens=item,rotary=none,absolute=true,scaled_input=true,init=plain,side_rows=1,scenes=1," +
	"loss=sampled,negatives_uniform=1024,negatives_per=group,negatives_recent=0,negatives_in_batch=false,logq=false,item_bias=false,cosine=true,temperature=0.05," +
	"dropout=0.2,dense_rate=0.002,row_optimizer=adam,row_rate=0.002,beta2=0.98,clip=0,weight_decay=0.1"
