package source

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"testing"

	"github.com/freshet-ml/freshet/schema"
	"github.com/freshet-ml/freshet/schema/fuzz"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"pgregory.net/rapid"
)

// seal fills in the checksum and the length of a batch whose body was changed.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-batchPrefix))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[batchCRCAt:], castagnoli))
	return b
}

// written returns the batch that a Producer writes of these records, at base.
func written(base int64, records ...Outgoing) []byte {
	var b recordBatch
	b.reset()
	for i, r := range records {
		b.append(r, sequence{index: uint64(i), stream: 7, partitions: 4}, int64(1000+i))
	}
	out := bytes.Clone(b.finish(producerState{id: 3})[4:])
	binary.BigEndian.PutUint64(out, uint64(base))
	return out
}

// Writers are used again: making one costs more than what is compressed here.
var (
	gzipWriter     = gzip.NewWriter(nil)
	lz4Writer      = lz4.NewWriter(nil)
	zstdEncoder, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	zstdStream, _  = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<16))
)

// compressed returns the batch with its records compressed by codec.
func compressed(t testing.TB, batch []byte, codec byte) []byte {
	t.Helper()
	body := batch[batchHeader:]
	var packed bytes.Buffer
	switch codec {
	case 1:
		gzipWriter.Reset(&packed)
		gzipWriter.Write(body)
		gzipWriter.Close()
	case 2: // one block, as librdkafka and franz-go send it
		packed.Write(s2.EncodeSnappy(nil, body))
	case 3:
		lz4Writer.Reset(&packed)
		lz4Writer.Apply(lz4.BlockSizeOption(lz4.Block64Kb))
		lz4Writer.Write(body)
		lz4Writer.Close()
	case 4:
		packed.Write(zstdEncoder.EncodeAll(body, nil))
	case 5: // snappy in the framing of Java clients
		packed.WriteString(xerial + "\x00\x00\x00\x01\x00\x00\x00\x01")
		for block := range slices.Chunk(body, 100) {
			one := s2.EncodeSnappy(nil, block)
			packed.Write(binary.BigEndian.AppendUint32(nil, uint32(len(one))))
			packed.Write(one)
		}
		codec = 2
	case 6: // zstd that does not say how much it holds, as streams do not
		zstdStream.Reset(&packed)
		zstdStream.Write(body[:len(body)/2])
		zstdStream.Flush()
		zstdStream.Write(body[len(body)/2:])
		zstdStream.Close()
		codec = 4
	}
	out := append(bytes.Clone(batch[:batchHeader]), packed.Bytes()...)
	out[22] |= codec
	return seal(out)
}

// unpackAll returns the records of a record set, cut into batches, and checks the promises of unpack.
func unpackAll(t testing.TB, f *fetched, maxRecords, maxBytes int) (records []Record, batches int, err error) {
	t.Helper()
	end, err := endOf(f.records, int64(f.offset), int64(f.highWatermark))
	if err != nil {
		return nil, 0, err
	}
	f.next = schema.Offset(end)
	u := unpacker{maxRecords: maxRecords, maxBytes: maxBytes}
	at := f.offset
	err = u.unpack(f, func(b Batch, _ passed) error {
		batches++
		size := 0
		for _, r := range b.Records {
			if r.Offset < at {
				t.Fatalf("offset %d comes after %d", r.Offset, at)
			}
			at = r.Offset + 1
			size += len(r.Key) + len(r.Value)
			r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
			records = append(records, r)
		}
		if len(b.Records) > maxRecords || len(b.Records) > 1 && size > maxBytes {
			t.Fatalf("a batch has %d records of %d bytes, at most %d of %d", len(b.Records), size, maxRecords, maxBytes)
		}
		if b.Next < at {
			t.Fatalf("next is %d after offset %d", b.Next, at-1)
		}
		at = b.Next
		return nil
	})
	if err == nil && at != f.next {
		t.Fatalf("all is read, and next is %d instead of %d", at, f.next)
	}
	return records, batches, err
}

