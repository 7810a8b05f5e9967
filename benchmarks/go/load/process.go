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

// cpuSeconds returns the CPU time of a process and all its threads; 0 is this one.
func cpuSeconds(pid int) float64 {
	path := "/proc/self/stat"
	if pid > 0 {
		path = fmt.Sprintf("/proc/%d/stat", pid)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// rss returns the resident bytes of a process.
func rss(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// rssPeak returns the most resident bytes that a process ever had.
func rssPeak(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kilobytes, _ := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
	return kilobytes << 10
}

type held struct {
	options
	BytesPerClient float64 `json:"bytes_per_client"`
	IdleCPU        float64 `json:"idle_cpu_share"`
	JoinsPerS      float64 `json:"joins_per_second"`
	ServerShare    float64 `json:"joins_server_cpu_share"`
	LoadShare      float64 `json:"joins_load_cpu_share"`
}

// hold connects clients that do nothing, and says what they cost.
func hold(o options) (any, error) {
	before := rss(o.PID)
	begin, cpu, own := time.Now(), cpuSeconds(o.PID), cpuSeconds(0)
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
	server, load := (cpuSeconds(o.PID)-cpu)/took, (cpuSeconds(0)-own)/took
	time.Sleep(2 * time.Second)
	after := rss(o.PID)
	cpu, begin = cpuSeconds(o.PID), time.Now()
	time.Sleep(o.Duration)
	share := (cpuSeconds(o.PID) - cpu) / time.Since(begin).Seconds()
	for _, c := range clients {
		c.Close()
	}
	return held{o, float64(after-before) / float64(o.Clients), share, joins, server, load}, nil
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
