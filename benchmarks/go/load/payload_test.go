package main

import (
	"bytes"
	"testing"
)

func TestWhatIsFilledInIsRead(t *testing.T) {
	payload := bytes.Repeat([]byte("."), header)
	fill(payload, 4095, 1<<36-1, 123456789012345)
	author, count, now := parse(payload[:authorEnd]), parse(payload[authorEnd:countEnd]), parse(payload[countEnd:header])
	if author != 4095 || count != 1<<36-1 || now != 123456789012345 {
		t.Fatalf("%s: %d, %d, %d", payload, author, count, now)
	}
}