// TestReadWhatIsWritten holds that records come back as they were written, whatever compresses them and however they are
// cut into batches, from any offset on.
func TestReadWhatIsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		blob := rapid.SampledFrom([][]byte{nil, {}, []byte("u1"), bytes.Repeat([]byte("click "), 20), bytes.Repeat([]byte("{\"a\":1}\x00"), 2000)})
		var set []byte
		var want []Record
		base := rapid.Int64Range(0, 1<<40).Draw(t, "base")
		first := base
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			var out []Outgoing
			for i := range rapid.IntRange(1, 20).Draw(t, "records") {
				o := Outgoing{Key: blob.Draw(t, "key"), Value: blob.Draw(t, "value")}
				want = append(want, Record{Partition: 3, Offset: schema.Offset(base) + schema.Offset(i), ArrivedAt: schema.ArrivalTime(1000 + i), Key: o.Key, Value: o.Value})
				out = append(out, o)
			}
			batch := written(base, out...)
			if codec := rapid.IntRange(0, 6).Draw(t, "codec"); codec > 0 {
				batch = compressed(&testing.T{}, batch, byte(codec))
			}
			set = append(set, batch...)
			base += int64(len(out))
		}
		cut := rapid.IntRange(0, 60).Draw(t, "cut off") // a full fetch may end within a batch
		set = append(set, written(base, Outgoing{Value: []byte("cut off")})[:cut]...)
		offset := schema.Offset(rapid.Int64Range(first, base-1).Draw(t, "offset"))
		want = want[int64(offset)-first:]
		got, _, err := unpackAll(&testing.T{}, &fetched{partition: 3, offset: offset, highWatermark: schema.Offset(base), records: set},
			rapid.IntRange(1, 30).Draw(t, "max records"), rapid.IntRange(1, 30_000).Draw(t, "max bytes"))
		if err != nil {
			t.Fatal(err)
		}
		same := func(a, b Record) bool {
			return a.Partition == b.Partition && a.Offset == b.Offset && a.ArrivedAt == b.ArrivedAt && (a.Key == nil) == (b.Key == nil) &&
				(a.Value == nil) == (b.Value == nil) && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value)
		}
		if !slices.EqualFunc(want, got, same) { // cmp.Diff takes longer for this than all the rest
			t.Fatalf("got %d records, want %d; the first that differs is %d", len(got), len(want), slices.IndexFunc(want, func(w Record) bool {
				i := int(w.Offset - offset)
				return i >= len(got) || !same(w, got[i])
			}))
		}
	})
}

