// Chat is a terminal client of bcast_grpc that comes back by itself: a line in is a message, a message is a line out.
package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	mathrand "math/rand/v2"
	"net/url"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "example/chat/bcast_grpc/v1"
)

//go:generate go build -o bin/ tool
//go:generate protoc -I ../../protos --plugin=bin/protoc-gen-go --plugin=bin/protoc-gen-go-grpc --go_out=. --go-grpc_out=. bcast_grpc/v1/chat.proto

const (
	maxLine    = 100_000 // bytes
	maxBackoff = 5 * time.Second
	maxJoining = 10 * time.Second
	maxLeaving = 10 * time.Second
	spread     = 100 * time.Millisecond // so that those who lost a server do not all come to the next one at once
	maxPending = 32
	maxSent    = 64 << 10             // bytes, or one request: on a slow line all else waits behind them
	together   = 5 * time.Millisecond // what is due at about the same time goes together, and so in order
	brokenPipe = 128 + 13             // as a shell tells of programs that end by SIGPIPE
	notTrusted = 69
	notLetIn   = 77
)

var (
	toJSON     = protojson.MarshalOptions{UseProtoNames: true}
	control    = regexp.MustCompile(`\p{Cc}`)
	httpStatus = regexp.MustCompile(`(?i)http.* status`) // so gRPC tells of one that a proxy answered with
	untrusted  = regexp.MustCompile(`tls: failed to verify certificate: (.*?)"?$`)
	never      = time.Now().Add(100 * 365 * 24 * time.Hour)
)

// server is one of those that share the rooms.
type server struct {
	target  string
	due     time.Time // when to call it
	backoff time.Duration
	fault   int // the exit code, where what is there is no server to talk to
}

func (s *server) compare(other *server) int { return s.due.Compare(other.due) }

// client is what outlives a call.
type client struct {
	servers        []*server
	at             *server
	pause          time.Duration // before the next call, at least
	asJSON         bool
	tokenFile      string
	token          string           // as it was last read
	renewal        <-chan time.Time // when to look for a new token, if at all
	output         *bufio.Writer
	input          <-chan *pb.ConnectRequest        // nil after its end
	pending        []*pb.ConnectRequest             // what is not answered, in order
	again          map[*pb.ConnectRequest]time.Time // when to send what was sent in this call
	epoch          string                           // with seq: the place to go on after
	seq            uint64
	welcome        atomic.Bool
	failed         atomic.Bool   // something was not sent
	since          time.Time     // of the last welcome
	reconnectAfter time.Duration // as the server said
	move           bool          // to another server, as this one has lost its store
}

func main() {
	log.SetFlags(0)
	who := metadata.Pairs("bcast-client", rand.Text(), "bcast-events", "all", "bcast-batch", "1")
	set := func(key string) func(string) error {
		return func(value string) error { who.Set(key, url.PathEscape(value)); return nil }
	}
	flag.Usage = func() {
		log.Print("usage: chat [--name NAME] [--room ROOM] [--json] [--token-file FILE] " +
			"[--tls-ca FILE] [--tls-cert FILE --tls-key FILE] [TARGET[,TARGET]...]")
	}
	flag.Func("name", "", set("bcast-name"))
	flag.Func("room", "", set("bcast-room"))
	asJSON := flag.Bool("json", false, "")
	tokenFile := flag.String("token-file", "", "")
	ca, cert, key := flag.String("tls-ca", "", ""), flag.String("tls-cert", "", ""), flag.String("tls-key", "", "")
	flag.Parse()
	if flag.NArg() > 1 {
		flag.Usage()
		os.Exit(2)
	}
	targets := "127.0.0.1:50051"
	if flag.NArg() == 1 {
		targets = flag.Arg(0)
	}
	creds, err := insecure.NewCredentials(), error(nil)
	if strings.Contains(targets, "grpcs://") || *ca+*cert+*key != "" {
		creds, err = transport(*ca, *cert, *key)
	}
	input := make(chan *pb.ConnectRequest)
	c := &client{asJSON: *asJSON, input: input, output: bufio.NewWriter(os.Stdout)}
	c.tokenFile, c.token = *tokenFile, os.Getenv("BCAST_TOKEN")
	for target := range strings.SplitSeq(targets, ",") {
		target = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(target), "grpcs://"), "grpc://")
		if target == "" {
			log.Printf("target: '%s' has an empty address; it must be HOST:PORT, or several with commas between them", control.ReplaceAllString(targets, "\uFFFD"))
			os.Exit(2)
		}
		c.servers = append(c.servers, &server{target: target})
	}
	mathrand.Shuffle(len(c.servers), func(i, j int) { c.servers[i], c.servers[j] = c.servers[j], c.servers[i] })
	if err = cmp.Or(err, c.readToken()); err != nil {
		log.Print(err)
		os.Exit(2)
	}
	go c.read(os.Stdin, input)
	go watchOutput()
	interrupt, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(interrupt, func() {
		stop() // a second Ctrl-C does not wait
		if c.welcome.Load() {
			time.Sleep(2 * time.Second)
		}
		os.Exit(130)
	})
	for c.at = c.servers[0]; ; c.at = slices.MinFunc(c.servers, (*server).compare) {
		time.Sleep(max(time.Until(c.at.due), c.pause))
		// A connection for each call, since one that failed sits out a backoff of its own.
		conn, err := grpc.NewClient(c.at.target,
			grpc.WithTransportCredentials(creds),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 20 * time.Second}))
		if err != nil {
			log.Print(err)
			os.Exit(2)
		}
		err = c.call(pb.NewChatClient(conn), who.Copy(), interrupt.Done())
		conn.Close()
		if interrupt.Err() != nil {
			os.Exit(130)
		}
		if err == nil && c.failed.Load() {
			os.Exit(1)
		} else if err == nil {
			os.Exit(0)
		}
		end, code := c.judge(status.Convert(err))
		if code != 0 {
			log.Print(end)
			os.Exit(code)
		}
		if len(c.servers) > 1 {
			end = c.at.target + ": " + end
		}
		log.Printf("%v; trying again", end)
		if !c.since.IsZero() && time.Since(c.since) > maxBackoff {
			c.at.backoff = 0 // it was worth something
			// All are as good again, else all clients would go round in one order.
			for _, s := range c.servers {
				if at := time.Now().Add(-time.Duration(mathrand.Int64N(int64(time.Second)))); s.due.Before(at) {
					s.due = at
				}
			}
		}
		c.since = time.Time{}
		c.at.backoff = min(max(2*c.at.backoff, 100*time.Millisecond), maxBackoff)
		jitter := 0.8 + 0.4*mathrand.Float64()
		c.at.due = time.Now().Add(cmp.Or(c.reconnectAfter, time.Duration(jitter*float64(c.at.backoff))))
		c.pause = mathrand.N(spread)
	}
}

