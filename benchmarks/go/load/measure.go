package main

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// A client of the server under load. Send is called from one goroutine, Receive from another.
type client interface {
	// Send sends payloads as few frames, and flushes.
	Send(payloads [][]byte) error
	// Receive waits for one frame and hands over each payload in it. The bytes are only valid during the call.
	Receive(deliver func(payload []byte)) error
	// Acked returns how many messages the server has acknowledged, where it does so.
	Acked() int64
	Close()
}

// A payload is text: the author, the author's count, and the time sent, padded with dots.
const header = 4 + 10 + 14

func fill(payload []byte, author int, count int64, now int64) {
	number(payload[:4], int64(author))
	number(payload[4:14], count)
	number(payload[14:28], now)
}

func number(digits []byte, n int64) {
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = byte('0' + n%10)
		n /= 10
	}
}

func parse(digits []byte) (n int64) {
	for _, d := range digits {
		n = n*10 + int64(d-'0')
	}
	return n
}

type result struct {
	options
	Seconds     float64 `json:"seconds"`
	Sent        int64   `json:"sent"`
	Deliveries  int64   `json:"deliveries"`
	PerSecond   float64 `json:"per_second"`
	SentPerS    float64 `json:"sent_per_second"`
	ServerCPU   float64 `json:"server_cpu_s"`
	CPUPerM     float64 `json:"server_cpu_s_per_million"`
	LoadCPU     float64 `json:"load_cpu_s"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
	P999        float64 `json:"p999_ms"`
	RSS         int64   `json:"server_rss_bytes"`
	JoinsPerS   float64 `json:"joins_per_second,omitempty"`
	Faults      int64   `json:"faults"`
	FirstFault  string  `json:"first_fault,omitempty"`
	StoppedEnds int64   `json:"stopped_ended,omitempty"`
}

type load struct {
	options
	start   time.Time
	clients []client
	// got[c][s]: how many messages of sender s client c has received; published once a frame.
	got     [][]atomic.Int64
	sent    []atomic.Int64
	least   []atomic.Int64
	total   []int64
	latency []histogram
	faults  atomic.Int64
	first   atomic.Pointer[string]
	done    atomic.Bool
}

func (l *load) fault(format string, args ...any) {
	if l.faults.Add(1) == 1 {
		text := fmt.Sprintf(format, args...)
		l.first.Store(&text)
	}
}

func (l *load) now() int64 { return int64(time.Since(l.start)) }

func (l *load) room(client int) int { return client % l.Rooms }

// senders are the first clients, spread over the rooms like all.
func (l *load) hears(client, sender int) bool {
	return client != sender && l.room(client) == l.room(sender)
}

func connectAll(o options) ([]client, float64, error) {
	clients := make([]client, o.Clients)
	begin := time.Now()
	var wait sync.WaitGroup
	failed := make(chan error, o.Clients)
	slots := make(chan struct{}, 64)
	for i := range clients {
		wait.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; wait.Done() }()
			c, err := connect(o, i%o.Rooms)
			if err != nil {
				failed <- fmt.Errorf("client %d: %w", i, err)
				return
			}
			clients[i] = c
		}()
	}
	wait.Wait()
	select {
	case err := <-failed:
		return nil, 0, err
	default:
	}
	return clients, float64(o.Clients) / time.Since(begin).Seconds(), nil
}

func connect(o options, room int) (client, error) {
	name := "bench" + strconv.Itoa(room)
	switch o.Kind {
	case "bcast", "grpcgo":
		return dialGRPC(o, name)
	case "nats":
		return dialNATS(o, name)
	case "tcp":
		return dialTCP(o)
	case "ws":
		return dialWS(o)
	}
	return nil, fmt.Errorf("no such kind: %s", o.Kind)
}

func measure(o options) (any, error) {
	if o.Size < header {
		return nil, fmt.Errorf("size: at least %d", header)
	}
	clients, joins, err := connectAll(o)
	if err != nil {
		return nil, err
	}
	l := &load{options: o, clients: clients, start: time.Now()}
	l.got = make([][]atomic.Int64, o.Clients)
	for i := range l.got {
		l.got[i] = make([]atomic.Int64, o.Senders)
	}
	l.sent = make([]atomic.Int64, o.Senders)
	l.least = make([]atomic.Int64, o.Senders)
	l.total = make([]int64, o.Clients)
	l.latency = make([]histogram, o.Clients)
	for i := range clients {
		if i < o.Clients-o.Stopped {
			go l.receive(i)
		}
	}
	time.Sleep(200 * time.Millisecond) // connections settle; not part of the measurement
	runtime.GC()
	cpu, own := cpuSeconds(o.PID), cpuSeconds(0)
	begin := time.Now()
	go l.watch()
	var wait sync.WaitGroup
	for s := range o.Senders {
		wait.Add(1)
		go func() { defer wait.Done(); l.send(s, begin) }()
	}
	if o.Churn > 0 {
		wait.Add(1)
		go func() { defer wait.Done(); l.churn() }()
	}
	wait.Wait()
	last, err := l.drain()
	seconds := last.Sub(begin).Seconds()
	r := result{options: o, Seconds: seconds, JoinsPerS: joins}
	r.ServerCPU, r.LoadCPU = cpuSeconds(o.PID)-cpu, cpuSeconds(0)-own
	r.RSS = rss(o.PID)
	var all histogram
	for i := range clients {
		r.Deliveries += l.total[i]
		all.merge(&l.latency[i])
	}
	for s := range l.sent {
		r.Sent += l.sent[s].Load()
	}
	r.PerSecond, r.SentPerS = float64(r.Deliveries)/seconds, float64(r.Sent)/seconds
	r.CPUPerM = r.ServerCPU / float64(max(r.Deliveries, 1)) * 1e6
	r.P50, r.P99, r.P999 = all.quantile(0.5), all.quantile(0.99), all.quantile(0.999)
	if err != nil {
		l.fault("%v", err)
	}
	r.Faults = l.faults.Load()
	if text := l.first.Load(); text != nil {
		r.FirstFault = *text
	}
	l.done.Store(true)
	for _, c := range clients {
		c.Close()
	}
	return r, nil
}

func (l *load) receive(index int) {
	c := l.clients[index]
	counts := make([]int64, l.Senders)
	touched := make([]bool, l.Senders)
	now := int64(0)
	deliver := func(payload []byte) {
		if len(payload) != l.Size {
			l.fault("client %d: a payload of %d bytes", index, len(payload))
			return
		}
		author, count := int(parse(payload[:4])), parse(payload[4:14])
		if author >= l.Senders || !l.hears(index, author) {
			l.fault("client %d: got a message of %d", index, author)
			return
		}
		if counts[author] != count {
			l.fault("client %d: message %d of %d instead of %d", index, count, author, counts[author])
		}
		counts[author] = count + 1
		touched[author] = true
		l.total[index]++
		l.latency[index].add(now - parse(payload[14:28]))
	}
	stamped := func(payload []byte) {
		if now == 0 {
			now = l.now()
		}
		deliver(payload)
	}
	for {
		now = 0
		if err := c.Receive(stamped); err != nil {
			if !l.done.Load() {
				l.fault("client %d: %v", index, err)
			}
			return
		}
		for s, t := range touched {
			if t {
				l.got[index][s].Store(counts[s])
				touched[s] = false
			}
		}
	}
}

// watch keeps least up to date: how far the slowest reader of each sender has come.
func (l *load) watch() {
	for !l.done.Load() {
		for s := range l.Senders {
			l.least[s].Store(l.slowest(s))
		}
		time.Sleep(500 * time.Microsecond)
	}
}

func (l *load) slowest(s int) int64 {
	least := l.sent[s].Load()
	if l.Acks {
		least = l.clients[s].Acked()
	}
	for c := range l.Clients - l.Stopped {
		if l.hears(c, s) {
			least = min(least, l.got[c][s].Load())
		}
	}
	return least
}

func (l *load) send(s int, begin time.Time) {
	payloads := make([][]byte, l.Batch)
	for i := range payloads {
		payloads[i] = make([]byte, l.Size)
		for j := range payloads[i] {
			payloads[i][j] = '.'
		}
	}
	window := int64(max(l.Window/l.Senders, l.Batch))
	var interval time.Duration
	if l.Rate > 0 {
		interval = time.Duration(float64(time.Second) * float64(l.Senders) / l.Rate)
	}
	due := begin.Add(interval * time.Duration(s) / time.Duration(l.Senders))
	for count := int64(0); time.Since(begin) < l.Duration; {
		n := l.Batch
		if interval > 0 {
			n = 1
			time.Sleep(time.Until(due))
			due = due.Add(interval)
		} else {
			for count+int64(n)-l.least[s].Load() > window {
				if l.faults.Load() > 0 && time.Since(begin) > 2*l.Duration {
					return
				}
				time.Sleep(50 * time.Microsecond)
			}
		}
		now := l.now()
		for i := range n {
			fill(payloads[i], s, count, now)
			count++
		}
		l.sent[s].Store(count)
		if err := l.clients[s].Send(payloads[:n]); err != nil {
			l.fault("sender %d: %v", s, err)
			return
		}
	}
}

// drain waits until everyone who reads has everything, and returns when that was.
func (l *load) drain() (time.Time, error) {
	deadline := time.Now().Add(20 * time.Second)
	for {
		missing := int64(0)
		for s := range l.Senders {
			missing += l.sent[s].Load() - l.slowest(s)
		}
		if missing == 0 {
			return time.Now(), nil
		}
		if time.Now().After(deadline) {
			return time.Now(), errors.New("not everything arrived within 20 s")
		}
		time.Sleep(200 * time.Microsecond)
	}
}

func (l *load) churn() {
	o := l.options
	o.Clients = o.Churn
	time.Sleep(l.Duration / 4)
	clients, _, err := connectAll(o)
	if err != nil {
		l.fault("churn: %v", err)
		return
	}
	for _, c := range clients {
		c.Close()
	}
}
