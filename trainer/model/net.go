package model

import (
	"slices"
	"sync"

	"github.com/freshet-ml/freshet/trainer/nn"
)

// net runs a batch through the network in groups of sequences. Groups are cut by their tokens and dealt to lanes by their work; each lane adds
// up its own gradients, group after group, and the lanes' are added in their order. So the sums depend on the batch and Config.Lanes alone, not on what runs when (I4).
type net[F nn.Float] struct {
	cfg   *Config
	w     *weights[F]
	items *catalogue[F]
	batch []Example // of the layout
	terms termed[F]
	only  bool // the terms' weights are learned, and nothing else

	teacher  *teacher[F] // what steps are held to; nil for none
	distance float64     // what that added to the loss of the last learn

	groupTokens int // about how many tokens a group has

	ins    gather[F] // items that the batch reads
	outs   gather[F] // items that it is compared with: the candidates first, in their order where all is one draw
	shift  []F       // what is added to a candidate's product: bias, less logQ (candidates)
	groups []group[F]
	all    []group[F] // groups, and the memory of more of them
	lanes  []lane[F]

	rows, side rowGradients[F]
}

// group is some sequences of a batch: next to each other in it, and small enough for what they need to stay in the second cache.
type group[F nn.Float] struct {
	layout layout
	pass   *pass[F] // what Forward leaves; a lane's own where forward and backward are one
	own    *pass[F]
	first  int // its first query in task.queries
	number int // of the group, as the seed of its dropout
}

// lane is a part of the work that is done by one goroutine, and its sums.
type lane[F nn.Float] struct {
	groups           []int
	work             float64
	pass             *pass[F]
	dw               *weights[F]
	dIns, dOuts      []F
	dBias            []F // (outs)
	loss             float64
	scores, products []F
	masked           []int32
	effect           effect[F] // of the query at hand
	hits             []hit     // its marks among the candidates
	drawn, dDrawn    []F       // vectors of a group's own candidates, and their gradients
	taught           taught[F]
}

// groupTokens is for net.groupTokens: at width 64 what two blocks keep of them is some 4 MB. Fewer make the products slow, more fall out of the cache.
const groupTokens = 512

func newNet[F nn.Float](cfg *Config, w *weights[F], items *catalogue[F]) *net[F] {
	n := &net[F]{cfg: cfg, w: w, items: items, groupTokens: groupTokens, lanes: make([]lane[F], cfg.Lanes)}
	n.ins.dim, n.outs.dim, n.rows.dim, n.side.dim = cfg.Dim, cfg.Dim, cfg.Dim, cfg.Dim
	return n
}

// lay makes the layout of a batch and fetches the items that it reads.
func (n *net[F]) lay(batch []Example) {
	n.batch = batch
	n.ins.reset(n.items.n)
	n.groups = n.all[:0]
	for i := range batch {
		if last := len(n.groups) - 1; last < 0 || n.groups[last].layout.tokens() >= n.groupTokens {
			n.open()
		}
		n.groups[len(n.groups)-1].layout.add(n.cfg, &batch[i], i, n.ins.place)
	}
	n.ins.fetch(n.items)
	n.deal()
}

// open begins a group, with the memory of one of an earlier batch if there is any.
func (n *net[F]) open() {
	number := len(n.groups)
	if number == len(n.all) {
		n.all = append(n.all, group[F]{})
	}
	n.groups = n.all[:number+1]
	g := &n.groups[number]
	g.layout.reset()
	g.number = number
}

// deal gives each group to the lane with the least work so far, the largest group first.
func (n *net[F]) deal() {
	order := make([]int, len(n.groups))
	cost := make([]float64, len(n.groups))
	for i := range n.groups {
		l := &n.groups[i].layout
		order[i], cost[i] = i, float64(l.tokens()*n.cfg.Dim*10)+2*l.work
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case cost[a] > cost[b]:
			return -1
		case cost[a] < cost[b]:
			return 1
		}
		return 0
	})
	for i := range n.lanes {
		n.lanes[i].groups, n.lanes[i].work = n.lanes[i].groups[:0], 0
	}
	for _, g := range order {
		least := 0
		for i := range n.lanes {
			if n.lanes[i].work < n.lanes[least].work {
				least = i
			}
		}
		n.lanes[least].groups, n.lanes[least].work = append(n.lanes[least].groups, g), n.lanes[least].work+cost[g]
	}
	for i := range n.lanes {
		slices.Sort(n.lanes[i].groups)
	}
}

// each runs f for every lane and its number, the lanes at the same time.
func (n *net[F]) each(f func(i int, l *lane[F])) {
	var wg sync.WaitGroup
	for i := 1; i < len(n.lanes); i++ {
		if len(n.lanes[i].groups) == 0 && n.lanes[i].dw == nil {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			f(i, &n.lanes[i])
		}()
	}
	f(0, &n.lanes[0])
	wg.Wait()
}