// judge returns why a call ended, and the exit code if there is no server where the next one might not.
func (c *client) judge(end *status.Status) (string, int) {
	final, text := c.final(end), end.Message()
	c.at.fault = 0
	switch why := untrusted.FindStringSubmatch(text); {
	case why != nil:
		c.at.fault, text = notTrusted, "the server is not trusted: "+why[1]
	case !final:
		return fmt.Sprintf("%v: %v", end.Code(), text), 0
	case end.Code() == codes.Unimplemented:
		c.at.fault = 1
	case end.Code() == codes.Unauthenticated, end.Code() == codes.PermissionDenied:
		return text, notLetIn
	default:
		return text, 1
	}
	// That says nothing of the others, unless it is the same everywhere.
	if slices.ContainsFunc(c.servers, func(each *server) bool { return each.fault == 0 }) {
		return text, 0
	}
	return text, c.at.fault
}

// final says whether the next call would end in the same way, and keeps what the server says of when to make it.
func (c *client) final(end *status.Status) bool {
	var info *errdetails.ErrorInfo
	for _, detail := range end.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			info = detail
		case *errdetails.RetryInfo:
			c.reconnectAfter = detail.RetryDelay.AsDuration()
		}
	}
	if info.GetDomain() == "bcast_grpc" {
		if info.Reason == "TOKEN_EXPIRED" && c.tokenFile != "" {
			return false // by then the file may have another one
		}
		return info.Metadata["retryable"] == "false"
	}
	switch end.Code() {
	case codes.Unauthenticated, codes.PermissionDenied, codes.Unimplemented:
		// What a proxy says while the server is away proves nothing.
		return c.epoch == "" || !httpStatus.MatchString(end.Message())
	}
	return false
}

// transport returns credentials for TLS; without a CA the system's are trusted.
func transport(ca, cert, key string) (credentials.TransportCredentials, error) {
	config := &tls.Config{}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", ca)
		}
	}
	if cert+key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(config), nil
}

// readToken takes the token that the file holds now, if there is a file.
func (c *client) readToken() error {
	if c.tokenFile == "" {
		return nil
	}
	text, err := os.ReadFile(c.tokenFile)
	if err == nil {
		c.token = strings.TrimSpace(string(text))
	}
	return err
}

