package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
)

// Frames pass as bytes: decoding everything into objects would make the load the bottleneck.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	into := v.(*[]byte)
	if cap(*into) < data.Len() {
		*into = make([]byte, data.Len())
	}
	*into = (*into)[:data.Len()]
	data.CopyTo(*into)
	return nil
}

type grpcClient struct {
	connection *grpc.ClientConn
	stream     grpc.ClientStream
	cancel     context.CancelFunc
	acks       bool
	batches    bool
	count      int64
	acked      atomic.Int64
	buffer     []byte
}

func dialGRPC(o options, room string) (client, error) {
	connection, err := grpc.NewClient("passthrough:///"+o.Addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(8<<20)),
		grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(1<<20),
		grpc.WithDisableServiceConfig())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	batches := o.Kind == "bcast" && !o.Single
	if o.Kind == "bcast" {
		ctx = metadata.AppendToOutgoingContext(ctx, "bcast-room", room)
		if batches {
			ctx = metadata.AppendToOutgoingContext(ctx, "bcast-batch", "1")
		}
	}
	description := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := connection.NewStream(ctx, description, "/bcast_grpc.v1.Chat/Connect")
	if err != nil {
		cancel()
		return nil, err
	}
	timeout := time.AfterFunc(60*time.Second, cancel)
	_, err = stream.Header() // now it is in
	timeout.Stop()
	if err != nil {
		cancel()
		return nil, err
	}
	return &grpcClient{connection: connection, stream: stream, cancel: cancel, acks: o.Acks, batches: batches}, nil
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
	return c.stream.SendMsg(frame)
}

func uvarintSize(n int) (size int) {
	for size = 1; n >= 128; n >>= 7 {
		size++
	}
	return size
}

func (c *grpcClient) Receive(deliver func([]byte)) error {
	if err := c.stream.RecvMsg(&c.buffer); err != nil {
		return err
	}
	if !c.batches {
		return c.event(c.buffer, deliver)
	}
	for rest := c.buffer; len(rest) > 0; {
		if rest[0] != 15<<3|2 {
			return fmt.Errorf("a frame that begins with %#x", rest[0])
		}
		size, n := binary.Uvarint(rest[1:])
		begin, end := 1+n, 1+n+int(size)
		if n <= 0 || end > len(rest) {
			return errTruncated
		}
		if err := c.event(rest[begin:end], deliver); err != nil {
			return err
		}
		rest = rest[end:]
	}
	return nil
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

func (c *grpcClient) Close() {
	c.cancel()
	c.connection.Close()
}
