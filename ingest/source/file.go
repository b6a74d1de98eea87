package source

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// maxLineBytes is the longest line of a file: twice what a record may have, so that a record that is too large still
// reaches the ingester, which puts it aside with its bytes. What is longer than that is no file of clicks.
const maxLineBytes = 2 << 20

// Options says how the lines of a file are read.
type Options struct {
	// Fields maps the fields of JSON lines, as decode.Config has them, and the columns of a CSV file. JSON lines are only
	// read for the key of the record and for its time: the line itself goes on unchanged. Default: the names of a click. The
	// data sets have their own names.
	Fields map[string]string
}

// Progress is implemented by streams that know how far they are. It may be called from any goroutine.
type Progress interface {
	// Progress returns how much is done, and of how much: bytes of a file, records of a limited stream. Total is -1 when
	// it is not known, as for standard input.
	Progress() (done, total int64)
}

// OpenFile opens a file of clicks, or standard input if path is "-". Gzip and Zstandard are recognised by their first
// bytes.
//
// "csv" has a header that names at least a user (or user_id), an item (or item_id) and a time (ts or timestamp: seconds,
// milliseconds or RFC 3339), and may name session (or session_id), action, event_id, scene, category, seller and price;
// other columns are ignored. Columns are separated by comma, semicolon or tab, whichever the header has; a quoted field may
// not span lines. Each row becomes a click in JSON, except a row that is malformed, which becomes a record as it stands. The
// actions of well-known public files get their own names: pv, view → click; buy, transaction → purchase; addtocart → cart.
// All others are kept.
//
// "jsonl" has a JSON object in each line, which becomes a record as it stands.
//
// The others of Formats are data sets in the layout in which they are published; see presets. Their rows become clicks as
// those of "csv" do, and their actions click, cart, purchase, and rating and fav where they have them.
//
// Rows are taken to come in the order of their times: one that is behind its predecessors by more than the lateness of the
// window will be late. Sort puts them in order.
//
// Blank lines are passed over, and so are headers in the middle of a file: they are where files were put behind one
// another.
func OpenFile(path, format string, o Options) (Stream, error) {
	if !slices.Contains(Formats, format) {
		return nil, fmt.Errorf("format %q is not known: use one of %s", format, strings.Join(Formats, ", "))
	}
	name, file, total, err := openInput(path)
	if err != nil {
		return nil, err
	}
	s, err := openLines(name, format, file, total, o.Fields)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return s, nil
}

// openInput opens a file, or standard input if path is "-". total is its size on disk, or -1.
func openInput(path string) (name string, file io.ReadCloser, total int64, err error) {
	if path == "-" {
		return "standard input", io.NopCloser(os.Stdin), -1, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", nil, 0, fmt.Errorf("cannot read the clicks: %w: check the path, or use - for standard input", err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", nil, 0, errors.Join(fmt.Errorf("cannot read the clicks: %w", err), f.Close())
	case info.IsDir():
		return "", nil, 0, errors.Join(fmt.Errorf("cannot read the clicks: %s is a directory: name a file in it", path), f.Close())
	case info.Mode().IsRegular():
		return path, f, info.Size(), nil
	}
	return path, f, -1, nil
}

// Lines gives the lines of a file that is no file of clicks: what they mean is for the caller to know.
type Lines struct{ l *lines }

// OpenLines opens a file of any text, or standard input if path is "-". It is decompressed as by OpenFile.
func OpenLines(path string) (*Lines, error) {
	name, file, total, err := openInput(path)
	if err != nil {
		return nil, err
	}
	l, err := newLines(name, file, total)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Lines{l}, nil
}

// Next returns the next line that is not blank, without its end, or io.EOF. It is valid until the next call.
func (l *Lines) Next() ([]byte, error) { return l.l.next() }

// Line returns the number of the line that Next returned, from 1.
func (l *Lines) Line() int { return l.l.number }

// Progress returns how many bytes of the file are read, and of how many; see Progress.
func (l *Lines) Progress() (done, total int64) { return l.l.Progress() }

// Close closes the file.
func (l *Lines) Close() error { return l.l.Close() }

func openLines(name, format string, file io.ReadCloser, total int64, fields map[string]string) (Stream, error) {
	l, err := newLines(name, file, total)
	if err != nil {
		return nil, err
	}
	switch {
	case format == "csv":
		return openCSV(l, fields)
	case format == "otto":
		return openOTTO(l)
	case presets[format] != nil:
		return openPreset(l, format)
	}
	return openJSONL(l, fields)
}

