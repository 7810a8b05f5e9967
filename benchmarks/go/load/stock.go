package main

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"

	pb "bcast_grpc/benchmarks/gen/bcast_grpc/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// An ordinary client: the stubs that protoc generates from the contract, grpc-go with its default options, one message a
// frame. It costs more for each message than a server may, so it is often the limit itself.
type stockClient struct {
	connection *grpc.ClientConn
	stream     grpc.BidiStreamingClient[pb.ConnectRequest, pb.ConnectResponse]
	acks       bool
	count      int64
	acked      atomic.Int64
}

func dialStock(o options, room string) (client, error) {
	connection, err := grpc.NewClient(o.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	ctx := metadata.AppendToOutgoingContext(context.Background(), "bcast-room", room)
	stream, err := pb.NewChatClient(connection).Connect(ctx)
	if err == nil {
		_, err = stream.Header() // the server has let it in
	}
	if err != nil {
		connection.Close()
		return nil, err
	}
	return &stockClient{connection: connection, stream: stream, acks: o.Acks}, nil
}

func (c *stockClient) Send(payloads [][]byte) error {
	for _, payload := range payloads {
		request := &pb.ConnectRequest{Msg: string(payload)}
		if c.acks {
			request.Id = strconv.FormatInt(c.count, 10)
			c.count++
		}
		if err := c.stream.Send(request); err != nil {
			return err
		}
	}
	return nil
}

func (c *stockClient) Receive(deliver func([]byte)) error {
	response, err := c.stream.Recv()
	if err != nil {
		return err
	}
	switch response.Kind {
	case pb.EventKind_EVENT_KIND_MESSAGE:
		deliver([]byte(response.Message))
	case pb.EventKind_EVENT_KIND_ACK:
		c.acked.Add(1)
	default:
		return fmt.Errorf("an event of kind %v: %s", response.Kind, response.Message)
	}
	return nil
}

func (c *stockClient) Acked() int64 { return c.acked.Load() }

func (c *stockClient) Close() { c.connection.Close() }
