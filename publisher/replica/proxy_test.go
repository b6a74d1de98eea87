package replica_test

import (
	"fmt"
	"net"
	"sync"
	"testing"
)

// proxy stands between a replica and NATS, and is what a network does to them: it stalls without a word, or cuts.
type proxy struct {
	l       net.Listener
	to      string
	running sync.WaitGroup

	mu    sync.Mutex
	moved *sync.Cond
	left  int64 // bytes that pass to the replica before all stalls; negative = no bound
	dead  bool  // cut: connections end, and new ones do so at once
	conns map[net.Conn]bool
}

const unbounded = -1

func newProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, to: to, left: unbounded, conns: map[net.Conn]bool{}}
	p.moved = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.cut()
		p.running.Wait()
	})
	return p
}

func (p *proxy) url() string { return fmt.Sprintf("nats://%s", p.l.Addr()) }

// stallAfter lets so many bytes more pass to the replica, and then nothing in either direction; unbounded lets all pass again.
func (p *proxy) stallAfter(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.dead = n, false
	p.moved.Broadcast()
}

// cut ends all connections, and new ones as soon as they come.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	for c := range p.conns {
		c.Close()
	}
	p.moved.Broadcast()
}

func (p *proxy) accept() {
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.to)
		if err != nil || !p.keep(client, server) {
			client.Close()
			continue
		}
		p.running.Go(func() { p.pass(client, server, false) })
		p.running.Go(func() { p.pass(server, client, true) })
	}
}

func (p *proxy) keep(client, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		server.Close()
		return false
	}
	p.conns[client], p.conns[server] = true, true
	return true
}

func (p *proxy) pass(from, to net.Conn, counted bool) {
	defer func() {
		from.Close()
		to.Close()
		p.mu.Lock()
		delete(p.conns, from)
		p.mu.Unlock()
	}()
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		for sent := 0; sent < n; {
			may := p.may(n-sent, counted)
			if may == 0 {
				return
			}
			if _, err := to.Write(b[sent : sent+may]); err != nil {
				return
			}
			sent += may
		}
		if err != nil {
			return
		}
	}
}

// may returns how many of n bytes pass now, once any do; 0 after a cut.
func (p *proxy) may(n int, counted bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.left == 0 && !p.dead {
		p.moved.Wait()
	}
	switch {
	case p.dead:
		return 0
	case p.left < 0 || !counted:
		return n
	}
	n = int(min(int64(n), p.left))
	p.left -= int64(n)
	return n
}
