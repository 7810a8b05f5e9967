package main

import (
	"fmt"
	"math"
	"math/bits"
	"os"
	"strconv"
	"strings"
	"time"
)

// Addresses are those of a server, or of several that are one.
type addresses []string

func (a *addresses) String() string { return strings.Join(*a, ",") }

func (a *addresses) Set(text string) error {
	*a = strings.Split(text, ",")
	return nil
}

// Processes are those of a server, or of several that are one. What is asked of them is added up.
type processes []int

func (p *processes) String() string { return fmt.Sprint(*p) }

func (p *processes) Set(text string) error {
	*p = nil
	for word := range strings.SplitSeq(text, ",") {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return err
		}
		*p = append(*p, pid)
	}
	return nil
}

// cpuSeconds returns their CPU time, with all threads.
func (p processes) cpuSeconds() (sum float64) {
	for _, pid := range p {
		sum += cpuSeconds(strconv.Itoa(pid))
	}
	return sum
}

// rss returns their resident bytes.
func (p processes) rss() (sum int64) {
	for _, pid := range p {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			sum += pages * int64(os.Getpagesize())
		}
	}
	return sum
}

// rssPeak returns the most resident bytes that each of them ever had.
func (p processes) rssPeak() (sum int64) {
	for _, pid := range p {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, rest, _ := strings.Cut(string(text), "VmHWM:")
		kilobytes, _ := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
		sum += kilobytes << 10
	}
	return sum
}

// openFiles returns how many files, sockets included, they have open.
func (p processes) openFiles() (sum int) {
	for _, pid := range p {
		entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		sum += len(entries)
	}
	return sum
}

// ownSeconds returns the CPU time of this process.
func ownSeconds() float64 { return cpuSeconds("self") }

func cpuSeconds(process string) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%s/stat", process))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

type held struct {
	options
	BytesPerClient float64 `json:"bytes_per_client"`
	IdleCPU        float64 `json:"idle_cpu_share"`
	BesideIdleCPU  float64 `json:"beside_idle_cpu_share"`
	BesideGrown    int64   `json:"beside_grown_bytes"`
	JoinsPerS      float64 `json:"joins_per_second"`
	ServerShare    float64 `json:"joins_server_cpu_share"`
	LoadShare      float64 `json:"joins_load_cpu_share"`
}

// hold connects clients that do nothing, and says what they cost.
func hold(o options) (any, error) {
	before, beside := o.PIDs.rss(), o.Beside.rss()
	begin, cpu, own := time.Now(), o.PIDs.cpuSeconds(), ownSeconds()
	clients, joins, err := connectAll(o)
	if err != nil {
		return nil, err
	}
	for _, c := range clients {
		go func() {
			for c.Receive(func([]byte) {}) == nil {
			}
		}()
	}
	took := time.Since(begin).Seconds()
	h := held{options: o, JoinsPerS: joins}
	h.ServerShare, h.LoadShare = (o.PIDs.cpuSeconds()-cpu)/took, (ownSeconds()-own)/took
	time.Sleep(2 * time.Second)
	h.BytesPerClient = float64(o.PIDs.rss()-before) / float64(o.Clients)
	h.BesideGrown = o.Beside.rss() - beside
	cpu, idle, begin := o.PIDs.cpuSeconds(), o.Beside.cpuSeconds(), time.Now()
	time.Sleep(o.Duration)
	took = time.Since(begin).Seconds()
	h.IdleCPU, h.BesideIdleCPU = (o.PIDs.cpuSeconds()-cpu)/took, (o.Beside.cpuSeconds()-idle)/took
	for _, c := range clients {
		c.Close()
	}
	return h, nil
}

// A histogram of nanoseconds, with 16 buckets for each power of two: quantiles are right within 6 %.
type histogram struct {
	buckets [64 * 16]int64
	count   int64
}

func (h *histogram) add(ns int64) {
	h.buckets[bucket(ns)]++
	h.count++
}

func bucket(ns int64) int {
	if ns < 16 {
		return int(max(ns, 0))
	}
	exponent := 63 - bits.LeadingZeros64(uint64(ns))
	return exponent*16 + int(ns>>(exponent-4))&15
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.buckets {
		h.buckets[i] += n
	}
	h.count += other.count
}

// quantile returns milliseconds.
func (h *histogram) quantile(q float64) float64 {
	rank := int64(math.Ceil(q * float64(h.count)))
	for i, n := range h.buckets {
		if rank -= n; rank <= 0 && n > 0 {
			exponent := i / 16
			if exponent < 4 {
				return float64(i) / 1e6
			}
			return (math.Ldexp(1, exponent) + float64(i%16)*math.Ldexp(1, exponent-4)) / 1e6
		}
	}
	return 0
}
