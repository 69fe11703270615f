package value

import (
	"encoding/json"
	"testing"
)

// order is a document of about 1 KB as an application might write it.
const order = `{"id":"0190f3a2-7c1e-7d3a-9c57-1f0e8b7a6d21","customer":{"name":"Zoë Müller","email":"zoe@example.org",
"phones":["+49 30 1234567","+49 170 7654321"],"vip":true,"since":1546300800},"currency":"EUR","total":149.97,"tax":23.95,
"items":[{"sku":"KB-104","title":"Mechanical keyboard, 104 keys","quantity":1,"price":89.99,"tags":["usb","black"]},
{"sku":"MS-7","title":"Mouse","quantity":2,"price":24.99,"tags":[]},{"sku":"PAD-XL","title":"Mouse pad \"XL\"","quantity":1,"price":10.0,"tags":["cloth"]}],
"shipping":{"street":"Hauptstraße 12","city":"Berlin","zip":"10827","country":"DE","location":{"lat":52.4869,"lon":13.3551},"notes":null},
"likes":{"$counter":42},"labels":{"$set":["gift","express"]},"history":[{"at":1721640000123,"state":"created"},{"at":1721640060456,"state":"paid"},
{"at":1721726400789,"state":"shipped"}],"comment":"Please ring twice.\nThe dog is friendly."}`

func BenchmarkParse(b *testing.B) {
	in := []byte(order)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(in, DefaultLimits); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseStandard is what encoding/json takes for the same input.
func BenchmarkParseStandard(b *testing.B) {
	in := []byte(order)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		var v any
		if err := json.Unmarshal(in, &v); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkAppend(b *testing.B, appendTo func(dst []byte, v any) []byte) {
	v, err := Parse([]byte(order), DefaultLimits)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 2*len(order))
	b.SetBytes(int64(len(appendTo(buf, v))))
	b.ReportAllocs()
	for b.Loop() {
		buf = appendTo(buf[:0], v)
	}
}

func BenchmarkAppend(b *testing.B) {
	benchmarkAppend(b, func(dst []byte, v any) []byte { return Append(dst, v, Options{Types: true}) })
}

func BenchmarkAppendBinary(b *testing.B) { benchmarkAppend(b, AppendBinary) }

func BenchmarkSize(b *testing.B) {
	benchmarkAppend(b, func(dst []byte, v any) []byte { return dst[:Size(v)] })
}

func BenchmarkCheck(b *testing.B) {
	benchmarkAppend(b, func(dst []byte, v any) []byte {
		if err := Check(v, DefaultLimits); err != nil {
			b.Fatal(err)
		}
		return dst
	})
}

func BenchmarkDecodeBinary(b *testing.B) {
	v, err := Parse([]byte(order), DefaultLimits)
	if err != nil {
		b.Fatal(err)
	}
	in := AppendBinary(nil, v)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := DecodeBinary(in, DefaultLimits); err != nil {
			b.Fatal(err)
		}
	}
}
