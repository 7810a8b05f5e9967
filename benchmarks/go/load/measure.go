package main

import (
	"encoding/binary"
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
	BesideCPU   float64 `json:"beside_cpu_s"`
	ServerShare float64 `json:"server_cpu_share"`
	BesideShare float64 `json:"beside_cpu_share"`
	LoadShare   float64 `json:"load_cpu_share"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
	P999        float64 `json:"p999_ms"`
	RSSBefore   int64   `json:"server_rss_before_bytes"`
	RSS         int64   `json:"server_rss_bytes"`
	RSSPeak     int64   `json:"server_rss_peak_bytes"`
	JoinsPerS   float64 `json:"joins_per_second"`
	ChurnJoins  float64 `json:"churn_joins_per_second,omitempty"`
	Faults      int64   `json:"faults"`
	FirstFault  string  `json:"first_fault,omitempty"`
	StoppedEnds int64   `json:"stopped_ended"`
}

type load struct {
	options
	start   time.Time
	clients []client
	// readers[s]: the clients that are to hear sender s, and read.
	readers [][]int
	// got[c][s]: how many messages of sender s client c has received; published once a frame.
	got     [][]atomic.Int64
	sent    []atomic.Int64
	least   []atomic.Int64
	total   []int64
	latency []histogram
	faults  atomic.Int64
	first   atomic.Pointer[string]
	done    atomic.Bool
	broken  atomic.Bool // a reader's connection has ended: not everything will arrive
	churned float64
}

func (l *load) fault(format string, args ...any) {
	if l.faults.Add(1) == 1 {
		text := fmt.Sprintf(format, args...)
		l.first.Store(&text)
	}
}

func (l *load) now() int64 { return int64(time.Since(l.start)) }

func (l *load) room(client int) int { return client % l.Rooms }

// senders are the first clients, spread over the rooms like all. Centrifugo knows no exclusion of the author.
func (l *load) hears(client, sender int) bool {
	return (client != sender || l.Kind == "centrifugo") && l.room(client) == l.room(sender)
}

// server says which of the servers a client is at.
func (o options) server(client int) int {
	switch n := len(o.Servers); {
	case n == 1:
		return 0
	case !o.Apart:
		return client / o.Rooms % n
	case client < o.Senders:
		return 0
	default:
		return 1 + client%(n-1)
	}
}

func newLoad(o options, clients []client) *load {
	o.Acks = o.Acks && o.Kind != "nats" // which has none
	l := &load{options: o, clients: clients, start: time.Now()}
	l.got = make([][]atomic.Int64, o.Clients)
	for i := range l.got {
		l.got[i] = make([]atomic.Int64, o.Senders)
	}
	l.readers = make([][]int, o.Senders)
	for s := range l.readers {
		for c := range o.Clients - o.Stopped {
			if l.hears(c, s) {
				l.readers[s] = append(l.readers[s], c)
			}
		}
	}
	l.sent = make([]atomic.Int64, o.Senders)
	l.least = make([]atomic.Int64, o.Senders)
	l.total = make([]int64, o.Clients)
	l.latency = make([]histogram, o.Clients)
	return l
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
			c, err := connect(o, i, i%o.Rooms)
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

func connect(o options, index, room int) (client, error) {
	name := "bench" + strconv.Itoa(room)
	o.Addr = o.Servers[o.server(index)]
	switch o.Kind {
	case "bcast", "grpcgo":
		if o.Stock {
			return dialStock(o, name)
		}
		return dialGRPC(o, name)
	case "nats":
		return dialNATS(o, name)
	case "jetstream":
		return dialJetStream(o, name, index)
	case "centrifugo":
		return dialCentrifugo(o, name)
	case "tcp":
		return dialTCP(o)
	case "ws":
		return dialWS(o, 0)
	case "ws-joined":
		return dialWS(o, o.Size)
	case "bcast-ws":
		return dialJSONWebSocket(o, name)
	case "bcast-tcp":
		return dialJSONLines(o)
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
	l := newLoad(o, clients)
	for i := range clients {
		if i < o.Clients-o.Stopped {
			go l.receive(i)
		}
	}
	settle := 200 * time.Millisecond // not part of the measurement
	if len(o.Servers) > 1 {
		settle = time.Second // NATS's servers tell each other who listens
	}
	time.Sleep(settle)
	runtime.GC()
	before := o.PIDs.rss()
	cpu, beside, own := o.PIDs.cpuSeconds(), o.Beside.cpuSeconds(), ownSeconds()
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
	r := result{options: o, Seconds: seconds, JoinsPerS: joins, ChurnJoins: l.churned}
	r.ServerCPU, r.BesideCPU, r.LoadCPU = o.PIDs.cpuSeconds()-cpu, o.Beside.cpuSeconds()-beside, ownSeconds()-own
	r.ServerShare, r.BesideShare, r.LoadShare = r.ServerCPU/seconds, r.BesideCPU/seconds, r.LoadCPU/seconds
	r.RSSBefore, r.RSS, r.RSSPeak = before, o.PIDs.rss(), o.PIDs.rssPeak()
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
	r.StoppedEnds = l.ended()
	for _, c := range clients {
		c.Close()
	}
	return r, nil
}

func (l *load) receive(index int) {
	c := l.clients[index]
	counts := make([]int64, l.Senders)
	isTouched := make([]bool, l.Senders)
	touched := make([]int, 0, l.Senders)
	isElsewhere := make([]bool, l.Senders)
	for s := range isElsewhere {
		isElsewhere[s] = len(l.Servers) == 1 || l.server(s) != l.server(index)
	}
	now, lastNow, latency := int64(0), int64(0), int64(0)
	lastStamp := uint64(0)
	deliver := func(payload []byte) {
		if len(payload) != l.Size {
			l.fault("client %d: a payload of %d bytes", index, len(payload))
			return
		}
		author, count := int(parse(payload[:authorEnd])), parse(payload[authorEnd:countEnd])
		if author >= l.Senders || !l.hears(index, author) {
			l.fault("client %d: got a message of %d", index, author)
			return
		}
		if counts[author] != count {
			l.fault("client %d: message %d of %d instead of %d", index, count, author, counts[author])
		}
		counts[author] = count + 1
		if !isTouched[author] {
			isTouched[author] = true
			touched = append(touched, author)
		}
		l.total[index]++
		// A frame's messages were mostly sent at one time.
		if stamp := binary.LittleEndian.Uint64(payload[countEnd:header]); stamp != lastStamp || now != lastNow {
			latency = now - parse(payload[countEnd:header])
			lastStamp, lastNow = stamp, now
		}
		if isElsewhere[author] {
			l.latency[index].add(latency)
		}
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
				l.broken.Store(true)
			}
			return
		}
		for _, s := range touched {
			l.got[index][s].Store(counts[s])
			isTouched[s] = false
		}
		touched = touched[:0]
	}
}

// watch keeps least up to date: how far the slowest reader of each sender has come. It takes a tenth of the time, but senders
// do not wait long for it where it was itself kept waiting by 500 readers that had something to do.
func (l *load) watch() {
	for !l.done.Load() {
		begin := time.Now()
		for s := range l.Senders {
			l.least[s].Store(l.slowest(s))
		}
		time.Sleep(min(max(500*time.Microsecond, 9*time.Since(begin)), 10*time.Millisecond))
	}
}

func (l *load) slowest(s int) int64 {
	least := l.sent[s].Load()
	if l.Acks {
		least = l.clients[s].Acked()
	}
	for _, c := range l.readers[s] {
		least = min(least, l.got[c][s].Load())
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
			if due.Sub(begin) > l.Duration {
				return
			}
			time.Sleep(time.Until(due))
			due = due.Add(interval)
		} else {
			for count+int64(n)-l.least[s].Load() > window {
				if l.broken.Load() {
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
		begin, missing := time.Now(), int64(0)
		for s := range l.Senders {
			missing += l.sent[s].Load() - l.slowest(s)
		}
		if missing == 0 {
			return time.Now(), nil
		}
		if time.Now().After(deadline) || l.broken.Load() {
			return time.Now(), fmt.Errorf("not everything arrived: somebody lacks the last %d messages", missing)
		}
		time.Sleep(min(max(200*time.Microsecond, 9*time.Since(begin)), 10*time.Millisecond))
	}
}

func (l *load) churn() {
	o := l.options
	o.Clients = o.Churn
	time.Sleep(l.Duration / 4)
	clients, joins, err := connectAll(o)
	if err != nil {
		l.fault("churn: %v", err)
		return
	}
	l.churned = joins
	for _, c := range clients {
		c.Close()
	}
}

// ended returns how many of the clients that stopped reading the server has put out.
func (l *load) ended() int64 {
	var ends atomic.Int64
	var wait sync.WaitGroup
	for _, c := range l.clients[l.Clients-l.Stopped:] {
		wait.Add(1)
		timeout := time.AfterFunc(3*time.Second, c.Close)
		go func() {
			defer wait.Done()
			for c.Receive(func([]byte) {}) == nil {
			}
			if timeout.Stop() {
				ends.Add(1)
			}
		}()
	}
	wait.Wait()
	return ends.Load()
}
