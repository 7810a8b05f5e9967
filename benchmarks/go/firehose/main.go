// Firehose speaks the project's contract to one client at a time, as fast as that reads: frames of 64 messages of 64
// bytes, numbered from 1 on. With it a client can be measured, where a whole server would be the limit.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"strings"
	"sync/atomic"

	pb "bcast_grpc/benchmarks/gen/bcast_grpc/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"
)

type server struct {
	pb.UnimplementedChatServer
}

func (server) Connect(stream grpc.BidiStreamingServer[pb.ConnectRequest, pb.ConnectResponse]) error {
	answer := metadata.Pairs("bcast-session", "listener0000", "bcast-room", "lobby", "bcast-epoch", "firehose")
	if err := stream.SendHeader(answer); err != nil {
		return err
	}
	frame := &pb.ConnectResponse{}
	for range 64 {
		frame.Batch = append(frame.Batch, &pb.ConnectResponse{
			Message: strings.Repeat(".", 64), Kind: pb.EventKind_EVENT_KIND_MESSAGE, Session: "sender000000", Time: timestamppb.Now(),
		})
	}
	var left atomic.Bool
	go func() {
		for {
			if _, err := stream.Recv(); err != nil { // a half-close is a goodbye
				left.Store(true)
				return
			}
		}
	}()
	for seq := uint64(0); !left.Load(); {
		for _, event := range frame.Batch {
			seq++
			event.Seq = seq
		}
		if err := stream.Send(frame); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	port := flag.Int("port", 0, "port to listen on")
	flag.Parse()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	g := grpc.NewServer()
	pb.RegisterChatServer(g, server{})
	log.Fatal(g.Serve(listener))
}
