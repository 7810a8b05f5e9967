package main

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/gobwas/ws"
)

// Centrifugo, its protobuf protocol over a WebSocket written by hand: a frame is a row of commands or replies, each after
// its size. It answers every publication, which is counted as an ack, and echoes it to its author.
type centrifugoClient struct {
	*wsClient
	channel string
	frame   []byte
}

// Field numbers of the protocol's Command, Reply, Push and Publication.
const (
	fieldID          = 1
	fieldError       = 2
	fieldPush        = 4
	fieldConnect     = 4
	fieldSubscribe   = 5
	fieldPublish     = 7
	fieldChannel     = 1
	fieldData        = 2
	fieldPublication = 4
	fieldPayload     = 4
)

func dialCentrifugo(o options, room string) (client, error) {
	connection, reader, _, err := ws.Dial(context.Background(), "ws://"+o.Addr+"/connection/websocket?cf_protocol=protobuf")
	if err != nil {
		return nil, err
	}
	c := &centrifugoClient{wsClient: newWSClient(connection, reader), channel: room}
	subscribe := appendField(nil, fieldChannel, []byte(room))
	c.command(1, fieldConnect, nil)
	c.command(2, fieldSubscribe, subscribe)
	if err := c.flush(); err != nil {
		return nil, err
	}
	for answered := 0; answered < 2; {
		if err := c.replies(func(reply []byte) error {
			if len(reply) > 0 {
				answered++
			}
			return c.reply(reply, nil)
		}); err != nil {
			return nil, err
		}
	}
	c.acked.Store(0)
	return c, nil
}

func (c *centrifugoClient) command(id byte, field byte, body []byte) {
	command := appendField([]byte{fieldID << 3, id}, field, body)
	c.frame = append(binary.AppendUvarint(c.frame, uint64(len(command))), command...)
}

func (c *centrifugoClient) flush() error {
	defer func() { c.frame = c.frame[:0] }()
	return c.write(ws.OpBinary, c.frame)
}

func appendField(to []byte, field byte, body []byte) []byte {
	to = binary.AppendUvarint(append(to, field<<3|2), uint64(len(body)))
	return append(to, body...)
}

func (c *centrifugoClient) Send(payloads [][]byte) error {
	for _, payload := range payloads {
		body := appendField(nil, fieldChannel, []byte(c.channel))
		c.command(1, fieldPublish, appendField(body, fieldData, payload))
		if len(c.frame) > 60<<10 { // it takes 64 KiB
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
	if len(c.frame) == 0 {
		return nil
	}
	return c.flush()
}

func (c *centrifugoClient) Receive(deliver func([]byte)) error {
	for least := 0; c.reader.Buffered() >= least; least = len(c.buffer) + ws.MaxHeaderSize {
		if err := c.replies(func(reply []byte) error { return c.reply(reply, deliver) }); err != nil {
			return err
		}
	}
	return nil
}

// replies reads a frame and hands over its replies.
func (c *centrifugoClient) replies(handle func([]byte) error) error {
	var failure error
	err := c.wsClient.next(func(frame []byte) {
		for len(frame) > 0 && failure == nil {
			size, n := binary.Uvarint(frame)
			if n <= 0 || int(size) > len(frame)-n {
				failure = errTruncated
				return
			}
			failure = handle(frame[n : n+int(size)])
			frame = frame[n+int(size):]
		}
	})
	if err == nil {
		err = failure
	}
	return err
}

func (c *centrifugoClient) reply(reply []byte, deliver func([]byte)) error {
	if len(reply) == 0 { // a ping
		return c.write(ws.OpBinary, []byte{0})
	}
	push, isPush := field(reply, fieldPush)
	if text, isError := field(reply, fieldError); isError {
		return fmt.Errorf("centrifugo: %q", text)
	}
	if !isPush {
		c.acked.Add(1)
		return nil
	}
	publication, ok := field(push, fieldPublication)
	if !ok {
		return fmt.Errorf("centrifugo: %q instead of a publication", push)
	}
	payload, _ := field(publication, fieldPayload)
	deliver(payload)
	return nil
}

// field returns the first field of that number, if it has a length.
func field(b []byte, number uint64) ([]byte, bool) {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		value, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 {
			return nil, false
		}
		b = b[n+m:]
		if tag&7 != 2 {
			continue
		}
		if value > uint64(len(b)) {
			return nil, false
		}
		if tag>>3 == number {
			return b[:value], true
		}
		b = b[value:]
	}
	return nil, false
}