// forward computes the queries of the batch and keeps what backward needs.
func (n *net[F]) forward(batch []Example) {
	n.lay(batch)
	for i := range n.groups {
		g := &n.groups[i]
		if g.own == nil {
			g.own = newPass[F](n.cfg)
		}
		g.pass = g.own
	}
	n.each(func(_ int, l *lane[F]) {
		for _, i := range l.groups {
			n.groups[i].pass.forward(&n.groups[i].layout, n.w, &n.ins, 0, 0)
		}
	})
}

// compare fetches what the queries are compared with.
func (n *net[F]) compare(t *task) {
	n.outs.reset(n.items.n)
	for _, r := range t.candidates {
		n.outs.place(r)
	}
	for _, r := range t.positives {
		n.outs.place(r)
	}
	for _, r := range t.excluded {
		n.outs.place(r)
	}
	for i := range t.ladders {
		for _, r := range t.ladders[i].positives {
			n.outs.place(r)
		}
		for _, r := range t.ladders[i].negatives {
			n.outs.place(r)
		}
	}
	n.outs.fetch(n.items)
	if n.cfg.Cosine {
		n.outs.normalize()
	}
	n.fetchTerms(t)
	n.shift = sized(n.shift, len(t.candidates))
	for j, r := range t.candidates {
		n.shift[j] = n.outs.bias[n.outs.slot[r]]
		if t.logQ != nil {
			n.shift[j] -= F(t.logQ[j])
		}
	}
	if n.teacher != nil && !n.only {
		n.teacher.compare(n, t)
	}
	at := 0
	for i := range n.groups {
		n.groups[i].first = at
		at += len(n.groups[i].layout.queries)
	}
}

// learn computes the loss of the batch and the gradients: those of the shared weights in the first lane's dw, those of the items in rows and
// side. again says that forward has to run (again), with dropout. What a teacher adds to the loss is in distance, and in the gradients.
func (n *net[F]) learn(t *task, again bool, seed uint64) (loss float64) {
	n.compare(t)
	n.ready()
	d := n.cfg.Dim
	n.each(func(_ int, l *lane[F]) {
		clear(l.dw.arena)
		l.loss, l.taught.distance = 0, 0
		l.dIns, l.dOuts, l.dBias = zeroed(l.dIns, len(n.ins.rows)*d), zeroed(l.dOuts, len(n.outs.rows)*d), zeroed(l.dBias, len(n.outs.rows))
		for _, i := range l.groups {
			g := &n.groups[i]
			if again {
				g.pass = l.pass
				g.pass.forward(&g.layout, n.w, &n.ins, n.cfg.Dropout, seed+uint64(g.number)<<40)
			}
			if dz := n.judge(l, g, t); dz != nil {
				g.pass.backward(n.w, l.dw, l.dIns, dz)
			}
		}
	})
	n.addUp()
	n.distance = 0
	for i := range n.lanes {
		loss += n.lanes[i].loss
		n.distance += n.lanes[i].taught.distance
	}
	return loss
}

// ready gives the lanes their memory.
func (n *net[F]) ready() {
	for i := range n.lanes {
		l := &n.lanes[i]
		if l.dw == nil {
			l.dw = newWeights[F](n.cfg)
		}
		if l.pass == nil {
			l.pass = newPass[F](n.cfg)
		}
	}
}

func zeroed[F nn.Float](x []F, n int) []F {
	x = sized(x, n)
	clear(x)
	return x
}

// addUp adds the lanes' sums into the first one's, and hands those of the items to their rows.
func (n *net[F]) addUp() {
	first := &n.lanes[0]
	for i := 1; i < len(n.lanes); i++ {
		l := &n.lanes[i]
		if len(l.groups) == 0 {
			continue
		}
		nn.Add(first.dw.arena, l.dw.arena)
		nn.Add(first.dIns, l.dIns)
		nn.Add(first.dOuts, l.dOuts)
		nn.Add(first.dBias, l.dBias)
	}
	d := n.cfg.Dim
	n.rows.reset(n.items.n)
	if n.cfg.Cosine {
		raw := make([]F, len(first.dOuts))
		nn.NormalizeBackward(raw, first.dOuts, n.outs.unit, n.outs.inv, d)
		first.dOuts = raw
	}
	for s, r := range n.outs.rows {
		to := n.rows.touch(r)
		nn.Add(n.rows.grad[to*d:][:d], first.dOuts[s*d:][:d])
		n.rows.dBias[to] += first.dBias[s]
	}
	for s, r := range n.ins.rows {
		nn.Add(n.rows.vector(r), first.dIns[s*d:][:d])
	}
	n.items.spread(&n.side, &n.rows)
}
