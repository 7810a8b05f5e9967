package main

import (
	"crypto/tls"
	"net"
)

// overTLS says whether connections are encrypted; whom they lead to is not looked at.
var overTLS bool

func dial(addr string, protocols ...string) (net.Conn, error) {
	connection, err := net.Dial("tcp", addr)
	if err != nil || !overTLS {
		return connection, err
	}
	return encrypted(connection, protocols...)
}

func encrypted(connection net.Conn, protocols ...string) (net.Conn, error) {
	client := tls.Client(connection, &tls.Config{InsecureSkipVerify: true, NextProtos: protocols})
	if err := client.Handshake(); err != nil {
		connection.Close()
		return nil, err
	}
	return client, nil
}
