package bench

import (
	"math/rand/v2"
	"strconv"
)

// Documents are {"f0":"…","f1":"…"}, with text of letters and digits, which
// compresses by a quarter.

const (
	alphabet  = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	textBytes = 2 * MaxSize
)

// A content makes documents of one shape.
type content struct {
	fields int
	text   []byte // of which values are cut
	widths []int  // of the values
}

func newContent(cfg *Config) *content {
	rng := rand.New(rand.NewPCG(cfg.Seed, 0))
	c := &content{fields: cfg.Fields, text: make([]byte, textBytes), widths: make([]int, cfg.Fields)}
	for i := range c.text {
		c.text[i] = alphabet[rng.IntN(len(alphabet))]
	}
	room := cfg.Size - leastSize(cfg.Fields)
	for i := range c.widths {
		c.widths[i] = room / cfg.Fields
		if i < room%cfg.Fields {
			c.widths[i]++
		}
	}
	return c
}

// leastSize is how large a document is whose values are empty.
func leastSize(fields int) int {
	size := len(`{}`) - len(`,`)
	for i := range fields {
		size += len(`"f":"",`) + len(strconv.Itoa(i))
	}
	return size
}

func (c *content) appendField(b []byte, i int, rng *rand.Rand) []byte {
	b = append(b, `"f`...)
	b = strconv.AppendInt(b, int64(i), 10)
	b = append(b, `":"`...)
	at := rng.IntN(len(c.text) - c.widths[i])
	b = append(b, c.text[at:at+c.widths[i]]...)
	return append(b, '"')
}

// appendDocument appends a document with new values.
func (c *content) appendDocument(b []byte, rng *rand.Rand) []byte {
	b = append(b, '{')
	for i := range c.fields {
		if i > 0 {
			b = append(b, ',')
		}
		b = c.appendField(b, i, rng)
	}
	return append(b, '}')
}

// appendPatch appends a merge patch of one field.
func (c *content) appendPatch(b []byte, rng *rand.Rand) []byte {
	b = append(b, '{')
	b = c.appendField(b, rng.IntN(c.fields), rng)
	return append(b, '}')
}

// appendElement appends an element of a list.
func (c *content) appendElement(b []byte, rng *rand.Rand) []byte {
	at := rng.IntN(len(c.text) - elementBytes)
	b = append(b, '"')
	b = append(b, c.text[at:at+elementBytes]...)
	return append(b, '"')
}

// elementBytes is the size of a list's element.
const elementBytes = 32
