package replay

import (
	"bytes"
	"errors"
	"fmt"
	"unsafe"
)

// Format is a layout of lines that the published leave-one-out sets come in. Neither has times: the order is the order.
type Format string

// The formats. Fields are separated by blanks or tabs.
const (
	Pairs Format = "pairs" // "user item" a line, each user's lines in order
	Lists Format = "lists" // "user item item ..." a line, one user each
)

// sniffLines is how many lines Sniff is to be shown: a list's users differ in their number of items long before that.
const sniffLines = 200

// SniffLines is how many first lines of a file Sniff wants.
func SniffLines() int { return sniffLines }

// Sniff says in which format the first lines of a file are, or why that cannot be said.
//
// Pairs have two fields in every line, and a user in more than one. Lists have lines of different lengths, and each user once. Lines
// that are all of one greater length are taken for neither: they are more likely a table.
func Sniff(lines [][]byte) (Format, error) {
	if len(lines) == 0 {
		return "", errors.New("it is empty: give a file with events")
	}
	users := map[string]bool{}
	shortest, longest, again := len(bytes.Fields(lines[0])), 0, false
	for _, line := range lines {
		fields := bytes.Fields(line)
		if len(fields) == 0 {
			continue
		}
		shortest, longest = min(shortest, len(fields)), max(longest, len(fields))
		again = again || users[string(fields[0])]
		users[string(fields[0])] = true
	}
	const give = `give --format pairs ("user item" a line), lists ("user item item …" a line), csv, jsonl, or the name of a data set`
	switch {
	case shortest == 2 && longest == 2 && again:
		return Pairs, nil
	case shortest >= 2 && longest > shortest && !again:
		return Lists, nil
	case shortest < 2 && bytes.ContainsAny(lines[0], ",;"):
		return "", fmt.Errorf("its first line %.80q looks like CSV: give --format csv", lines[0])
	case shortest < 2:
		return "", fmt.Errorf("its format is not clear from the first %d lines, one of which has a single field: %s", len(lines), give)
	case longest == shortest && longest > 2:
		return "", fmt.Errorf("its format is not clear from the first %d lines, which have %d fields each, as a table has: %s", len(lines), longest, give)
	}
	return "", fmt.Errorf("its format is not clear from the first %d lines: %s", len(lines), give)
}

// AddLine adds the events of a line; number is the line's in the file. The error says what the line should be.
func (b *Builder) AddLine(f Format, line []byte, number int) error {
	user, rest := field(line)
	item, rest := field(rest)
	if len(item) == 0 {
		if f == Lists {
			return fmt.Errorf("%.60q is a user without an item: want a user and their items: add them, or remove the line", line)
		}
		return fmt.Errorf("%.60q has one field: want a user and an item: correct or remove the line", line)
	}
	for _, c := range line {
		if c == 0 {
			return errors.New("it has a zero byte: is it a text file? Compressed files may be gzip or Zstandard")
		}
	}
	switch f {
	case Pairs:
		if more, _ := field(rest); len(more) > 0 {
			return fmt.Errorf(`%.60q has more than two fields: want "user item": correct the line, or give --format lists or csv if all are such`, line)
		}
		b.Add(text(user), text(item))
		return nil
	case Lists:
		before := len(b.counts)
		u := b.userOf(text(user))
		if int(u) < before {
			return fmt.Errorf("user %.60q was in line %d already: want one line a user: join them, or give --format pairs if the file has a line an event", user, b.lineOf[u])
		}
		b.lineOf = append(b.lineOf, number)
		for len(item) > 0 {
			b.add(u, text(item))
			item, rest = field(rest)
		}
		return nil
	}
	panic("replay: add line: no such format: " + string(f))
}

// field cuts the first field off a line.
func field(line []byte) (first, rest []byte) {
	line = bytes.TrimLeft(line, " \t")
	if i := bytes.IndexAny(line, " \t"); i >= 0 {
		return line[:i], line[i:]
	}
	return line, nil
}

// text sees b as a string for as long as b does not change: a Builder copies what it keeps.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