func TestHeadersAreFound(t *testing.T) {
	f := &fetched{highWatermark: 9, records: compressed(t, written(5, Outgoing{Value: []byte("a")}, Outgoing{Value: []byte("b")}), 4)}
	var got []sequence
	if err := f.each(func(r *storedRecord) {
		s, ok := parseSequence(r)
		if !ok {
			t.Errorf("record %d has no sequence", r.offset)
		}
		got = append(got, s)
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]sequence{{0, 7, 4}, {1, 7, 4}}, got, cmp.AllowUnexported(sequence{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestOldSequences reads the headers that earlier versions wrote.
func TestOldSequences(t *testing.T) {
	for value, want := range map[string]sequence{
		"\x00\x00\x00\x00\x00\x00\x00\x05":                                                 {index: 5},
		"\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x07":                 {index: 5, stream: 7},
		"\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x04": {index: 5, stream: 7, partitions: 4},
	} {
		header := appendBytes(appendBytes(nil, []byte(seqHeader)), []byte(value))
		if got, ok := parseSequence(&storedRecord{headers: header, nheader: 1}); !ok || got != want {
			t.Errorf("%x: %+v, want %+v", value, got, want)
		}
	}
	header := appendBytes(appendBytes(nil, []byte(seqHeader)), []byte("another's"))
	if got, ok := parseSequence(&storedRecord{headers: header, nheader: 1}); ok {
		t.Errorf("a header of another length: %+v", got)
	}
}

// TestAppendTime has the broker stamp a batch: then its time holds, and not the producer's.
func TestAppendTime(t *testing.T) {
	b := written(0, Outgoing{Value: []byte("a")}, Outgoing{Value: []byte("b")})
	b[22] |= appendTimeBit
	binary.BigEndian.PutUint64(b[35:], 99_000)
	got, _, err := unpackAll(t, &fetched{highWatermark: 9, records: seal(b)}, 10, 1000)
	if err != nil || len(got) != 2 || got[0].ArrivedAt != 99_000 || got[1].ArrivedAt != 99_000 {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestOldMessages reads messages from before Kafka 0.11, alone and compressed together.
func TestOldMessages(t *testing.T) {
	message := func(offset int64, attributes byte, value []byte) []byte {
		b := []byte{1, attributes}
		b = binary.BigEndian.AppendUint64(b, 5000)
		b = binary.BigEndian.AppendUint32(b, math.MaxUint32) // no key
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(value))), value...)
		b = append(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)), b...)
		b = append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
		return append(binary.BigEndian.AppendUint64(nil, uint64(offset)), b...)
	}
	var inner bytes.Buffer
	w := gzip.NewWriter(&inner)
	w.Write(append(message(0, 0, []byte("c")), message(1, 0, []byte("d"))...))
	w.Close()
	set := slices.Concat(message(3, 0, []byte("a")), message(4, 0, []byte("b")), message(6, 1, inner.Bytes()), written(7, Outgoing{Value: []byte("e")}))
	for from, want := range map[schema.Offset]string{3: "[a b c d e]", 5: "[c d e]", 6: "[d e]"} {
		got, _, err := unpackAll(t, &fetched{offset: from, highWatermark: 9, records: set}, 10, 1000)
		if err != nil {
			t.Fatal(err)
		}
		var values []string
		for _, r := range got {
			values = append(values, string(r.Value))
		}
		if fmt.Sprint(values) != want {
			t.Errorf("from %d: got %v, want %s", from, values, want)
		}
	}
}

// TestDamage changes each byte of the second of three batches in turn. What lies before it is always given; then either the
// damage is told, or the change was in a place that nothing depends on.
func TestDamage(t *testing.T) {
	first, second, third := written(0, Outgoing{Value: []byte("a")}), written(1, Outgoing{Value: []byte("b")}), written(2, Outgoing{Value: []byte("c")})
	told := 0
	for i := range second {
		set := slices.Concat(first, second, third)
		set[len(first)+i] ^= 0x41
		got, _, err := unpackAll(t, &fetched{highWatermark: 9, records: set}, 10, 1000)
		if len(got) == 0 || string(got[0].Value) != "a" {
			t.Fatalf("byte %d: the record before the damage is lost: %v, %v", i, got, err)
		}
		if err != nil {
			told++
			if len(got) != 1 && i >= 8 { // an offset that is wrong shows in the next batch
				t.Errorf("byte %d: %d records and %v", i, len(got), err)
			}
		}
	}
	if told < len(second)-batchMagic {
		t.Errorf("%d of %d changes were noticed", told, len(second))
	}
	if _, _, err := unpackAll(t, &fetched{highWatermark: 9, records: first[:40]}, 10, 1000); !errors.Is(err, errPartial) {
		t.Errorf("a first batch that is cut off: %v", err)
	}
}

// TestOffsetsGrow: a record whose offset is not above that of the one before is damage, and not one that was read already, which would be passed over without a word.
func TestOffsetsGrow(t *testing.T) {
	b := written(0, Outgoing{Value: []byte("a")}, Outgoing{Value: []byte("b")})
	length, n := varint(b[batchHeader:])
	second := b[batchHeader+n+int(length):]
	_, n = varint(second)
	_, stamp := varint(second[n+1:])
	if delta, _ := varint(second[n+1+stamp:]); delta != 1 {
		t.Fatalf("the second record has the offset %d", delta)
	}
	second[n+1+stamp] = 0
	got, _, err := unpackAll(t, &fetched{highWatermark: 9, records: seal(b)}, 10, 1000)
	if !errors.Is(err, errDamaged) || len(got) != 1 || string(got[0].Value) != "a" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestInflateIsBounded(t *testing.T) {
	var bomb bytes.Buffer
	w, _ := zstd.NewWriter(&bomb)
	zeros := make([]byte, 1<<20)
	for range maxInflated>>20 + 1 {
		w.Write(zeros)
	}
	w.Close()
	if _, err := inflate(nil, bomb.Bytes(), 4); !errors.Is(err, errInflated) {
		t.Errorf("zstd: %v", err)
	}
	claim := binary.AppendUvarint(nil, 200<<20) // snappy's word for its length, with nothing behind it
	if _, err := inflate(nil, append(claim, 0, 0, 0), 2); err == nil {
		t.Error("snappy: its word was taken")
	}
	if _, err := inflate(nil, []byte{1}, 7); err == nil {
		t.Error("a method that is not known was taken")
	}
}

// FuzzRecordSet holds that no record set panics the reader, and that a record never lies outside of its bounds.
func FuzzRecordSet(t *testing.F) {
	f := fuzz.Of(t)
	batch := written(0, Outgoing{Key: []byte("u"), Value: []byte("click")}, Outgoing{Value: bytes.Repeat([]byte("x"), 300)})
	f.Add(batch, int64(0))
	for codec := range byte(6) {
		f.Add(compressed(f, batch, codec+1), int64(1))
	}
	f.Add(append(batch, batch[:70]...), int64(0))
	f.Fuzz(func(t *testing.T, set []byte, offset int64) {
		if offset < 0 {
			f.Leave()
			return
		}
		for range 2 { // as it is, and then with checksums that hold, so that what lies behind them is reached
			got, _, err := unpackAll(t, &fetched{offset: schema.Offset(offset), highWatermark: math.MaxInt64, records: set}, 7, 1000)
			size := 0
			for _, r := range got {
				size += len(r.Key) + len(r.Value)
			}
			if err == nil && size > maxInflated {
				t.Fatalf("%d bytes came of %d", size, len(set))
			}
			_ = (&fetched{offset: schema.Offset(offset), highWatermark: math.MaxInt64, records: set}).each(func(*storedRecord) {})
			set = bytes.Clone(set)
			for rest := set; len(rest) >= batchHeader; {
				n := int64(int32(binary.BigEndian.Uint32(rest[8:]))) + batchPrefix
				if n < batchHeader || n > int64(len(rest)) {
					break
				}
				seal(rest[:n])
				rest = rest[n:]
			}
		}
	})
}

// FuzzFetchAnswer holds that no answer panics the reader of the protocol.
func FuzzFetchAnswer(t *testing.F) {
	f := fuzz.Of(t)
	f.Add([]byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x06clicks\x00\x00\x00\x01"), int16(11))
	f.Fuzz(func(t *testing.T, answer []byte, version int16) {
		c := fetchCall{topic: "clicks", version: version, answer: answer}
		if got, err := c.decode(); err == nil && len(got.records) > len(answer) {
			t.Fatal("more came out than went in")
		}
	})
}