// read turns lines into requests.
func (c *client) read(in io.Reader, requests chan<- *pb.ConnectRequest) {
	defer close(requests)
	lines := bufio.NewReaderSize(in, maxLine+len("\r\n"))
	if first, _, _ := lines.ReadRune(); first != '\uFEFF' {
		lines.UnreadRune()
	}
	for count := 1; ; {
		line, more, err := lines.ReadLine()
		if err != nil {
			return
		}
		req := &pb.ConnectRequest{Msg: strings.ToValidUTF8(string(line), "\uFFFD")}
		if more || len(req.Msg) > maxLine {
			err = fmt.Errorf("a line of more than %d bytes", maxLine)
		} else if req.Msg == "" {
			continue
		} else if c.asJSON {
			err = protojson.Unmarshal([]byte(req.Msg), req)
		}
		for more {
			_, more, _ = lines.ReadLine()
		}
		if err != nil {
			log.Printf("not sent: %v", err)
			c.failed.Store(true)
			continue
		}
		if req.Id == "" && req.Batch == nil {
			req.Id = fmt.Sprintf("#%d", count)
		}
		count++
		requests <- req
	}
}

// watchOutput ends the program where nobody reads its output any more, also while there is nothing to print.
func watchOutput() {
	if info, err := os.Stdout.Stat(); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return
	}
	pipe, err := os.OpenFile("/dev/stdout", os.O_WRONLY|syscall.O_NONBLOCK, 0) // one that Go polls
	if err != nil {
		return
	}
	conn, err := pipe.SyscallConn()
	if err != nil {
		return
	}
	// Nothing can be read from this end of a pipe: what wakes up a reader is that the other end was closed.
	calls := 0
	if conn.Read(func(uintptr) bool { calls++; return calls > 1 }) == nil {
		os.Exit(brokenPipe)
	}
}

// call goes on where the one before ended. It returns nil where there is no reason for another one.
func (c *client) call(chat pb.ChatClient, who metadata.MD, interrupt <-chan struct{}) (err error) {
	c.again, c.reconnectAfter, c.renewal, c.move = map[*pb.ConnectRequest]time.Time{}, 0, nil, false
	defer c.welcome.Store(false)
	if c.epoch != "" {
		who.Set("bcast-after", fmt.Sprintf("%s:%d", c.epoch, c.seq))
	}
	c.readToken() // or else the last one
	if c.token != "" {
		who.Set("authorization", "Bearer "+c.token)
	}
	ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(context.Background(), who))
	defer cancel()
	joining := time.AfterFunc(maxJoining, cancel)
	defer joining.Stop()
	defer func() {
		if ctx.Err() != nil && !c.welcome.Load() {
			err = status.Error(codes.DeadlineExceeded, "the server did not answer in time")
		}
	}()
	stream, err := chat.Connect(ctx)
	if err != nil {
		return err
	}

	// Recv and Send may wait for the other side, so each has a goroutine.
	received := make(chan *pb.ConnectResponse)
	var end error
	go func() {
		defer close(received)
		for {
			frame, failure := stream.Recv()
			if end = failure; end != nil {
				return
			}
			select {
			case received <- frame:
			case <-ctx.Done(): // nobody waits for it any more
			}
		}
	}()
	batches := make(chan []*pb.ConnectRequest)
	go func() {
		for batch := range batches {
			frame := batch[0]
			if len(batch) > 1 {
				frame = &pb.ConnectRequest{Batch: batch}
			}
			stream.Send(frame) // where it fails, Recv says why
		}
		stream.CloseSend()
	}()
	left := false
	leave := sync.OnceFunc(func() {
		left = true
		close(batches)
		time.AfterFunc(maxLeaving, cancel)
	})
	defer leave()

	for {
		if c.input == nil && len(c.pending) == 0 && c.welcome.Load() {
			leave()
		}
		batch, wait := c.due()
		input, output := c.input, batches
		if len(c.pending) >= maxPending {
			input = nil
		}
		if len(batch) == 0 || left {
			output = nil
		}
		select {
		case <-interrupt:
			interrupt = nil
			leave()
		case req, ok := <-input:
			if ok {
				c.pending = append(c.pending, req)
			}
			if !ok || leaves(req) || slices.ContainsFunc(req.Batch, leaves) {
				c.input = nil
			}
		case output <- batch:
			for _, req := range batch {
				c.again[req] = never
				if req.Batch != nil || req.Id == "" {
					c.forget(req) // nothing will answer it
				}
			}
		case <-c.renewal:
			c.renew()
		case <-time.After(wait):
		case frame, ok := <-received:
			if !ok && left {
				return nil
			} else if !ok {
				return end // also io.EOF, as nobody left
			}
			events := frame.Batch
			if len(events) == 0 {
				events = []*pb.ConnectResponse{frame}
			}
			for _, event := range events {
				c.note(event)
				c.show(event)
			}
			joining.Stop()
			if c.output.Flush() != nil { // a broken pipe ends the program by itself
				os.Exit(1)
			}
			if c.move {
				return status.Error(codes.Unavailable, "the server has lost its store")
			}
		}
	}
}

