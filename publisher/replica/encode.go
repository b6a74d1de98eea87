package replica

import "github.com/go-faster/jx"

// Answers are written by hand: encoding/json took longer over twenty items than the model did over thousands. TestEncodeIsJSON holds the two to the same.

// encode writes the answer's object.
func (a *Answer) encode(w *jx.Writer) {
	w.RawStr(`{"model":`)
	a.Model.encode(w)
	w.RawStr(`,"user_id":`)
	w.Str(a.UserID)
	w.RawStr(`,"items":`)
	encodeItems(w, a.Items)
	w.ObjEnd()
}

func (m *AnswerModel) encode(w *jx.Writer) {
	w.RawStr(`{"name":`)
	w.Str(m.Name)
	w.RawStr(`,"version":`)
	w.UInt64(uint64(m.Version))
	w.RawStr(`,"lane":`)
	w.Str(string(m.Lane))
	w.RawStr(`,"trained_through":`)
	w.Int64(int64(m.TrainedThrough))
	w.RawStr(`,"age_ms":`)
	w.Int64(m.AgeMillis)
	w.ObjEnd()
}

func encodeItems(w *jx.Writer, items []Item) {
	w.ArrStart()
	for i := range items {
		if i > 0 {
			w.Comma()
		}
		w.RawStr(`{"item_id":`)
		w.Str(items[i].ItemID)
		w.RawStr(`,"score":`)
		w.Float32(items[i].Score)
		w.RawStr(`,"source":`)
		w.Str(string(items[i].Source))
		w.ObjEnd()
	}
	w.ArrEnd()
}
