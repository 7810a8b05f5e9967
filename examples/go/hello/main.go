package main

import (
	"bufio"
	"context"
	"io"
	"log"
	"net/url"
	"os"

	pb "example/chat/bcast_grpc/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

func main() {
	conn, err := grpc.NewClient("127.0.0.1:50051", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	stream, err := pb.NewChatClient(conn).Connect(metadata.AppendToOutgoingContext(context.Background(), "bcast-name", url.PathEscape("gó")))
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			stream.Send(&pb.ConnectRequest{Msg: lines.Text()})
		}
		stream.CloseSend() // a half-close is a goodbye: what is queued still arrives
	}()
	event, err := stream.Recv()
	for ; err == nil; event, err = stream.Recv() {
		os.Stdout.WriteString(event.Message + "\n")
	}
	if err != io.EOF {
		log.Fatal(err)
	}
}
