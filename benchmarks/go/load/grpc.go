package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
)

// The project's contract, its messages written by hand: decoding everything into objects would make the load the
// bottleneck.
type grpcClient struct {
	*call
	acks    bool
	batches bool
	count   int64
	acked   atomic.Int64
}

func dialGRPC(o options, room string) (client, error) {
	metadata := [][2]string{{"bcast-room", room}}
	batches := o.Kind == "bcast" && !o.Single
	if batches {
		metadata = append(metadata, [2]string{"bcast-batch", "1"})
	}
	call, err := dialCall(o.Addr, "/bcast_grpc.v1.Chat/Connect", metadata...)
	if err != nil {
		return nil, err
	}
	return &grpcClient{call: call, acks: o.Acks, batches: batches}, nil
}

func (c *grpcClient) Send(payloads [][]byte) error {
	frame := make([]byte, 0, len(payloads)*(len(payloads[0])+24))
	for _, payload := range payloads {
		var id []byte
		if c.acks {
			id = strconv.AppendInt(nil, c.count, 10)
			c.count++
		}
		if len(payloads) > 1 {
			size := 1 + uvarintSize(len(payload)) + len(payload)
			if id != nil {
				size += 2 + len(id)
			}
			frame = append(frame, 15<<3|2)
			frame = binary.AppendUvarint(frame, uint64(size))
		}
		frame = append(frame, 2<<3|2)
		frame = binary.AppendUvarint(frame, uint64(len(payload)))
		frame = append(frame, payload...)
		if id != nil {
			frame = append(frame, 4<<3|2, byte(len(id)))
			frame = append(frame, id...)
		}
	}
	return c.send(frame)
}

func uvarintSize(n int) (size int) {
	for size = 1; n >= 128; n >>= 7 {
		size++
	}
	return size
}

func (c *grpcClient) Receive(deliver func([]byte)) error {
	return c.receive(func(part []byte, whole bool) (int, error) { return c.take(part, whole, deliver) })
}

// take takes a message, which is an event; or as many events of a batch as are there.
func (c *grpcClient) take(part []byte, whole bool, deliver func([]byte)) (taken int, err error) {
	if !c.batches {
		if !whole {
			return 0, nil
		}
		return len(part), c.event(part, deliver)
	}
	for taken < len(part) && err == nil {
		rest := part[taken:]
		if rest[0] != 15<<3|2 {
			return taken, fmt.Errorf("a frame that begins with %#x", rest[0])
		}
		size, n := binary.Uvarint(rest[1:])
		begin, end := 1+n, 1+n+int(size)
		if n <= 0 || end > len(rest) {
			break
		}
		err = c.event(rest[begin:end], deliver)
		taken += end
	}
	if whole && taken < len(part) && err == nil {
		err = errTruncated
	}
	return taken, err
}

var errTruncated = errors.New("a truncated frame")

// event reads one ConnectResponse: kind is field 2, message is field 1.
func (c *grpcClient) event(b []byte, deliver func([]byte)) error {
	var text []byte
	var kind uint64
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return errTruncated
		}
		b = b[n:]
		value, n := binary.Uvarint(b)
		if n <= 0 {
			return errTruncated
		}
		b = b[n:]
		switch tag & 7 {
		case 0:
			if tag>>3 == 2 {
				kind = value
			}
		case 2:
			if int(value) > len(b) {
				return errTruncated
			}
			if tag>>3 == 1 {
				text = b[:value]
			}
			b = b[value:]
		default:
			return fmt.Errorf("wire type %d", tag&7)
		}
	}
	switch kind {
	case 1:
		deliver(text)
	case 5:
		c.acked.Add(1)
	default:
		return fmt.Errorf("an event of kind %d: %s", kind, text)
	}
	return nil
}

func (c *grpcClient) Acked() int64 { return c.acked.Load() }

func (c *grpcClient) Close() { c.connection.Close() }
