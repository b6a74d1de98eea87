package main

import (
	"github.com/freshet-ml/freshet/cmd/freshet/config"
	"github.com/freshet-ml/freshet/ingest/buffer"
	"github.com/freshet-ml/freshet/ingest/window"
	"github.com/freshet-ml/freshet/schema"
)

// replayer makes a partition's log again from its records.
type replayer struct {
	w   *window.Windower
	out func(buffer.Entry) // takes each entry, without its emit
}

func newReplayer(c config.Window, out func(buffer.Entry)) (*replayer, error) {
	w, err := window.New(windowConfig(c))
	return &replayer{w: w, out: out}, err
}

func (r *replayer) click(c *schema.Click) {
	parts, _ := r.w.Add(c)
	r.emit(parts)
}

func (r *replayer) reject(reason schema.Reason) { r.w.Reject(reason) }

func (r *replayer) mark(e buffer.Entry) {
	switch e.Kind {
	case buffer.KindTick:
		r.emit(r.w.Tick(e.Mark.Watermark))
	case buffer.KindEnd:
		r.emit(r.w.End(e.Mark.Epoch))
	}
	m := r.w.Meta()
	r.out(buffer.Entry{Kind: e.Kind, Mark: buffer.Mark{Epoch: m.Epoch, Watermark: m.Watermark, Offset: e.Mark.Offset}})
}

func (r *replayer) emit(parts []window.Part) {
	for _, p := range parts {
		e := buffer.Entry{Kind: buffer.KindPart, Part: p.Part}
		var err error
		if e.Part.Clicks, err = p.Packed.Decode(p.UserID); err != nil {
			panic(err) // it has just been packed
		}
		r.out(e)
	}
	r.w.Committed()
}