// renew sends the token that is in the file; if it is still the old one, looks again later.
func (c *client) renew() {
	old := c.token
	if c.readToken() != nil || c.token == old {
		c.renewal = time.After(time.Second)
		return
	}
	c.renewal = nil
	c.pending = slices.Insert(c.pending, 0, &pb.ConnectRequest{Operacion: "auth", Msg: c.token})
}

// due returns what goes into the next frame, and how long it is until there may be more.
func (c *client) due() (batch []*pb.ConnectRequest, wait time.Duration) {
	wait = time.Hour
	sent := 0
	for _, req := range c.pending {
		if c.again[req] == never {
			sent += proto.Size(req)
		}
	}
	for _, req := range c.pending {
		if left := time.Until(c.again[req]); left > together {
			wait = min(wait, left)
		} else if sent > 0 && sent+proto.Size(req) > maxSent {
			break // until something is answered
		} else if len(batch) == 0 || req.Batch == nil && batch[0].Batch == nil {
			batch = append(batch, req)
			sent += proto.Size(req)
		} else {
			break // a batch is not put into another
		}
	}
	return batch, wait
}

// note keeps what an event says of the place, of the requests, and of the next call.
func (c *client) note(event *pb.ConnectResponse) {
	switch event.Kind {
	case pb.EventKind_EVENT_KIND_WELCOME:
		c.welcome.Store(true)
		c.since = time.Now()
		if epoch := event.GetWelcome().GetEpoch(); c.epoch == "" {
			c.epoch, c.seq = epoch, event.Seq
		} else if epoch != c.epoch {
			c.epoch, c.seq = epoch, 0 // all of the new order is still to come
		}
	case pb.EventKind_EVENT_KIND_MESSAGE, pb.EventKind_EVENT_KIND_PROGRESS:
		c.seq = event.Seq
	case pb.EventKind_EVENT_KIND_GAP:
		c.seq = cmp.Or(event.GetGap().GetLastMissed(), c.seq)
		if event.GetGap().GetReason() == pb.GapReason_GAP_REASON_NEW_EPOCH {
			c.seq = 0
		}
	case pb.EventKind_EVENT_KIND_CLOSING:
		c.reconnectAfter = event.GetClosing().GetReconnectAfter().AsDuration()
	case pb.EventKind_EVENT_KIND_EXPIRING:
		if c.tokenFile != "" {
			c.renewal = time.After(0)
		}
	case pb.EventKind_EVENT_KIND_ACK, pb.EventKind_EVENT_KIND_MEMBERS, pb.EventKind_EVENT_KIND_ERROR:
		if ack := event.GetAck(); ack.GetEpoch() == c.epoch && ack.GetSeq() == c.seq+1 {
			c.seq++ // one does not hear one's own
		}
		i := slices.IndexFunc(c.pending, func(req *pb.ConnectRequest) bool { return req.Batch == nil && req.Id == event.Id })
		refusal := event.GetError()
		if refusal != nil && !refusal.Retryable {
			c.failed.Store(true)
		}
		if i >= 0 && refusal.GetRetryable() {
			wait := cmp.Or(refusal.RetryAfter.AsDuration(), time.Second)
			c.again[c.pending[i]] = time.Now().Add(wait)
			if refusal.Code == pb.ErrorCode_ERROR_CODE_BROKER_UNAVAILABLE && c.hasOther() {
				c.move, c.reconnectAfter = true, wait
			}
		} else if i >= 0 && !event.GetMembers().GetMore() {
			c.forget(c.pending[i])
		}
	}
}

// hasOther says whether another server may be called now.
func (c *client) hasOther() bool {
	return slices.ContainsFunc(c.servers, func(each *server) bool { return each != c.at && !each.due.After(time.Now()) })
}

func leaves(req *pb.ConnectRequest) bool { return req.Operacion == "leave" }

func (c *client) forget(req *pb.ConnectRequest) {
	delete(c.again, req)
	c.pending = slices.DeleteFunc(c.pending, func(other *pb.ConnectRequest) bool { return other == req })
}

func (c *client) show(event *pb.ConnectResponse) {
	if c.asJSON {
		line, _ := toJSON.Marshal(event)
		fmt.Fprintf(c.output, "%s\n", line)
		return
	}
	text := control.ReplaceAllString(event.Message, "\uFFFD") // it comes from strangers
	switch event.Kind {
	case pb.EventKind_EVENT_KIND_WELCOME, pb.EventKind_EVENT_KIND_ACK, pb.EventKind_EVENT_KIND_PROGRESS,
		pb.EventKind_EVENT_KIND_EXPIRING:
	case pb.EventKind_EVENT_KIND_ERROR:
		if !event.GetError().GetRetryable() {
			log.Print(text)
		}
	default:
		fmt.Fprintln(c.output, text)
	}
}
