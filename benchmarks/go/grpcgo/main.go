// Grpcgo is the broadcast server that one would write first in Go: a map of clients for each room, a channel for each
// client, one Send a message. It speaks the project's contract as far as a plain broadcast needs it, and is here to be
// measured against.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"strings"
	"sync"

	pb "bcast_grpc/benchmarks/gen/bcast_grpc/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

type server struct {
	pb.UnimplementedChatServer
	mu    sync.RWMutex
	rooms map[string]room
}

type room map[chan *pb.ConnectResponse]struct{}

func (s *server) Connect(stream grpc.BidiStreamingServer[pb.ConnectRequest, pb.ConnectResponse]) error {
	outbox := make(chan *pb.ConnectResponse, 16384)
	md, _ := metadata.FromIncomingContext(stream.Context())
	name := strings.Join(md.Get("bcast-room"), "")
	s.mu.Lock()
	if s.rooms[name] == nil {
		s.rooms[name] = room{}
	}
	clients := s.rooms[name]
	clients[outbox] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(clients, outbox)
		s.mu.Unlock()
	}()
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	go func() {
		for {
			select {
			case response := <-outbox:
				if stream.Send(response) != nil {
					return
				}
			case <-stream.Context().Done():
				return
			}
		}
	}()
	for {
		request, err := stream.Recv()
		if err != nil {
			return nil
		}
		if len(request.Batch) == 0 {
			s.broadcast(clients, outbox, request)
		}
		for _, each := range request.Batch {
			s.broadcast(clients, outbox, each)
		}
	}
}

func (s *server) broadcast(clients room, from chan *pb.ConnectResponse, request *pb.ConnectRequest) {
	response := &pb.ConnectResponse{Message: request.Msg, Kind: pb.EventKind_EVENT_KIND_MESSAGE}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for outbox := range clients {
		if outbox != from {
			outbox <- response
		}
	}
}

func main() {
	port := flag.Int("port", 0, "port to listen on")
	flag.Parse()
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	g := grpc.NewServer()
	pb.RegisterChatServer(g, &server{rooms: map[string]room{}})
	fmt.Printf("listening on %s\n", listener.Addr())
	log.Fatal(g.Serve(listener))
}
