package source

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// maxInflated is the most that the records of one batch may have when they are no longer compressed. Brokers bound a batch
// by its compressed size only (max.message.bytes, 1 MiB by default), so this leaves a factor of 256.
const maxInflated = 256 << 20

var errInflated = fmt.Errorf("the records of a batch have more than %d bytes when they are no longer compressed: have the producer send smaller batches", maxInflated)

// inflate appends what src holds, compressed as the attributes of its batch say, to dst.
func inflate(dst, src []byte, codec int16) ([]byte, error) {
	switch codec {
	case 1:
		return inflateGzip(dst, src)
	case 2:
		return inflateSnappy(dst, src)
	case 3:
		r, _ := lz4Readers.Get().(*lz4.Reader)
		if r == nil {
			r = lz4.NewReader(nil)
		}
		defer lz4Readers.Put(r)
		r.Reset(bytes.NewReader(src))
		return readAll(dst, r)
	case 4:
		return inflateZstd(dst, src)
	}
	return nil, fmt.Errorf("a batch is compressed with method %d, which is newer than this freshet: update it", codec)
}

var gzipReaders, lz4Readers sync.Pool

func inflateGzip(dst, src []byte) ([]byte, error) {
	r, _ := gzipReaders.Get().(*gzip.Reader)
	if r == nil {
		r = new(gzip.Reader)
	}
	defer gzipReaders.Put(r)
	if err := r.Reset(bytes.NewReader(src)); err != nil {
		return nil, noEOF(err)
	}
	return readAll(dst, r)
}

// readAll appends r to dst, as long as it stays within maxInflated.
func readAll(dst []byte, r io.Reader) ([]byte, error) {
	limit := len(dst) + maxInflated
	for {
		if len(dst) == cap(dst) {
			dst = slices.Grow(dst, max(len(dst), 64<<10))
		}
		n, err := r.Read(dst[len(dst):cap(dst)])
		dst = dst[:len(dst)+n]
		if len(dst) > limit {
			return nil, errInflated
		}
		if errors.Is(err, io.EOF) {
			return dst, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// xerial is how the framing begins in which Java clients put blocks of snappy: then two versions, then each block with its
// size before it. Other clients send one block without any of it.
const xerial = "\x82SNAPPY\x00"

func inflateSnappy(dst, src []byte) ([]byte, error) {
	if !bytes.HasPrefix(src, []byte(xerial)) {
		return inflateBlock(dst, src, maxInflated)
	}
	limit := len(dst) + maxInflated
	for src = src[min(16, len(src)):]; len(src) > 0; {
		if len(src) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		size := int64(int32(binary.BigEndian.Uint32(src)))
		src = src[4:]
		if size < 0 || size > int64(len(src)) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if dst, err = inflateBlock(dst, src[:size], limit-len(dst)); err != nil {
			return nil, err
		}
		src = src[size:]
	}
	return dst, nil
}

// snappyRatio is more than snappy can do: a copy of up to 64 bytes takes two at the least.
const snappyRatio = 64

func inflateBlock(dst, src []byte, limit int) ([]byte, error) {
	n, err := snappy.DecodedLen(src)
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, errInflated
	}
	if n > snappyRatio*len(src) {
		return nil, snappy.ErrCorrupt
	}
	at := len(dst)
	dst = slices.Grow(dst, n)
	if _, err := snappy.Decode(dst[at:at+n], src); err != nil {
		return nil, err
	}
	return dst[:at+n], nil
}

// zstdDecoder is shared: decoding whole blocks keeps no state between them.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxInflated), zstd.WithDecoderMaxWindow(largestWindow))
})

const (
	// zstdRatio is up to where a frame's own word for its size is believed at once.
	zstdRatio = 64
	// largestWindow is how far back a frame may refer: what zstd's highest level uses.
	largestWindow = 128 << 20
)

func inflateZstd(dst, src []byte) ([]byte, error) {
	var header zstd.Header
	if err := header.Decode(src); err != nil {
		return nil, noEOF(err)
	}
	if header.HasFCS && header.FrameContentSize > uint64(zstdRatio*len(src)) {
		d, err := zstd.NewReader(bytes.NewReader(src), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxInflated), zstd.WithDecoderMaxWindow(largestWindow))
		if err != nil {
			return nil, err
		}
		defer d.Close()
		return readAll(dst, d)
	}
	d, err := zstdDecoder()
	if err != nil {
		return nil, err
	}
	inflated, err := d.DecodeAll(src, dst)
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		err = errInflated
	}
	return inflated, err
}
