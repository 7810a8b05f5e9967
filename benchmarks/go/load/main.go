// Load drives a broadcast server with many clients, verifies every delivery, and prints one line of JSON.
//
// Every client has a connection of its own. Each delivery is checked: once, in its author's order, to all but the author.
// The clock runs from the first message sent to the last delivery arrived.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"
)

type options struct {
	Kind     string        `json:"kind"`
	Addr     string        `json:"-"`
	Servers  addresses     `json:"servers,omitempty"`
	Apart    bool          `json:"apart,omitempty"`
	Clients  int           `json:"clients"`
	Senders  int           `json:"senders"`
	Rooms    int           `json:"rooms"`
	Size     int           `json:"size"`
	Batch    int           `json:"batch"`
	Rate     float64       `json:"rate"`
	Duration time.Duration `json:"-"`
	Window   int           `json:"window"`
	Stopped  int           `json:"stopped"`
	Churn    int           `json:"churn"`
	Acks     bool          `json:"acks"`
	Single   bool          `json:"single"`
	Stock    bool          `json:"stock"`
	PIDs     processes     `json:"-"`
	Beside   processes     `json:"-"`
	Hold     bool          `json:"-"`
	Cycles   int           `json:"cycles,omitempty"`
}

func main() {
	var o options
	flag.StringVar(&o.Kind, "kind", "bcast", "what to drive: bcast, bcast-ws, bcast-tcp, grpcgo, nats, jetstream, centrifugo, ws, ws-joined, tcp")
	flag.Var(&o.Servers, "addr", "HOST:PORT; several with commas between, if servers are one: the clients of a room are spread over them")
	flag.BoolVar(&o.Apart, "apart", false, "of several servers the senders are at the first, and all others at the rest")
	flag.IntVar(&o.Clients, "clients", 100, "connected clients, senders included")
	flag.IntVar(&o.Senders, "senders", 1, "how many of them send")
	flag.IntVar(&o.Rooms, "rooms", 1, "rooms that clients and senders are spread over")
	flag.IntVar(&o.Size, "size", 64, "bytes of a message")
	flag.IntVar(&o.Batch, "batch", 64, "messages a frame at the most; 1: one request a frame")
	flag.Float64Var(&o.Rate, "rate", 0, "messages a second in all; 0: as fast as the server lets")
	flag.DurationVar(&o.Duration, "duration", 3*time.Second, "how long to send")
	flag.IntVar(&o.Window, "window", 8192, "messages in flight in all, at the most")
	flag.IntVar(&o.Stopped, "stopped", 0, "clients that stop reading")
	flag.IntVar(&o.Churn, "churn", 0, "further clients that join at once, and leave, while the others send")
	flag.BoolVar(&o.Acks, "acks", false, "ask for an ack for every message")
	flag.BoolVar(&o.Single, "single", false, "do not ask for batch frames")
	flag.BoolVar(&o.Stock, "stock", false, "be an ordinary gRPC client: grpc-go with generated stubs, one message a frame")
	flag.BoolVar(&overTLS, "tls", false, "encrypt the connections: bcast, grpcgo, nats")
	flag.Var(&o.PIDs, "pid", "the server's process, for its CPU time and memory; several with commas between count together")
	flag.Var(&o.Beside, "beside", "processes whose CPU time is told too, of what the servers share")
	flag.BoolVar(&o.Hold, "hold", false, "connect, print the memory a client costs and the idle CPU, and leave")
	flag.IntVar(&o.Cycles, "cycles", 0, "connect and leave that often, and print how the server's memory grows")
	flag.Parse()
	time.AfterFunc(o.Duration+time.Minute, func() {
		fmt.Fprintln(os.Stderr, "load: it does not end: a send that the server does not take")
		os.Exit(1)
	})
	run := measure
	switch {
	case o.Hold:
		run = hold
	case o.Cycles > 0:
		run = comeAndGo
	}
	result, err := run(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(result)
}
