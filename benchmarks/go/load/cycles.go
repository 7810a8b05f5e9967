package main

import (
	"fmt"
	"time"
)

type cycled struct {
	options
	RSS         []int64 `json:"server_rss_of_cycles_bytes"`
	Growth      float64 `json:"growth_since_second"`
	GrownClient float64 `json:"bytes_grown_per_client"`
	JoinsPerS   float64 `json:"joins_per_second"`
}

// comeAndGo lets all clients connect, read and leave, many times, and says how the server's memory grew after the second time:
// by then it has what it keeps for use again.
func comeAndGo(o options) (any, error) {
	before := o.PIDs.openFiles()
	r := cycled{options: o}
	for cycle := range o.Cycles {
		clients, joins, err := connectAll(o)
		if err != nil {
			return nil, fmt.Errorf("cycle %d: %w", cycle+1, err)
		}
		for _, c := range clients {
			go func() {
				for c.Receive(func([]byte) {}) == nil {
				}
			}()
		}
		for _, c := range clients {
			c.Close()
		}
		if err := allGone(o.PIDs, before); err != nil {
			return nil, fmt.Errorf("cycle %d: %w", cycle+1, err)
		}
		r.RSS, r.JoinsPerS = append(r.RSS, o.PIDs.rss()), joins
	}
	if o.Cycles > 2 {
		second, last := float64(r.RSS[1]), float64(r.RSS[o.Cycles-1])
		r.Growth, r.GrownClient = last/second, (last-second)/float64((o.Cycles-2)*o.Clients)
	}
	return r, nil
}

// allGone waits until the server has closed the connections of all clients.
func allGone(server processes, before int) error {
	const fewOfItsOwn = 8
	for deadline := time.Now().Add(20 * time.Second); server.openFiles() > before+fewOfItsOwn; {
		if time.Now().After(deadline) {
			return fmt.Errorf("the server still has %d files open, and had %d", server.openFiles(), before)
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond) // it tidies up after them
	return nil
}
