package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"

	"github.com/gobwas/ws"
)

// NATS, its text protocol written by hand: a message is "MSG room 1 64", a line end, the payload, a line end.
type natsClient struct {
	connection net.Conn
	reader     *bufio.Reader
	room       string
}

func dialNATS(o options, room string) (client, error) {
	connection, err := net.Dial("tcp", o.Addr)
	if err != nil {
		return nil, err
	}
	c := &natsClient{connection: connection, reader: bufio.NewReaderSize(connection, max(64<<10, o.Size+64)), room: room}
	if _, err := c.reader.ReadSlice('\n'); err != nil { // INFO
		return nil, err
	}
	if overTLS {
		if connection, err = encrypted(connection); err != nil {
			return nil, err
		}
		c.connection = connection
		c.reader.Reset(connection)
	}
	fmt.Fprintf(connection, "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false}\r\nSUB %s 1\r\nPING\r\n", room)
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if bytes.HasPrefix(line, []byte("PONG")) {
			return c, nil
		}
	}
}

func (c *natsClient) Send(payloads [][]byte) error {
	var frame []byte
	for _, payload := range payloads {
		frame = append(frame, "PUB "...)
		frame = append(frame, c.room...)
		frame = append(frame, ' ')
		frame = strconv.AppendInt(frame, int64(len(payload)), 10)
		frame = append(frame, "\r\n"...)
		frame = append(frame, payload...)
		frame = append(frame, "\r\n"...)
	}
	_, err := c.connection.Write(frame)
	return err
}

func (c *natsClient) Receive(deliver func([]byte)) error {
	for least := 0; c.reader.Buffered() >= least; { // a whole further message is there
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch {
		case bytes.HasPrefix(line, []byte("MSG ")):
			line = bytes.TrimRight(line, "\r\n")
			size, err := strconv.Atoi(string(line[bytes.LastIndexByte(line, ' ')+1:]))
			if err != nil {
				return err
			}
			payload, err := c.reader.Peek(size + 2)
			if err != nil {
				return err
			}
			deliver(payload[:size])
			c.reader.Discard(size + 2)
			least = size + 128
		case bytes.HasPrefix(line, []byte("PING")):
			if _, err := c.connection.Write([]byte("PONG\r\n")); err != nil {
				return err
			}
		case bytes.HasPrefix(line, []byte("-ERR")):
			return errors.New(string(line))
		}
	}
	return nil
}

func (c *natsClient) Acked() int64 { return 0 }
func (c *natsClient) Close()       { c.connection.Close() }

// The class exercise: JSON objects over a bare socket, an object a line.
type tcpClient struct {
	connection net.Conn
	reader     *bufio.Reader
}

func dialTCP(o options) (client, error) {
	connection, err := net.Dial("tcp", o.Addr)
	if err != nil {
		return nil, err
	}
	c := &tcpClient{connection, bufio.NewReaderSize(connection, 64<<10)}
	_, err = c.reader.ReadSlice('\n') // a greeting: now it is in
	return c, err
}

func (c *tcpClient) Send(payloads [][]byte) error {
	var frame []byte
	for _, payload := range payloads {
		frame = append(frame, `{"operacion": "broadcast", "msg": "`...)
		frame = append(frame, payload...)
		frame = append(frame, "\"}\n"...)
	}
	_, err := c.connection.Write(frame)
	return err
}

var messageKey = []byte(`{"message": "`)

func (c *tcpClient) Receive(deliver func([]byte)) error {
	for least := 0; c.reader.Buffered() >= least; {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		if !bytes.HasPrefix(line, messageKey) {
			return fmt.Errorf("a line that begins with %.20q", line)
		}
		least = len(line)
		line = line[len(messageKey):]
		deliver(line[:bytes.IndexByte(line, '"')])
	}
	return nil
}

func (c *tcpClient) Acked() int64 { return 0 }
func (c *tcpClient) Close()       { c.connection.Close() }

// A WebSocket, a message a frame; the frames of one Send leave in one write. Joined, they are one frame, which a server that
// only passes frames on cannot tell from a single message.
type wsClient struct {
	connection net.Conn
	reader     *bufio.Reader
	buffer     []byte
	out        []byte
	joined     int // bytes of a message, if a frame holds several
	acked      atomic.Int64
}

func dialWS(o options, joined int) (client, error) {
	connection, reader, _, err := ws.Dial(context.Background(), "ws://"+o.Addr+"/")
	if err != nil {
		return nil, err
	}
	c := newWSClient(connection, reader)
	c.joined = joined
	return c, nil
}

func newWSClient(connection net.Conn, reader *bufio.Reader) *wsClient {
	if reader == nil {
		reader = bufio.NewReaderSize(connection, 64<<10)
	}
	return &wsClient{connection: connection, reader: reader}
}

func (c *wsClient) Send(payloads [][]byte) error {
	if c.joined > 0 {
		return c.write(ws.OpText, bytes.Join(payloads, nil))
	}
	c.out = c.out[:0]
	for _, payload := range payloads {
		frame, err := ws.CompileFrame(ws.MaskFrame(ws.NewTextFrame(payload)))
		if err != nil {
			return err
		}
		c.out = append(c.out, frame...)
	}
	_, err := c.connection.Write(c.out)
	return err
}

func (c *wsClient) Receive(deliver func([]byte)) error {
	for least := 0; c.reader.Buffered() >= least; least = len(c.buffer) + ws.MaxHeaderSize {
		if err := c.next(func(frame []byte) { c.split(frame, deliver) }); err != nil {
			return err
		}
	}
	return nil
}

func (c *wsClient) split(frame []byte, deliver func([]byte)) {
	for c.joined > 0 && len(frame) > c.joined {
		deliver(frame[:c.joined])
		frame = frame[c.joined:]
	}
	deliver(frame)
}

// next reads one frame.
func (c *wsClient) next(deliver func([]byte)) error {
	head, err := ws.ReadHeader(c.reader)
	if err != nil {
		return err
	}
	if cap(c.buffer) < int(head.Length) {
		c.buffer = make([]byte, head.Length)
	}
	c.buffer = c.buffer[:head.Length]
	if _, err := io.ReadFull(c.reader, c.buffer); err != nil {
		return err
	}
	switch head.OpCode {
	case ws.OpText, ws.OpBinary:
		deliver(c.buffer)
	case ws.OpPing:
		return c.write(ws.OpPong, c.buffer)
	case ws.OpClose:
		return fmt.Errorf("closed: %q", c.buffer)
	}
	return nil
}

// write writes one frame at once, so that a pong never falls into another frame.
func (c *wsClient) write(op ws.OpCode, payload []byte) error {
	frame, err := ws.CompileFrame(ws.MaskFrame(ws.NewFrame(op, true, payload)))
	if err != nil {
		return err
	}
	_, err = c.connection.Write(frame)
	return err
}

func (c *wsClient) Acked() int64 { return c.acked.Load() }
func (c *wsClient) Close()       { c.connection.Close() }
