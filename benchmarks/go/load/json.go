package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"

	"github.com/gobwas/ws"
)

// The project's contract as JSON, over a WebSocket or a bare socket. A decoder of JSON would be the bottleneck, so events are
// read by what an event must look like here: the text first, then its kind, and no brace in it but its own two. Anything
// else is an error.
type jsonClient struct {
	*wsClient
	framed bool   // over a WebSocket; otherwise objects are lines
	ending string // of a frame: that of an array, where events come so
	left   int    // bytes of the frame that are still to come
}

const jsonBuffer = 64 << 10

func dialJSONWebSocket(o options, room string) (client, error) {
	if o.Acks {
		return nil, errors.New("acks: not over JSON")
	}
	url := "ws://" + o.Addr + "/ws?room=" + room
	if !o.Single {
		url += "&batch=1"
	}
	size := max(jsonBuffer, 2*o.Size+1024)
	connection, reader, _, err := ws.Dialer{ReadBufferSize: size}.Dial(context.Background(), url)
	if err != nil {
		return nil, err
	}
	if reader == nil {
		reader = bufio.NewReaderSize(connection, size)
	}
	c := &jsonClient{wsClient: newWSClient(connection, reader), framed: true}
	if !o.Single {
		c.ending = "]"
	}
	return c, nil
}

func dialJSONLines(o options) (client, error) {
	if o.Acks || o.Rooms > 1 {
		return nil, errors.New("acks, rooms: not over a bare socket")
	}
	connection, err := net.Dial("tcp", o.Addr)
	if err != nil {
		return nil, err
	}
	reader := bufio.NewReaderSize(connection, max(jsonBuffer, 2*o.Size+1024))
	c := &jsonClient{wsClient: newWSClient(connection, reader), left: math.MaxInt}
	fmt.Fprintln(connection, `{"operacion":"none"}`)
	for { // no handshake: it is in once it is told that there is no such operation
		line, err := reader.ReadSlice('\n')
		if err != nil || bytes.Contains(line, []byte("ERROR_CODE_UNKNOWN_OPERATION")) {
			return c, err
		}
	}
}

func (c *jsonClient) Send(payloads [][]byte) error {
	frame := make([]byte, 0, len(payloads)*(len(payloads[0])+12)+2)
	for i, payload := range payloads {
		switch {
		case !c.framed && i > 0:
			frame = append(frame, '\n')
		case i > 0:
			frame = append(frame, ',')
		case c.framed && len(payloads) > 1:
			frame = append(frame, '[')
		}
		frame = append(frame, `{"msg":"`...)
		frame = append(frame, payload...)
		frame = append(frame, `"}`...)
	}
	if !c.framed {
		_, err := c.connection.Write(append(frame, '\n'))
		return err
	}
	if len(payloads) > 1 {
		frame = append(frame, ']')
	}
	return c.write(ws.OpText, frame)
}

// Receive takes the events that are there, which may be less than a frame, or more than a line.
func (c *jsonClient) Receive(deliver func([]byte)) error {
	if c.left == 0 {
		if err := c.begin(); err != nil || c.left == 0 {
			return err
		}
	}
	for least := 1; ; least++ {
		if _, err := c.reader.Peek(min(least, c.left)); err != nil {
			return err
		}
		b, _ := c.reader.Peek(min(c.reader.Buffered(), c.left))
		n, err := events(b, deliver)
		if err != nil {
			return err
		}
		if len(b) == c.left { // the end of the frame
			if string(b[n:]) != c.ending {
				return fmt.Errorf("a frame that ends with %q", b[n:])
			}
			n = len(b)
		}
		if n > 0 {
			c.reader.Discard(n)
			if c.framed {
				c.left -= n
			}
			return nil
		}
		least = len(b)
	}
}

// begin reads the head of a frame of events, or a whole frame of another kind.
func (c *jsonClient) begin() error {
	head, err := c.reader.Peek(1)
	if err != nil {
		return err
	}
	if ws.OpCode(head[0]&0xf) != ws.OpText {
		return c.next(func(frame []byte) {})
	}
	header, err := ws.ReadHeader(c.reader)
	c.left = int(header.Length)
	return err
}

var (
	textBegin = []byte(`{"message":"`)
	textEnd   = []byte(`","kind":"EVENT_KIND_MESSAGE",`)
)

// events hands over the text of each event that is whole, and returns where the last of them ends.
func events(b []byte, deliver func([]byte)) (taken int, err error) {
	for {
		rest := b[taken:]
		end := bytes.IndexByte(rest, '}')
		if end < 0 {
			return taken, nil
		}
		begin := bytes.IndexByte(rest[:end], '{')
		if begin < 0 || begin > 1 || !bytes.HasPrefix(rest[begin:], textBegin) {
			return taken, fmt.Errorf("an event that begins with %.300q", rest)
		}
		text := rest[begin+len(textBegin) : end]
		size := bytes.IndexByte(text, '"')
		if size < 0 || !bytes.HasPrefix(text[size:], textEnd) {
			return taken, fmt.Errorf("an event that begins with %.300q", rest)
		}
		deliver(text[:size])
		taken += end + 1
	}
}
