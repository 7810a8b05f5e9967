// Cases makes one call of gRPC's own interoperability tests, and prints what it saw.
package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "example/chat/bcast_grpc/v1"
)

const largest = 65_536 // bytes that a message may have

type caller struct {
	connection *grpc.ClientConn
	chat       pb.ChatClient
	ctx        context.Context
	cancel     context.CancelFunc
	ids        []string // of the events, in order
	size       int      // of the data in them, in bytes
}

var cases = map[string]func(*caller) error{
	"empty_unary": func(c *caller) error { return c.publish(&pb.PublishRequest{}) },
	"large_unary": func(c *caller) error { return c.publish(&pb.PublishRequest{Data: make([]byte, largest)}) },
	"client_compressed_unary": func(c *caller) error {
		return c.publish(&pb.PublishRequest{Msg: strings.Repeat("hola ", 1000)}, grpc.UseCompressor(gzip.Name))
	},
	"server_streaming": func(c *caller) error {
		c.add("bcast-history", "20")
		stream, err := c.chat.Subscribe(c.ctx, &pb.SubscribeRequest{})
		if err != nil {
			return err
		}
		return c.readAndCancel(stream, 20)
	},
	"empty_stream": func(c *caller) error { return c.talk() },
	"half_duplex":  func(c *caller) error { return c.talk(requests(10, 1)...) },
	"client_compressed_streaming": func(c *caller) error {
		return c.talkWith(requests(10, 10_000), grpc.UseCompressor(gzip.Name))
	},
	"large_frame":     func(c *caller) error { return c.talk(&pb.ConnectRequest{Batch: requests(60, largest)}) },
	"too_large_frame": func(c *caller) error { return c.talk(&pb.ConnectRequest{Batch: requests(80, largest)}) },
	"ping_pong":       pingPong,
	"many_streams":    manyStreams,
	"cancel_after_begin": func(c *caller) error {
		stream, err := c.chat.Connect(c.ctx)
		if err != nil {
			return err
		}
		return c.readAndCancel(stream, 0)
	},
	"cancel_after_first_response": func(c *caller) error {
		stream, err := c.chat.Connect(c.ctx)
		if err != nil {
			return err
		}
		stream.Send(&pb.ConnectRequest{Operacion: "who", Id: "1"}) // where it fails, Recv says why
		return c.readAndCancel(stream, 1)
	},
	"timeout_on_sleeping_server": func(c *caller) error {
		c.ctx, c.cancel = context.WithTimeout(c.ctx, time.Second)
		stream, err := c.chat.Connect(c.ctx)
		if err != nil {
			return err
		}
		return c.read(stream, -1)
	},
	"special_status_message": func(c *caller) error {
		c.add("bcast-after", `100% "\~`+strings.Repeat("x", 100))
		return c.talk()
	},
	"unimplemented_method":  func(c *caller) error { return c.invoke("/bcast_grpc.v1.Chat/Dance") },
	"unimplemented_service": func(c *caller) error { return c.invoke("/bcast_grpc.v2.Chat/Publish") },
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 || cases[os.Args[1]] == nil {
		log.Fatal("usage: cases CASE TARGET ROOM")
	}
	connection, err := grpc.NewClient(os.Args[2], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	c := &caller{connection: connection, chat: pb.NewChatClient(connection), ids: []string{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.add("bcast-name", "caller", "bcast-room", os.Args[3], "x-binary-bin", "\x00\xff")
	end := status.Convert(cases[os.Args[1]](c))
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"code": end.Code(), "message": end.Message(), "ids": c.ids, "size": c.size,
	})
}

func (c *caller) add(pairs ...string) { c.ctx = metadata.AppendToOutgoingContext(c.ctx, pairs...) }

func (c *caller) publish(request *pb.PublishRequest, options ...grpc.CallOption) error {
	_, err := c.chat.Publish(c.ctx, request, options...)
	return err
}

func (c *caller) invoke(path string) error {
	return c.connection.Invoke(c.ctx, path, &pb.PublishRequest{}, &pb.PublishResponse{})
}

// talk sends all, ends its side, and reads to the end.
func (c *caller) talk(frames ...*pb.ConnectRequest) error { return c.talkWith(frames) }

func (c *caller) talkWith(frames []*pb.ConnectRequest, options ...grpc.CallOption) error {
	stream, err := c.chat.Connect(c.ctx, options...)
	if err != nil {
		return err
	}
	for _, frame := range frames {
		stream.Send(frame) // where it fails, Recv says why
	}
	stream.CloseSend()
	return c.read(stream, -1)
}

func pingPong(c *caller) error {
	stream, err := c.chat.Connect(c.ctx)
	if err != nil {
		return err
	}
	for _, request := range requests(10, largest) {
		stream.Send(request)
		if err := c.read(stream, 1); err != nil {
			return err
		}
	}
	stream.CloseSend()
	return c.read(stream, -1)
}

// manyStreams has a hundred of them on its connection: each speaks in turn, and hears the others.
func manyStreams(c *caller) error {
	c.add("bcast-events", "none")
	streams := make([]pb.Chat_ConnectClient, 100)
	for i := range streams {
		stream, err := c.chat.Connect(c.ctx)
		if err != nil {
			return err
		}
		stream.Send(&pb.ConnectRequest{Operacion: "who", Id: "0"})
		if err := c.read(stream, 1); err != nil {
			return err
		}
		streams[i] = stream
	}
	for i, request := range requests(len(streams), 1) {
		streams[i].Send(request)
		if err := c.read(streams[i], i+1); err != nil {
			return err
		}
	}
	for _, stream := range streams {
		stream.CloseSend()
		if err := c.read(stream, -1); err != nil {
			return err
		}
	}
	return nil
}

type events interface {
	Recv() (*pb.ConnectResponse, error)
}

func (c *caller) readAndCancel(stream events, count int) error {
	if err := c.read(stream, count); err != nil {
		return err
	}
	c.cancel()
	return c.read(stream, -1)
}

// read reads so many events, or to the end where the count is negative.
func (c *caller) read(stream events, count int) error {
	for ; count != 0; count-- {
		event, err := stream.Recv()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		c.ids = append(c.ids, event.Id)
		c.size += len(event.Data)
	}
	return nil
}

// requests returns messages of some bytes, numbered from 1.
func requests(count, size int) []*pb.ConnectRequest {
	all := make([]*pb.ConnectRequest, count)
	for i := range all {
		all[i] = &pb.ConnectRequest{Id: strconv.Itoa(i + 1), Data: make([]byte, size)}
	}
	return all
}
