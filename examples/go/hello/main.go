package main

import (
	"bufio"
	"context"
	"io"
	"log"
	"net/url"
	"os"
	"strings"

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
		lines := bufio.NewReader(os.Stdin) // a Scanner would end at a long line, without a word
		for line, _ := lines.ReadString('\n'); line != ""; line, _ = lines.ReadString('\n') {
			if msg := strings.Trim(line, "\uFEFF\r\n"); msg != "" {
				stream.Send(&pb.ConnectRequest{Msg: msg})
			}
		}
		stream.CloseSend() // a half-close is a goodbye: what is queued still arrives
	}()
	for {
		event, err := stream.Recv()
		switch {
		case err == io.EOF:
			return
		case err != nil:
			log.Fatal(err)
		case event.Kind == pb.EventKind_EVENT_KIND_ERROR:
			log.Fatal(event.Message) // it could not be sent
		}
		os.Stdout.WriteString(event.Message + "\n")
	}
}
