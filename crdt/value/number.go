package value

import (
	"bytes"
	"math"
	"strconv"
)

// parseNumber reads a number that is known to follow the grammar of RFC 8259.
// Without fraction and exponent it is an int64; "-0", which no int64 can be, is
// the float64 -0.0, as writers that print floats without fraction mean it.
func parseNumber(b []byte) (any, bool) {
	if !bytes.ContainsAny(b, ".eE") {
		if string(b) == "-0" {
			return math.Copysign(0, -1), true
		}
		i, err := strconv.ParseInt(string(b), 10, 64)
		if err != nil {
			return nil, false
		}
		return i, true
	}
	f, ok := parseFloat(b)
	if !ok {
		return nil, false
	}
	return f, true
}

const (
	// Seventeen digits tell all float64 apart, so no shortest form has more.
	maxDigits = 17
	// Every decimal of at most 15 digits in the normal range is the shortest
	// form of some float64.
	exactDigits = 15
	// Up to 10^22, powers of ten are exact in float64, and a product or quotient
	// of two exact operands is correctly rounded.
	exactPower = 22
	// Exponents are added up in an int; far beyond float64's range their exact
	// size does not matter any more.
	maxExponent = 1 << 30
)

var powersOfTen = [exactPower + 1]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// parseFloat returns the float64 whose shortest decimal form denotes the same
// number as the literal b, or false when there is none.
func parseFloat(b []byte) (float64, bool) {
	d, ok := parseDecimal(b)
	if !ok {
		return 0, false
	}
	if d.digits <= exactDigits && -exactPower <= d.exp && d.exp <= exactPower {
		f := float64(d.mant)
		if d.exp >= 0 {
			f *= powersOfTen[d.exp]
		} else {
			f /= powersOfTen[-d.exp]
		}
		if b[0] == '-' {
			f = -f
		}
		return f, true
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil { // out of range
		return 0, false
	}
	var buf [32]byte
	kept, ok := parseDecimal(strconv.AppendFloat(buf[:0], f, 'e', -1, 64))
	return f, ok && kept == d
}

// decimal is the absolute number mant·10^exp in normal form: mant has no
// trailing zero, and zero has exponent 0.
type decimal struct {
	mant   uint64
	digits int // of mant
	exp    int
}

// parseDecimal normalises a number literal. It gives up, and returns false,
// when the number has more than maxDigits significant digits.
func parseDecimal(b []byte) (decimal, bool) {
	var d decimal
	zeros := 0 // seen, and significant only if another digit follows
	fraction := false
	i := 0
	for ; i < len(b); i++ {
		c := b[i]
		if c == '-' {
			continue
		}
		if c == '.' {
			fraction = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		if fraction {
			d.exp--
		}
		if c == '0' {
			if d.digits > 0 {
				zeros++
			}
			continue
		}
		d.digits += zeros + 1
		if d.digits > maxDigits {
			return decimal{}, false
		}
		for ; zeros > 0; zeros-- {
			d.mant *= 10
		}
		d.mant = d.mant*10 + uint64(c-'0')
	}
	d.exp += zeros
	if i < len(b) {
		d.exp += parseExponent(b[i+1:])
	}
	if d.mant == 0 {
		d.exp = 0
	}
	return d, true
}

func parseExponent(b []byte) int {
	exp, negative := 0, b[0] == '-'
	if negative || b[0] == '+' {
		b = b[1:]
	}
	for _, c := range b {
		exp = min(exp*10+int(c-'0'), maxExponent)
	}
	if negative {
		return -exp
	}
	return exp
}

// appendFloat writes f as RFC 8785, section 3.2.2.3 (the shortest form that
// reads back as f), with ".0" added to what would look like an integer.
func appendFloat(dst []byte, f float64) []byte {
	abs := math.Abs(f)
	if abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
		// Go writes at least two digits of exponent.
		if n := len(dst); dst[n-2] == '0' && (dst[n-3] == '-' || dst[n-3] == '+') {
			dst[n-2] = dst[n-1]
			dst = dst[:n-1]
		}
		return dst
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'f', -1, 64)
	if bytes.IndexByte(dst[start:], '.') < 0 {
		dst = append(dst, '.', '0')
	}
	return dst
}
