package main

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NATS JetStream: the first client publishes asynchronously into a stream in memory, with its own library's window; the
// others are plain subscribers.
type jetStreamClient struct {
	connection *nats.Conn
	stream     jetstream.JetStream
	subject    string
	sent       atomic.Int64
	failed     atomic.Pointer[error]
	closed     chan struct{}
}

func dialJetStream(o options, room string, index int) (client, error) {
	if index > 0 {
		return dialNATS(o, room)
	}
	connection, err := nats.Connect("nats://"+o.Addr, nats.Timeout(20*time.Second))
	if err != nil {
		return nil, err
	}
	c := &jetStreamClient{connection: connection, subject: room, closed: make(chan struct{})}
	c.stream, err = jetstream.New(connection,
		jetstream.WithPublishAsyncMaxPending(o.Window+o.Batch),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) { c.failed.Store(&err) }))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err = c.stream.CreateStream(ctx, jetstream.StreamConfig{
		Name: room, Subjects: []string{room}, Storage: jetstream.MemoryStorage, MaxBytes: 256 << 20,
	})
	return c, err
}

func (c *jetStreamClient) Send(payloads [][]byte) error {
	if err := c.failed.Load(); err != nil {
		return *err
	}
	for _, payload := range payloads {
		c.sent.Add(1)
		if _, err := c.stream.PublishAsync(c.subject, append([]byte(nil), payload...)); err != nil {
			return err
		}
	}
	return nil
}

func (c *jetStreamClient) Receive(func([]byte)) error {
	<-c.closed
	return io.EOF
}

func (c *jetStreamClient) Acked() int64 {
	return c.sent.Load() - int64(c.stream.PublishAsyncPending())
}

func (c *jetStreamClient) Close() {
	close(c.closed)
	c.connection.Close()
}
