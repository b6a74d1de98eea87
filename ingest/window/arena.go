package window

import "encoding/binary"

// arena holds the bytes of open sessions in blocks of some sizes, cut from large chunks. A million sessions are then a few
// thousand chunks to the garbage collector, which follows no pointer into them, and a block that is given back is the next
// one to be used.
//
// A chunk is never given back, so an arena stays as large as it once had to be.
type arena struct {
	chunks [][]byte
	carved int                   // bytes of the last chunk that are in blocks
	free   [sizeClasses]blockRef // the first free block of each class; the next one is in its first bytes

	big     [][]byte // blocks above the largest class, each of its own size
	bigFree []blockRef
}

// blockRef names a block: chunk and place in it, or place in big. 0 is none: the first bytes of the first chunk are kept
// unused.
type blockRef uint32

const (
	unit       = 16 // what blocks are multiples of
	chunkBytes = 64 << 10
	chunkUnits = chunkBytes / unit
	maxChunks  = 1 << 32 / chunkUnits // 64 GiB
	smallest   = 2 * unit             // the smallest block
	largest    = 8 << 10              // the largest block in a chunk
	none       = blockRef(0)          // no block

	sizeClasses = 31
	bigClass    = sizeClasses // of blocks above the largest
)

// classBytes is the size of the blocks of each class: every multiple of 16 up to 128, then four steps in each doubling.
// classes has the class of the blocks that hold n bytes, at n/16 rounded up.
var classBytes, classes = func() (sizes [sizeClasses]int, classes [largest/unit + 1]uint8) {
	class, from := 0, 0
	for size := smallest; size <= largest; class++ {
		sizes[class] = size
		for ; from <= size/unit; from++ {
			classes[from] = uint8(class)
		}
		step := unit
		for 8*step <= size {
			step *= 2
		}
		size += step
	}
	return sizes, classes
}()

// classOf returns the smallest class whose blocks hold n bytes.
func classOf(n int) uint8 {
	if n > largest {
		return bigClass
	}
	return classes[(n+unit-1)/unit]
}

// alloc returns a block of at least n bytes, which hold anything.
func (a *arena) alloc(n int) (blockRef, uint8) {
	class := classOf(n)
	if class == bigClass {
		return a.allocBig(n), class
	}
	if b := a.free[class]; b != none {
		a.free[class] = a.next(b, class)
		return b, class
	}
	size := classBytes[class]
	if len(a.chunks) == 0 || a.carved+size > chunkBytes {
		a.extend()
	}
	b := blockRef((len(a.chunks)-1)*chunkUnits + a.carved/unit)
	a.carved += size
	return b, class
}

// extend adds a chunk, after it has made free blocks of what is left of the last one.
func (a *arena) extend() {
	switch len(a.chunks) {
	case 0:
		a.chunks, a.carved = [][]byte{make([]byte, chunkBytes)}, smallest
		return
	case maxChunks:
		panic("window: arena: 64 GiB of open sessions: set max_open_sessions")
	}
	for class := sizeClasses - 1; class >= 0; class-- {
		for size := classBytes[class]; a.carved+size <= chunkBytes; a.carved += size {
			a.release(blockRef((len(a.chunks)-1)*chunkUnits+a.carved/unit), uint8(class))
		}
	}
	a.chunks, a.carved = append(a.chunks, make([]byte, chunkBytes)), 0
}

func (a *arena) allocBig(n int) blockRef {
	block := make([]byte, (n+n/4+unit-1)/unit*unit) // a quarter more, so that growing click by click is not quadratic
	if last := len(a.bigFree) - 1; last >= 0 {
		b := a.bigFree[last]
		a.bigFree = a.bigFree[:last]
		a.big[b] = block
		return b
	}
	if len(a.big) == 0 {
		a.big = append(a.big, nil) // 0 is none
	}
	a.big = append(a.big, block)
	return blockRef(len(a.big) - 1)
}

// bytes returns the whole block b. It is valid until b is released.
func (a *arena) bytes(b blockRef, class uint8) []byte {
	if class == bigClass {
		return a.big[b]
	}
	from := int(b%chunkUnits) * unit
	to := from + classBytes[class]
	return a.chunks[b/chunkUnits][from:to:to]
}

// next returns the free block behind the free block b.
func (a *arena) next(b blockRef, class uint8) blockRef {
	return blockRef(binary.LittleEndian.Uint32(a.bytes(b, class)))
}

// release gives b back.
func (a *arena) release(b blockRef, class uint8) {
	if class == bigClass {
		a.big[b] = nil
		a.bigFree = append(a.bigFree, b)
		return
	}
	binary.LittleEndian.PutUint32(a.bytes(b, class), uint32(a.free[class]))
	a.free[class] = b
}
