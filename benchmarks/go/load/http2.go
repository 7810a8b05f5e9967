package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A call is one bidirectional gRPC call on a connection of its own, as little of HTTP/2 as that takes: grpc-go's client
// costs more for each message than the servers do, and would be what is measured.
type call struct {
	connection net.Conn
	reader     *bufio.Reader
	framer     *http2.Framer
	left       int    // bytes of the message that is being received
	partial    []byte // what of them has come and was not yet taken
	unreported int    // bytes received since the windows were last opened

	mu       sync.Mutex
	opened   sync.Cond
	window   [2]int64 // what may be sent: on the connection, on the stream
	initial  int64    // the stream's window at the start, as the server set it
	maxFrame int
	err      error
}

// A taker takes what it can of a message, of which all that is left is there if whole; it returns how many bytes.
type taker func(part []byte, whole bool) (int, error)

const (
	streamID       = 1
	receiveWindow  = 1 << 20
	maxHeaderBytes = 1 << 16
	frameHeader    = 9
)

// dialCall begins the call, and returns once the server has answered it.
func dialCall(addr, path string, metadata ...[2]string) (*call, error) {
	connection, err := dial(addr, "h2")
	if err != nil {
		return nil, err
	}
	c := &call{connection: connection, reader: bufio.NewReaderSize(connection, 32<<10), maxFrame: 16 << 10}
	c.opened.L = &c.mu
	c.initial, c.window = 65535, [2]int64{65535, 65535}
	c.framer = http2.NewFramer(connection, c.reader)
	c.framer.SetReuseFrames()
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.framer.MaxHeaderListSize = maxHeaderBytes
	connection.SetReadDeadline(time.Now().Add(60 * time.Second))
	if err = c.begin(addr, path, metadata); err == nil {
		for answered := false; !answered && err == nil; {
			answered, err = c.frame(nil)
		}
	}
	if err != nil {
		connection.Close()
		return nil, err
	}
	return c, connection.SetReadDeadline(time.Time{})
}

func (c *call) begin(addr, path string, metadata [][2]string) error {
	var headers, out bytes.Buffer
	encoder := hpack.NewEncoder(&headers)
	for _, h := range append([][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", path}, {":authority", addr},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	}, metadata...) {
		encoder.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	out.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&out, nil)
	framer.WriteSettings(
		http2.Setting{ID: http2.SettingEnablePush, Val: 0},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: receiveWindow})
	framer.WriteWindowUpdate(0, receiveWindow-65535)
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: streamID, BlockFragment: headers.Bytes(), EndHeaders: true})
	_, err := c.connection.Write(out.Bytes())
	return err
}

