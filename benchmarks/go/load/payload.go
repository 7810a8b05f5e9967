package main

// A payload is text: the author, the author's count, and the time sent, in base 64 and padded with dots.
const (
	authorEnd = 2
	countEnd  = authorEnd + 6
	header    = countEnd + 8
)

const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"

var values = func() (table [256]byte) {
	for i := range digits {
		table[digits[i]] = byte(i)
	}
	return table
}()

func fill(payload []byte, author int, count int64, now int64) {
	number(payload[:authorEnd], int64(author))
	number(payload[authorEnd:countEnd], count)
	number(payload[countEnd:header], now)
}

func number(into []byte, n int64) {
	for i := len(into) - 1; i >= 0; i-- {
		into[i] = digits[n&63]
		n >>= 6
	}
}

func parse(text []byte) (n int64) {
	for _, d := range text {
		n = n<<6 | int64(values[d])
	}
	return n
}
