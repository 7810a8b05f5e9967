package main

import "testing"

func TestClientsOfEachRoomAreSpreadOverAllServers(t *testing.T) {
	o := options{Servers: addresses{"a", "b", "c"}, Rooms: 2}
	for client, server := range []int{0, 0, 1, 1, 2, 2, 0, 0} {
		if o.server(client) != server {
			t.Errorf("client %d is at %d instead of %d", client, o.server(client), server)
		}
	}
}

func TestSendersAreApart(t *testing.T) {
	o := options{Servers: addresses{"a", "b", "c"}, Rooms: 1, Senders: 2, Apart: true}
	for client := range 10 {
		if (o.server(client) == 0) != (client < 2) {
			t.Errorf("client %d is at %d", client, o.server(client))
		}
	}
	if o.Servers = o.Servers[:1]; o.server(5) != 0 {
		t.Error("there is one server only")
	}
}