// send sends one message, and waits while the server's windows are closed.
func (c *call) send(message []byte) error {
	rest := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	var out []byte
	for len(rest) > 0 {
		n, err := c.take(len(rest), len(out) > 0)
		if err != nil {
			return err
		}
		if n > 0 {
			out = append(out, byte(n>>16), byte(n>>8), byte(n), byte(http2.FrameData), 0, 0, 0, 0, streamID)
			out = append(out, rest[:n]...)
			rest = rest[n:]
		}
		if n == 0 || len(rest) == 0 { // each write is whole frames, so that no lock is needed
			if _, err := c.connection.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
	return nil
}

// take takes up to n bytes from the windows; with nothing to be had it waits, or returns 0 if there is something to write.
func (c *call) take(n int, pending bool) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && min(c.window[0], c.window[1]) <= 0 {
		if pending {
			return 0, nil
		}
		c.opened.Wait()
	}
	n = int(min(int64(min(n, c.maxFrame)), c.window[0], c.window[1]))
	c.window[0] -= int64(n)
	c.window[1] -= int64(n)
	return n, c.err
}

// receive waits for a frame of messages, and takes it and what came whole with it.
func (c *call) receive(take taker) error {
	for taken := false; !taken || c.hasFrame(); {
		_, err := c.frame(func(part []byte, whole bool) (int, error) {
			taken = true
			return take(part, whole)
		})
		if err != nil {
			c.mu.Lock()
			c.err = err
			c.mu.Unlock()
			c.opened.Broadcast()
			return err
		}
	}
	return nil
}

func (c *call) hasFrame() bool {
	buffered := c.reader.Buffered()
	if buffered < frameHeader {
		return false
	}
	head, _ := c.reader.Peek(frameHeader)
	return buffered >= frameHeader+length(head)
}

func length(head []byte) int { return int(head[0])<<16 | int(head[1])<<8 | int(head[2]) }

// frame reads one frame, and says whether it is the call's answer.
func (c *call) frame(take taker) (bool, error) {
	head, err := c.reader.Peek(frameHeader)
	if err != nil {
		return false, err
	}
	if http2.FrameType(head[3]) == http2.FrameData {
		return false, c.data(length(head), take)
	}
	frame, err := c.framer.ReadFrame()
	if err != nil {
		return false, err
	}
	switch f := frame.(type) {
	case *http2.MetaHeadersFrame:
		return true, ending(f)
	case *http2.WindowUpdateFrame:
		c.open(int(f.StreamID), int64(f.Increment))
	case *http2.SettingsFrame:
		return false, c.settings(f)
	case *http2.PingFrame:
		if !f.IsAck() {
			return false, c.framer.WritePing(true, f.Data)
		}
	case *http2.RSTStreamFrame:
		return false, fmt.Errorf("reset: %v", f.ErrCode)
	case *http2.GoAwayFrame:
		return false, fmt.Errorf("go away: %v %q", f.ErrCode, f.DebugData())
	}
	return false, nil
}

// data reads what a frame holds of messages, where it lies; each comes after five bytes: not compressed, and its size.
func (c *call) data(size int, take taker) error {
	b, err := c.reader.Peek(frameHeader + size)
	if err != nil {
		return err
	}
	if b[4]&byte(http2.FlagDataPadded) != 0 {
		return errors.New("a padded frame")
	}
	b = b[frameHeader:]
	if len(c.partial) > 0 {
		c.partial = append(c.partial, b...)
		b = c.partial
	}
	for len(b) > 0 {
		if c.left == 0 {
			if len(b) < 5 {
				break
			}
			if b[0] != 0 {
				return errors.New("a compressed message")
			}
			c.left, b = int(binary.BigEndian.Uint32(b[1:])), b[5:]
		}
		part := b[:min(c.left, len(b))]
		n, err := take(part, len(part) == c.left)
		if err != nil {
			return err
		}
		c.left, b = c.left-n, b[n:]
		if n == 0 {
			break
		}
	}
	c.partial = append(c.partial[:0], b...)
	c.reader.Discard(frameHeader + size)
	return c.consumed(size)
}

// consumed opens the windows again, once half of them is used.
func (c *call) consumed(n int) error {
	if c.unreported += n; c.unreported < receiveWindow/2 {
		return nil
	}
	var out bytes.Buffer
	framer := http2.NewFramer(&out, nil)
	framer.WriteWindowUpdate(0, uint32(c.unreported))
	framer.WriteWindowUpdate(streamID, uint32(c.unreported))
	c.unreported = 0
	_, err := c.connection.Write(out.Bytes())
	return err
}

func (c *call) open(stream int, increment int64) {
	c.mu.Lock()
	c.window[min(stream, 1)] += increment
	c.mu.Unlock()
	c.opened.Broadcast()
}

func (c *call) settings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if size, ok := f.Value(http2.SettingInitialWindowSize); ok {
		c.open(streamID, int64(size)-c.initial)
		c.initial = int64(size)
	}
	if size, ok := f.Value(http2.SettingMaxFrameSize); ok {
		c.mu.Lock()
		c.maxFrame = int(size)
		c.mu.Unlock()
	}
	return c.framer.WriteSettingsAck()
}

// ending returns the error that headers tell of, if they end the call.
func ending(f *http2.MetaHeadersFrame) error {
	if !f.StreamEnded() {
		return nil
	}
	var status, message string
	for _, h := range f.RegularFields() {
		switch h.Name {
		case "grpc-status":
			status = h.Value
		case "grpc-message":
			message = h.Value
		}
	}
	if status == "0" {
		return io.EOF
	}
	return fmt.Errorf("status %s: %s", status, message)
}