// newLines finds out how the file is compressed.
func newLines(name string, file io.ReadCloser, total int64) (*lines, error) {
	l := &lines{name: name, file: file, total: total}
	counted := bufio.NewReaderSize(&countingReader{r: file, n: &l.read}, 1<<16)
	l.in = counted
	magic, err := counted.Peek(4) // a shorter file is neither
	switch {
	case err == nil && bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		unzipped, err := gzip.NewReader(counted)
		if err != nil {
			return nil, fmt.Errorf("%s: it begins like gzip and is not: %w: compress it again", name, err)
		}
		l.in = bufio.NewReaderSize(unzipped, 1<<16)
	case err == nil && bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		unzipped, err := zstd.NewReader(counted, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("%s: it begins like Zstandard and is not: %w: compress it again", name, err)
		}
		l.in = bufio.NewReaderSize(unzipped, 1<<16)
		l.unzip = unzipped.Close
	}
	return l, nil
}

// maxWindow bounds the memory that a file compressed with Zstandard may ask for: what zstd --ultra needs.
const maxWindow = 128 << 20

// countingReader counts the bytes that were read of the file as it lies on disk, which is what its size is in.
type countingReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// lines reads a file by lines.
type lines struct {
	name   string
	file   io.Closer
	in     *bufio.Reader
	unzip  func() // ends the decompression, if it has to be
	long   []byte // backs a line that is longer than the reader's buffer
	number int    // of the line read last, from 1
	total  int64  // bytes in the file, or -1
	read   atomic.Int64
}

// firstLine returns the first line that is not blank, without a byte-order mark. want says what should be in the file.
func (l *lines) firstLine(want string) ([]byte, error) {
	line, err := l.next()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s is empty: want %s", l.name, want)
	}
	return bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")), err
}

// next returns the next line that is not blank, without its end. It is valid until the next call.
func (l *lines) next() ([]byte, error) {
	for {
		line, err := l.raw()
		if err != nil {
			return nil, err
		}
		for n := len(line); n > 0 && (line[n-1] == '\n' || line[n-1] == '\r'); n = len(line) {
			line = line[:n-1]
		}
		if len(line) > 0 {
			return line, nil
		}
	}
}

func (l *lines) raw() ([]byte, error) {
	l.number++
	line, err := l.in.ReadSlice('\n')
	if err == nil {
		return line, nil
	}
	l.long = append(l.long[:0], line...)
	for errors.Is(err, bufio.ErrBufferFull) {
		if len(l.long) > maxLineBytes {
			return nil, fmt.Errorf("%s: line %d is longer than %d bytes: is it a file of clicks?", l.name, l.number, maxLineBytes)
		}
		line, err = l.in.ReadSlice('\n')
		l.long = append(l.long, line...)
	}
	switch {
	case err == nil, errors.Is(err, io.EOF) && len(l.long) > 0: // the last line may have no end
		return l.long, nil
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, zstd.ErrMagicMismatch):
		return nil, fmt.Errorf("%s: after line %d the compressed data break off: fetch the file again", l.name, l.number-1)
	}
	return nil, fmt.Errorf("%s: after line %d: %w", l.name, l.number-1, err)
}

func (l *lines) Len() int { return -1 }

// Numbered is implemented by the streams of files.
type Numbered interface {
	// Line returns the number, from 1, of the line that the record came from which Next returned last.
	Line() int
}

// Line implements Numbered.
func (l *lines) Line() int { return l.number }

func (l *lines) Progress() (done, total int64) { return l.read.Load(), l.total }

func (l *lines) Close() error {
	if l.unzip != nil {
		l.unzip()
	}
	return l.file.Close()
}

// Limit returns the first n records of s.
func Limit(s Stream, n int) Stream { return &limited{Stream: s, n: int64(max(n, 0))} }

type limited struct {
	Stream
	n    int64
	done atomic.Int64
}

func (l *limited) Next() (Outgoing, error) {
	if l.done.Load() >= l.n {
		return Outgoing{}, io.EOF
	}
	out, err := l.Stream.Next()
	if err == nil {
		l.done.Add(1)
	}
	return out, err
}

// Len is not known where the length of the stream is not: it may be shorter than the limit.
func (l *limited) Len() int { return min(l.Stream.Len(), int(l.n)) }

func (l *limited) Progress() (done, total int64) { return l.done.Load(), l.n }
